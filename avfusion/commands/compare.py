"""`avfusion compare`."""

from enum import StrEnum
from typing import Annotated

import typer


class CompareSplit(StrEnum):
    """Tracks that a comparison is scored on."""

    val = "val"
    test = "test"


def compare(
    models: Annotated[
        str, typer.Option(metavar="A,B,…", help="Fusion models. Default: all that take the cached features.")
    ] = "",
    seeds: Annotated[str, typer.Option(metavar="N,N,…", help="Training seeds.")] = "0,1,2",
    split: Annotated[CompareSplit, typer.Option(help="Tracks to score.")] = CompareSplit.val,
) -> None:
    """Train fusion models with several seeds on the cached features and write reports/compare/.

    Interrupted, the same command goes on; with more models or seeds it trains only those. Exit status: 0 done; 2 a
    model, params.yaml or the features cannot be used; 1 something failed.
    """
    from avfusion.experiments.run_comparison import run_comparison
    from avfusion.fusion.catalogue import fusion_names, takes_maps
    from avfusion.runtime.errors import BadInputError
    from avfusion.runtime.project import project_root

    names = [name.strip() for name in models.split(",") if name.strip()]
    try:
        numbers = list(dict.fromkeys(int(seed) for seed in seeds.split(",")))
    except ValueError:
        numbers = [-1]
    if min(numbers) < 0:
        raise BadInputError(f"--seeds is {seeds!r}: whole numbers from 0 with commas between them are needed")
    every = [name for name in fusion_names() if not takes_maps(name)]
    print(run_comparison(project_root(), list(dict.fromkeys(names or every)), numbers, split.value))
