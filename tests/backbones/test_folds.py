"""Out-of-fold features: every training track's come from backbones that were trained without its video."""

import json
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.feature_files import update_features
from avfusion.backbones.folds import backbone_folders, split_groups, without_groups
from avfusion.backbones.weights import load_backbone, read_backbone_record, save_backbone
from avfusion.corpora.table import Track
from avfusion.data.audio import read_audio, write_audio
from avfusion.data.features import read_features
from avfusion.data.frames import FrameRow, read_frames, write_frames
from avfusion.data.labels import read_labels, write_labels
from avfusion.experiments.backbones import _find, backbone_stamp, backbone_tasks, train_backbones
from avfusion.experiments.training import common_spec
from avfusion.params.params import check_params
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import file_digest
from avfusion.training import visual_backbone

STREAMS = ("audio", "visual")


def track(name: str, video: str, split: str) -> Track:
    return Track(name, video, split, f"{video}.mp4", (), "", "", "", "", 50, 25.0, 2.0, True, 50, 50, ())


@pytest.fixture
def corpus(project):
    """Five training tracks of four videos (two people in one), one of validation, one without labels for testing."""
    root, _, sections = project
    tracks = [
        track("a", "a", "train"), track("b_left", "b", "train"), track("b_right", "b", "train"),
        track("d", "d", "train"), track("e", "e", "train"), track("c", "c", "val"), track("t", "t", "test"),
    ]  # fmt: skip
    for number, copy in enumerate(("b_left", "b_right", "d", "e", "t")):
        table = read_frames(root / "data" / "frames" / "a.parquet")
        shifted = [*table.jpeg[number + 1 :], *table.jpeg[: number + 1]]  # no two tracks look the same
        rows = [FrameRow(n + 1, t, j, 1.0) for n, (t, j) in enumerate(zip(table.time_s, shifted, strict=True))]
        write_frames(root / "data" / "frames" / f"{copy}.parquet", rows)
        if copy != "t":
            labels = read_labels(root / "data" / "labels" / "a.parquet")
            write_labels(labels, root / "data" / "labels" / f"{copy}.parquet")
    for number, video in enumerate("bdet"):
        sound = read_audio(root / "data" / "audio" / "a.wav")
        write_audio(root / "data" / "audio" / f"{video}.wav", sound * 0.5**number)
    sections["backbones"] |= {"folds": 2}
    sections["features"] = {"stride": 16, "batch_size": 4}
    return root, tracks, sections


def checked(sections):
    return check_params(sections, list(sections))


def test_training_tracks_have_features_of_backbones_that_never_saw_their_video(corpus, monkeypatch):
    root, tracks, sections = corpus
    seen = {}
    read = visual_backbone.labelled_files

    def noting(where, some, split):
        found = list(read(where, some, split))
        if split == "train":
            seen[frozenset(one.track for one in found)] = True
        return found

    monkeypatch.setattr(visual_backbone, "labelled_files", noting)
    params = checked(sections)
    train_backbones(root, tracks, params, root / ".avfusion" / "backbones")
    backbones = root / "models" / "backbones"
    assert sorted(path.name for path in backbones.iterdir() if path.is_dir()) == ["fold-1", "fold-2"]
    videos = {one.track: one.video for one in tracks}
    held_out = {
        fold: read_backbone_record(backbones / fold, "visual").provenance["held_out"] for fold in ("fold-1", "fold-2")
    }
    assert sorted(chain(*held_out.values())) == ["a", "b", "d", "e"]
    names = frozenset(one.track for one in tracks if one.split == "train")
    expected = [names] + [frozenset(n for n in names if videos[n] not in apart) for apart in held_out.values()]
    assert set(seen) == set(expected)

    digests = {
        folder: {stream: file_digest(backbones / folder / f"{stream}.safetensors") for stream in STREAMS}
        for folder in (".", "fold-1", "fold-2")
    }
    assert len({each["visual"] for each in digests.values()}) == 3
    assert update_features(root, tracks, params).made
    tables = {one.track: read_features(root / "data" / "features" / f"{one.track}.safetensors") for one in tracks}
    for one in tracks:
        fold = next((fold for fold, apart in held_out.items() if one.video in apart), None)
        assert (fold is not None) == (one.split == "train")
        assert tables[one.track].out_of_fold == (digests[fold] if fold else None)
        # The numbers themselves are those of these weights.
        folder = backbones / fold if fold else backbones
        networks = [load_backbone(folder, stream)[0] for stream in ("visual", "audio")]
        frames = read_frames(root / "data" / "frames" / f"{one.track}.parquet")
        sound = read_audio(root / "data" / "audio" / f"{one.video}.wav")
        extractor = FeatureExtractor(*networks, tables[one.track].feature_spec)
        again = extractor.extract_track(frames.time_s, frames.jpeg, sound)
        for stream in STREAMS:
            assert np.array_equal(getattr(again, stream), getattr(tables[one.track], stream)), one.track
    # One spec for all, which names the backbones of all training tracks: those of inference.
    spec = common_spec(list(tables.values()))
    assert {stream: spec.backbones[stream].sha256 for stream in STREAMS} == digests["."]

    assert not update_features(root, tracks, params).made
    record = json.loads((backbones / "fold-1" / "audio.json").read_text())
    (backbones / "fold-1" / "audio.json").write_text(json.dumps(record | {"sha256": "0" * 64}))
    with pytest.raises(AVFusionError, match="SHA-256"):  # other weights of a fold: the features of its tracks are due
        update_features(root, tracks, params)


