import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avfusion.corpora.table import read_tracks
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.training import sequences
from avfusion.training.mapped_features import joined
from avfusion.training.sequences import SequenceData, check_finite, drop_streams, sequence_data, track_targets

Plant = Callable[..., Path]


def load(root: Path, split: str = "train", **geometry: object) -> list[TrackData]:
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    return load_split(root, table, split, GeometrySettings(**({"fps": 25} | geometry)))  # type: ignore[arg-type]


def test_every_clip_of_every_track_is_in_one_sequence_of_its_own_track(plant: Plant) -> None:
    tracks = load(plant(seconds=9, tracks={"train": 3}))
    data = sequence_data(tracks, stride=8)
    used = data.index[data.index >= 0]
    assert sorted(used.tolist()) == list(range(sum(len(track.clip_ticks) for track in tracks)))
    owner_of_clip = np.repeat(np.arange(3), [len(track.clip_ticks) for track in tracks])
    for row, owner in zip(data.index, data.owner, strict=True):
        assert set(owner_of_clip[row[row >= 0]]) == {int(owner)}


def test_redrawn_sequences_hold_every_clip_once_and_at_other_places(plant: Plant) -> None:
    data = sequence_data(load(plant(seconds=30, tracks={"train": 2})), stride=8)
    fixed, owners = places(data), np.repeat(np.arange(2), data.clips)
    seen, generator = [fixed], torch.Generator().manual_seed(0)
    for _ in range(60):
        drawn = data.redrawn(generator)
        index = drawn.index.numpy()
        assert sorted(index[index >= 0]) == list(range(len(owners)))
        assert (np.where(index >= 0, owners[index], drawn.owner[:, None]) == drawn.owner.numpy()[:, None]).all()
        seen.append(places(drawn))
    for known in np.stack(seen, axis=1):  # of each clip
        assert len(set(known)) > 12
        assert set(known) <= set(range(16))
    again = [places(data.redrawn(torch.Generator().manual_seed(1))) for _ in range(2)]
    assert (again[0] == again[1]).all()
    assert (again[0] != fixed).any()


def places(data: SequenceData) -> np.ndarray:
    """At which place of its sequence each clip stands."""
    index = data.index.numpy()
    found = np.zeros(index.max() + 1, int)
    rows, columns = np.nonzero(index >= 0)
    found[index[rows, columns]] = columns
    return found


def test_the_table_of_a_split_that_was_read_is_no_copy_of_its_tracks(plant: Plant) -> None:
    tracks = load(plant(seconds=9, tracks={"train": 3}))
    data = sequence_data(tracks, stride=8)
    for stream in ("audio", "visual"):
        table: torch.Tensor = getattr(data, stream)
        apart = [getattr(track, stream).copy() for track in tracks]
        assert all(np.shares_memory(table.numpy(), getattr(track, stream)) for track in tracks)
        np.testing.assert_array_equal(table, np.concatenate(apart))
        some = [getattr(track, stream) for track in tracks]
        for other in (some[:2], some[1:], some[::-1], [some[0], apart[1], some[2]], apart, [some[0], *some]):
            copy = joined(other)
            np.testing.assert_array_equal(copy, np.concatenate(other))
            assert not np.shares_memory(copy, some[0])


