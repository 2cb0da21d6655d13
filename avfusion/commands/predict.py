"""`avfusion predict`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avfusion.commands.loading import loaded_predictor
from avfusion.commands.options import AudioTrackOption, DeviceOption, MinFaceOption, ModelOption


class StreamChoice(StrEnum):
    """Streams to use."""

    both = "both"
    audio = "audio"
    visual = "visual"


class PeopleChoice(StrEnum):
    """People to predict."""

    main = "main"
    all = "all"


class FormatChoice(StrEnum):
    """Format of tables."""

    csv = "csv"
    parquet = "parquet"
    json = "json"
    abaw = "abaw"


class ModeChoice(StrEnum):
    """How sequences of clips cover a video."""

    overlap = "overlap"
    tile = "tile"
    causal = "causal"


def _place(text: str) -> Path:
    if not text:  # a path without parts is the working directory
        raise typer.BadParameter("is empty: must be a file, a folder or a pattern")
    return Path(text)


def predict(
    videos: Annotated[
        list[Path],
        typer.Argument(
            metavar="VIDEO…",
            help="Video or sound files, folders (recursively), patterns.",
            show_default=False,
            parser=_place,
        ),
    ],
    model: ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Folder for the tables. Default: beside each video."),
    ] = None,
    people: Annotated[
        PeopleChoice,
        typer.Option(
            help="all: everybody seen for a second or longer, each with values where they are seen: "
            "<stem>.person-2.csv, …"
        ),
    ] = PeopleChoice.main,
    stream: Annotated[
        StreamChoice, typer.Option(help="Use one stream as if the other were absent.")
    ] = StreamChoice.both,
    stride: Annotated[
        int | None, typer.Option(metavar="N", help="Frames between clips, a divisor of 32. Default: the model's.")
    ] = None,
    mode: Annotated[
        ModeChoice | None,
        typer.Option(
            help="overlap: mean over all sequences; tile: one; causal: from the past alone. Default: the model's."
        ),
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Add valence_sd, arousal_sd: spread over overlapping sequences.")
    ] = False,
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated", help="Mean labels instead of raw values, with the ends of 80 % bands: valence_low, …"
        ),
    ] = False,
    form: Annotated[
        FormatChoice, typer.Option("--format", help="abaw: the challenge's text, valence,arousal per frame.")
    ] = FormatChoice.csv,
    audio_track: AudioTrackOption = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Add <stem>.overlay.mp4: faces, valence-arousal plane, traces, sound.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Add <stem>.report.html: the video beside its traces, in one file.")
    ] = False,
    min_face: MinFaceOption = None,
    device: DeviceOption = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Predict finished videos again, and overwrite other videos' files.")
    ] = False,
) -> None:
    """Write <stem>.csv (a row per video frame; 25 a second of sound alone) and <stem>.trace.png for each video.

    Videos already predicted by this model with these options are skipped, so an interrupted call can be repeated.

    Exit status: 0 all done; 2 some input was bad (named), the others are done; 1 something failed.
    """
    from avfusion.presentation.batch import Request, predict_files
    from avfusion.presentation.pictures import Pictures
    from avfusion.runtime.printable import say

    predictor = loaded_predictor(model, device, min_face=min_face)
    if calibrated:
        say(f"note: {predictor.usable_calibration(stream.value, mode.value if mode else None).words()}")
    request = Request(
        people=people.value,
        stream=stream.value,
        stride=stride,
        mode=None if mode is None else mode.value,
        uncertainty=uncertainty,
        calibrated=calibrated,
        audio_track=audio_track,
        form=form.value,
        pictures=Pictures(overlay, report),
    )
    code = predict_files(videos, predictor, folder=out, request=request, force=force)
    raise typer.Exit(code)
