"""A flash and a tone burst of the same moment must be found at the same moment."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from avfusion.corpora.source_hashes import crops_source, file_source
from avfusion.corpora.table import Track
from avfusion.data.audio import read_audio
from avfusion.data.audio_store import update_audio
from avfusion.data.frame_store import update_frames
from avfusion.data.frames import decode_crops, encode_crop, read_frames
from avfusion.data.settings import AudioSettings, FramesSettings
from avfusion.media.audio import read_aligned_audio
from avfusion.media.probe import probe
from avfusion.media.video import frame_times, read_video
from avfusion.runtime.settings import ExecutionSettings

RATES = {"15": 15.0, "24": 24.0, "25": 25.0, "29.97": 30000 / 1001, "60": 60.0}
CLOCKS = {name: np.arange(round(1.6 * fps)) / fps for name, fps in RATES.items()} | {
    # A camera that hesitates, and a screen recorder that leaves out what did not change.
    "hesitant": np.cumsum(np.where(np.arange(40) % 7 == 6, 0.1, 0.033)) - 0.033,
    "sparse": np.concatenate([[0.0, 0.02, 0.4, 0.44], 1.0 + np.arange(12) / 20]),
}
OFFSETS_S = (-0.5, -0.23, 0.0, 0.31, 0.5)
EVENT_S = 1.0
SERIAL = ExecutionSettings(executor="serial", workers=1)


@dataclass(frozen=True)
class Recording:
    """A file, its frames' times, the frame that turns white as a tone begins, and when its sound starts."""

    path: Path
    times: np.ndarray
    lit: int
    offset_s: float

    @property
    def half_a_frame_s(self) -> float:
        """Half of what the white frame's neighbours leave it."""
        return 0.5 * float(np.diff(self.times)[self.lit - 1 : self.lit + 1].min())


def _recording(folder, media, make_tone, make_flash, clock, offset_s, suffix):
    times = CLOCKS[clock]
    lit = int(np.searchsorted(times, EVENT_S - 1e-9))
    begin_s = 0.5  # so that sound can begin before the first frame
    sound = make_tone(times[-1] - offset_s, 48000, 2, start_s=times[lit] - offset_s)
    path = media(
        folder / f"{clock}{offset_s:+}{suffix}",
        make_flash(len(times), lit),
        times + begin_s,
        sound=sound,
        rate=48000,
        sound_at_s=begin_s + offset_s,
    )
    return Recording(path, times, lit, offset_s)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, media, make_tone, make_flash):
    """Every clock with every offset as MP4, and the extreme offsets as Matroska, which counts milliseconds."""
    folder = tmp_path_factory.mktemp("recordings")
    wanted = [(clock, offset, ".mp4") for clock in CLOCKS for offset in OFFSETS_S]
    wanted += [(clock, offset, ".mkv") for clock in CLOCKS for offset in (OFFSETS_S[0], OFFSETS_S[-1])]
    return [_recording(folder, media, make_tone, make_flash, *one) for one in wanted]


def _heard(samples):
    """When the tone begins, seconds from frame 1."""
    return np.flatnonzero(np.abs(samples) > 0.25)[0] / 44100


def _event_times(path):
    """When the picture turns white and when the tone begins, seconds from frame 1."""
    seen = next(frame.time_s for frame in read_video(path) if frame.rgb.mean() > 128)
    return seen, _heard(read_aligned_audio(path))


def test_flash_and_tone_coincide(recordings):
    assert len(recordings) == 49
    for one in recordings:
        seen, heard = _event_times(one.path)
        assert seen == pytest.approx(one.times[one.lit], abs=0.0006), one.path.name
        assert heard == pytest.approx(seen, abs=min(0.003, one.half_a_frame_s)), one.path.name
        np.testing.assert_allclose(frame_times(one.path), one.times, atol=0.0006)
        info = probe(one.path)
        assert info.audio_start_s == pytest.approx(one.offset_s, abs=0.03), one.path.name  # AAC's lead-in
        assert info.fps == pytest.approx((len(one.times) - 1) / one.times[-1], rel=2e-3)


def test_flash_and_tone_coincide_in_the_stores(recordings, tmp_path):
    """Crops are numbered by frame: the white one's row has the time at which the tone begins in the WAV."""
    black, white = (encode_crop(np.full((112, 112, 3), level, np.uint8), 90) for level in (0, 255))
    root = recordings[0].path.parent
    tracks, chosen = [], recordings[::2]
    for one in chosen:
        name = one.path.name.replace(".", "_")
        crops = tmp_path / "crops" / name
        crops.mkdir(parents=True)
        for index in range(len(one.times)):
            (crops / f"{index + 1:05d}.jpg").write_bytes(white if one.lit <= index < one.lit + 3 else black)
        tracks.append(_track(name, one, str(crops)))
    update_frames(tmp_path / "frames", tmp_path / "sheets", root, tracks, FramesSettings(contact_sheets=False), SERIAL)
    update_audio(tmp_path / "audio", root, tracks, AudioSettings(), SERIAL)
    for track, one in zip(tracks, chosen, strict=True):
        table = read_frames(tmp_path / "frames" / f"{track.track}.parquet")
        seen = table.time_s[decode_crops(table.jpeg).mean(axis=(1, 2, 3)) > 128][0]
        samples = read_audio(tmp_path / "audio" / f"{track.video}.wav")
        assert _heard(samples) == pytest.approx(seen, abs=min(0.003, one.half_a_frame_s)), track.track
        np.testing.assert_array_equal(table.time_s, frame_times(one.path))
        np.testing.assert_allclose(samples, read_aligned_audio(one.path), atol=0.5 / 32768)


def _track(name, one, crops):
    return Track(
        track=name,
        video=name,
        split="train",
        video_path=one.path.name,
        crops_paths=(crops,),
        labels_path="",
        video_hash=file_source(one.path).digest,
        crops_hash=crops_source(Path(crops)).digest,
        labels_hash="",
        frames=len(one.times),
        fps=25.0,
        duration_s=1.6,
        has_audio=True,
        label_rows=0,
        crops=len(one.times),
        warnings=(),
    )


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
