"""One grid behind every command that trains fusion models: models x seeds x folds, each trained once.

What was trained already, by whichever command, is found again; what is missing is trained, or goes on where it stopped.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from avfusion.data.settings import GeometrySettings
from avfusion.experiments.folds import Fold
from avfusion.experiments.train_unit import train_unit, training_table
from avfusion.experiments.training import TrainingInputs
from avfusion.experiments.training_store import FinishedTraining, TrainingStore, TrainingUnit
from avfusion.fusion.catalogue import fusion_module
from avfusion.fusion.reading import Reading
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.progress import TrainingLines
from avfusion.runtime.stamps import Stamp
from avfusion.runtime.units import unit_digest
from avfusion.training.logger import NullLogger, RunLogger, StoppingNames
from avfusion.training.loop import log_missing
from avfusion.training.sequences import SequenceData
from avfusion.training.settings import TrainSettings

Key = TypeVar("Key", bound=Hashable)


@contextmanager
def unlogged(key: object) -> Iterator[NullLogger]:
    """A run that is logged nowhere."""
    yield NullLogger()


@dataclass
class Grid:
    """Trains fusion models on the cached features of a project.

    Attributes:
        threads: of torch; sums are split by it.
    """

    root: Path
    inputs: TrainingInputs
    geometry: GeometrySettings
    threads: int
    device: str = "cpu"
    _sequences: tuple[tuple[list[str], Reading], SequenceData] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.store = TrainingStore(self.root)

    def unit(self, config: TrainSettings, fold: Fold | None = None) -> TrainingUnit:
        """The training of one model.

        Args:
            config: section `train` as it stands for this model alone (`config_of`).
            fold: tracks to train on, and tracks that stop the training; default: those of the inputs.
        """
        fold = fold or Fold(self.inputs.train, self.inputs.stopping)
        start = self.inputs.start if config.weights else None
        windowed = self.inputs.reading(config, self.geometry).hop is not None
        keys = {"clip_frames", "sequence_clips", "target_offset"} | (
            {"window_frames", "window_hop"} if windowed else set()
        )
        made = fingerprint(
            train=config.identity(exclude=("baselines", "weights")),
            start=start.facts["sha256"] if start else None,
            tracks=[[[t.track, self.inputs.contents[t.track]] for t in side] for side in (fold.train, fold.validation)],
            # What else section `geometry` decides stands in the contents of the tracks.
            geometry=self.geometry.model_dump(mode="json", include=keys),
            stride=self.inputs.feature_spec.stride,
            threads=self.threads,
        )
        code = unit_digest("fusion", fusion_module(config.model))
        return TrainingUnit(config, fold, Stamp(made, code), start)

    def run(
        self,
        units: Mapping[Key, TrainingUnit],
        open_run: Callable[[Key], AbstractContextManager[Any]] = unlogged,
        use: Callable[[Key, FinishedTraining, Any], str] = lambda *_: "",
        *,
        quiet: bool = True,
    ) -> None:
        """Find or train every unit, in the order given, and say how many of them are there already.

        Args:
            units: by keys that `open_run` and `use` know them by.
            open_run: gives the run that a training is logged to.
            use: called with key, training and run while the run is open; gives the line that is printed.
        """
        digests = {unit.digest: unit for unit in units.values()}
        missing = [unit.config for unit in digests.values() if self.store.find(unit) is None]
        self.inputs.refuse_models(missing, self.geometry)
        found = len(digests) - len(missing)
        count = f"{len(digests)} training{'s' if len(digests) != 1 else ''}"
        print(f"{count}: {found} found, {len(digests) - found} to do", flush=True)
        lines = TrainingLines(len(units))
        for key, unit in units.items():
            with open_run(key) as run:
                text = use(key, self.train(unit, run, quiet=quiet), run)
            if text:
                lines.print(text)
        self._sequences = None
        self.store.trim(digests)

    def train(self, unit: TrainingUnit, run: RunLogger | None = None, *, quiet: bool = True) -> FinishedTraining:
        """Find or train one unit; what its run does not have yet is logged."""
        run = run or NullLogger()
        if self.inputs.inner is not None:
            run = StoppingNames(run)
        run.set_tags({"code.digest": unit.stamp.code})
        with self.store.alone(unit):
            if finished := self.store.find(unit):
                if not quiet:
                    epochs = f"{len(finished.history)} epochs, best {finished.best_epoch}"
                    print(f"{unit.config.model}: trained already, {epochs}", flush=True)
                if run.last_step("loss") is None:
                    run.set_tags({"training": "found again"})
                precision, device = finished.record["precision"], finished.record["device"]
                run.set_tags({"amp": precision["name"], "amp.reason": precision["reason"], "device": device})
                log_missing(finished.history, run)
                return finished
            result = train_unit(
                unit,
                self._data(unit.fold, self.inputs.reading(unit.config, self.geometry)),
                self.inputs.feature_spec,
                self.geometry,
                run,
                folder=self.store.folder(unit),
                threads=self.threads,
                device=self.device,
                quiet=quiet,
            )
            return self.store.finish(unit, result, self.device)

    def _data(self, fold: Fold, reading: Reading) -> SequenceData:
        """The clips that a fold trains on; those of the last fold and reading stay, so that its models share them."""
        known = [track.track for track in fold.train], reading
        if self._sequences is None or self._sequences[0] != known:
            self._sequences = None  # two tables at once may be more than memory holds
            self._sequences = known, training_table(fold.train, self.inputs.feature_spec, reading, self.device)
        return self._sequences[1]
