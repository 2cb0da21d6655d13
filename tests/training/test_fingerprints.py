"""What decides a fusion training changes its digest, so that nothing else is taken for its result; and no more does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avfusion.corpora.table import Track, read_tracks, write_tracks
from avfusion.data.features import read_features, write_features
from avfusion.data.labels import read_labels, write_labels
from avfusion.data.settings import GeometrySettings
from avfusion.experiments.grid import Grid
from avfusion.experiments.training import corpus_digest, read_inputs
from avfusion.experiments.training_store import TrainingUnit
from avfusion.runtime.units import unit_digest
from avfusion.training.settings import TrainSettings

Change = Callable[[Path], None]


def unit(root: Path, *, threads: int = 1, device: str = "cpu", **changes: object) -> TrainingUnit:
    geometry = GeometrySettings(fps=25)
    config = TrainSettings(model="concat", epochs=3)
    inputs = read_inputs(root, geometry)
    geometry = geometry.model_copy(
        update={key: changes[key] for key in GeometrySettings.model_fields if key in changes}
    )
    config = config.model_copy(update={key: changes[key] for key in TrainSettings.model_fields if key in changes})
    return Grid(root, inputs, geometry, threads, device).unit(config)


def digest(root: Path, **changes: object) -> str:
    return unit(root, **changes).digest  # type: ignore[arg-type]


def change_table(track: str, **changes: object) -> Change:
    def change(root: Path) -> None:
        path = root / "data" / "corpus" / "tracks.parquet"
        table = [replace(entry, **changes) if entry.track == track else entry for entry in read_tracks(path)]  # type: ignore[arg-type]
        write_tracks(path, table)

    return change


def change_label(track: str) -> Change:
    def change(root: Path) -> None:
        path = root / "data" / "labels" / f"{track}.parquet"
        table = read_labels(path)
        table = replace(table, valence=table.valence * 0.9)
        write_labels(table, path)

    return change


def change_features(track: str) -> Change:
    def change(root: Path) -> None:
        path = root / "data" / "features" / f"{track}.safetensors"
        table = read_features(path)
        write_features(path, replace(table, audio=table.audio * np.float16(0.5)))

    return change


def change_spec(root: Path) -> None:
    for path in (root / "data" / "features").iterdir():
        table = read_features(path)
        spec = table.feature_spec.model_copy(update={"batch_size": table.feature_spec.batch_size + 1})
        write_features(path, replace(table, feature_spec=spec))


CHANGES: dict[str, Change] = {
    "label file, train": change_label("train-1"),
    "label file, val": change_label("val-0"),
    "features, train": change_features("train-0"),
    "features, val": change_features("val-1"),
    "split": change_table("train-1", split="val"),
    "track left out": change_table("val-1", split=""),
}
# These stand in config.json, which the stage writes anew; they decide no weight.
FACTS: dict[str, Change] = {
    "feature spec": change_spec,
    "source of a val video": change_table("val-1", video_hash="another"),
    "source of val crops": change_table("val-1", crops_hash="others"),
    "source of val labels": change_table("val-1", labels_hash="others"),
    "delay of val labels": change_table("val-1", label_delay_s=2.0),
}
GEOMETRY_CHANGES = {"clip_frames": 16, "sequence_clips": 8, "target_offset": -16}
IN_FEATURES = {"kept_frames": 4, "fps": None}
OF_WINDOWS = {"window_frames": 200, "window_hop": 100}  # which no model reads from features of clips
TRAIN_CHANGES = {
    "model": "jca", "options": {"head_hidden": 8}, "seed": 1, "epochs": 4, "batch_size": 8, "lr": 2e-3,
    "weight_decay": 0.1, "schedule": "cosine", "patience": 2, "clip_norm": 2.0, "dropout": 0.1, "modality_dropout": 0.1,
    "amp": "bfloat16", "inference": "tile", "warmup_epochs": 1, "sequence_offsets": "random",
    "score_smoothing": 0.8, "weight_averaging": 0.99,
}  # fmt: skip
OF_OTHERS = {"stopping": "inner", "baselines": ("audio_only",), "weights": None}


@pytest.fixture
def root(plant: Callable[..., Path]) -> Path:
    return plant(tracks={"train": 2, "val": 2, "test": 1}, seconds=4)


@pytest.mark.parametrize("name", CHANGES)
def test_changed_inputs_change_it(name: str, root: Path) -> None:
    before = digest(root)
    assert digest(root) == before
    CHANGES[name](root)
    assert digest(root) != before


def test_changed_parameters_and_threads_change_it_and_the_device_does_not(root: Path) -> None:
    assert set(GEOMETRY_CHANGES | IN_FEATURES | OF_WINDOWS) == set(GeometrySettings.model_fields)
    assert set(TRAIN_CHANGES | OF_OTHERS) == set(TrainSettings.model_fields)
    changes = [{key: value} for key, value in (GEOMETRY_CHANGES | TRAIN_CHANGES).items()]
    found = [digest(root)] + [digest(root, **change) for change in changes]
    found += [digest(root, threads=2), digest(root, amp="off")]
    assert len(set(found)) == len(found)
    for amp in ("auto", "off", "float16"):
        assert digest(root, device="cuda", amp=amp) == digest(root, amp=amp), "a machine without a GPU pulls results"
    assert digest(root, **IN_FEATURES, **OF_WINDOWS, **OF_OTHERS) == digest(root)


def test_keys_that_are_off_leave_the_digest_as_it_was_before_there_were_such_keys() -> None:
    later = {"warmup_epochs": 2, "sequence_offsets": "random", "score_smoothing": 0.5, "weight_averaging": 0.9}
    assert TrainSettings().identity(exclude=()) == TrainSettings().model_dump(mode="json", exclude={*later, "stopping"})
    on = TrainSettings(**later)
    assert on.identity(exclude=("seed",)) == on.model_dump(mode="json", exclude={"seed", "stopping"})


def test_its_code_is_that_of_its_model_and_of_training(root: Path) -> None:
    jca, concat = (unit(root, model=name).stamp.code for name in ("jca", "concat"))
    assert jca == unit_digest("fusion", "avfusion.fusion.jca")
    assert concat == unit_digest("fusion", "avfusion.fusion.concat") != jca


@pytest.mark.parametrize("name", FACTS)
def test_facts_about_a_model_do_not_change_it(name: str, root: Path) -> None:
    before = digest(root)
    FACTS[name](root)
    assert digest(root) == before


def test_what_training_does_not_read_changes_nothing(root: Path) -> None:
    before = digest(root)
    path = root / "data" / "corpus" / "tracks.parquet"
    write_tracks(path, read_tracks(path)[::-1])
    change_table("test-0", video_hash="another")(root)
    change_label("test-0")(root)
    change_features("test-0")(root)
    assert digest(root) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [*((field, "other") for field in ("track", "video_hash", "crops_hash", "labels_hash")), ("label_delay_s", 1.0)],
)
def test_a_corpus_is_known_by_its_tracks_and_sources(field: str, value: object) -> None:
    tracks = [
        Track(name, name, "val", "v.mp4", (), "", f"v{name}", f"c{name}", f"l{name}", 5, 25.0, 1, True, 5, 5, ())
        for name in "ab"
    ]
    before = corpus_digest(tracks)
    assert corpus_digest(tracks[::-1]) == before
    assert corpus_digest([tracks[0], replace(tracks[1], frames=6, warnings=("a remark",))]) == before
    assert corpus_digest([tracks[0], replace(tracks[1], **{field: value})]) != before
    assert corpus_digest(tracks[:1]) != before
