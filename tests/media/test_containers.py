"""Each container keeps its times in its own way; sound and picture must come out aligned from all of them."""

import struct

import numpy as np
import pytest

from avfusion.media.audio import read_aligned_audio
from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.timeline import read_timeline
from avfusion.media.video import read_video

FRAMES, LIT = 60, 25
WRAP_S = 2**33 / 90000  # where the clock of a transport stream starts again


def _record(
    path, media, make_tone, make_flash, *, begin_s=0.0, offset_s=0.0, frames=FRAMES, lit=LIT, rate=48000, **how
):
    """25 fps from `begin_s` on, white from frame `lit`, as a tone begins; sound starts `offset_s` after the picture."""
    sound = make_tone(frames / 25 - offset_s, rate, start_s=lit / 25 - offset_s)
    times = np.arange(frames) / 25 + begin_s
    return media(path, make_flash(frames, lit), times, sound=sound, rate=rate, sound_at_s=begin_s + offset_s, **how)


def _events(path):
    """Number of frames, the first white one (0-based), its time, and when the tone begins."""
    timeline = timeline_with_sound(path)
    shown = list(read_video(path, timeline=timeline))
    assert [frame.index0 for frame in shown] == list(range(timeline.frames))
    mute = read_timeline(path)
    np.testing.assert_array_equal(mute.times_s, timeline.times_s)
    assert (mute.end_s, mute.fps, mute.warnings) == (timeline.end_s, timeline.fps, timeline.warnings)
    white = next(frame for frame in shown if frame.rgb.mean() > 128)
    heard = np.flatnonzero(np.abs(read_aligned_audio(path, timeline=timeline)) > 0.25)[0] / 44100
    return timeline.frames, white.index0, white.time_s, heard


@pytest.mark.parametrize("offset_s", [-0.5, 0.5])
@pytest.mark.parametrize(
    ("name", "codec", "sound_codec", "ticks", "begin_s"),
    [
        ("b_frames.mp4", "libx264", "aac", 30000, 1.0),
        ("b_frames.mkv", "libx264", "ac3", 30000, 1.0),
        ("mp3.mp4", "libx264", "libmp3lame", 30000, 1.0),
        ("vp9.webm", "libvpx-vp9", "libopus", 1000, 1.0),
        ("vp8.webm", "libvpx", "libopus", 1000, 1.0),
        ("flash.flv", "libx264", "aac", 1000, 1.0),
        ("motion.mov", "mjpeg", "pcm_s16le", 25, 1.0),
        ("program.mpg", "mpeg1video", "mp2", 25, 1.0),
        ("dvd.vob", "mpeg2video", "ac3", 25, 1.0),
        ("broadcast.ts", "libx264", "mp2", 30000, 7 * 3600.0),
        ("wrapping.ts", "libx264", "aac", 30000, WRAP_S - 1.0),
    ],
)
def test_sound_and_picture_coincide(
    tmp_path, media, make_tone, make_flash, name, codec, sound_codec, ticks, begin_s, offset_s
):
    path = _record(
        tmp_path / name,
        media,
        make_tone,
        make_flash,
        begin_s=begin_s,
        offset_s=offset_s,
        codec=codec,
        sound_codec=sound_codec,
        ticks=ticks,
    )
    frames, white, seen, heard = _events(path)
    assert (frames, white) == (FRAMES, LIT)
    assert seen == pytest.approx(LIT / 25, abs=0.001)
    assert heard == pytest.approx(seen, abs=0.003)


MP3_LEAD_S = 1105 / 48000  # what encoder and decoder put before the sound; an AVI does not tell of it


@pytest.mark.parametrize(
    ("codec", "sound_codec", "lead_s"), [("mjpeg", "pcm_s16le", 0.0), ("libx264", "libmp3lame", MP3_LEAD_S)]
)
def test_avi_has_no_presentation_times(tmp_path, media, make_tone, make_flash, codec, sound_codec, lead_s):
    path = _record(tmp_path / "a.avi", media, make_tone, make_flash, codec=codec, sound_codec=sound_codec, ticks=25)
    frames, white, seen, heard = _events(path)
    assert (frames, white, seen) == (FRAMES, LIT, pytest.approx(LIT / 25))
    assert heard == pytest.approx(seen + lead_s, abs=0.003)


