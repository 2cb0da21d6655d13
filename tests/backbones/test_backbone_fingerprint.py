"""What decides a backbone's weights changes its training's fingerprint; what does not, does not."""

from dataclasses import replace

import pytest

from avfusion.backbones.settings import BackboneSettings
from avfusion.data.audio import read_audio, write_audio
from avfusion.data.frames import FrameRow, read_frames, write_frames
from avfusion.data.labels import read_labels, write_labels
from avfusion.data.settings import GeometrySettings
from avfusion.experiments import backbones as backbone_runs
from avfusion.experiments.backbones import training_fingerprint
from avfusion.params.params import check_params


def relabel(root, track):
    path = root / "data" / "labels" / f"{track}.parquet"
    write_labels(read_labels(path), path, "others")


def recrop(root, track):
    path = root / "data" / "frames" / f"{track}.parquet"
    table = read_frames(path)
    rows = [FrameRow(n + 1, t, j, 1.0) for n, (t, j) in enumerate(zip(table.time_s, table.jpeg, strict=True))]
    write_frames(path, rows, "others")


def resound(root, track):
    path = root / "data" / "audio" / f"{track}.wav"
    write_audio(path, read_audio(path), "others")


FILES = {
    "labels of train": lambda root: relabel(root, "a"),
    "labels of val": lambda root: relabel(root, "c"),
    "no labels": lambda root: (root / "data" / "labels" / "b.parquet").unlink(),
    "frames": lambda root: recrop(root, "b"),
    "no frames": lambda root: (root / "data" / "frames" / "c.parquet").unlink(),
    "sound": lambda root: resound(root, "a"),
    "no sound": lambda root: (root / "data" / "audio" / "c.wav").unlink(),
}
GEOMETRY = {"clip_frames": 16, "kept_frames": 4, "fps": None, "target_offset": -16}
BACKBONE = {
    "name": "other", "width": 16, "input_size": 56, "weights": "imagenet", "epochs": 5, "steps_per_epoch": None,
    "batch_size": 9, "lr": 1e-4, "weight_decay": 0.5, "dropout": 0.55, "patience": 1,
}  # fmt: skip


@pytest.fixture
def digest(project):
    """Digest of a stream's training; keywords name a section (`geometry`, `backbones`, …) and what is other there."""
    root, tracks, sections = project
    params = check_params(sections, list(sections))

    def make(stream, *, tracks=tracks, precision="off", device="cpu", own=None, **changes):
        changed = params.replaced(
            **{name: getattr(params, name).model_copy(update=values) for name, values in changes.items()}
        )
        if own:
            settings = getattr(changed.backbones, stream).model_copy(update=own)
            changed = changed.replaced(backbones=changed.backbones.model_copy(update={stream: settings}))
        return training_fingerprint(root, tracks, changed, stream, precision, device)

    make.root, make.tracks = root, tracks
    return make


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("stream", ["audio", "visual"])
def test_changed_files_change_it(stream, name, digest):
    before = digest(stream)
    assert digest(stream) == before
    FILES[name](digest.root)
    assert (digest(stream) != before) == (stream == "audio" or "sound" not in name)


@pytest.mark.parametrize("stream", ["audio", "visual"])
def test_changed_parameters_change_it(stream, digest, monkeypatch):
    assert set(BACKBONE) == set(BackboneSettings.model_fields)
    a, b, c = digest.tracks
    found = [
        digest(stream),
        digest("visual" if stream == "audio" else "audio"),
        digest(stream, tracks=[a, replace(b, split="val"), c]),
        digest(stream, tracks=[a, replace(b, split="test"), c]),
        digest(stream, precision="bfloat16"),
        digest(stream, device="cuda"),
        digest(stream, common={"threads": 2}),
        digest(stream, backbones={"seed": 1}),
        digest(stream, backbones={"output": "map"}),
        digest(stream, backbones={"batch_norm": "frozen"}),
        digest(stream, backbones={"augmentation": False}),
        *(digest(stream, geometry={key: value}) for key, value in GEOMETRY.items()),
        *(digest(stream, own={key: value}) for key, value in BACKBONE.items()),
    ]
    monkeypatch.setattr(backbone_runs, "VERSION", backbone_runs.VERSION + 1)
    found.append(digest(stream))
    assert len(set(found)) == len(found)


def test_weights_to_start_from_count_by_their_content(digest, tmp_path):
    start = tmp_path / "start.safetensors"
    found = []
    for content in (b"one", b"two"):
        start.write_bytes(content)
        found.append(digest("visual", own={"weights": str(start)}))
    assert found[0] != found[1]


def test_the_sound_concerns_only_the_audio_stream(digest):
    other = {"audio": {"window_s": 2.0}}
    assert digest("audio", **other) != digest("audio")
    assert digest("visual", **other) == digest("visual")


@pytest.mark.parametrize("stream", ["audio", "visual"])
def test_what_training_does_not_read_changes_nothing(stream, digest):
    before = digest(stream)
    a, b, c = digest.tracks
    assert digest(stream, tracks=[c, b, a]) == before
    assert digest(stream, tracks=[*digest.tracks, replace(a, track="d", split="test")]) == before
    assert digest(stream, tracks=[replace(a, warnings=("a remark",)), b, c]) == before
    assert digest(stream, backbones={"folds": 2}) == before
    assert (digest(stream, backbones={"hue": 0.1}) == before) == (stream == "audio")
    assert digest(stream, tracks=[a, c]) == digest(stream, tracks=[a, replace(b, split="test"), c])
    assert digest(stream, device="cuda:0") == digest(stream, device="cuda")
    assert set(GeometrySettings.model_fields) - set(GEOMETRY) == {"sequence_clips"}
    assert digest(stream, geometry={"sequence_clips": 8}) == before
