"""A cross-validation as runs: a parent, and below it one per model and fold, with metrics only."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from avfusion.corpora.demo.truth import truth_folder
from avfusion.data.features import read_features
from avfusion.data.track_data import feature_path
from avfusion.experiments.crossval import CrossValidation
from avfusion.experiments.evaluate import load_evaluated
from avfusion.experiments.start import refuse_models, refuse_start
from avfusion.experiments.training import model_names, read_inputs
from avfusion.params.params import load_params
from avfusion.params.record import every_param
from avfusion.reports.crossval_table import write_cross_validation
from avfusion.runtime.atomic import exclusive_lock
from avfusion.runtime.fingerprints import fingerprint
from avfusion.tracking.run_book import RunBook
from avfusion.tracking.runs import TrackedRun
from avfusion.training.determinism import default_device, make_deterministic


def run_cross_validation(root: Path, models: Sequence[str], folds: int) -> str:
    """`avfusion crossval`: train, score, and write reports/crossval/; returns its tables as Markdown.

    Args:
        models: none: `train.model` and `train.baselines`.

    Raises:
        BadInputError: no such model, as many folds cannot be made, or params.yaml, features or labels are missing.
        AVFusionError: a base video is both a training and a validation video.
    """
    params = load_params(root / "params.yaml", ("common", "corpus", "evaluate", "geometry", "train"))
    refuse_start(params.train, "cross-validation")
    make_deterministic(params.common.threads)
    names = list(models or model_names(params.train))
    work, folder = root / ".avfusion" / "crossval", root / "reports" / "crossval"
    with exclusive_lock(root / ".avfusion" / "locks" / "crossval.lock", "avfusion crossval"):
        inputs, tests = read_inputs(root, params.geometry), load_evaluated(root, params.geometry)["test"]
        refuse_models(names, inputs.feature_spec.output)
        truth = truth_folder(root, params.corpus)
        crossval = CrossValidation(params, inputs, tests, root, truth, work, default_device())
        out_of_fold = read_features(feature_path(root, inputs.train[0].track)).out_of_fold is not None
        # Runs are continued only where everything that their numbers depend on is the same.
        same = fingerprint(inputs=inputs.digests, params=params.to_dict(), folds=folds)
        tags = {"corpus": params.corpus.name, "feature_spec": inputs.feature_spec.digest(), "folds": str(folds)}
        book = RunBook(root, work / f"runs-{same[:16]}.json", every_param(root / "params.yaml", params), tags)
        with book.open("cross-validation") as parent:

            def training(name: str, fold: int) -> AbstractContextManager[TrackedRun]:
                return book.open(f"{name}, fold {fold}", parent, {"model": name, "fold": fold})

            found = crossval.run(names, folds, training)
            text = write_cross_validation(folder, found, out_of_fold=out_of_fold)
            for name in ("folds.csv", "models.csv", "crossval.md"):
                parent.log_artifact(folder / name)
    return text
