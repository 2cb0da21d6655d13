from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avfusion.corpora.table import read_tracks
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.fusion import build_fusion
from avfusion.fusion.attention import attention_over_time
from avfusion.fusion.base import FusionModel, FusionOutput

GEOMETRY = GeometrySettings(fps=25)


class Planted(FusionModel):
    """Returns maps of every shape whose values per clip are known."""

    name = "planted"

    def __init__(self) -> None:
        super().__init__(12, 10, 16)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def fuse(self, audio, visual, audio_present, visual_present, valid) -> FusionOutput:  # type: ignore[no-untyped-def]
        batch, length = valid.shape
        share = valid.float() / valid.sum(dim=1, keepdim=True)
        even = share[:, None].expand(batch, length, length)
        tokens = torch.cat([share, torch.zeros_like(share)], dim=1)  # all attention goes to audio
        maps = {
            "gates": torch.stack([audio_present, visual_present], dim=-1).float(),
            "audio_attention": even,
            "attention_1": tokens[:, None, None].expand(batch, 2, 2 * length, 2 * length),
            "attention": torch.tensor([[0.25, 0.75], [0.75, 0.25]]).expand(batch, length, 2, 2),
            "audio_correlation": torch.cat([torch.full((batch, 4, 4), -0.2), torch.full((batch, 4, 4), 0.6)], dim=2),
            "spatial_attention": torch.zeros(batch, length, 49),
        }
        return FusionOutput(torch.zeros(batch, length, 2), maps=maps)


@pytest.fixture
def track(plant: Callable[..., Path]) -> TrackData:
    root = plant(tracks={"val": 1, "train": 1}, seconds=30)
    return load_split(root, read_tracks(root / "data" / "corpus" / "tracks.parquet"), "val", GEOMETRY)[0]


def test_every_kind_of_map_becomes_a_number_per_clip(track: TrackData) -> None:
    found = attention_over_time(Planted(), track, GEOMETRY, 8, batch_size=7)
    np.testing.assert_array_equal(found["gates: audio"], track.audio_present)
    np.testing.assert_array_equal(found["gates: face"], track.visual_present)
    constants = {
        "audio attention, received": 1,
        "attention 1, to audio": 2,
        "attention 1, to face": 0,
        "attention, to audio": 1,
        "attention, to face": 1,
        "audio correlation, with audio": 0.2,
        "audio correlation, with face": 0.6,
    }
    for title, value in constants.items():
        np.testing.assert_allclose(found[title], np.full(len(track.clip_ticks), value), atol=1e-6, err_msg=title)
    assert len(found) == len(constants) + 2


def test_jca_has_both_streams_correlations(track: TrackData) -> None:
    torch.manual_seed(0)
    found = attention_over_time(build_fusion("jca", audio_dim=12, visual_dim=10), track, GEOMETRY, 8)
    titles = [f"{one} correlation, with {other}" for one in ("audio", "visual") for other in ("audio", "face")]
    assert list(found) == titles
    for values in found.values():
        assert values.shape == track.clip_ticks.shape
        assert 0 < values.min() < values.max() < 1
