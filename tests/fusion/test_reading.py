"""Which models read windows of frames, how they are predicted by windows, and that other models see no difference."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avfusion.corpora.table import read_tracks
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.fusion import FusionModel, build_fusion
from avfusion.fusion.attention import attention_over_time
from avfusion.fusion.base import FusionOutput
from avfusion.fusion.catalogue import control_of, fusion_names, reads_frames
from avfusion.fusion.inference import predict_clips, predict_frames
from avfusion.fusion.reading import Reading, reading_of
from avfusion.fusion.track_inference import predict_track
from avfusion.runtime.errors import BadInputError

GEOMETRY = GeometrySettings(fps=25, window_frames=80, window_hop=48)
STRIDE, L, HOP = 8, 10, 6  # 80 and 48 frames


class Place(FusionModel):
    """Predicts a row's place in its sequence as valence, and the number of rows that are not padded as arousal."""

    def __init__(self, length: int = L) -> None:
        super().__init__(12, 10, length)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def fuse(self, audio: torch.Tensor, visual: torch.Tensor, *masks: torch.Tensor) -> FusionOutput:
        valid = masks[-1]
        place = torch.arange(self.length).expand(valid.shape)
        count = valid.sum(dim=1, keepdim=True).expand(valid.shape)
        return FusionOutput(torch.stack([place, count], dim=-1).float())


def predicted(rows: int, mode: Any) -> tuple[np.ndarray, np.ndarray]:
    features = torch.zeros(rows, 12), torch.zeros(rows, 10)
    present = torch.ones(rows, dtype=torch.bool)
    return predict_clips(Place(), *features, present, present, stride=STRIDE, spacing=STRIDE, hop=HOP, mode=mode)


def test_overlap_is_the_mean_over_the_windows_that_hold_a_row() -> None:
    values, spread = predicted(20, "overlap")  # windows start at rows 0, 6 and 10
    assert values[:, 0].tolist() == [
        *range(6),
        *[((row) + (row - 6)) / 2 for row in range(6, 10)],
        *[((row - 6) + (row - 10)) / 2 for row in range(10, 16)],
        *[row - 10 for row in range(16, 20)],
    ]
    assert (values[:, 1] == 10).all()
    assert spread[:, 0].tolist() == [0.0] * 6 + [3.0] * 4 + [2.0] * 6 + [0.0] * 4


def test_tile_has_each_row_once_and_causal_has_it_last() -> None:
    tile, _ = predicted(24, "tile")
    assert tile[:, 0].tolist() == [row % 10 for row in range(24)]
    assert tile[:, 1].tolist() == [10.0] * 20 + [4.0] * 4
    causal, _ = predicted(24, "causal")
    assert (causal[:, 0] == 9).all()
    assert causal[:, 1].tolist() == [min(row + 1, 10) for row in range(24)]


def test_a_track_shorter_than_a_window_is_one_masked_window() -> None:
    values, spread = predicted(7, "overlap")
    assert values.tolist() == [[row, 7] for row in range(7)]
    assert (spread == 0).all()


def test_spread_is_unknown_in_frames_of_one_window() -> None:
    features, present = (np.zeros((20, 12), np.float32), np.zeros((20, 10), np.float32)), np.ones(20, bool)
    ticks = np.arange(20) * STRIDE
    found = predict_frames(
        Place(),
        *(*features, present, present),
        clip_ticks=ticks,
        frame_ticks=ticks,
        stride=STRIDE,
        spacing=STRIDE,
        hop=HOP,
        spread=True,
    )
    assert np.isnan(found[:, 2]).tolist() == [True] * 6 + [False] * 10 + [True] * 4


@pytest.mark.parametrize(
    ("name", "options", "windows"),
    [
        ("grjca", {}, True),
        ("tagf", {"temporal": "none"}, True),
        ("raav", {}, True),
        ("temporal_concat", {}, True),
        ("temporal_concat", {"temporal": "none"}, True),
        ("temporal_concat", {"temporal": "bilstm"}, False),
        ("leader_follower", {}, False),
        ("leader_follower", {"form": "abaw2"}, True),
        ("leader_follower", {"form": "abaw3"}, True),
        ("jca", {}, False),
        ("recursive_jca", {}, False),
        ("released_coattention", {}, False),
    ],
)
def test_models_from_code_of_frame_level_read_windows(name: str, options: dict[str, Any], windows: bool) -> None:
    clips = Reading(16, 32)
    assert reading_of(name, options, GEOMETRY, STRIDE, "frames") == (Reading(L, STRIDE, HOP) if windows else clips)
    assert reading_of(name, options, GEOMETRY, STRIDE, "clips") == clips


