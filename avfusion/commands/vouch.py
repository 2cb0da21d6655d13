"""`avfusion vouch`."""

from typing import Annotated

import typer

from avfusion.commands.completion import stages


def vouch(
    stage: Annotated[
        str,
        typer.Argument(
            metavar="STAGE",
            help="A stage of the pipeline whose results are kept.",
            show_default=False,
            autocompletion=stages,
        ),
    ],
    sample: Annotated[int, typer.Option("--sample", metavar="N", min=1, help="Results to recompute.")] = 5,
) -> None:
    """Keep a stage's results after a refactoring: recompute N of them and, where all are equal, restamp them all.

    Concerns results whose inputs and parameters are as wanted and whose code differs. Who vouched, when, and from which
    code to which is recorded in each of them.

    Exit status: 0 all are equal and restamped; 1 some differ, nothing is restamped; 2 nothing to vouch for.
    """
    from avfusion.experiments.vouch import vouch as vouch_for
    from avfusion.params.params import load_params
    from avfusion.runtime.project import disable_telemetry, project_root

    disable_telemetry()
    root = project_root()
    done = vouch_for(root, load_params(root / "params.yaml"), stage, sample)
    print(f"{stage}: {len(done.recomputed)} recomputed, all equal; {done.restamped} restamped")
    print(f"DVC knows the restamped files after `dvc commit {stage}` (or `dvc repro`, which computes nothing for them)")
