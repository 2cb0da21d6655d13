"""A flash and a tone of the same moment come out within half a frame, from every container, codec and rate in use."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avfusion.media.audio import read_aligned_audio
from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.video import read_video
from tests.media.conftest import tone
from tests.media.field_coded import write_field_coded, write_hevc_fields

OFFSETS_S = (0.0, 0.3)  # from the first frame to the beginning of the sound
RATE = 44100
NTSC = Fraction(30000, 1001)


@dataclass(frozen=True)
class Coding:
    """How picture and sound are written."""

    suffix: str
    codec: str
    sound_codec: str = "pcm_s16le"
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.suffix[1:]}-{self.codec}{'-reordered' if self.reordered else ''}-{self.sound_codec}"

    @property
    def reordered(self) -> bool:
        return int(self.options.get("bf", 0)) > 0


FAST = {"preset": "ultrafast"}
REALTIME = {"deadline": "realtime", "cpu-used": "8"}
AVI = [
    Coding(".avi", "libx264", options=FAST | {"bf": "0"}),
    Coding(".avi", "libx264", options=FAST | {"bf": "3"}),
    Coding(".avi", "mpeg4"),
    Coding(".avi", "mpeg4", options={"bf": "2"}),
    Coding(".avi", "mjpeg"),
]
OTHERS = [
    Coding(".mp4", "libx264", "aac", FAST | {"bf": "2"}),
    Coding(".mp4", "mpeg4", "aac", {"bf": "2"}),
    Coding(".mov", "mjpeg"),
    Coding(".mov", "libx264", options=FAST | {"bf": "0"}),
    Coding(".mkv", "libx264", "ac3", FAST | {"bf": "2"}),
    Coding(".mkv", "msmpeg4", "libmp3lame"),
    Coding(".webm", "libvpx", "libopus", REALTIME),
    Coding(".webm", "libvpx-vp9", "libopus", REALTIME),
    Coding(".ts", "libx264", "aac", FAST | {"bf": "2"}),
    Coding(".ts", "mpeg2video", "mp2", {"bf": "2"}),
    Coding(".mpg", "mpeg1video", "mp2"),
    Coding(".vob", "mpeg2video", "ac3", {"bf": "2"}),
    Coding(".flv", "libx264", "aac", FAST | {"bf": "2"}),
    Coding(".flv", "flv", "libmp3lame"),
    Coding(".wmv", "wmv2", "wmav2"),
    Coding(".wmv", "msmpeg4", "libmp3lame"),
]
MANY = [
    pytest.param(coding, Fraction(fps), dropped, marks=() if fps in (2, 25) else pytest.mark.slow)
    for coding in AVI
    for fps in (2, 5, Fraction(25, 2), 25, NTSC, 60)
    for dropped in (False, True)
]
MANY += [
    pytest.param(coding, Fraction(fps), dropped, marks=() if fps == 25 and not dropped else pytest.mark.slow)
    for coding in OTHERS
    for fps in (25, NTSC)
    for dropped in (False, True)
    # FFmpeg's muxer of MPEG-PS writes one stamp for several small frames, and not always the right one.
    if coding.suffix not in (".mpg", ".vob") or (fps == 25 and not dropped)
]


def _shown(fps: Fraction, dropped: bool) -> tuple[list[int], int]:
    """Numbers of the frames that are there, and the one at which tone and flash begin."""
    lit = max(4, round(1.2 * fps))
    count = lit + max(6, round(0.8 * fps))
    gaps = {lit - 2, lit + 1, lit + 2} | set(range(lit // 4, lit // 2)) if dropped else set()
    return [number for number in range(count) if number not in gaps], lit


def _pictures(numbers: Sequence[int], lit: int) -> list[np.ndarray]:
    """Black, then grey, below noise that makes packets as large as those of a recording."""
    noise = np.random.default_rng(0)
    pictures = []
    for number in numbers:
        picture = np.full((64, 96, 3), 180 if number >= lit else 0, np.uint8)
        picture[:32] = noise.integers(0, 255, (32, 96, 3))
        pictures.append(picture)
    return pictures


def _write(path: Path, coding: Coding, fps: Fraction, numbers: Sequence[int], lit: int, offset_s: float) -> None:
    lone = coding.suffix == ".avi"  # it has no stamps: FFmpeg's muxer writes every stream from 0 on
    rate = 48000 if coding.sound_codec == "libopus" else RATE
    end_s = float((numbers[-1] + 1) / fps)
    with av.open(str(path), "w") as container:
        video = container.add_stream(coding.codec, rate=fps, options=coding.options)
        video.width, video.height = 96, 64
        video.pix_fmt = "yuvj420p" if coding.codec == "mjpeg" else "yuv420p"
        video.codec_context.max_b_frames = int(coding.options.get("bf", 0))
        audio = container.add_stream(coding.sound_codec, rate=rate, layout="mono")
        audio.bit_rate = 64000
        for number, picture in zip(numbers, _pictures(numbers, lit), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(video.encode(frame))
        container.mux(video.encode())
        wave = tone(end_s - offset_s, rate, start_s=float(lit / fps) - offset_s)
        piece = av.AudioFrame.from_ndarray(wave.astype(np.float32), "fltp", "mono")
        piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
        piece.pts = 0 if lone else round(offset_s * rate)
        for part in av.AudioResampler(audio.format.name, "mono", rate).resample(piece):
            container.mux(audio.encode(part))
        container.mux(audio.encode())
    if lone:
        _begin_sound_later(path, offset_s)


def _begin_sound_later(avi: Path, offset_s: float) -> None:
    """Set dwStart in the header of an AVI's sound, which counts blocks of samples."""
    content = bytearray(avi.read_bytes())
    header = content.index(b"strh", content.index(b"auds") - 16) + 8
    content[header + 28 : header + 32] = struct.pack("<I", round(offset_s * RATE))
    avi.write_bytes(content)


