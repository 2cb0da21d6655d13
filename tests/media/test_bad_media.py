"""Files that are no video, or a broken one, made for real: each is refused by name, and no other file is opened."""

import os
import re
import socket
import struct
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from avfusion.media.audio import read_aligned_audio
from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.opener import demux, open_media
from avfusion.media.probe import probe
from avfusion.media.video import read_video
from avfusion.runtime.errors import BadInputError
from tests.fuzz.media_seeds import TEXTS
from tests.fuzz.opened_files import OpenedFiles

linux = pytest.mark.skipif(sys.platform != "linux", reason="opened files are watched by Linux's inotify")

TIMES = np.arange(50) / 25
POSERS = {
    "list.m3u8": "playlist",
    "key.m3u8": "playlist",
    "script.ffconcat": "concat script",
    "session.sdp": "SDP session",
    "dash.mpd": "XML document",
    "redirect.mov": "text file",
    "list.asx": "text file",
}
SIZE_64X48 = b"\xb0\x81\x40\xba\x81\x30"  # Matroska's PixelWidth 64, PixelHeight 48


@linux
@pytest.mark.parametrize("suffix", ["", ".mp4", ".avi", ".ts", ".mkv", ".mov", ".flv"])
@pytest.mark.parametrize("name", POSERS)
def test_what_would_open_other_files_is_refused_under_every_name(tmp_path, plain_video, name, suffix):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for other in ("other.mp4", "segment0.ts", "key.bin"):
        (folder / other).write_bytes(plain_video.read_bytes())
    poser = folder / f"{name}{suffix}"
    poser.write_text(TEXTS[name])
    with OpenedFiles(folder) as opened:
        with pytest.raises(BadInputError, match=POSERS[name]) as caught:
            probe(poser)
        assert opened.names() == {poser.name}
    assert poser.name in str(caught.value)


@linux
def test_the_watch_for_opened_files_sees_what_ffmpeg_opens(tmp_path, plain_video):
    (tmp_path / "other.mp4").write_bytes(plain_video.read_bytes())
    (tmp_path / "script.ffconcat").write_text(TEXTS["script.ffconcat"])
    with OpenedFiles(tmp_path) as opened:
        av.open(str(tmp_path / "script.ffconcat"), format="concat").close()
        assert opened.names() == {"script.ffconcat", "other.mp4"}


