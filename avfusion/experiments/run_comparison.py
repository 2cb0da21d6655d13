"""A comparison of fusion models as runs: a parent, and below it one per model and seed, with metrics only."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from avfusion.corpora.demo.truth import truth_folder
from avfusion.experiments.compare import Comparison
from avfusion.experiments.evaluate import load_evaluated
from avfusion.experiments.start import refuse_models, refuse_start
from avfusion.experiments.training import read_inputs
from avfusion.params.params import load_params
from avfusion.params.record import every_param
from avfusion.reports.comparison_table import write_comparison
from avfusion.reports.plots.comparison import plot_comparison
from avfusion.runtime.atomic import exclusive_lock
from avfusion.runtime.fingerprints import fingerprint
from avfusion.scoring.seeds import entry_name
from avfusion.tracking.run_book import RunBook
from avfusion.tracking.runs import TrackedRun
from avfusion.training.determinism import default_device, make_deterministic
from avfusion.training.settings import TrainSettings


def run_comparison(root: Path, models: Sequence[str], seeds: Sequence[int], split: str) -> str:
    """`avfusion compare`: train, score, and write reports/compare/; returns the table as Markdown.

    Raises:
        BadInputError: no such model, or params.yaml, features or labels are missing.
    """
    params = load_params(root / "params.yaml", ("common", "corpus", "evaluate", "geometry", "train"))
    refuse_start(params.train, "a comparison")
    make_deterministic(params.common.threads)
    work, folder = root / ".avfusion" / "compare", root / "reports" / "compare"
    with exclusive_lock(root / ".avfusion" / "locks" / "compare.lock", "avfusion compare"):
        inputs, tracks = read_inputs(root, params.geometry), load_evaluated(root, params.geometry)[split]
        refuse_models(models, inputs.feature_spec.output)
        truth = truth_folder(root, params.corpus)
        comparison = Comparison(params, inputs, tracks, root, truth, work, default_device())
        # Runs are continued only where everything that their numbers depend on is the same.
        same = fingerprint(inputs=inputs.digests, params=params.to_dict(), split=split)
        tags = {"corpus": params.corpus.name, "feature_spec": inputs.feature_spec.digest(), "split": split}
        recorded = every_param(root / "params.yaml", params)
        book = RunBook(root, work / f"runs-{same[:16]}.json", recorded, tags)
        with book.open("comparison") as parent:

            def training(name: str, seed: int) -> AbstractContextManager[TrackedRun]:
                return book.open(entry_name(name, seed), parent, {"model": name, "seed": seed})

            rows = comparison.run(models, seeds, training)
            text = write_comparison(folder, rows, split, params.corpus.name, _remarks(params.train, models))
            plot_comparison(folder / "comparison.png", rows)
            for name in ("comparison.csv", "comparison.md", "comparison.png"):
                parent.log_artifact(folder / name)
    return text


def _remarks(config: TrainSettings, models: Sequence[str]) -> list[str]:
    """What makes the comparison less than fair: options that one model alone has from params.yaml."""
    if not config.options or config.model not in models:
        return []
    options = ", ".join(f"{name}: {value}" for name, value in config.options.items())
    return [f"{config.model} has train.options ({options}); the others have their defaults."]
