"""A flash and a tone burst of the same moment must be found at the same moment."""

import numpy as np
import pytest

from avfusion.media.audio import read_aligned_audio
from avfusion.media.probe import probe
from avfusion.media.video import frame_times, read_video

RATES = {"24": 24.0, "25": 25.0, "29.97": 30000 / 1001}
EVENT_S = 1.0


def _event_times(path):
    """When the picture turns white and when the tone begins, seconds from frame 1."""
    seen = next(frame.time_s for frame in read_video(path) if frame.rgb.mean() > 128)
    sound = read_aligned_audio(path)
    heard = np.flatnonzero(np.abs(sound) > 0.25)[0] / 44100
    return seen, heard


@pytest.mark.parametrize("offset_s", [-0.5, 0.0, 0.5])
@pytest.mark.parametrize("fps", RATES.values(), ids=RATES.keys())
def test_constant_rate(tmp_path, media, make_tone, make_flash, fps, offset_s):
    lit = round(EVENT_S * fps)
    times = np.arange(60) / fps + 0.5  # so that sound can begin before the first frame
    start = 0.5 + offset_s
    sound = make_tone(2.5 - start, 48000, 2, start_s=times[lit] - start)
    path = media(tmp_path / "av.mp4", make_flash(60, lit), times, sound=sound, rate=48000, sound_at_s=start)
    seen, heard = _event_times(path)
    assert seen == pytest.approx(lit / fps, abs=1e-4)
    assert heard == pytest.approx(seen, abs=0.5 / fps)
    assert probe(path).fps == pytest.approx(fps, rel=1e-3)
    assert probe(path).audio_start_s == pytest.approx(offset_s, abs=0.03)  # AAC's lead-in


def test_variable_rate(tmp_path, media, make_tone, make_flash):
    steps = np.where(np.arange(60) % 7 == 0, 0.1, 0.033)
    times = np.cumsum(steps) - steps[0]
    lit = int(np.searchsorted(times, EVENT_S))
    sound = make_tone(times[-1], 22050, 1, start_s=times[lit])
    path = media(tmp_path / "vfr.mp4", make_flash(60, lit), times, sound=sound, rate=22050)
    seen, heard = _event_times(path)
    assert seen == pytest.approx(times[lit], abs=1e-4)
    assert heard == pytest.approx(seen, abs=0.0165)
    np.testing.assert_allclose(frame_times(path), times, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_uncompressed_sound_is_exact_to_a_millisecond(tmp_path, media, make_tone, make_flash, rate):
    times = np.arange(50) / 25
    sound = make_tone(1.7, rate, 1, start_s=0.7)
    path = media(
        tmp_path / "pcm.mov", make_flash(50, 25), times, sound=sound, rate=rate, sound_at_s=0.3, sound_codec="pcm_s16le"
    )
    seen, heard = _event_times(path)
    assert seen == pytest.approx(1.0, abs=1e-6)
    assert heard == pytest.approx(1.0, abs=1e-3)


def test_tone_survives_resampling(tmp_path, media, make_tone, make_flash):
    times = np.arange(50) / 25
    path = media(
        tmp_path / "a.mov", make_flash(50, 25), times, sound=make_tone(2, 48000, 2), rate=48000, sound_codec="pcm_s16le"
    )
    sound = read_aligned_audio(path)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(sound)) / 44100)
    assert len(sound) == 88200
    np.testing.assert_allclose(sound[500:-500], expected[500:-500], atol=2e-3)
