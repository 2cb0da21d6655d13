"""The command `avfusion sweep`: run the study of params.yaml, write its report, and apply its best point."""

from avfusion.experiments.start import refuse_start
from avfusion.experiments.sweep.results import apply_changes
from avfusion.experiments.sweep.run import StudyRun
from avfusion.experiments.sweep.storage import default_storage
from avfusion.params.params import load_params
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.project import project_root, workspace_root


def run_sweep(*, trials: int | None, storage: str | None, workers: int, apply: bool) -> None:
    """Run the study of params.yaml until it has enough trials, and print the next steps.

    Raises:
        AVFusionError: the study failed, or no trial was completed.
        SystemExit: 130, after an interruption.
    """
    root, project = workspace_root(), project_root()
    path = root / "params.yaml"
    params = load_params(path, ["corpus", "geometry", "train", "sweep"])
    refuse_start(params.train, "a sweep")
    study = StudyRun(
        root,
        project,
        params,
        storage or default_storage(project),
        params.sweep.trials if trials is None else trials,
        workers,
    )
    try:
        changes = study.run()
    except KeyboardInterrupt:
        print("interrupted: the same command goes on")
        raise SystemExit(130) from None
    if changes is None:
        raise AVFusionError("no trial was completed: reports/sweep/trials.csv says why each ended")
    print(
        "reports/sweep/: trials.csv, best_params.yaml and pictures; all trials side by side: `make ui`, avfusion-sweep"
    )
    if not apply:
        print("next: `avfusion sweep --apply` writes the best point into params.yaml, `dvc repro` trains it for good")
        return
    changed = apply_changes(path, changes)
    print("\n".join(changed) or "params.yaml has the best point already")
    if changed:
        print("next: `dvc repro` trains it, and `register` decides whether it becomes the champion")
