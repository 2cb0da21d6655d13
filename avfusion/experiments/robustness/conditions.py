"""The store data/robustness: a file per condition that sound or crops are disturbed by, each known by its own stamp."""

from collections.abc import Sequence
from pathlib import Path

from avfusion.backbones.catalogue import backbone_module
from avfusion.corpora.table import Track
from avfusion.data import audio, frames
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.labelled_tracks import track_files
from avfusion.data.store import Store, update_store
from avfusion.experiments.robustness.disturbed_files import SUFFIX, file_name, read_stamp
from avfusion.experiments.robustness.features import (
    ConditionTask,
    DisturbedTrack,
    disturbance_module,
    make_condition_file,
)
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp, content_of
from avfusion.runtime.units import unit_digest
from avfusion.scoring.conditions import CONDITIONS, MASKED, Condition


def signal_conditions(voices: Sequence[Path]) -> list[Condition]:
    """The conditions that disturb sound or crops; without voices there is no babble."""
    return [one for one in CONDITIONS if one.kind not in MASKED and (one.kind != "babble" or voices)]


def condition_store(
    root: Path,
    tracks: Sequence[Track],
    voices: Sequence[Path],
    spec: FeatureSpec,
    *,
    seed: int,
    device: str = "cpu",
) -> Store[ConditionTask]:
    """The files that should be there.

    Args:
        voices: WAVs of other videos.
        spec: of the features, with the stride wanted.
    """
    files = [track_files(root, track) for track in tracks]
    contents = {
        "visual": {file.track: content_of(file.frames, frames.read_stamp) for file in files},
        "audio": {
            file.track: [content_of(file.sound, audio.read_stamp), content_of(file.frames, frames.read_stamp)]
            for file in files
        },
    }
    heard = [content_of(voice, audio.read_stamp) for voice in voices]
    disturbed = tuple(DisturbedTrack(f.track, f.frames, f.sound if f.sound.is_file() else None) for f in files)
    wanted, tasks = {}, {}
    for condition in signal_conditions(voices):
        kind, stream, key = condition.kind, condition.stream, file_name(condition.name)
        babble = kind == "babble"
        made = fingerprint(
            kind=kind,
            level=condition.level,
            inputs=contents[stream],
            voices=heard if babble else None,
            spec=_deciding(spec, stream),
            seed=seed,
        )
        network = backbone_module(stream, spec.backbones[stream].name)
        wanted[key] = Stamp(made, unit_digest("condition", disturbance_module(kind), network))
        tasks[key] = ConditionTask(
            kind,
            condition.level,
            stream,
            disturbed,
            tuple(voices) if babble else (),
            root / "models" / "backbones",
            spec.model_dump_json(),
            seed,
            device,
        )
    return Store(root / "data" / "robustness", SUFFIX, wanted, tasks, make_condition_file, read_stamp)


def update_conditions(store: Store[ConditionTask], execution: ExecutionSettings) -> None:
    """Make the files that are missing or outdated, and remove those of conditions that are gone.

    Raises:
        AVFusionError: a condition failed; the finished ones stay.
    """
    update_store(store, execution=execution, label="disturbed features")


def _deciding(spec: FeatureSpec, stream: str) -> dict[str, object]:
    """What of a spec decides the features of one stream."""
    other = "visual" if stream == "audio" else "audio"
    values = {key: value for key, value in spec.deciding().items() if key != other}
    return values | {"backbones": values["backbones"][stream]}
