"""`avfusion crossval`."""

from typing import Annotated

import typer

from avfusion.commands.completion import fusion_models
from avfusion.commands.options import listed


def crossval(
    models: Annotated[
        str,
        typer.Option(
            "--models",
            "--model",
            metavar="A,B,…",
            help="Fusion models. Default: train.model and train.baselines.",
            autocompletion=fusion_models,
        ),
    ] = "",
    folds: Annotated[int, typer.Option(metavar="N", help="Folds; fold 0 is the official split.")] = 6,
) -> None:
    """Cross-validate fusion models on folds of whole groups of videos and write reports/crossval/.

    Fold 0 is the official split, the other folds split the training groups. Test predictions are averaged over the
    folds' models. The backbones are not retrained. After an interruption the same command continues. Exit status: 0
    done; 2 a model, the number of folds, params.yaml or the features cannot be used; 1 something failed.
    """
    from avfusion.experiments.crossval import run_cross_validation
    from avfusion.runtime.project import project_root

    print(run_cross_validation(project_root(), listed(models), folds))
