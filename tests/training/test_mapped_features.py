"""Features stay in their files or in memory where a device has no room, and give what they would give on it."""

import dataclasses
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avfusion.corpora.table import read_tracks
from avfusion.data.features import read_features, write_features
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, feature_path, load_split
from avfusion.fusion.inference import predict_clips
from avfusion.fusion.registry import build_fusion
from avfusion.runtime.errors import AVFusionError
from avfusion.training import sequences
from avfusion.training.loop import FusionTraining
from avfusion.training.mapped_features import MappedFeatures, feature_table
from avfusion.training.sequences import sequence_data

GEOMETRY, SIDE, WIDTH = GeometrySettings(fps=25), 7, 10


@pytest.fixture
def mapped(plant: Callable[..., Path]) -> dict[str, list[TrackData]]:
    """The tracks of both splits, the visual features of their files being maps."""
    root = plant(tracks={"train": 3, "val": 1}, seconds=36)
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    rng = np.random.default_rng(0)
    for track in table:
        path = feature_path(root, track.track)
        stored = read_features(path)
        maps = stored.visual[..., None, None] + rng.normal(size=(*stored.visual.shape, SIDE, SIDE))
        write_features(path, dataclasses.replace(stored, visual=maps))
    return {split: load_split(root, table, split, GEOMETRY) for split in ("train", "val")}


def in_memory(tracks: list[TrackData]) -> list[TrackData]:
    return [dataclasses.replace(track, visual=np.array(track.visual)) for track in tracks]


def test_rows_are_those_of_all_tracks_one_after_the_other(mapped: dict[str, list[TrackData]]) -> None:
    tracks = mapped["train"]
    assert all(isinstance(track.visual, np.memmap) for track in tracks)
    table = MappedFeatures([track.visual for track in tracks])
    whole = np.concatenate([track.visual for track in tracks])
    assert table.shape == whole.shape
    at = torch.randint(0, len(whole), (5, 4), generator=torch.Generator().manual_seed(0))
    at[0, :2] = torch.tensor([0, len(whole) - 1])
    assert table[at].dtype == torch.float16
    np.testing.assert_array_equal(table[at], whole[at.numpy()])


@pytest.mark.parametrize(("free", "kind"), [(2.0, torch.Tensor), (1.9, MappedFeatures)])
def test_vectors_go_to_the_device_where_they_take_half_of_what_is_free(
    plant: Callable[..., Path], free: float, kind: type
) -> None:
    root = plant(tracks={"train": 3, "val": 1}, seconds=12)
    tracks = load_split(root, read_tracks(root / "data" / "corpus" / "tracks.parquet"), "train", GEOMETRY)
    whole = np.concatenate([track.audio for track in tracks])
    table = feature_table([track.audio for track in tracks], free=free * whole.nbytes)
    assert isinstance(table, kind)
    at = torch.tensor([[0, len(whole) - 1], [7, 3]])
    np.testing.assert_array_equal(table[at], whole[at.numpy()])
    assert table.shape == whole.shape


def test_memory_holds_a_part_of_them(mapped: dict[str, list[TrackData]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "STATISTICS_ROWS", 2 * SIDE**2)
    tracks = mapped["train"]
    whole = sum(track.visual.nbytes for track in tracks)
    tracemalloc.start()
    data = sequence_data(tracks, stride=8)
    data.statistics()
    batch = data.batch(torch.arange(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch.visual.shape == (1, 16, WIDTH, SIDE, SIDE)
    assert peak < whole / 3


def test_what_is_written_to_them_is_not_written_to_the_file(mapped: dict[str, list[TrackData]]) -> None:
    track = mapped["train"][0]
    before = track.visual[0].copy()
    track.visual[0] = 5
    path = Path(str(track.visual.filename))
    np.testing.assert_array_equal(read_features(path).visual[0], before)


def test_training_gives_the_bits_of_maps_in_memory(
    mapped: dict[str, list[TrackData]], training: Callable[..., FusionTraining]
) -> None:
    histories = []
    for given in (mapped, {split: in_memory(tracks) for split, tracks in mapped.items()}):
        data = sequence_data(given["train"], stride=8)
        if given is mapped:  # as on a GPU without room for the audio
            audio = feature_table([track.audio for track in given["train"]], free=0)
            data = dataclasses.replace(data, audio=audio)
            assert isinstance(audio, MappedFeatures)
        result = training("jca", data=data, validation=given["val"], epochs=2).fit()
        histories.append(result.history)
    assert histories[0] == histories[1]


def test_a_map_that_is_not_finite_is_named(mapped: dict[str, list[TrackData]]) -> None:
    track = mapped["train"][1]
    track.visual[20, 3, 1, 1] = np.nan
    with pytest.raises(
        AVFusionError, match=rf"visual features of track {track.track} are not finite, first in clip 20"
    ):
        sequence_data(mapped["train"], stride=8)


def test_inference_averages_a_clips_map_once_and_gives_what_the_vectors_give(
    mapped: dict[str, list[TrackData]],
) -> None:
    track = mapped["val"][0]
    model = build_fusion("jca", audio_dim=12, visual_dim=WIDTH)
    arrays = (track.audio, track.visual, track.audio_present, track.visual_present)
    given = [torch.from_numpy(array) for array in arrays]
    vectors = [given[0], given[1].float().mean((2, 3)), *given[2:]]
    found, expected = (predict_clips(model, *features, stride=8)[0] for features in (given, vectors))
    np.testing.assert_array_equal(found, expected)
