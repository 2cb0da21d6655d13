"""The life of a server: bind the port, load the model, answer until told to stop, clean up."""

import asyncio
import ipaddress
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.scratch import scratch_folder
from avfusion.serving.api import create_app, page_policy
from avfusion.serving.guard import Guard
from avfusion.serving.jobs import Jobs
from avfusion.serving.limits import Limits
from avfusion.serving.model_process import ServedModel, copy_model, load_model
from avfusion.serving.process import AsyncWorker

GOODBYE_S = 3  # to finish answers
CONNECTIONS = 200
STOPS = (signal.SIGTERM, signal.SIGHUP)


def run_server(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    device: str = "auto",
    min_face: int | None = None,
    jobs: int = 1,
    limits: Limits | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        host, port: address to listen on; port 0: any free port.
        model, device, min_face: as for `Predictor.load`.
        jobs: number of videos processed at a time, each in its own process.

    Raises:
        BadInputError: no such model, host or port.
        AVFusionError: the port is taken, or the model cannot be loaded.
    """
    before = {number: signal.signal(number, _stop) for number in STOPS}
    try:
        with _bound(host, port) as listener, scratch_folder("serve") as scratch:
            asyncio.run(_serve(listener, scratch, host, model, device, min_face, jobs, limits or Limits()))
    except (KeyboardInterrupt, _StoppedError):
        print("stopped", file=sys.stderr)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _StoppedError(BaseException):
    """This process was asked to end."""


def _stop(number: int, frame: object) -> None:
    raise _StoppedError


async def _serve(
    listener: socket.socket,
    scratch: Path,
    host: str,
    model: str | None,
    device: str,
    min_face: int | None,
    jobs: int,
    limits: Limits,
) -> None:
    folder = scratch / "model"
    fetching = AsyncWorker()  # a separate process: asking the registry imports modules that take memory
    try:
        served: ServedModel = await fetching.call(copy_model, model, folder)
    finally:
        fetching.stop()
    print(f"model: {served.source} ({served.name}, digest {served.digest[:12]}), loading …", file=sys.stderr)
    workers = [AsyncWorker(load_model, folder, device, min_face) for _ in range(jobs)]
    async with Jobs(scratch, limits, workers, folder, device, min_face) as running:
        devices = ", ".join(dict.fromkeys(worker.prepared for worker in workers))
        print(f"model: {served.source} on {devices}", file=sys.stderr)
        for note in served.notes:
            print(f"note: {note}", file=sys.stderr)
        app = Guard(create_app(running, served), {"localhost", host, socket.gethostname()}, page_policy())
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=GOODBYE_S,
            )
        )
        print(f"serving on {_address(listener)}, Ctrl-C ends it", flush=True)
        await server.serve(sockets=[listener])


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, OverflowError) as error:
        raise BadInputError(f"--host {host} --port {port}: no such address ({error})") from None
    family, kind, protocol, _, address = found
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # The system queues connections while the model loads.
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise AVFusionError(f"cannot listen on {host}, port {port} ({error.strerror}): choose another --port") from None
    if not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        print(
            f"warning: --host {host} lets other machines in, and there is no authentication: anyone who reaches this "
            "port can upload videos (a proxy in front can ask for a password)",
            file=sys.stderr,
        )
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
