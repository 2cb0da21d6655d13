"""Options that several commands take."""

from typing import Annotated

import typer

from avfusion.commands.completion import devices, model_folders

ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="URI|DIR",
        help="models:/avfusion@champion, runs:/…, or a folder. Default: the champion, else models/fusion.",
        autocompletion=model_folders,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="auto (a GPU if one can be used, else the CPU), cpu, cuda, cuda:1, …",
        autocompletion=devices,
    ),
]
MinFaceOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=12,
        max=640,
        help="Smallest face to look for, in pixels of the picture scaled down to 640 wide. Default: the model's.",
    ),
]
AudioTrackOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Audio track to hear, from 1. Default: the one that players take, unless it is silent."
    ),
]


def listed(names: str) -> list[str]:
    """The names of an option such as `--models A,B`, without duplicates."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
