"""What decides a backbone's weights changes the stamp that is wanted; what does not, does not."""

from dataclasses import replace

import numpy as np
import pytest

from avfusion.backbones.settings import BackboneSettings
from avfusion.data.audio import read_audio, write_audio
from avfusion.data.frames import FrameRow, read_frames, write_frames
from avfusion.data.labels import read_labels, write_labels
from avfusion.data.settings import GeometrySettings
from avfusion.experiments.backbones import BackboneTask, backbone_stamp
from avfusion.params.params import check_params
from avfusion.runtime.code_digest import import_closure
from avfusion.runtime.units import NEUTRAL, UNITS
from avfusion.training.processes import Processes


def relabel(root, track):
    path = root / "data" / "labels" / f"{track}.parquet"
    table = read_labels(path)
    write_labels(replace(table, valence=table.valence * np.float32(0.9)), path)


def recrop(root, track):
    path = root / "data" / "frames" / f"{track}.parquet"
    table = read_frames(path)
    rows = [FrameRow(n + 1, t, j, 0.5) for n, (t, j) in enumerate(zip(table.time_s, table.jpeg, strict=True))]
    write_frames(path, rows)


def resound(root, track):
    path = root / "data" / "audio" / f"{track}.wav"
    write_audio(path, read_audio(path) * np.float32(0.5))


FILES = {
    "labels of train": lambda root: relabel(root, "a"),
    "labels of val": lambda root: relabel(root, "c"),
    "no labels": lambda root: (root / "data" / "labels" / "b.parquet").unlink(),
    "crops": lambda root: recrop(root, "b"),
    "no frames": lambda root: (root / "data" / "frames" / "c.parquet").unlink(),
    "sound": lambda root: resound(root, "a"),
    "no sound": lambda root: (root / "data" / "audio" / "c.wav").unlink(),
}
GEOMETRY = {"clip_frames": 16, "kept_frames": 4, "fps": None, "target_offset": -16}
BACKBONE = {
    "name": "", "width": 16, "input_size": 56, "weights": "imagenet", "epochs": 5, "steps_per_epoch": None,
    "batch_size": 9, "lr": 1e-4, "weight_decay": 0.5, "dropout": 0.55, "patience": 1,
}  # fmt: skip

NAMES = {"audio": "log_mel_statistics", "visual": "narrow_resnet_frames"}


@pytest.fixture
def digest(project):
    """What a stamp says of inputs and params; keywords name a section (`geometry`, …) and what is other there."""
    root, tracks, sections = project
    params = check_params(sections, list(sections))

    def make(stream, *, tracks=tracks, device="cpu", own=None, **changes):
        changed = params.replaced(
            **{name: getattr(params, name).model_copy(update=values) for name, values in changes.items()}
        )
        if own:
            settings = getattr(changed.backbones, stream).model_copy(update=own)
            changed = changed.replaced(backbones=changed.backbones.model_copy(update={stream: settings}))
        processes = Processes(device=device)
        return backbone_stamp(BackboneTask(root, tuple(tracks), changed, root, stream, processes=processes)).made

    make.root, make.tracks = root, tracks
    return make


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("stream", ["audio", "visual"])
def test_changed_files_change_it(stream, name, digest):
    before = digest(stream)
    assert digest(stream) == before
    FILES[name](digest.root)
    assert (digest(stream) != before) == (name not in {"audio": ("crops",), "visual": ("sound", "no sound")}[stream])


@pytest.mark.parametrize("stream", ["audio", "visual"])
def test_changed_parameters_change_it(stream, digest):
    assert set(BACKBONE) == set(BackboneSettings.model_fields)
    a, b, c = digest.tracks
    found = [
        digest(stream),
        digest("visual" if stream == "audio" else "audio"),
        digest(stream, tracks=[a, replace(b, split="val"), c]),
        digest(stream, tracks=[a, replace(b, split="test"), c]),
        digest(stream, backbones={"amp": "bfloat16"}),
        digest(stream, backbones={"amp": "off"}),
        digest(stream, common={"threads": 2}),
        digest(stream, backbones={"seed": 1}),
        digest(stream, backbones={"batch_norm": "frozen"}),
        digest(stream, backbones={"augmentation": False}),
        *(digest(stream, geometry={key: value}) for key, value in GEOMETRY.items()),
        *(digest(stream, own={key: NAMES[stream] if key == "name" else value}) for key, value in BACKBONE.items()),
    ]
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


def test_maps_concern_only_the_visual_stream(digest):
    maps = {"backbones": {"output": "map"}}
    assert digest("visual", **maps) != digest("visual")
    assert digest("audio", **maps) == digest("audio")


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
    for amp in ("auto", "off", "bfloat16"):
        own = {"amp": amp}
        assert digest(stream, device="cuda:0", backbones=own) == digest(stream, backbones=own), "whatever machine"
    assert set(GeometrySettings.model_fields) - set(GEOMETRY) == {"sequence_clips", "window_frames", "window_hop"}
    assert digest(stream, geometry={"sequence_clips": 8}) == before


CODE = {
    "avfusion.data.transforms": {"audio", "visual"},
    "avfusion.training.backbones": {"audio", "visual"},
    "avfusion.training.train_backbone": {"audio", "visual"},
    "avfusion.training.visual_backbone": {"visual"},
    "avfusion.training.audio_backbone": {"audio"},
    "avfusion.media.wav": {"audio"},
    "avfusion.backbones.extraction": set(),
    "avfusion.experiments.backbones": set(),
    "avfusion.params.params": set(),
}


@pytest.mark.parametrize("module", CODE)
def test_code_concerns_the_streams_that_it_computes(module):
    units = {stream: import_closure(UNITS[f"{stream}_backbone"], NEUTRAL) for stream in ("audio", "visual")}
    assert {stream for stream, modules in units.items() if module in modules} == CODE[module]
