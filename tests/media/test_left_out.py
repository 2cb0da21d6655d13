"""What is missing from a video is left out by its number; the rest is read, with a warning."""

import av
import numpy as np
import pytest

from avfusion.media.audio import read_aligned_audio
from avfusion.media.timeline import read_timeline
from avfusion.media.video import read_video
from tests.media.damage import promising, repeat_frames, with_empty_samples

TIMES = np.arange(50) / 25


def _levels(path):
    """Mean level by frame, and what is said."""
    warnings: list[str] = []
    levels = {frame.index0: float(frame.rgb.mean()) for frame in read_video(path, on_warning=warnings.append)}
    return levels, warnings


def _ramp(count=50):
    """Each frame brighter than the one before."""
    return [np.full((48, 64, 3), 4 * number + 20, np.uint8) for number in range(count)]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("motion.mp4", "mjpeg", {}),
        ("motion.mov", "mjpeg", {}),
        ("parts.mp4", "mpeg4", {"g": "1"}),
    ],
)
def test_an_empty_sample_is_a_missing_frame(tmp_path, media, name, codec, options):
    path = media(tmp_path / name, _ramp(), TIMES, codec=codec, codec_options=options)
    whole, _ = _levels(path)
    assert len(whole) == 50
    path.write_bytes(with_empty_samples(path.read_bytes(), 20, 49))
    timeline = read_timeline(path)
    np.testing.assert_allclose(timeline.times_s, TIMES, atol=1e-6)
    assert timeline.damage == ""
    levels, warnings = _levels(path)
    assert len(levels) == 48
    assert warnings == ["2 of 50 frames cannot be decoded"]
    assert levels == {index: level for index, level in whole.items() if index not in (20, 49)}


@pytest.mark.parametrize("options", [{"g": "1"}, {"g": "10", "bf": "2"}], ids=["intra", "b frames"])
def test_frames_that_h264_leaves_empty_have_no_row(tmp_path, media, options):
    """FFmpeg's parser swallows them; the others keep their times, and those that refer to them cannot be decoded."""
    path = media(tmp_path / "empty.mp4", _ramp(), TIMES, codec_options=options)
    path.write_bytes(with_empty_samples(path.read_bytes(), 20, 49))
    timeline = read_timeline(path)
    assert timeline.frames == 48
    assert timeline.warnings == ("2 of 50 frames are empty: left out",)
    levels, warnings = _levels(path)
    assert set(range(48)) - set(levels) <= set(range(19, 29))
    assert bool(warnings) == (options["g"] != "1")
    for index in (0, 10, 30, 40, 47):
        assert levels[index] == pytest.approx(4 * 25 * timeline.times_s[index] + 20, abs=10)


@pytest.mark.parametrize("name", ["still.avi", "still.mp4", "still.mkv"])
def test_a_frame_coded_as_a_repetition_shows_the_one_before(tmp_path, media, name):
    """As screen recorders and some cameras write; the decoder gives nothing for it."""
    source = media(tmp_path / "source.avi", _ramp(), TIMES, codec="mpeg4", codec_options={"g": "100"}, ticks=25)
    repeat_frames(source, tmp_path / name, coded_every=3)
    levels, warnings = _levels(tmp_path / name)
    assert list(levels) == list(range(50))
    assert warnings == []
    for index, level in levels.items():
        assert level == levels[index - index % 3] == pytest.approx(4 * (index - index % 3) + 20, abs=20)


def _spoil(path, numbers):
    """Fill the packets of these numbers with ones."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, bytes(packet)) for packet in container.demux(video=0) if packet.size]
    for number in numbers:
        position, data = places[number]
        begin = content.index(data, position)
        content[begin : begin + len(data)] = b"\xff" * len(data)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b.avi", "libx264", {"bf": "2", "preset": "ultrafast"}),
        ("plain.avi", "libx264", {"bf": "0"}),
        ("parts.avi", "mpeg4", {}),
        ("parts.mp4", "mpeg4", {}),
        ("intra.mkv", "libx264", {"g": "1"}),
    ],
)
def test_what_cannot_be_decoded_moves_no_other_frame(tmp_path, media, make_flash, make_tone, name, codec, options):
    path = media(
        tmp_path / name,
        make_flash(60, 45),
        np.arange(60) / 25,
        sound=make_tone(2.4, start_s=1.8),
        sound_codec="pcm_s16le" if name.endswith(("avi", "mkv")) else "aac",
        codec=codec,
        codec_options=options | {"sc_threshold": "0", "keyint_min": "1", "g": options.get("g", "5")}
        if codec == "libx264"
        else {"g": "5"},
        ticks=25 if name.endswith("avi") else 30000,
    )
    _spoil(path, [10, 11, 12])
    warnings: list[str] = []
    seen = [frame for frame in read_video(path, on_warning=warnings.append) if frame.rgb.mean() > 128]
    assert [frame.index0 for frame in seen] == [45, 46, 47]
    sound = read_aligned_audio(path)
    assert np.flatnonzero(np.abs(sound) > 0.25)[0] / 44100 == pytest.approx(seen[0].time_s, abs=0.003)
    assert len(warnings) == 1
    assert warnings[0].endswith(" of 60 frames cannot be decoded")


def test_a_header_that_promises_more_than_there_is(tmp_path, media, make_flash, make_tone):
    path = media(tmp_path / "phone.mp4", make_flash(50, 10), TIMES, sound=make_tone(2.0), codec_options={"bf": "0"})
    path.write_bytes(promising(path.read_bytes(), 1.5))
    timeline = read_timeline(path)
    assert timeline.damage == "truncated or damaged: its header promises 3.00 s, it holds 2.02 s (50 frames)"
    assert timeline.warnings == (timeline.damage,)
    np.testing.assert_allclose(timeline.times_s, TIMES, atol=1e-6)
    assert [frame.index0 for frame in read_video(path) if frame.rgb.mean() > 128] == [10, 11, 12]
    mute = read_timeline(path, sound=False)
    assert (mute.frames, mute.damage) == (50, timeline.damage)