def test_statistics_are_those_of_the_present_clips(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sequence_data(load(plant(seconds=9, tracks={"train": 3})), stride=8)
    maps = dataclasses.replace(data, visual=torch.randn(len(data.visual), 5, 2, 3).half())
    monkeypatch.setattr(sequences, "STATISTICS_ROWS", 7)
    found = maps.statistics()
    expected = {
        "audio": data.audio[data.audio_present],
        "visual": maps.visual[data.visual_present].double().mean((2, 3)),
    }
    for stream, values in expected.items():
        np.testing.assert_allclose(found[f"{stream}_mean"], values.double().mean(0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(found[f"{stream}_std"], values.double().std(0, correction=0), rtol=1e-6)
    none = dataclasses.replace(data, audio_present=torch.zeros_like(data.audio_present)).statistics()
    assert none["audio_mean"].tolist() == [0.0] * 12
    assert none["audio_std"].tolist() == [1.0] * 12


def test_a_batch_holds_the_features_and_labels_of_its_clips(plant: Plant) -> None:
    tracks = load(plant(seconds=9, tracks={"train": 2}))
    data = sequence_data(tracks, stride=8)
    batch = data.batch(torch.arange(len(data)))
    audio = np.concatenate([track.audio for track in tracks])
    labels = np.concatenate([track.labels[track.target_frames] for track in tracks])
    row, column = 1, 2
    clip = int(data.index[row, column])
    np.testing.assert_array_equal(batch.audio[row, column], audio[clip].astype(np.float32))
    assert batch.audio.dtype == torch.float32
    np.testing.assert_array_equal(batch.targets[row, column], labels[clip])
    assert bool(batch.padding.any())
    assert not (batch.valid & batch.padding).any()
    assert not (batch.audio_present & batch.padding).any()


def test_targets_are_labels_of_the_clip_end_plus_offset(plant: Plant) -> None:
    root = plant(seconds=9, tracks={"train": 1})
    for offset in (0, -16, 8):
        (track,) = load(root, target_offset=offset)
        targets, valid = track_targets(track)
        for clip, tick in enumerate(track.clip_ticks):
            frame = tick + offset
            if not 0 <= frame < len(track.labels):
                assert not valid[clip]
            elif valid[clip]:
                np.testing.assert_array_equal(targets[clip], track.labels[frame])


def test_clips_without_a_label_or_any_stream_do_not_count(plant: Plant) -> None:
    (track,) = load(plant(seconds=9, tracks={"train": 1}))
    silent = dataclasses.replace(
        track,
        audio_present=np.zeros_like(track.audio_present),
        visual_present=np.arange(len(track.clip_ticks)) % 2 == 0,
    )
    _, valid = track_targets(silent)
    assert not valid[0]  # its label is one of the five invalid ones
    assert not valid[1::2].any()
    assert valid[2::2].all()


def test_statistics_leave_absent_clips_out(plant: Plant) -> None:
    tracks = load(plant(seconds=9, tracks={"train": 2}))
    found = sequence_data(tracks, stride=8).statistics()
    present = np.concatenate([track.audio[track.audio_present] for track in tracks]).astype(np.float64)
    np.testing.assert_allclose(found["audio_mean"], present.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["audio_std"], present.std(0), atol=1e-6)


def test_statistics_of_maps_are_of_their_averages(plant: Plant) -> None:
    (track,) = load(plant(seconds=9, tracks={"train": 1}))
    maps = np.random.default_rng(0).normal(size=(len(track.clip_ticks), 10, 3, 3)).astype(np.float16)
    found = sequence_data([dataclasses.replace(track, visual=maps)], stride=8).statistics()
    averaged = maps[track.visual_present].astype(np.float64).mean((2, 3))
    np.testing.assert_allclose(found["visual_std"], averaged.std(0), atol=1e-6)


def test_not_finite_features_are_refused_by_name(plant: Plant) -> None:
    (track,) = load(plant(seconds=9, tracks={"train": 1}))
    at = int(np.flatnonzero(track.visual_present)[3])
    track.visual[at, 2] = np.inf
    with pytest.raises(AVFusionError, match=rf"visual features of track train-0 .* clip {at} of"):
        check_finite(track)
    track.visual_present[at] = False  # whatever stands at an absent clip is never looked at
    check_finite(track)


def test_no_label_at_all_is_refused(plant: Plant) -> None:
    tracks = load(plant(seconds=9), split="test")
    with pytest.raises(BadInputError, match="no clip of the training tracks has a valid label"):
        sequence_data(tracks, stride=8)


def test_features_of_other_frames_are_refused(plant: Plant) -> None:
    root = plant(seconds=9, tracks={"train": 1})
    with pytest.raises(AVFusionError, match="run the stage `features` again"):
        load(root, fps=12.5)


def test_modality_dropout_takes_one_stream_of_its_share_of_sequences(plant: Plant) -> None:
    data = sequence_data(load(plant(tracks={"train": 6})), stride=8)
    rows = torch.arange(len(data)).repeat(40)
    batch = data.batch(rows)
    dropped = drop_streams(batch, 0.5, torch.Generator().manual_seed(0))
    lost_audio = batch.audio_present.any(1) & ~dropped.audio_present.any(1)
    lost_visual = batch.visual_present.any(1) & ~dropped.visual_present.any(1)
    assert not (lost_audio & lost_visual).any()
    assert lost_audio.float().mean() == pytest.approx(0.25, abs=0.03)
    assert lost_visual.float().mean() == pytest.approx(0.25, abs=0.03)
    kept = ~lost_audio & ~lost_visual
    assert torch.equal(dropped.audio_present[kept], batch.audio_present[kept])
    assert not (dropped.valid & ~dropped.audio_present & ~dropped.visual_present).any()
    assert drop_streams(batch, 0.0, torch.Generator()) is batch