@pytest.mark.parametrize("name", sorted(set(fusion_names()) - {"temporal_concat"}))
def test_the_control_of_a_model_reads_what_the_model_reads(name: str) -> None:
    forms: list[dict[str, Any]] = [{}, *({"temporal": t} for t in ("tcn", "none") if name in ("grjca", "tagf"))]
    for options in forms + [{"form": form} for form in ("abaw2", "abaw3") if name == "leader_follower"]:
        if control := control_of(name, options):
            assert reads_frames(*control) == reads_frames(name, options)


def test_a_stride_that_does_not_divide_the_windows_is_refused() -> None:
    assert reading_of("jca", {}, GeometrySettings(), 8, "frames").hop is None
    with pytest.raises(
        BadInputError,
        match=r"geometry\.window_frames is 300: must be a multiple of features\.stride \(8\), since grjca reads",
    ):
        reading_of("grjca", {}, GeometrySettings(), 8, "frames")
    with pytest.raises(
        BadInputError, match=r"geometry\.window_hop is 202: must be a multiple of features\.stride \(4\)"
    ):
        reading_of("grjca", {}, GeometrySettings(window_hop=202), 4, "frames")


def test_readings_in_words() -> None:
    assert Reading(16, 32).words == "sequences of 16 clips of 32 frames"
    assert Reading(300, 1, 200).words == "windows of 300 frames, one every 200 frames, with a vector every frame"
    assert Reading(75, 4, 50).words == "windows of 300 frames, one every 200 frames, with a vector every 4 frames"


@pytest.fixture
def track(plant: Callable[..., Path]) -> TrackData:
    root = plant(layout="frames", tracks={"train": 1}, seconds=8)
    return load_split(root, read_tracks(root / "data" / "corpus" / "tracks.parquet"), "train", GEOMETRY)[0]


def test_a_clip_model_reads_frames_at_its_clip_ends(track: TrackData) -> None:
    assert track.feature_spec is not None
    assert track.feature_spec.layout == "frames"
    of_clips = replace(track, feature_spec=track.feature_spec.model_copy(update={"layout": "clips"}))
    torch.manual_seed(0)
    jca = build_fusion("jca", audio_dim=12, visual_dim=10, encoder_width=8, k=4)
    found = [predict_track(jca, one, GEOMETRY, STRIDE, "overlap") for one in (track, of_clips)]
    np.testing.assert_array_equal(*found)
    maps = [attention_over_time(jca, one, GEOMETRY, STRIDE) for one in (track, of_clips)]
    assert maps[0]
    assert all(np.array_equal(values, maps[1][name]) for name, values in maps[0].items())


def test_a_model_of_frame_level_reads_windows_of_the_track(track: TrackData) -> None:
    torch.manual_seed(0)
    model = build_fusion("raav", audio_dim=12, visual_dim=10, length=L, encoder_width=8).eval()
    features = [torch.from_numpy(getattr(track, name)) for name in
                ("audio", "visual", "audio_present", "visual_present")]  # fmt: skip
    rows, total, count = len(features[0]), 0, 0
    assert rows == 25
    with torch.no_grad():
        for start in (6, 12):  # the windows from 0, 6, 12 and 15 on that hold row 14
            window = [values[None, start : start + L] for values in features]
            total, count = total + model(*window).predictions[0, 14 - start], count + 1
    found = predict_track(model, track, GEOMETRY, STRIDE, "overlap")
    np.testing.assert_allclose(found[14 * STRIDE], (total / count).clamp(-1, 1), atol=1e-6)
    over_time = attention_over_time(model, track, GEOMETRY, STRIDE)
    assert all(len(values) == rows for values in over_time.values())
