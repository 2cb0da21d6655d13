"""`avfusion compare`."""

from enum import StrEnum
from typing import Annotated

import typer

from avfusion.commands.completion import fusion_models
from avfusion.commands.options import listed


class CompareSplit(StrEnum):
    """Tracks to score."""

    val = "val"
    test = "test"


class Head(StrEnum):
    """What stands behind every fusion."""

    linear = "linear"
    relu = "relu"


def whole_numbers(seeds: str) -> list[int]:
    """The seeds of the option `--seeds`, without duplicates.

    Raises:
        BadInputError: they are not whole numbers from 0.
    """
    from avfusion.runtime.errors import BadInputError

    try:
        numbers = list(dict.fromkeys(int(seed) for seed in seeds.split(",")))
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise BadInputError(f"--seeds is {seeds!r}: must be whole numbers from 0 with commas between them")
    return numbers


def compare(
    models: Annotated[
        str,
        typer.Option(
            metavar="A,B,…",
            help="Fusion models, or all. Default: train.model and train.baselines of params.yaml.",
            autocompletion=fusion_models,
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(metavar="N,N,…", help="Training seeds.")] = "0,1,2",
    split: Annotated[CompareSplit, typer.Option(help="Tracks to score.")] = CompareSplit.val,
    head: Annotated[
        Head | None, typer.Option(help="One head for all models that have a choice. Default: each its own.")
    ] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="Say what attention adds to each model; trains a control of each.")
    ] = False,
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Each seed trains its own backbones, too: ± then says what training again does."),
    ] = False,
) -> None:
    """Train fusion models with several seeds on the cached features and write reports/compare/.

    What was trained already, by any command, is found again, and an interrupted training goes on. Exit status: 0 done;
    2 a model, params.yaml or the features cannot be used; 1 something failed.
    """
    numbers = whole_numbers(seeds)
    from avfusion.experiments.compare import run_comparison
    from avfusion.runtime.project import project_root

    one_head = head.value if head else None
    names = listed(models)
    print(run_comparison(project_root(), names, numbers, split.value, head=one_head, ablate=ablate, whole=whole))