def test_features_are_those_of_a_folds_weights_as_they_are_now(corpus):
    """Also in one process, whose networks stay loaded as long as the weights stay the same."""
    root, tracks, sections = corpus
    params, backbones = checked(sections), root / "models" / "backbones"
    train_backbones(root, tracks, params, root / ".avfusion" / "backbones")
    update_features(root, tracks, params)
    held_out = read_backbone_record(backbones / "fold-2", "visual").provenance["held_out"]
    name = next(one.track for one in tracks if one.video in held_out)
    before = read_features(root / "data" / "features" / f"{name}.safetensors")
    backbone, record = load_backbone(backbones / "fold-2", "visual")
    backbone.network.stem[0].weight.data *= 1.5
    save_backbone(backbones / "fold-2", backbone, provenance=record.provenance)
    assert name in update_features(root, tracks, params).made
    after = read_features(root / "data" / "features" / f"{name}.safetensors")
    assert after.out_of_fold != before.out_of_fold
    assert np.array_equal(after.audio, before.audio)
    assert not np.allclose(after.visual, before.visual)


def test_without_folds_their_backbones_are_removed_and_nothing_else_changes(corpus, capsys):
    root, tracks, sections = corpus
    params = checked(sections)
    train_backbones(root, tracks, params, root / ".avfusion" / "backbones")
    backbones = root / "models" / "backbones"
    with_folds = {str(path.relative_to(backbones)): path.read_bytes() for path in backbones.rglob("*.safetensors")}
    assert len(with_folds) == 6
    sections["backbones"]["folds"] = 0
    train_backbones(root, tracks, checked(sections), root / ".avfusion" / "backbones")
    assert {path.name: path.read_bytes() for path in backbones.rglob("*.safetensors")} == {
        f"{stream}.safetensors": with_folds[f"{stream}.safetensors"] for stream in STREAMS
    }
    assert not list(backbones.glob("fold-*"))
    assert set(backbone_folders(backbones, tracks, 0).values()) == {backbones}
    # With folds again, those that were there are found.
    capsys.readouterr()
    train_backbones(root, tracks, params, root / ".avfusion" / "backbones")
    assert capsys.readouterr().out.count("trained already") == 6
    assert {str(path.relative_to(backbones)): path.read_bytes() for path in backbones.rglob("*.safetensors")} == (
        with_folds
    )


def test_a_video_more_in_what_a_fold_holds_out_trains_nothing(corpus, capsys):
    """Its backbones never see the video, but their record says so."""
    root, tracks, sections = corpus
    params, backbones = checked(sections), root / "models" / "backbones"
    train_backbones(root, tracks, params, root / ".avfusion" / "backbones")
    apart = read_backbone_record(backbones / "fold-1", "visual").provenance["held_out"]
    task = next(one for one in backbone_tasks(root, tracks, params, root / "work") if one.name == "visual, fold 1")
    assert list(task.held_out) == apart
    more = replace(task, held_out=("more", *task.held_out))
    capsys.readouterr()
    assert _find(more, backbone_stamp(more))
    assert "visual, fold 1: trained already, 1 epochs" in capsys.readouterr().out
    record = read_backbone_record(backbones / "fold-1", "visual")
    assert record.provenance["held_out"] == ["more", *apart]
    assert record.stamp.is_current(backbone_stamp(task))


def test_folds_share_no_video_and_cover_all(corpus):
    _, tracks, _ = corpus
    for folds in (2, 3, 4):
        parts = split_groups(tracks, folds)
        assert len(parts) == folds
        assert sorted(chain(*parts)) == ["a", "b", "d", "e"]
        assert parts == split_groups(tracks[::-1], folds)
    kept = without_groups(tracks, ["b", "c"])
    assert [one.track for one in kept] == ["a", "d", "e", "c", "t"]  # validation tracks are never held out
    with pytest.raises(BadInputError, match=r"backbones\.folds is 5: the training split has 4 groups of videos"):
        split_groups(tracks, 5)


def test_a_training_track_that_no_fold_held_out_is_named(corpus):
    root, tracks, sections = corpus
    train_backbones(root, tracks, checked(sections), root / ".avfusion" / "backbones")
    new = replace(tracks[0], track="new", video="new", group="new")
    with pytest.raises(AVFusionError, match=r"no fold of .*backbones was trained without new: run the stage"):
        backbone_folders(root / "models" / "backbones", [*tracks, new], 2)
