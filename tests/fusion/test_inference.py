"""Clip predictions of a whole track."""

import numpy as np
import pytest
import torch

from avfusion.fusion import FusionModel, build_fusion
from avfusion.fusion.inference import predict_clips, predict_frames

STRIDE, L = 8, 4


def track(clips: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    present = torch.ones(clips, dtype=torch.bool)
    return {
        "audio": torch.randn(clips, 6, generator=generator),
        "visual": torch.randn(clips, 7, generator=generator),
        "audio_present": present,
        "visual_present": present.clone(),
    }


@pytest.fixture
def model() -> FusionModel:
    torch.manual_seed(0)
    return build_fusion("jca", audio_dim=6, visual_dim=7, length=L, encoder_width=8, k=4)


def by_hand(model: FusionModel, features: dict[str, torch.Tensor], members: list[int]) -> torch.Tensor:
    """The model on one sequence of clip numbers, those outside the track padded."""
    clips = len(features["audio"])
    padding = torch.tensor([not 0 <= i < clips for i in members])[None]
    index = torch.tensor([i if 0 <= i < clips else 0 for i in members])
    gathered = {key: value[index][None] for key, value in features.items()}
    return model.eval()(**gathered, padding=padding).predictions[0]


def test_overlap_is_the_mean_over_positions(model: FusionModel) -> None:
    features = track(30)
    predictions, spread = predict_clips(model, **features, stride=STRIDE, mode="overlap")
    clip, values = 9, []
    for position in range(L):
        start = clip - 4 * position  # 32 / 8 = 4 clips apart
        if start >= 0:
            values.append(by_hand(model, features, [start + 4 * i for i in range(L)])[position])
    assert len(values) == 3
    np.testing.assert_allclose(predictions[clip], torch.stack(values).mean(0).detach(), atol=1e-6)
    np.testing.assert_allclose(spread[clip], torch.stack(values).std(0, correction=0).detach(), atol=1e-6)


def test_causal_uses_the_last_position_and_no_future(model: FusionModel) -> None:
    features = track(30)
    predictions, _ = predict_clips(model, **features, stride=STRIDE, mode="causal")
    np.testing.assert_allclose(predictions[17], by_hand(model, features, [5, 9, 13, 17])[-1].detach(), atol=1e-6)
    changed = {key: value.clone() for key, value in features.items()}
    changed["audio"][18:] += 5
    again, _ = predict_clips(model, **changed, stride=STRIDE, mode="causal")
    np.testing.assert_array_equal(again[:18], predictions[:18])


def test_tile_uses_each_clip_once(model: FusionModel) -> None:
    features = track(30)
    predictions, spread = predict_clips(model, **features, stride=STRIDE, mode="tile")
    np.testing.assert_allclose(predictions[17], by_hand(model, features, [17, 21, 25, 29])[0].detach(), atol=1e-6)
    assert (spread == 0).all()


def test_clips_without_any_stream_are_held_from_their_neighbours(model: FusionModel) -> None:
    features = track(12)
    for key in ("audio_present", "visual_present"):
        features[key][[0, 5, 11]] = False
    predictions, _ = predict_clips(model, **features, stride=STRIDE)
    np.testing.assert_allclose(predictions[5], (predictions[4] + predictions[6]) / 2, atol=1e-6)
    np.testing.assert_array_equal(predictions[0], predictions[1])
    np.testing.assert_array_equal(predictions[11], predictions[10])


def test_causal_holds_from_the_past(model: FusionModel) -> None:
    features = track(12)
    for key in ("audio_present", "visual_present"):
        features[key][[0, 5, 6, 11]] = False
    predictions, _ = predict_clips(model, **features, stride=STRIDE, mode="causal")
    np.testing.assert_array_equal(predictions[[0, 5, 6, 11]], predictions[[1, 4, 4, 10]])
    assert len(np.unique(predictions[:, 0])) == 8


def test_frames_have_the_spread_of_their_clips(model: FusionModel) -> None:
    features = {key: value.numpy() for key, value in track(12).items()}
    clip_ticks = np.arange(12) * STRIDE
    options = {"clip_ticks": clip_ticks, "frame_ticks": np.arange(90), "stride": STRIDE}
    frames = predict_frames(model, **features, **options, spread=True)
    _, spread = predict_clips(model, **track(12), stride=STRIDE)
    np.testing.assert_array_equal(frames[:, :2], predict_frames(model, **features, **options))
    np.testing.assert_allclose(frames[32:89:8, 2:], spread[4:], atol=1e-7)
    np.testing.assert_allclose(frames[36, 2:], (spread[4] + spread[5]) / 2, atol=1e-6)
    assert np.isnan(frames[:32, 2:]).all(), "one position tells of no spread"
    assert (frames[32:, 2:] > 0).all()
    assert np.isnan(predict_frames(model, **features, **options, spread=True, mode="tile")[:, 2:]).all()


def test_short_and_empty_tracks(model: FusionModel) -> None:
    assert np.isfinite(predict_clips(model, **track(1), stride=STRIDE)[0]).all()
    assert predict_clips(model, **track(0), stride=STRIDE)[0].shape == (0, 2)
    nothing = track(3) | {key: torch.zeros(3, dtype=torch.bool) for key in ("audio_present", "visual_present")}
    assert np.isnan(predict_clips(model, **nothing, stride=STRIDE)[0]).all()


def test_batch_size_and_mode_of_the_model_do_not_matter(model: FusionModel) -> None:
    features = track(30)
    model.train()
    whole, _ = predict_clips(model, **features, stride=STRIDE)
    assert model.training
    parts, _ = predict_clips(model, **features, stride=STRIDE, batch_size=7)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
