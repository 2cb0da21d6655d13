"""`avfusion predict`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class StreamChoice(StrEnum):
    """What a prediction may use."""

    both = "both"
    audio = "audio"
    visual = "visual"


def predict(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO…", help="Video files.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="URI|DIR",
            help="models:/avfusion@champion, runs:/…, or a folder. Default: the champion, else models/fusion.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="Folder for the CSVs. Default: beside each video.")
    ] = None,
    stream: Annotated[
        StreamChoice, typer.Option(help="Use one stream as if the other were absent.")
    ] = StreamChoice.both,
    stride: Annotated[
        int | None, typer.Option(metavar="N", help="Frames between clips, a divisor of 32. Default: the model's.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Overwrite another video's CSV.")] = False,
) -> None:
    """Write <stem>.csv (a row per video frame) and <stem>.trace.png for each video.

    Exit status: 0 all done; 2 some input was bad (named), the others are done; 1 something failed.
    """
    from avfusion.inference.batch import predict_files
    from avfusion.inference.predictor import Predictor

    predictor = Predictor.load(model, device=device)
    if model is None:
        print(f"model: {predictor.source}", file=sys.stderr)
    code = predict_files(videos, predictor, folder=out, stream=stream.value, stride=stride, force=force)
    raise typer.Exit(code)