@pytest.mark.parametrize("cut_s", [0.4, 0.401, 0.42, 0.439])
def test_a_copy_that_starts_at_any_time_is_cut_by_its_edit_list(tmp_path, media, make_tone, make_flash, cut_s):
    """As `ffmpeg -ss … -c copy` leaves it: packets from the key frame on, those before the cut with negative times."""
    path = _record(tmp_path / "cut.mp4", media, make_tone, make_flash, begin_s=-cut_s)
    dropped = int(np.ceil(round(cut_s * 25, 6)))
    frames, white, seen, heard = _events(path)
    assert (frames, white) == (FRAMES - dropped, LIT - dropped)
    assert seen == pytest.approx((LIT - dropped) / 25, abs=0.001)
    assert heard == pytest.approx(seen, abs=0.003)
    assert timeline_with_sound(path).origin_s == pytest.approx(dropped / 25 - cut_s, abs=0.001)


REORDERING_S, PRIMING_S = 2 / 25, 1024 / 48000  # what libx264 and AAC put before the first frame


@pytest.mark.parametrize(
    ("video", "sound", "frames", "white", "heard_s"),
    [
        ([(4, REORDERING_S)], [(4, PRIMING_S)], 100, 50, 2.0),
        ([(3.2, 0.8 + REORDERING_S)], [(3.2, 0.8 + PRIMING_S)], 80, 30, 1.2),
        ([(3.0, REORDERING_S)], [(4, PRIMING_S)], 75, 50, 2.0),
        ([(0.4, None), (4, REORDERING_S)], [(4, PRIMING_S)], 100, 50, 1.6),
        ([(4, REORDERING_S)], [(0.4, None), (4, PRIMING_S)], 100, 50, 2.4),
        ([(3.19, 0.81 + REORDERING_S)], [(0.3, None), (3, 0.81 + PRIMING_S)], 79, 29, 1.16 + 0.3),
    ],
    ids=["whole", "trimmed", "end", "late picture", "late sound", "trimmed, late sound"],
)
def test_edit_lists(tmp_path, media, make_tone, make_flash, video, sound, frames, white, heard_s):
    path = _record(tmp_path / "edited.mp4", media, make_tone, make_flash, frames=100, lit=50)
    path.write_bytes(_with_edits(path.read_bytes(), [video, sound]))
    got = _events(path)
    assert got[:3] == (frames, white, pytest.approx(white / 25, abs=0.001))
    assert got[3] == pytest.approx(heard_s, abs=0.002)


def _boxes(data):
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + size]
        at += size


def _box(kind, content):
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _with_edits(data, edits):
    """An MP4 with its index at the end, its tracks' edit lists replaced: (seconds, start in the media, None: empty)."""
    *others, (kind, index) = _boxes(data)
    assert kind == b"moov"
    parts, tracks = list(_boxes(index)), iter(edits)
    movie_scale = struct.unpack(">I", dict(parts)[b"mvhd"][12:16])[0]
    index = b"".join(_box(k, _edited(c, next(tracks), movie_scale) if k == b"trak" else c) for k, c in parts)
    return b"".join(_box(k, c) for k, c in [*others, (kind, index)])


def _edited(track, edits, movie_scale):
    parts = [(kind, content) for kind, content in _boxes(track) if kind != b"edts"]
    scale = struct.unpack(">I", dict(_boxes(dict(parts)[b"mdia"]))[b"mdhd"][12:16])[0]
    rows = b"".join(
        struct.pack(">IiI", round(length * movie_scale), -1 if start is None else round(start * scale), 0x10000)
        for length, start in edits
    )
    parts.insert(1, (b"edts", _box(b"elst", struct.pack(">II", 0, len(edits)) + rows)))
    return b"".join(_box(kind, content) for kind, content in parts)
