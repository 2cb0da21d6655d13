"""Features of a track: without a bit of influence between clips, at other clocks, with absent streams."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avfusion.backbones.extraction import FeatureExtractor, cut_sound
from avfusion.backbones.registry import build_backbone
from avfusion.data.feature_spec import AudioTransform
from avfusion.data.geometry import clip_sound_spans
from avfusion.data.transforms import LogMel
from avfusion.runtime.errors import AVFusionError

RATE = 44100


def extract(models, track, sound="own"):
    waveform = track.sound / np.float32(32768) if isinstance(sound, str) else sound
    return FeatureExtractor(models.visual, models.audio, models.spec).extract_track(track.time_s, track.jpegs, waveform)


def test_neighbours_change_no_bit(models, track_maker):
    track, other = track_maker("a", 1, frames=200), track_maker("b", 2, frames=200)
    mixed = replace(track, jpegs=[*track.jpegs[:100], *other.jpegs[100:]])
    table, changed = extract(models, track), extract(models, mixed)
    before = table.clip_end <= 100
    assert np.array_equal(table.visual[before], changed.visual[before])
    assert not np.array_equal(table.visual[~before], changed.visual[~before])
    # A shorter track: other numbers of clips, another last batch.
    short = replace(track, time_s=track.time_s[:121], jpegs=track.jpegs[:121], labels=None, valid=None)
    few = extract(models, short)
    assert np.array_equal(few.visual, table.visual[: len(few.visual)])
    assert np.array_equal(few.audio, table.audio[: len(few.audio)])


def test_loud_neighbours_change_no_bit(models, track_maker):
    track = track_maker("a", 1, frames=200)
    sound = track.sound / np.float32(32768)
    louder = sound.copy()
    louder[5 * RATE :] *= 20
    quiet, loud = extract(models, track, sound), extract(models, track, louder)
    before = track.time_s[quiet.clip_end - 1] <= 5
    assert np.array_equal(quiet.audio[before], loud.audio[before])
    assert not np.array_equal(quiet.audio[~before], loud.audio[~before])


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_batch_size_hardly_matters(models, models_with, track_maker, batch_size):
    track = track_maker("a", 3)
    table, other = extract(models, track), extract(models_with(batch_size=batch_size), track)
    np.testing.assert_allclose(other.visual.astype(float), table.visual.astype(float), rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(other.audio.astype(float), table.audio.astype(float), rtol=2e-3, atol=1e-4)


def test_thread_count_of_the_caller_is_restored_and_changes_no_bit(models, track_maker):
    track = track_maker("a", 4)
    table = extract(models, track)
    torch.set_num_threads(2)
    again = extract(models, track)
    assert torch.get_num_threads() == 2
    assert np.array_equal(table.visual, again.visual)
    assert np.array_equal(table.audio, again.audio)


def test_absent_streams(models, track_maker):
    track = track_maker("a", 1)
    faceless = extract(models, replace(track, jpegs=[None] * 90))
    assert not faceless.visual_present.any()
    assert not faceless.visual.any()
    assert faceless.visual.shape == (12, 64)
    mute = extract(models, track, None)
    assert not mute.audio_present.any()
    assert not mute.audio.any()
    assert np.array_equal(mute.visual, extract(models, track).visual)


def test_sound_that_ends_early(models, track_maker):
    track = track_maker("a", 1, frames=120, seconds_of_sound=1.5)
    table = extract(models, track)
    begins = track.time_s[np.maximum(table.clip_end - 32, 0)]
    assert np.array_equal(table.audio_present, begins < 1.5)
    assert not table.audio[~table.audio_present].any()
    # What is missing at the end of a clip is silence.
    silence = np.concatenate([track.sound, np.zeros(5 * RATE, np.int16)]) / np.float32(32768)
    present = table.audio_present
    assert np.array_equal(extract(models, track, silence).audio[present], table.audio[present])


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_short_tracks(models, track_maker, frames):
    track = track_maker("a", 1, frames=max(frames, 1))
    track = replace(track, time_s=track.time_s[:frames], jpegs=track.jpegs[:frames])
    table = extract(models, track)
    assert len(table.clip_end) == len(table.visual) == len(table.audio) == min(frames, 1)
    assert table.visual_present.all()


def test_another_frame_rate_is_read_by_the_clock(models, track_maker):
    slow, fast = track_maker("a", 1, frames=90, fps=25), track_maker("a", 1, frames=180, fps=50)
    table = extract(models, fast)
    assert table.clip_end.tolist() == [1 + 16 * clip for clip in range(12)]
    # Every other frame of the fast video shows what the slow one does, and its sound is as long.
    twin = replace(slow, jpegs=fast.jpegs[::2], sound=fast.sound)
    assert np.array_equal(extract(models, twin).visual, table.visual)
    assert np.array_equal(extract(models, twin).audio, table.audio)


def test_variable_frame_rate_gives_groups_of_other_lengths(models, track_maker):
    track = track_maker("a", 1)
    jitter = np.sort(track.time_s + np.random.default_rng(0).uniform(0, 0.03, 90)) * (np.arange(90) > 0)
    track = replace(track, time_s=jitter)
    table = extract(models, track)
    assert table.audio_present.all()
    spans = clip_sound_spans(jitter, np.arange(0, 90, 8), clip_frames=32, sample_rate=RATE)
    if models.spec.geometry.fps is None:
        assert np.array_equal(spans[:, 1], np.round(jitter[::8] * RATE))


def test_window_s_widens_the_sound(models_with, track_maker):
    models = models_with(audio=AudioTransform(window_s=2.0))
    track = track_maker("a", 1, frames=120)
    table = extract(models, track)
    sound = track.sound / np.float32(32768)
    piece = sound[round((track.time_s[80] - 2) * RATE) : round(track.time_s[80] * RATE)]
    expected = models.audio(LogMel(models.spec.audio)(torch.from_numpy(piece)[None]))[0].detach().numpy()
    np.testing.assert_allclose(table.audio[10].astype(np.float32), expected, rtol=6e-4, atol=1e-5)


def test_sound_is_padded_on_the_left_and_silent_behind_its_end():
    sound = np.arange(1, 11, dtype=np.float32)
    assert cut_sound(sound, 2, 5, min_samples=5).tolist() == [0, 0, 3, 4, 5]
    assert cut_sound(sound, 8, 12, min_samples=2).tolist() == [9, 10, 0, 0]
    assert cut_sound(sound, 0, 0, min_samples=3).tolist() == [0, 0, 0]


def test_spans_run_from_the_first_frame_to_the_last():
    spans = clip_sound_spans(np.arange(100) / 25, np.array([0, 31, 63]), clip_frames=32, sample_rate=RATE)
    assert spans.tolist() == [[0, 0], [0, 54684], [56448, 111132]]


def test_other_backbones_than_the_spec_names_are_refused(models):
    wider = build_backbone("narrow_resnet", stream="audio", width=12)
    with pytest.raises(AVFusionError, match="the audio backbone is"):
        FeatureExtractor(models.visual, wider, models.spec)
    spatial = build_backbone("narrow_r2plus1d", stream="visual", width=8, input_size=28, output="map")
    with pytest.raises(AVFusionError, match="gives map features"):
        FeatureExtractor(spatial, models.audio, models.spec)


def test_maps_average_to_the_pooled_features(models, models_with, track_maker):
    spatial = models_with(output="map")
    network = build_backbone("narrow_r2plus1d", stream="visual", width=8, input_size=28, output="map")
    network.load_state_dict(models.visual.state_dict())
    track = track_maker("a", 1)
    table = extract(replace(spatial, visual=network), track)
    assert table.visual.shape == (12, 64, 2, 2)
    pooled = extract(models, track).visual.astype(np.float32)
    np.testing.assert_allclose(table.visual.astype(np.float32).mean(axis=(2, 3)), pooled, rtol=2e-3, atol=2e-3)


def test_an_unreadable_crop_is_an_error_not_a_guess(models, track_maker):
    track = track_maker("a", 1)
    with pytest.raises(AVFusionError, match="remake frames"):
        extract(models, replace(track, jpegs=[b"not a JPEG", *track.jpegs[1:]]))
