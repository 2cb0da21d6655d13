"""Sound without pictures: a row every 1/25 s from the first sample on, in every form that people have."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from avfusion.media.audio import read_aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.opener import MediaLimits
from avfusion.media.timeline import read_timeline
from avfusion.runtime.errors import BadInputError
from tests.media.conftest import flash_frames, tone, write_media
from tests.media.damage import promising

ONSET_S, SECONDS = 1.0, 3.0
JPEG = cv2.imencode(".jpg", np.full((64, 64, 3), 99, np.uint8))[1].tobytes()


def write_sound_file(
    path: Path,
    codec: str,
    rate: int = 44100,
    form: str | None = None,
    cover: bool = False,
    at_s: int = 0,
    **options: object,
) -> Path:
    """Three seconds, a tone in the last two; the stamps begin at `at_s`."""
    with av.open(str(path), "w", format=form) as container:
        audio = container.add_stream(codec, rate=rate, layout="mono", options=options)
        picture = container.add_stream("mjpeg") if cover else None
        if picture:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(tone(SECONDS, rate, start_s=ONSET_S).astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at_s * rate, Fraction(1, rate)
        for piece in av.AudioResampler(audio.format.name, "mono", rate).resample(frame):
            container.mux(audio.encode(piece))
        container.mux(audio.encode())
        if picture:
            packet = av.Packet(JPEG)
            packet.stream, packet.pts, packet.dts, packet.time_base = picture, 0, 0, Fraction(1, 90000)
            container.mux(packet)
    return path


def onset_s(path: Path) -> float:
    samples = read_aligned_audio(path, timeline=read_any_timeline(path))
    return float(np.flatnonzero(np.abs(samples) > 0.25)[0]) / 44100


@pytest.mark.parametrize(
    ("name", "codec", "rate", "form", "late_s"),
    [
        *[("a.wav", "pcm_s16le", 44100, "wav", 0), ("a.flac", "flac", 96000, "flac", 0)],
        *[("a.mp3", "libmp3lame", 44100, "mp3", 0), ("a.m4a", "aac", 48000, "ipod", 0)],
        *[("a.ogg", "flac", 44100, "ogg", 0), ("a.opus", "libopus", 48000, "ogg", 0)],
        *[("a.mka", "libopus", 48000, "matroska", 0), ("a.aiff", "pcm_s16be", 44100, "aiff", 0)],
        *[("a.w64", "pcm_f32le", 192000, "w64", 0), ("a.caf", "pcm_s16le", 8000, "caf", 0)],
        # ADTS and transport streams do not tell the encoder's delay.
        *[("a.aac", "aac", 44100, "adts", 1024 / 44100), ("a.ts", "aac", 48000, "mpegts", 1024 / 48000)],
    ],
)
def test_rows_and_sound_begin_with_the_sound(tmp_path, name, codec, rate, form, late_s):
    path = write_sound_file(tmp_path / name, codec, rate, form)
    timeline = read_any_timeline(path)
    assert (timeline.has_pictures, timeline.fps, timeline.warnings) == (False, 25, ())
    assert timeline.end_s == pytest.approx(SECONDS + late_s, abs=0.021)
    np.testing.assert_allclose(timeline.times_s, np.arange(timeline.frames) / 25)
    assert timeline.frames in ((75,) if not late_s else (76,))
    assert onset_s(path) == pytest.approx(ONSET_S + late_s, abs=0.003)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("rate", [8000, 192000])
def test_wavs_of_all_kinds(tmp_path, subtype, rate):
    soundfile.write(tmp_path / "a.wav", tone(SECONDS, rate, start_s=ONSET_S)[0], rate, subtype=subtype)
    assert read_any_timeline(tmp_path / "a.wav").frames == 75
    assert onset_s(tmp_path / "a.wav") == pytest.approx(ONSET_S, abs=0.002)


def test_mp3_of_a_variable_rate_and_with_joined_files(tmp_path):
    path = tmp_path / "vbr.mp3"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("libmp3lame", rate=44100, layout="mono")
        audio.codec_context.flags |= av.codec.context.Flags.qscale
        audio.codec_context.global_quality = 2 * 118
        frame = av.AudioFrame.from_ndarray(tone(SECONDS, start_s=ONSET_S).astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(audio.encode(frame))
        container.mux(audio.encode())
    assert read_any_timeline(path).end_s == pytest.approx(SECONDS, abs=0.001)
    assert onset_s(path) == pytest.approx(ONSET_S, abs=0.002)
    path.write_bytes(path.read_bytes() * 2)
    assert read_any_timeline(path).end_s == pytest.approx(2 * SECONDS, abs=0.1)


@pytest.mark.parametrize(("name", "codec", "form"), [("c.mp3", "libmp3lame", "mp3"), ("c.flac", "flac", "flac")])
def test_cover_art_is_no_video(tmp_path, name, codec, form):
    path = write_sound_file(tmp_path / name, codec, form=form, cover=True)
    with av.open(str(path)) as container:
        assert container.streams.video
    timeline = read_any_timeline(path)
    assert (timeline.frames, timeline.has_pictures) == (75, False)


def test_a_single_picture_beside_longer_sound_is_cover_art_too(tmp_path):
    path = write_media(tmp_path / "c.mkv", flash_frames(1, 0), [0.0], sound=tone(SECONDS), codec="mjpeg", ticks=1000)
    assert read_any_timeline(path).frames in (75, 76)  # Matroska keeps AAC's padding
    brief = write_media(tmp_path / "b.mkv", flash_frames(1, 0), [0.0], sound=tone(0.5), codec="mjpeg", ticks=1000)
    assert read_any_timeline(brief).has_pictures


def test_damage_is_told_where_only_a_single_picture_is_left(tmp_path):
    path = write_media(tmp_path / "c.mp4", flash_frames(1, 0), [0.0], sound=tone(SECONDS))
    path.write_bytes(promising(path.read_bytes(), 1.5))
    timeline = read_any_timeline(path)
    assert not timeline.has_pictures
    assert timeline.damage.startswith("truncated or damaged: its header promises 4.")
    assert timeline.damage in timeline.warnings


@pytest.mark.parametrize("promised", [0x7FFFFFF0, 0xFFFFFFFF, 0])
def test_a_wav_of_a_recorder_that_did_not_know_its_length(tmp_path, promised):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(SECONDS)[0], 44100)
    content = bytearray(path.read_bytes())
    for at in (4, content.index(b"data") + 4):
        content[at : at + 4] = struct.pack("<I", promised)
    path.write_bytes(content)
    timeline = read_any_timeline(path)
    assert (timeline.frames, timeline.warnings) == (75, ())


@pytest.mark.parametrize(("name", "noted"), [("a.wav", True), ("a.flac", True), ("a.mp3", False)])
def test_what_was_cut_off_is_read_as_far_as_it_goes(tmp_path, name, noted):
    codec = {"a.wav": "pcm_s16le", "a.flac": "flac", "a.mp3": "libmp3lame"}[name]
    path = write_sound_file(tmp_path / name, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    timeline = read_any_timeline(path)
    assert 45 < timeline.frames < 60
    assert [" s more than the file holds" in note for note in timeline.warnings] == [True] * noted
    assert onset_s(path) == pytest.approx(ONSET_S, abs=0.003)


@pytest.mark.parametrize(
    ("name", "codec", "form"),
    [
        *[("a.mka", "pcm_s16le", "matroska"), ("a.mka", "aac", "matroska"), ("a.webm", "libopus", "webm")],
        *[("a.m4a", "aac", "ipod"), ("a.ts", "mp2", "mpegts"), ("a.flv", "aac", "flv")],
    ],
)
def test_sound_that_starts_late_is_not_called_cut_off(tmp_path, name, codec, form):
    rate = 48000
    timeline = read_any_timeline(write_sound_file(tmp_path / name, codec, rate, form, at_s=4))
    assert timeline.warnings == ()
    assert timeline.origin_s == pytest.approx(4, abs=0.03)
    assert timeline.end_s == pytest.approx(SECONDS, abs=0.04)


def test_sound_that_starts_late_and_is_cut_off_is_called_so(tmp_path):
    path = write_sound_file(tmp_path / "a.mka", "flac", form="matroska", at_s=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    (note,) = read_any_timeline(path).warnings
    assert float(note.removeprefix("the header promises ").split()[0]) == pytest.approx(
        SECONDS / 3, abs=0.3
    )  # silence is smaller


@pytest.mark.parametrize(("samples", "rows"), [(1, 1), (8820, 5), (44100 * 4, 100)])
def test_very_short_and_silent_sound(tmp_path, samples, rows):
    soundfile.write(tmp_path / "a.wav", np.zeros(samples), 44100)
    timeline = read_any_timeline(tmp_path / "a.wav")
    assert timeline.frames == rows
    assert len(read_aligned_audio(tmp_path / "a.wav", timeline=timeline)) == samples


def test_what_is_refused(tmp_path):
    path = write_sound_file(tmp_path / "a.wav", "pcm_s16le")
    with pytest.raises(BadInputError, match=r"no video stream \(found: audio\)"):
        read_timeline(path)  # a corpus is of videos
    with pytest.raises(BadInputError, match=r"lasts 3 s, must be at most 2 s: cut it"):
        read_any_timeline(path, MediaLimits(duration_s=2))
    path = write_sound_file(tmp_path / "strange.mka", "aac", form="matroska")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.raises(BadInputError, match="has no picture, and no sound that can be decoded"):
        read_any_timeline(path)
