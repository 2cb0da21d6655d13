"""Feature files: what is in them, when they are remade, and that no executor changes a byte."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.feature_files import update_features
from avfusion.backbones.registry import build_backbone
from avfusion.backbones.weights import save_backbone
from avfusion.corpora.table import Track
from avfusion.data.audio import write_audio
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.features import FeatureTable, read_features, read_stamp, restamp, write_features
from avfusion.data.frames import FrameRow, write_frames
from avfusion.params.params import check_params
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp, library_versions

# Means of the first 8 features of a stream over all clips.
GOLDEN = {
    "visual": [3.0942, 11.3906, 9.2796, 5.0124, 35.1016, 0.5978, 23.0352, 3.2824],
    "audio": [0.6005, 0.7225, 1.763, 3.2975, 0.2248, 0.5611, 0.7557, 0.6598],
}


@pytest.fixture
def table(models, track_maker) -> FeatureTable:
    track = track_maker("a", 1)
    extractor = FeatureExtractor(models.visual, models.audio, models.spec)
    sound = track.sound / np.float32(32768)
    return extractor.extract_track(track.time_s, track.jpegs, sound)


def test_written_and_read_it_is_the_same(table, tmp_path):
    for name in ("one", "two"):
        write_features(tmp_path / f"{name}.safetensors", table, Stamp("inputs", "code"))
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    read = read_features(tmp_path / "one.safetensors")
    for name, kind in {"clip_end": "int32", "audio": "float16", "visual": "float16", "audio_present": "bool"}.items():
        assert getattr(read, name).dtype == kind
        assert np.array_equal(getattr(read, name), getattr(table, name))
    assert read.feature_spec.digest() == table.feature_spec.digest()
    stamp = read_stamp(tmp_path / "one.safetensors")
    assert (stamp.made, stamp.code, stamp.libraries) == ("inputs", "code", library_versions())
    assert (stamp.content, stamp.code) == (read.content, read.feature_spec.code)
    with safe_open(tmp_path / "one.safetensors", "numpy") as file:
        assert list(file.metadata()) == ["avfusion"]
        metadata = json.loads(file.metadata()["avfusion"])
    assert FeatureSpec.from_dict(metadata["feature_spec"]).digest() == table.feature_spec.digest()


def test_the_content_depends_on_the_arrays_alone(table, tmp_path):
    def content(table, *stamp):
        write_features(tmp_path / "t.safetensors", table, *stamp)
        return read_features(tmp_path / "t.safetensors").content

    def other(name):
        array = getattr(table, name).copy()
        array.reshape(-1)[-1] = not array.reshape(-1)[-1] if array.dtype == bool else array.reshape(-1)[-1] + 1
        return content(replace(table, **{name: array}))

    names = ("clip_end", "audio", "visual", "audio_present", "visual_present")
    assert len({content(table), *map(other, names)}) == 6
    worded = table.feature_spec.model_copy(update={"code": "other"})
    assert content(replace(table, feature_spec=worded), Stamp("other inputs", "other code")) == content(table)


def test_another_stamp_changes_nothing_else(table, tmp_path):
    write_features(tmp_path / "a.safetensors", table, Stamp("inputs", "code"))
    stamp = read_stamp(tmp_path / "a.safetensors")
    restamp(tmp_path / "a.safetensors", tmp_path / "same.safetensors", stamp)
    assert (tmp_path / "same.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    other = replace(stamp, code="longer than before", vouched=({"by": "somebody"},))
    restamp(tmp_path / "a.safetensors", tmp_path / "b.safetensors", other)
    before, after = (read_features(tmp_path / f"{name}.safetensors") for name in "ab")
    assert read_stamp(tmp_path / "b.safetensors") == other
    assert after.feature_spec == before.feature_spec.model_copy(update={"code": "longer than before"})
    for name in ("clip_end", "audio", "visual", "audio_present", "visual_present"):
        assert np.array_equal(getattr(after, name), getattr(before, name))


def test_a_spec_of_an_old_version_is_refused_where_it_gave_other_features(table):
    values = table.feature_spec.to_dict()
    assert FeatureSpec.from_dict(values) == table.feature_spec
    assert FeatureSpec.from_dict(values | {"version": 2}) == table.feature_spec
    with pytest.raises(BadInputError, match=r"version 1: .* other features.*dvc repro"):
        FeatureSpec.from_dict(values | {"version": 1})


def test_golden_features(table):
    for stream in ("visual", "audio"):
        means = getattr(table, stream).astype(np.float64).mean(axis=0)[:8]
        np.testing.assert_allclose(means, GOLDEN[stream], rtol=2e-3, atol=2e-3, err_msg=stream)


def test_nan_is_refused_with_its_clip(table, tmp_path):
    broken = table.audio.copy()
    broken[4, 2] = np.nan
    with pytest.raises(AVFusionError, match="audio feature of clip 5 is NaN"):
        write_features(tmp_path / "x.safetensors", replace(table, audio=broken))
    with pytest.raises(AVFusionError, match="differ in length"):
        write_features(tmp_path / "x.safetensors", replace(table, clip_end=table.clip_end[:-1]))


def test_what_is_no_feature_file_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"hello")
    with pytest.raises(AVFusionError, match="not a feature file"):
        read_features(tmp_path / "x.safetensors")
    with pytest.raises(AVFusionError, match="not a feature file"):
        read_features(tmp_path / "none.safetensors")


def test_other_words_on_where_weights_come_from_are_no_other_features(models):
    audio = models.spec.backbones["audio"]
    worded = audio.model_copy(update={"source": "a paper", "licence": "a note"})
    spec = models.spec.model_copy(update={"backbones": models.spec.backbones | {"audio": worded}})
    assert spec.digest() == models.spec.digest()
    assert FeatureSpec.from_dict(spec.to_dict()).backbones["audio"].source == "a paper"
    other = audio.model_copy(update={"sha256": "1" * 64})
    spec = models.spec.model_copy(update={"backbones": models.spec.backbones | {"audio": other}})
    assert spec.digest() != models.spec.digest()


def test_the_spec_knows_what_it_is_made_of(models):
    spec = models.spec
    assert FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    digests = {
        spec.digest(),
        spec.model_copy(update={"stride": 4}).digest(),
        spec.model_copy(update={"threads": 2}).digest(),
        spec.model_copy(update={"audio": spec.audio.model_copy(update={"window_s": 3.0})}).digest(),
    }
    assert len(digests) == 4
    with pytest.raises(BadInputError, match="not a feature spec of this version of avfusion: pooling"):
        FeatureSpec.from_dict(spec.to_dict() | {"pooling": "max"})


@pytest.fixture
def project(tmp_path, track_maker):
    """Stores of three tracks, the last without sound, and random backbones."""
    tracks = []
    for index, name in enumerate(["a", "b", "c"]):
        made = track_maker(name, index, frames=40)
        rows = (FrameRow(n + 1, t, j, 1.0) for n, (t, j) in enumerate(zip(made.time_s, made.jpegs, strict=True)))
        (tmp_path / "data" / "frames").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "audio").mkdir(parents=True, exist_ok=True)
        write_frames(tmp_path / "data" / "frames" / f"{name}.parquet", rows)
        if name != "c":
            write_audio(tmp_path / "data" / "audio" / f"{name}.wav", made.sound / 32768)
        tracks.append(
            Track(name, name, "train", f"{name}.mp4", (), "", "", "", "", 40, 25.0, 1.6, name != "c", 40, 40, ())
        )
    for network, stream, size in (("narrow_r2plus1d", "visual", 28), ("narrow_resnet", "audio", 64)):
        save_backbone(
            tmp_path / "models" / "backbones", build_backbone(network, stream=stream, width=8, input_size=size)
        )
    params = check_params(
        {
            "common": {},
            "geometry": {"fps": 25},
            "audio": {},
            "backbones": {
                "visual": {"name": "narrow_r2plus1d", "width": 8, "input_size": 28},
                "audio": {"name": "narrow_resnet", "width": 8, "input_size": 64},
            },
            "features": {"stride": 16, "batch_size": 4},
        },
        ["common", "geometry", "audio", "backbones", "features"],
    )
    return tmp_path, tracks, params


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "data" / "features").iterdir())}


def with_execution(params, executor, workers):
    return params.replaced(execution=ExecutionSettings(executor=executor, workers=workers))


def test_every_executor_gives_the_same_bytes_and_reruns_do_nothing(project):
    root, tracks, params = project
    report = update_features(root, tracks, with_execution(params, "serial", 1))
    assert report.made == ("a", "b", "c")
    serial = contents(root)
    assert sorted(serial) == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert read_features(root / "data" / "features" / "a.safetensors").audio_present.all()
    assert not read_features(root / "data" / "features" / "c.safetensors").audio_present.any()
    assert update_features(root, tracks, with_execution(params, "processes", 2)).made == ()

    for path in (root / "data" / "features").iterdir():
        path.unlink()
    assert update_features(root, tracks, with_execution(params, "processes", 2)).made == ("a", "b", "c")
    assert contents(root) == serial


def test_only_what_changed_is_made_anew(project, track_maker):
    root, tracks, params = project
    params = with_execution(params, "serial", 1)
    update_features(root, tracks, params)
    write_audio(root / "data" / "audio" / "c.wav", track_maker("c", 9, frames=40).sound / 32768)
    report = update_features(root, tracks[1:], params)
    assert report.made == ("c",)
    assert report.kept == ("b",)
    assert report.removed == ("a",)
    # Other weights under the same params: everything is made anew.
    save_backbone(root / "models" / "backbones", build_backbone("narrow_resnet", stream="audio", width=8))
    assert update_features(root, tracks[1:], params).made == ("b", "c")


def test_missing_frames_are_an_error(project):
    root, _, params = project
    with pytest.raises(AVFusionError, match="run the frames stage"):
        update_features(root, [], params)


def test_a_sound_that_was_left_out_is_no_absent_one(project):
    root, tracks, params = project
    params = with_execution(params, "serial", 1)
    (root / "data" / "audio" / "b.wav").unlink()
    with pytest.raises(AVFusionError, match=r"features: 1 of 3 failed: b: b\.wav is missing, .* run the stage `audio`"):
        update_features(root, tracks, params)
    skipping = params.replaced(common=params.common.model_copy(update={"on_error": "skip"}))
    report = update_features(root, tracks, skipping)
    assert (report.made, list(report.failed)) == (("a", "c"), ["b"])