def _check(path: Path, true_s: np.ndarray, lit_s: float, half_a_frame_s: float) -> None:
    timeline = timeline_with_sound(path)
    frames = list(read_video(path, timeline=timeline))
    assert [frame.index0 for frame in frames] == list(range(timeline.frames))
    np.testing.assert_allclose(timeline.times_s, true_s, atol=0.0011)
    seen = next(frame.time_s for frame in frames if frame.rgb[40:].mean() > 90)
    sound = read_aligned_audio(path, timeline=timeline)
    assert sound is not None
    heard = np.flatnonzero(np.abs(sound) > 0.2)[0] / 44100
    assert seen == pytest.approx(lit_s, abs=0.0011)
    assert heard == pytest.approx(seen, abs=min(half_a_frame_s, 0.012)), "sound codecs smear the beginning of the tone"


@pytest.mark.parametrize("offset_s", OFFSETS_S)
@pytest.mark.parametrize(("coding", "fps", "dropped"), MANY, ids=str)
def test_flash_and_tone_coincide(tmp_path, coding, fps, dropped, offset_s):
    numbers, lit = _shown(fps, dropped)
    path = tmp_path / f"sync{coding.suffix}"
    _write(path, coding, fps, numbers, lit, offset_s)
    _check(path, np.array(numbers) / float(fps), float(lit / fps), float(1 / fps) / 2)