@pytest.mark.parametrize(
    "name",
    [
        "http://host/a.mp4",
        "https://host/a.mp4",
        "rtmp://host/live",
        "concat:a.mp4|b.mp4",
        "subfile:,,start,0,end,9,,:a.mp4",
        "data:video/mp4;base64,AAAA",
        "data:video/mp4;base64," + "A" * 10_000,
        "pipe:0",
        "fd:0",
        "crypto:a.mp4",
        "async:a.mp4",
        "file:a.mp4",
    ],
)
def test_names_that_are_protocols_are_refused(name, tmp_path, plain_video, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes(plain_video.read_bytes())
    with pytest.raises(BadInputError, match="URL or FFmpeg protocol") as caught:
        probe(name)
    assert len(str(caught.value)) < 400


def test_a_name_that_cannot_exist_is_named():
    with pytest.raises(BadInputError, match=r"^x{200}… does not exist \(File name too long\)$"):
        probe("x" * 5000)
    with pytest.raises(BadInputError, match="does not exist"):
        probe("a\0b.mp4")


@pytest.mark.timeout(60)  # opening a pipe that nobody writes to never ends
def test_links_pipes_sockets_and_folders_are_named_and_nothing_hangs(tmp_path):
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "null.mp4").symlink_to(os.devnull)
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.mp4").symlink_to(tmp_path / "circle.mp4")
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.mp4"))
    for name, words in {
        "zero.mp4": "device, pipe or socket",
        "null.mp4": "device, pipe or socket",
        "pipe.mp4": "device, pipe or socket",
        "socket.mp4": "device, pipe or socket",
        "folder.mp4": "is a folder",
        "gone.mp4": "does not exist",
        "circle.mp4": "does not exist",
    }.items():
        with pytest.raises(BadInputError, match=words) as caught:
            probe(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize("kind", ["mkv", "avi", "webm", "flv", "mp4"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_truncated_files_with_a_header_in_front(tmp_path, media, kind, share):
    codec = {"webm": "libvpx-vp9", "flv": "flv"}.get(kind, "mpeg4")
    fast = {"deadline": "realtime", "cpu-used": "8"}
    options = {"movflags": "faststart"} if kind == "mp4" else {}
    pictures = [np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8) for index in range(100)]
    path = media(
        tmp_path / f"cut.{kind}",
        pictures,
        np.arange(100) / 25,
        codec=codec,
        codec_options=fast if codec == "libvpx-vp9" else {},
        ticks=25 if kind == "avi" else 1000,
        options=options,
    )
    assert probe(path).frames == 100
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    warnings: list[str] = []
    info = probe(path)
    assert re.match(
        rf"truncated or damaged: its header promises 4\.\d\d s, it holds .* \({info.frames} frames\)$", info.damage
    )
    assert info.damage in info.warnings
    assert 100 * share - 15 < info.frames < 100 * share + 10
    read = [frame.index0 for frame in read_video(path, on_warning=warnings.append)]
    assert read[:-1] == list(range(len(read) - 1))
    assert info.frames - 1 <= len(read) <= info.frames, "the last may be cut"


def test_a_file_of_full_size_that_is_damaged_inside(tmp_path, media):
    pictures = [np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8) for index in range(100)]
    path = media(tmp_path / "v.mkv", pictures, np.arange(100) / 25, codec="mpeg4", ticks=1000)
    content = path.read_bytes()
    at = len(content) * 2 // 5
    path.write_bytes(content[:at] + bytes(len(content) - at))
    assert re.match(r"truncated or damaged: its header promises 4\.\d\d s, it holds 1\.", probe(path).damage)


def test_an_mp4_that_ends_inside_its_index_may_have_lost_streams(tmp_path, media, make_flash, make_tone):
    """FFmpeg reads what is left of the index: in the end the video without its sound."""
    path = media(tmp_path / "cut.mp4", make_flash(50, 5), TIMES, sound=make_tone(2.0))
    content = path.read_bytes()
    for missing, heard in ((1, True), (100, True), (len(content) - content.index(b"soun"), False)):
        path.write_bytes(content[:-missing])
        info = probe(path)
        assert info.damage == "truncated: it ends inside its index, so streams may be missing"
        assert (info.frames, info.has_audio) == (50, heard)
        assert len(list(read_video(path))) == 50
    path.write_bytes(content[: content.index(b"moov")])
    with pytest.raises(BadInputError, match="its index is missing or broken"):
        probe(path)
    path.write_bytes(content + b"\0\0\0\x10free" + bytes(4))  # only a box that nobody needs is cut
    assert (probe(path).frames, probe(path).damage) == (50, "")


def test_a_transport_stream_promises_nothing_so_what_is_there_is_read(tmp_path, media, make_flash, make_tone):
    path = media(tmp_path / "cut.ts", make_flash(50, 5), TIMES, sound=make_tone(2.0))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    info = probe(path)
    assert 5 < info.frames < 50
    assert len(list(read_video(path))) >= info.frames - 1


@pytest.mark.parametrize("kind", ["avi", "mp4"])
def test_a_stream_without_a_frame(tmp_path, kind):
    path = tmp_path / f"zero.{kind}"
    options = {"movflags": "empty_moov"} if kind == "mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
        if kind == "mp4":
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
            container.mux(video.encode())
    if kind == "mp4":
        content = path.read_bytes()
        path.write_bytes(content[: content.index(b"moof") - 4])
    with pytest.raises(BadInputError, match=rf"zero\.{kind} has a video stream but no frames"):
        probe(path)


def test_more_streams_than_allowed(tmp_path):
    path = tmp_path / "many.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(70):
            container.add_stream("pcm_s16le", rate=8000, layout="mono")
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(video.encode())
    with pytest.raises(BadInputError, match=r"many\.mkv has 71 streams, must be at most 64"):
        probe(path)


def test_a_header_that_declares_giant_frames(tmp_path, media, make_flash):
    path = media(tmp_path / "giant.mkv", make_flash(10, 3), TIMES[:10], codec="mjpeg", ticks=1000)
    size = b"\xb0\x82\x27\x10\xba\x82\x27\x10"  # 10000 x 10000; its element grows by 2 bytes, a Void behind shrinks
    content = path.read_bytes()
    assert content.count(SIZE_64X48) == 1
    path.write_bytes(content.replace(SIZE_64X48, size))
    with pytest.raises(BadInputError, match=r"has frames of 10000x10000, must be at most \d+ pixels"):
        probe(path)


@pytest.mark.parametrize("later", [False, True])
def test_giant_frames_that_only_the_data_tell_of_are_not_decoded(tmp_path, media, make_flash, later):
    """A JPEG of 10000x10000 in a container that says 64x48: 300 MB a frame, if anybody decoded it."""
    path = media(tmp_path / "giant.avi", make_flash(10, 3), TIMES[:10], codec="mjpeg", ticks=25)
    content = path.read_bytes()
    header = b"\xff\xc0\0\x11\x08\0\x30\0\x40"
    first = content.index(header) + len(header) if later else 0
    path.write_bytes(content[:first] + content[first:].replace(header, b"\xff\xc0\0\x11\x08\x27\x10\x27\x10"))
    warnings: list[str] = []
    assert [frame.rgb.shape for frame in read_video(path, on_warning=warnings.append)] == [(48, 64, 3)] * int(later)
    assert warnings == [f"{10 - int(later)} of 10 frames cannot be decoded"]


def _with_duration(content: bytes, milliseconds: float) -> bytes:
    at = content.index(b"\x44\x89\x88") + 3  # Matroska's Duration, eight bytes
    return content[:at] + struct.pack(">d", milliseconds) + content[at + 8 :]


def test_hours_that_are_declared_or_stamped(tmp_path, media, make_flash):
    path = media(tmp_path / "long.mkv", make_flash(50, 5), TIMES)
    content = path.read_bytes()
    path.write_bytes(_with_duration(content, 10 * 3600e3))
    with pytest.raises(BadInputError, match=r"lasts 10 h, must be at most 6 h"):
        probe(path)
    path.write_bytes(_with_duration(content, 3600e3))
    info = probe(path)
    assert info.damage == "truncated or damaged: its header promises 3600.00 s, it holds 2.00 s (50 frames)"
    assert (info.frames, info.duration_s) == (50, pytest.approx(2.0))
    late = np.append(TIMES[:-1], 10 * 3600)
    path = media(tmp_path / "stamped.mkv", make_flash(50, 5), late, ticks=1000, options={"live": "1"})
    with pytest.raises(BadInputError, match=r"lasts 10 h, must be at most 6 h"):
        probe(path)


def test_doubled_and_backward_stamps_are_made_to_increase(tmp_path, media):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    path = media(tmp_path / "stamps.mkv", pictures, np.arange(20) / 25, codec="mjpeg", ticks=1000)
    content = bytearray(path.read_bytes())
    with open_media(path) as container:
        blocks = [content.index(bytes(packet)) for packet in demux(container) if packet.size]

    def stamp(frame: int) -> int:
        return struct.unpack(">h", content[blocks[frame] - 3 : blocks[frame] - 1])[0]

    def set_stamp(frame: int, value: int) -> None:
        content[blocks[frame] - 3 : blocks[frame] - 1] = struct.pack(">h", value)

    set_stamp(5, stamp(5) + 40)  # the stamp of frame 6, or that of the next cluster's first
    set_stamp(12, stamp(12) - 400)
    path.write_bytes(bytes(content))
    timeline = timeline_with_sound(path)
    assert timeline.frames == 20
    assert (np.diff(timeline.times_s) > 0).all()
    np.testing.assert_allclose(np.diff(timeline.times_s).mean(), 0.04, atol=0.003)
    assert any("interpolated" in warning for warning in timeline.warnings)
    frames = list(read_video(path, timeline=timeline))
    assert [frame.index0 for frame in frames] == list(range(20))


def test_missing_stamps_are_filled_in(tmp_path, media, make_flash):
    """A transport stream says packet by packet whether there is a stamp: every third one says so no more."""
    fast = {"preset": "ultrafast", "bf": "0"}
    path = media(tmp_path / "stampless.ts", make_flash(50, 20), TIMES, codec_options=fast)
    content = bytearray(path.read_bytes())
    starts = [found.start() for found in re.finditer(rb"\0\0\x01\xe0", content)]
    assert len(starts) == 50
    for start in starts[1::3]:
        content[start + 7] &= 0x3F
    path.write_bytes(bytes(content))
    timeline = timeline_with_sound(path)
    assert timeline.warnings == ("17 of 50 frames have no time stamp: filled in",)
    np.testing.assert_allclose(timeline.times_s, TIMES, atol=0.021)
    assert (np.diff(timeline.times_s) > 0).all()
    assert [frame.index0 for frame in read_video(path) if frame.rgb.mean() > 128] == [20, 21, 22]


def test_recordings_one_after_the_other_in_a_file_are_joined(tmp_path, media, make_flash):
    path = media(tmp_path / "twice.ts", make_flash(50, 10), TIMES)
    path.write_bytes(path.read_bytes() * 2)
    info = probe(path)
    assert (info.frames, info.warnings) == (100, ("the clock steps back once: joined on",))
    lit = [frame.index0 for frame in read_video(path) if frame.rgb.mean() > 128]
    assert lit == [10, 11, 12, 60, 61, 62]


@pytest.mark.parametrize("layout", ["2.1", "quad", "5.1", "6.1", "7.1", "hexadecagonal", "22.2"])
def test_many_channels_are_averaged(tmp_path, layout):
    assert np.abs(_heard(tmp_path, layout, 44100)).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rate", [1000, 11025, 37800, 96000, 384000])
def test_odd_rates_keep_the_length(tmp_path, rate):
    assert len(_heard(tmp_path, "mono", rate)) == pytest.approx(0.4 * 44100, abs=2)


def _heard(folder: Path, layout: str, rate: int) -> np.ndarray:
    """What is read of 10 frames with 0.4 s of a tone on every channel."""
    path = folder / "sound.mov"
    channels = av.AudioLayout(layout).nb_channels
    wave = np.rint(0.5 * 32767 * np.sin(2 * np.pi * 100 * np.arange(round(0.4 * rate)) / rate)).astype(np.int16)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(video.encode())
        piece = av.AudioFrame.from_ndarray(np.repeat(wave, channels)[None], "s16", layout)
        piece.sample_rate, piece.pts = rate, 0
        container.mux(audio.encode(piece))
        container.mux(audio.encode())
    samples = read_aligned_audio(path)
    assert samples is not None
    return samples


def test_a_title_in_no_known_encoding_is_no_reason_to_refuse(tmp_path, media, make_flash):
    path = media(tmp_path / "title.mkv", make_flash(10, 5), TIMES[:10])
    content = path.read_bytes()
    assert content.count(b"Lavf") > 0
    path.write_bytes(content.replace(b"Lavf", b"\xff\xfe\x80\xc3"))
    assert probe(path).frames == 10


def test_a_stream_that_appears_on_the_way_is_left_out(tmp_path, media):
    """FFmpeg looks for streams in the first 5 MB of an FLV; the sound begins behind them."""
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    large = {"qmin": "1", "qmax": "1", "b": "900M", "g": "1"}
    path = media(tmp_path / "late.flv", [picture] * 8, TIMES[:8], codec="flv", codec_options=large, ticks=1000)
    assert path.stat().st_size > 5_000_000
    sound = b"\x3e" + bytes(1024)  # linear PCM, 44.1 kHz, 16 bits, mono
    tag = b"\x08" + len(sound).to_bytes(3) + (320).to_bytes(3) + bytes(4) + sound
    path.write_bytes(path.read_bytes() + tag + len(tag).to_bytes(4))
    assert probe(path).frames == 8
    assert [frame.index0 for frame in read_video(path)] == list(range(8))
