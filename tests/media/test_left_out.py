"""What is missing from a video is left out by its number; the rest is read, with a warning."""

import re

import av
import numpy as np
import pytest
import soundfile

from avfusion.media.audio import aligned_audio, read_aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.audio_track import timeline_with_sound
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
    timeline = timeline_with_sound(path)
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
    timeline = timeline_with_sound(path)
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
    timeline = timeline_with_sound(path)
    assert timeline.damage == "truncated or damaged: its header promises 3.00 s, it holds 2.02 s (50 frames)"
    assert timeline.warnings == (timeline.damage,)
    np.testing.assert_allclose(timeline.times_s, TIMES, atol=1e-6)
    assert [frame.index0 for frame in read_video(path) if frame.rgb.mean() > 128] == [10, 11, 12]
    mute = read_timeline(path)
    assert (mute.frames, mute.damage) == (50, timeline.damage)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "flac"), ("a.ts", "mp2")])
def test_sound_that_is_missing_is_silent_and_noted(tmp_path, media, make_flash, make_tone, name, codec):
    """What follows keeps its time."""
    time_s = np.arange(4 * 44100) / 44100
    ends = make_tone(4.0) * (time_s < 0.5) + make_tone(4.0, start_s=3.5)
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(time_s)) * ((time_s > 1) & (time_s < 3))
    path = media(tmp_path / name, make_flash(100, 5), np.arange(100) / 25, sound=ends + noise, sound_codec=codec)
    whole = read_aligned_audio(path)
    _spoil_sound(path, 1.5, 2.5)
    notes: list[str] = []
    samples = np.concatenate(list(aligned_audio(path, timeline_with_sound(path), on_warning=notes.append)))
    (note,) = notes
    damaged = r"\d+ packets? of its sound cannot be decoded, "
    found = re.fullmatch(rf"({damaged})?(\d\.\d\d) s within its sound are missing: silence there", note)
    assert found, note
    assert float(found[2]) == pytest.approx(1.0, abs=0.2)
    assert not samples[round(1.7 * 44100) : round(2.3 * 44100)].any()
    onsets = [np.flatnonzero(np.abs(each[3 * 44100 :]) > 0.25)[0] for each in (samples, whole)]
    assert abs(onsets[0] - onsets[1]) <= 44  # Matroska counts milliseconds


def test_damaged_sound_without_stamps_is_noted(tmp_path):
    """A plain MP3 has no clock: what follows a loss is early."""
    path = tmp_path / "a.mp3"
    time_s = np.arange(6 * 44100) / 44100
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * time_s), 44100)
    content = path.read_bytes()
    middle = slice(len(content) * 4 // 10, len(content) * 6 // 10)
    path.write_bytes(content[: middle.start] + bytes(middle.stop - middle.start) + content[middle.stop :])
    notes: list[str] = []
    list(aligned_audio(path, read_any_timeline(path), on_warning=notes.append))
    assert [re.sub(r"\d+ packets?", "N packets", note) for note in notes] == [
        "N packets of its sound cannot be decoded: left out"
    ]


@pytest.mark.parametrize("name", ["v.avi", "v.mp4", "v.mkv", "v.ts"])
def test_pictures_that_are_missing_from_a_steady_clock_are_noted(tmp_path, media, name):
    times = np.delete(TIMES, [*range(20, 25), 40])
    ticks = 25 if name.endswith("avi") else 30000
    codec = "mjpeg" if name.endswith("avi") else "libx264"
    path = media(tmp_path / name, _ramp(len(times)), times, codec=codec, ticks=ticks)
    assert read_timeline(path).warnings == ("2 gaps in its pictures, 0.24 s in all, the first at 0.76 s",)


def test_a_rate_that_varies_is_not_taken_for_missing_pictures(tmp_path, media):
    times = np.cumsum(np.random.default_rng(0).choice([0.02, 0.04, 0.1], 50))
    assert read_timeline(media(tmp_path / "v.mp4", _ramp(), times)).warnings == ()


def _spoil_sound(path, begin_s, end_s):
    """Fill the packets of the sound between two times with ones; in a transport stream, take them out."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        start = container.start_time / av.time_base
        packets = [
            (packet.pos, bytes(packet))
            for packet in container.demux(stream)
            if packet.size and begin_s <= float(packet.pts * packet.time_base) - start < end_s
        ]
        pid = stream.id
    if path.suffix == ".ts":
        kept = [content[at : at + 188] for at in range(0, len(content), 188)]
        first, last = packets[0][0] // 188, packets[-1][0] // 188
        inside = [int.from_bytes(block[1:3]) & 0x1FFF == pid and first <= at <= last for at, block in enumerate(kept)]
        content = b"".join(block for block, gone in zip(kept, inside, strict=True) if not gone)
    for position, data in packets if path.suffix != ".ts" else []:
        at = content.index(data, position)
        content[at : at + len(data)] = b"\xff" * len(data)
    path.write_bytes(bytes(content))
