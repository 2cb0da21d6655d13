"""`avfusion serve`."""

from typing import Annotated

import typer

from avfusion.commands.options import DeviceOption, MinFaceOption, ModelOption


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; other machines need no password!")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    model: ModelOption = None,
    max_size: Annotated[float, typer.Option(min=0.001, metavar="MB", help="Largest video accepted.")] = 500,
    max_minutes: Annotated[float, typer.Option(min=0.01, max=360, help="Longest video accepted.")] = 30,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Videos at a time, each in its own process.")] = 1,
    min_face: MinFaceOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Serve an upload page and a JSON API for predictions, by default to this machine alone.

    Ctrl-C or SIGTERM ends it; it leaves no file behind. See docs/serving.md.
    """
    from avfusion.runtime.extras import require_extra

    require_extra("fastapi", "uvicorn", "python_multipart")
    from avfusion.serving.limits import Limits
    from avfusion.serving.server import run_server

    limits = Limits(upload_bytes=round(max_size * 1e6), video_s=60 * max_minutes)
    run_server(host=host, port=port, model=model, device=device, min_face=min_face, jobs=jobs, limits=limits)
