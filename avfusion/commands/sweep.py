"""`avfusion sweep`."""

from typing import Annotated

import typer


def sweep(
    trials: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Total number of finished trials of the study. Default: sweep.trials."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="AVFUSION_SWEEP_STORAGE",
            help="postgresql://USER:PASSWORD@HOST/DATABASE for many machines. Default: a file of the project.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes on this machine, one thread each.")] = 1,
    apply: Annotated[bool, typer.Option("--apply", help="Write the best point into params.yaml.")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Search no further: train the best point and the paper's with new seeds.")
    ] = False,
    seeds: Annotated[str, typer.Option(metavar="N,N,…", help="With --confirm: seeds other than train.seed.")] = "1,2,3",
) -> None:
    """Search for better parameters of `train` (section sweep of params.yaml), or continue a search.

    Ctrl-C stops it after the current epochs; the same command continues. Exit status: 0 done; 2 params.yaml or the
    study cannot be used; 1 something failed, or no trial was completed.
    """
    if confirm:
        from avfusion.commands.compare import whole_numbers
        from avfusion.experiments.sweep.confirm import confirm_best

        print(confirm_best(whole_numbers(seeds), storage))
        return
    from avfusion.experiments.sweep.command import run_sweep

    run_sweep(trials=trials, storage=storage, workers=workers, apply=apply)