def _matroska_of_avi(avi: Path, four_characters: bytes) -> bytes:
    """The streams of an AVI in Matroska as other tools write it: FFmpeg's muxer has own names for these codecs."""
    blocks = b""
    with av.open(str(avi)) as source:
        for packet in source.demux():
            if packet.size and packet.dts is not None and packet.time_base:
                track, time_ms = packet.stream_index + 1, round(packet.dts * packet.time_base * 1000)
                blocks += _element("a3", struct.pack(">BhB", 0x80 | track, time_ms, 0x80) + bytes(packet))
    picture = struct.pack("<IIIHH4sIIIII", 40, 96, 64, 1, 24, four_characters, 0, 0, 0, 0, 0)  # BITMAPINFOHEADER
    size = _element("b0", b"\x60") + _element("ba", b"\x40")
    samples = _element("b5", struct.pack(">f", RATE)) + _element("9f", b"\1") + _element("6264", b"\x10")
    tracks = b""
    for number, kind, name, parts in (
        (1, 1, b"V_MS/VFW/FOURCC", _element("63a2", picture) + _element("e0", size)),
        (2, 2, b"A_PCM/INT/LIT", _element("e1", samples)),
    ):
        facts = {"d7": number, "73c5": number, "83": kind}
        entry = b"".join(_element(key, bytes([value])) for key, value in facts.items())
        tracks += _element("ae", entry + _element("86", name) + parts)
    segment = _element("1549a966", _element("2ad7b1", (1_000_000).to_bytes(3))) + _element("1654ae6b", tracks)
    segment += _element("1f43b675", _element("e7", b"\0") + blocks)
    return _element("1a45dfa3", _element("4282", b"matroska")) + _element("18538067", segment)


def _element(key: str, content: bytes) -> bytes:
    return bytes.fromhex(key) + (len(content) | 1 << 56).to_bytes(8) + content


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("coding", AVI[:4], ids=str)
def test_flash_and_tone_coincide_in_matroska_made_from_avi(tmp_path, coding, dropped):
    """Tools that copy an AVI keep its codec's four characters, and give its packets decoding stamps alone."""
    numbers, lit = _shown(Fraction(25), dropped)
    avi, path = tmp_path / "source.avi", tmp_path / "copy.mkv"
    _write(avi, coding, Fraction(25), numbers, lit, 0.0)
    path.write_bytes(_matroska_of_avi(avi, b"H264" if coding.codec == "libx264" else b"XVID"))
    _check(path, np.array(numbers) / 25, lit / 25, 0.02)


@pytest.mark.parametrize("offset_s", OFFSETS_S)
@pytest.mark.parametrize("packets", ["frames", "fields"])
@pytest.mark.parametrize(
    ("suffix", "sound_codec"),
    [(".ts", "mp2"), (".m2ts", "ac3"), (".mkv", "pcm_s16le"), (".mp4", "aac"), (".mov", "pcm_s16le")],
)
def test_flash_and_tone_coincide_where_frames_are_coded_as_fields(tmp_path, suffix, sound_codec, packets, offset_s):
    lit, count = 15, 24
    pictures = [np.full((64, 64, 3), 180 if number >= lit else 20, np.uint8) for number in range(count)]
    sound = tone(count / 25 - offset_s, RATE, start_s=lit / 25 - offset_s)
    path = write_field_coded(
        tmp_path / f"fields{suffix}",
        pictures,
        packets=packets,
        sound=sound,
        sound_at_s=offset_s,
        sound_codec=sound_codec,
        rate=RATE,
    )
    _check(path, np.arange(count) / 25, lit / 25, 0.02)


@pytest.mark.parametrize("offset_s", OFFSETS_S)
@pytest.mark.parametrize("coding", ["bframes=0", "bframes=3:b-adapt=0"])
@pytest.mark.parametrize(
    ("suffix", "sound_codec"), [(".ts", "mp2"), (".mkv", "pcm_s16le"), (".mp4", "aac"), (".mov", "pcm_s16le")]
)
def test_flash_and_tone_coincide_where_hevc_is_coded_as_fields(tmp_path, suffix, sound_codec, coding, offset_s):
    lit, count = 15, 24
    pictures = [np.full((64, 64, 3), 180 if number >= lit else 20, np.uint8) for number in range(count)]
    path = write_hevc_fields(
        tmp_path / f"fields{suffix}",
        pictures,
        bottom_first=offset_s > 0,
        coding=coding,
        sound=tone(count / 25 - offset_s, RATE, start_s=lit / 25 - offset_s),
        sound_at_s=offset_s,
        sound_codec=sound_codec,
        rate=RATE,
    )
    _check(path, np.arange(count) / 25, lit / 25, 0.02)
