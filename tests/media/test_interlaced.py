"""Interlaced video: whole pictures, one per frame, at its time; progressive video is not touched."""

import av
import numpy as np
import pytest

from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.deinterlacing import deinterlaced
from avfusion.media.field_pairs import FieldPairs
from avfusion.media.video import read_video
from tests.media.field_coded import field_pictures, write_field_coded

COUNT = 16
TIMES = np.arange(COUNT) / 25


def _moment(time):
    """A bar that moves by 6 pixels a frame."""
    picture = np.full((96, 128, 3), 40, np.uint8)
    left = round(10 + 6 * time)
    picture[16:80, left : left + 16] = (220, 40, 40)
    return picture


def _woven(number):
    """The lines of two moments half a frame apart."""
    picture = _moment(number)
    picture[1::2] = _moment(number + 0.5)[1::2]
    return picture


def _combing(rgb):
    """How much each line differs from the mean of its neighbours."""
    return np.abs(2.0 * rgb[1:-1] - rgb[:-2] - rgb[2:]).mean()


def _write(path, media, pictures, **how):
    if how.pop("fields", False):
        return write_field_coded(path, pictures, **how)
    return media(path, pictures, TIMES[: len(pictures)], **how)


KINDS = {
    "mbaff.mkv": {"codec_options": {"x264-params": "interlaced=1:tff=1"}},
    "mbaff.mp4": {"codec_options": {"x264-params": "interlaced=1:bff=1"}},
    "dvd.vob": {
        "codec": "mpeg2video",
        "codec_options": {"flags": "+ildct+ilme", "qmin": "2", "qmax": "2"},
        "ticks": 25,
    },
    "paff.ts": {"fields": True, "packets": "fields"},
    "paff.mkv": {"fields": True, "packets": "frames"},
}


@pytest.mark.parametrize("name", KINDS)
def test_moving_pictures_are_not_torn(tmp_path, media, name):
    woven = [_woven(number) for number in range(COUNT)]
    path = _write(tmp_path / name, media, woven, **KINDS[name])
    warnings: list[str] = []
    frames = list(read_video(path, on_warning=warnings.append))
    assert [frame.index0 for frame in frames] == list(range(COUNT))
    np.testing.assert_allclose([frame.time_s for frame in frames], TIMES, atol=0.001)
    assert (timeline_with_sound(path).warnings, warnings) == ((), [])
    for number, frame in enumerate(frames):
        assert _combing(frame.rgb) < 0.4 * _combing(woven[number]), number
        either = np.minimum(np.abs(frame.rgb - 1.0 * _moment(number)), np.abs(frame.rgb - 1.0 * _moment(number + 0.5)))
        assert either.mean() < 4, "the picture of its own moment"


@pytest.mark.parametrize("name", KINDS)
def test_still_pictures_stay_as_they_are(tmp_path, media, name):
    smooth = np.linspace(30, 200, 96)[:, None, None] + np.linspace(0, 40, 128)[None, :, None] + np.zeros(3)
    path = _write(tmp_path / name, media, [smooth.astype(np.uint8)] * COUNT, **KINDS[name])
    for frame in read_video(path):
        assert np.abs(frame.rgb - smooth).mean() < 2


def test_interlaced_video_is_turned_like_any_other(tmp_path, media):
    options = {"x264-params": "interlaced=1"}
    path = media(tmp_path / "turned.mp4", [_moment(0)] * 5, TIMES[:5], rotation=-90, codec_options=options)
    shapes = [frame.rgb.shape for frame in read_video(path)]
    assert shapes == [(128, 96, 3)] * 5


def test_progressive_frames_pass_untouched(plain_video):
    with av.open(str(plain_video)) as container:
        frames = list(enumerate(container.decode(video=0)))
        assert [(index, id(frame)) for index, frame in deinterlaced(iter(frames))] == [
            (index, id(frame)) for index, frame in frames
        ]


def test_fields_of_hevc_are_pictures_of_their_own(tmp_path, media):
    """FFmpeg gives each field as a picture of half the height: it is shown in its true proportions."""
    fields = [_moment(number)[::2] for number in range(COUNT)]
    options = {"x265-params": "interlace=tff:log-level=none"}
    path = media(tmp_path / "fields.mkv", fields, TIMES, codec="libx265", codec_options=options)
    frames = list(read_video(path))
    assert [frame.index0 for frame in frames] == list(range(COUNT))
    assert frames[0].rgb.shape == (48, 64, 3)
    assert np.abs(frames[3].rgb - 1.0 * _moment(3)[::2, ::2]).mean() < 6


@pytest.mark.parametrize("coding", [{}, {"bottom_first": True}, {"whole": (0, 3, 4, 11)}], ids=str)
@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".avi"])
def test_two_fields_are_one_row(tmp_path, suffix, coding):
    """Also where encoders choose frame by frame, or the bottom field comes first."""
    pictures = [np.full((64, 64, 3), 12 * number + 30, np.uint8) for number in range(COUNT)]
    path = write_field_coded(tmp_path / f"fields{suffix}", pictures, packets="fields", **coding)
    timeline = timeline_with_sound(path)
    np.testing.assert_allclose(timeline.times_s, TIMES, atol=0.001)
    assert (timeline.fps, timeline.end_s) == (pytest.approx(25), pytest.approx(COUNT / 25, abs=0.001))
    levels = [frame.rgb.mean() for frame in read_video(path)]
    np.testing.assert_allclose(levels, [picture.mean() for picture in pictures], atol=2)


def test_a_lost_field_costs_its_own_frame(tmp_path):
    """The following fields are not paired with what is left."""
    pairs = FieldPairs(b"")
    coded = field_pictures([np.full((32, 32, 3), 10 * number, np.uint8) for number in range(5)])
    del coded[2][0]
    assert [[pairs.completes(av.Packet(field)) for field in fields] for fields in coded] == [
        [False, True],
        [False, True],
        [False],
        [False, True],
        [False, True],
    ]


def test_ordinary_h264_has_no_fields(plain_video):
    with av.open(str(plain_video)) as container:
        assert not FieldPairs(bytes(container.streams.video[0].codec_context.extradata)).possible


@pytest.mark.parametrize("size", [0, 3, 7, 12, 20])
def test_a_configuration_that_is_cut_tells_nothing(plain_video, size):
    with av.open(str(plain_video)) as container:
        extradata = bytes(container.streams.video[0].codec_context.extradata)
    assert not FieldPairs(extradata[:size]).possible
