"""Options that several commands take."""

from typing import Annotated

import typer

ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="URI|DIR",
        help="models:/avfusion@champion, runs:/…, or a folder. Default: the champion, else models/fusion.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]


def listed(names: str) -> list[str]:
    """The names of an option such as `--models A,B`, without duplicates."""
    return list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
