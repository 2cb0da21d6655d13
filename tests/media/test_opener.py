import os
from pathlib import Path

import numpy as np
import pytest

from avfusion.media.opener import MediaLimits, check_media_file, open_media
from avfusion.media.probe import probe
from avfusion.runtime.errors import BadInputError
from tests.fuzz.bombs import many_tags

SCRIPT = "ffconcat version 1.0\nfile 'plain.mp4'\n"
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nplain.mp4\n#EXT-X-ENDLIST\n"


def test_opens_a_plain_video(plain_video):
    with open_media(plain_video) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("script.mp4", SCRIPT, "concat script"),
        ("list.mp4", PLAYLIST, "playlist"),
        ("list.m3u8", PLAYLIST, "playlist"),
        ("text.mp4", "a holiday letter\n" * 100, "text file"),
        ("empty.mp4", "", "empty (0 bytes)"),
        ("page.mp4", "<!DOCTYPE html><html></html>", "web page"),
        ("noise.mp4", "\0\1\2\3" * 999, "unknown, damaged or not allowed"),
    ],
)
def test_refuses_and_names_what_is_no_video(tmp_path, plain_video, name, content, words):
    (tmp_path / "plain.mp4").write_bytes(plain_video.read_bytes())  # what a script would have opened
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(BadInputError, match=name) as caught:
        probe(tmp_path / name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["http://host/a.mp4", "concat:a.mp4|b.mp4", "subfile:,,start,0,end,9,,:a.mp4", "pipe:0"]
)
def test_refuses_urls_and_protocols(path):
    with pytest.raises(BadInputError, match="URL or FFmpeg protocol"):
        probe(path)


def test_refuses_missing_folder_and_device(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        probe(tmp_path / "none.mp4")
    with pytest.raises(BadInputError, match="is a folder"):
        probe(tmp_path)
    with pytest.raises(BadInputError, match="device, pipe or socket"):
        probe(os.devnull)


def test_a_file_is_checked_without_being_opened(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    assert check_media_file(text) == text
    for path, words in (
        ("http:/host/a.mp4", "URL or FFmpeg protocol"),
        ("/dev/zero", "device, pipe or socket"),
        (tmp_path, "is a folder"),
        (tmp_path / "none.mp4", "does not exist"),
    ):
        with pytest.raises(BadInputError, match=words):
            check_media_file(path)


def test_a_stream_without_a_decoder(tmp_path, media, make_flash, make_tone):
    path = media(tmp_path / "x.mkv", make_flash(50, 5), np.arange(50) / 25, sound=make_tone(2.0))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"A_AAC", b"A_XYZ"))
    assert (probe(path).has_audio, probe(path).audio_rate) == (True, 0)
    path.write_bytes(whole.replace(b"V_MPEG4/ISO/AVC", b"V_XXXXX/XXX/XXX"))
    with pytest.raises(BadInputError, match="no decoder for its video stream"):
        probe(path)


def test_a_file_name_that_looks_like_a_protocol_is_a_file(tmp_path, plain_video, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("concat:plain.mp4").write_bytes(plain_video.read_bytes())
    assert probe("concat:plain.mp4").frames == 50


@pytest.mark.parametrize("kind", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("share", [0.5, 0.75])
def test_truncated_files_are_named_so(tmp_path, media, kind, share):
    options = {"movflags": "faststart"} if kind == "mp4" else {}
    times = [index / 25 for index in range(100)]
    pictures = [np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8) for index in range(100)]
    whole = media(tmp_path / f"whole.{kind}", pictures, times, codec="mpeg4", ticks=25, options=options)
    cut = tmp_path / f"cut.{kind}"
    data = whole.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    assert probe(cut).damage.startswith("truncated or damaged: its header promises 4.00 s, it holds ")
    assert probe(whole).damage == ""


def test_truncated_before_its_index(tmp_path, plain_video):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(plain_video.read_bytes()[:3000])  # the index is at the end
    with pytest.raises(BadInputError, match="truncated or damaged"):
        probe(cut)


def test_an_interrupted_opening_is_told_as_such(tmp_path):
    """FFmpeg's error of a file with many tags is that of a truncated one."""
    many_tags(tmp_path / "tags.mp4")
    with pytest.raises(BadInputError, match=r"tags\.mp4 cannot be read as media: opening it takes more than 0\.02 s$"):
        open_media(tmp_path / "tags.mp4", MediaLimits(read_timeout_s=0.02)).__enter__()


def test_audio_file_has_no_video_stream(tmp_path):
    from avfusion.media.wav import write_wav

    write_wav(tmp_path / "voice.wav", [np.zeros(4410)])
    with pytest.raises(BadInputError, match=r"no video stream \(found: audio\)"):
        probe(tmp_path / "voice.wav")


def test_limits(plain_video):
    for limits, words in (
        (MediaLimits(pixels=1000), "64x48"),
        (MediaLimits(duration_s=1.0), "lasts"),
        (MediaLimits(frames=10), "more than 10 frames"),
        (MediaLimits(streams=1), "streams"),
    ):
        with pytest.raises(BadInputError, match=words):
            probe(plain_video, limits)
