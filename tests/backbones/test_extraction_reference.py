"""Features against a slow reference: clip by clip, by the words of the paper, through the plain float32 networks."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.data.geometry import clip_sound_spans
from avfusion.data.transforms import LogMel

RATE = 44100
TRACKS = ("whole", "gaps", "late face", "short", "one frame", "faceless", "mute", "sound ends")


def make(track_maker, kind):
    track = track_maker("a", 1, frames={"short": 11, "one frame": 1}.get(kind, 90))
    frames = range(len(track.jpegs))
    hidden = {
        "gaps": [n for n in frames if n in range(20, 58) or n % 7 == 0],
        "late face": range(50),
        "faceless": frames,
    }.get(kind, [])
    jpegs = [None if n in hidden else jpeg for n, jpeg in enumerate(track.jpegs)]
    sound = {"mute": None, "sound ends": track.sound[: round(1.3 * RATE)]}.get(kind, track.sound)
    return replace(track, jpegs=jpegs, sound=sound)


def slow_visual(models, track, end):
    """The clip that ends at a frame; None: absent."""
    window = [frame for frame in range(max(end - 31, 0), end + 1) if track.jpegs[frame] is not None]
    if not window:
        return None
    if len(window) >= 8:
        step = 4 if len(window) == 32 else 3 if len(window) >= 24 else 2 if len(window) >= 16 else 1
        window = window[::-1][::step][:8][::-1]
    window = window + window[-1:] * (8 - len(window))
    crops = []
    for frame in window:
        crop = cv2.imdecode(np.frombuffer(track.jpegs[frame], np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        crops.append(cv2.resize(np.ascontiguousarray(crop), (28, 28), interpolation=cv2.INTER_AREA))
    mean, std = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
    clip = (torch.from_numpy(np.stack(crops)).float() / 255 - mean) / std
    return models.visual(clip.permute(3, 0, 1, 2)[None])[0].detach().numpy()


def slow_audio(models, track, end):
    """The sound from the clip's first frame to its last; None: absent."""
    start, stop = round(max(end - 31, 0) / 25 * RATE), round(end / 25 * RATE)
    if track.sound is None or start >= len(track.sound):
        return None
    piece = track.sound[start:stop] / 32768
    piece = np.concatenate([np.zeros(max(45599 - (stop - start), 0)), piece, np.zeros(stop - start - len(piece))])
    spectrogram = LogMel(models.spec.audio)(torch.from_numpy(piece.astype(np.float32))[None])
    return models.audio(spectrogram)[0].detach().numpy()


def expected(models, track, stride):
    """Features (T, D) of both streams, zeros where absent, and presence (T,)."""
    for slow, dimension in ((slow_visual, models.visual.feature_dim), (slow_audio, models.audio.feature_dim)):
        clips = [slow(models, track, end) for end in range(0, len(track.time_s), stride)]
        present = np.array([clip is not None for clip in clips])
        yield np.stack([np.zeros(dimension, np.float32) if clip is None else clip for clip in clips]), present


def extracted(models, track, stride):
    extractor = FeatureExtractor(models.visual, models.audio, models.spec)
    ends = np.arange(0, len(track.time_s), stride)
    spans = clip_sound_spans(track.time_s, ends, clip_frames=32, sample_rate=RATE)
    return extractor.visual_clips(track.jpegs, ends), extractor.audio_clips(track.sound, spans)


@pytest.mark.parametrize("stride", [1, 8])
@pytest.mark.parametrize("kind", TRACKS)
def test_float32_equals_the_reference_to_rounding(models_with, track_maker, kind, stride):
    models, track = models_with(stride=stride), make(track_maker, kind)
    pairs = zip(extracted(models, track, stride), expected(models, track, stride), strict=True)
    for (features, present), (slow, slow_present) in pairs:
        assert present.tolist() == slow_present.tolist()
        np.testing.assert_allclose(features, slow, rtol=1e-5, atol=1e-5 * max(slow.std(), 1))


@pytest.mark.parametrize("stride", [1, 8])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_a_small_part_of_the_spread_away(models_with, track_maker, dtype, stride):
    models, track = models_with(stride=stride, dtype=dtype), make(track_maker, "gaps")
    pairs = zip(extracted(models, track, stride), expected(models, track, stride), strict=True)
    for (features, present), (slow, slow_present) in pairs:
        assert present.tolist() == slow_present.tolist()
        difference = (features - slow)[present]
        assert np.sqrt((difference**2).mean()) < 2e-2 * slow[present].std()
        if dtype == "bfloat16":
            assert np.abs(difference).max() > 1e-4, "it was computed in bfloat16"


def test_the_file_holds_the_reference_rounded_to_float16(models, track_maker):
    track = make(track_maker, "gaps")
    table = FeatureExtractor(models.visual, models.audio, models.spec).extract_track(
        track.time_s, track.jpegs, track.sound
    )
    (visual, visual_present), (audio, audio_present) = expected(models, track, 8)
    assert table.clip_end.tolist() == [1, 9, 17, 25, 33, 41, 49, 57, 65, 73, 81, 89]
    assert table.visual_present.tolist() == visual_present.tolist()
    # Frame 1 has no crop, nor has any of the 32 frames up to the 57th.
    assert table.visual_present.tolist() == [False] + 6 * [True] + [False] + 4 * [True]
    assert table.audio_present.tolist() == audio_present.tolist()
    # Half a unit in the last place of float16: 2^-11 of the value.
    np.testing.assert_allclose(table.visual.astype(np.float32), visual, rtol=6e-4, atol=1e-5)
    np.testing.assert_allclose(table.audio.astype(np.float32), audio, rtol=6e-4, atol=1e-5)
