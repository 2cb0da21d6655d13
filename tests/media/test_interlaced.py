"""Interlaced video: whole pictures, one per frame, at its time; progressive video is not touched."""

import av
import numpy as np
import pytest

from avfusion.media.audio_track import timeline_with_sound
from avfusion.media.deinterlacing import deinterlaced
from avfusion.media.field_pairs import FieldPairs
from avfusion.media.hevc_fields import BOTTOM, FRAME, TOP, HevcFields
from avfusion.media.video import read_video
from tests.media.field_coded import Bits, field_pictures, write_field_coded, write_hevc_fields

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
    if writer := how.pop("writer", None):
        return writer(path, pictures, **how)
    return media(path, pictures, TIMES[: len(pictures)], **how)


KINDS = {
    "mbaff.mkv": {"codec_options": {"x264-params": "interlaced=1:tff=1"}},
    "mbaff.mp4": {"codec_options": {"x264-params": "interlaced=1:bff=1"}},
    "dvd.vob": {
        "codec": "mpeg2video",
        "codec_options": {"flags": "+ildct+ilme", "qmin": "2", "qmax": "2"},
        "ticks": 25,
    },
    "paff.ts": {"writer": write_field_coded, "packets": "fields"},
    "paff.mkv": {"writer": write_field_coded, "packets": "frames"},
    "hevc.ts": {"writer": write_hevc_fields},
    "hevc.mkv": {"writer": write_hevc_fields, "coding": "bframes=0"},
    "hevc.mp4": {"writer": write_hevc_fields, "coding": "bframes=3:b-adapt=0"},
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


@pytest.mark.parametrize("coding", ["bframes=0", "bframes=3:b-adapt=0"])
@pytest.mark.parametrize("bottom_first", [False, True])
@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
def test_two_fields_of_hevc_are_one_row(tmp_path, suffix, bottom_first, coding):
    """With the picture of the first field's moment, also where B pictures part the two in decoding order."""
    pictures = []
    for number in range(COUNT):
        picture, lines = _moment(number), slice(0, None, 2) if bottom_first else slice(1, None, 2)
        picture[lines] = _moment(number + 0.5)[lines]
        pictures.append(picture)
    path = write_hevc_fields(tmp_path / f"fields{suffix}", pictures, bottom_first=bottom_first, coding=coding)
    timeline = timeline_with_sound(path)
    np.testing.assert_allclose(timeline.times_s, TIMES, atol=0.001)
    assert (timeline.fps, timeline.end_s) == (pytest.approx(25), pytest.approx(COUNT / 25, abs=0.001))
    assert (timeline.width, timeline.height, timeline.warnings) == (128, 96, ())
    for frame in read_video(path):
        first, second = (np.abs(frame.rgb - 1.0 * _moment(frame.index0 + late)).mean() for late in (0, 0.5))
        assert first < min(4, 0.7 * second), frame.index0


def _without(path, lost):
    """A copy that lacks some pictures, numbered in presentation order."""
    copy = path.with_stem("copy")
    with av.open(str(path)) as source, av.open(str(copy), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        stamps = sorted(packet.pts for packet in packets)
        for packet in packets:
            if packet.pts not in [stamps[number] for number in lost]:
                packet.stream = stream
                target.mux(packet)
    return copy


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4"])
@pytest.mark.parametrize(
    ("lost", "shown"),
    [
        ([0], [1, *range(2, 32, 2)]),
        ([9], range(0, 32, 2)),
        ([12], [*range(0, 12, 2), 13, *range(14, 32, 2)]),
        ([12, 13], [*range(0, 12, 2), *range(14, 32, 2)]),
        ([11, 12], [*range(0, 12, 2), 13, *range(14, 32, 2)]),
        ([31], range(0, 32, 2)),
    ],
    ids=str,
)
def test_a_field_of_hevc_without_its_partner_is_a_row(tmp_path, suffix, lost, shown):
    """The following fields are not paired with what is left."""
    smooth = np.linspace(30, 200, 96)[:, None, None] + np.linspace(0, 40, 128)[None, :, None] + np.zeros(3)
    pictures = [smooth.astype(np.uint8)] * COUNT
    path = write_hevc_fields(tmp_path / f"whole{suffix}", pictures, coding="keyint=4:min-keyint=4:bframes=0")
    path = _without(path, lost)
    times = timeline_with_sound(path).times_s
    np.testing.assert_allclose(times, (np.array(shown) - shown[0]) / 50, atol=0.0011)
    frames = list(read_video(path))
    assert len(frames) >= len(times) - 2
    for frame in frames:
        assert frame.rgb.shape == (96, 128, 3)
        assert np.abs(frame.rgb - smooth).mean() < 3


@pytest.mark.parametrize("bottom_first", [False, True])
def test_two_fields_of_hevc_behind_one_stamp_are_one_row(tmp_path, bottom_first):
    pictures = [np.full((64, 64, 3), 12 * number + 30, np.uint8) for number in range(COUNT)]
    source = write_hevc_fields(tmp_path / "source.mkv", pictures, bottom_first=bottom_first, coding="bframes=0")
    path = tmp_path / "pairs.ts"
    with av.open(str(source)) as single, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(single.streams.video[0])
        packets = [packet for packet in single.demux(video=0) if packet.size]
        for first, second in zip(packets[::2], packets[1::2], strict=True):
            both = av.Packet(bytes(first) + bytes(second))
            both.stream, both.time_base, both.pts, both.dts = stream, first.time_base, first.pts, first.dts
            both.is_keyframe = first.is_keyframe
            target.mux(both)
    timeline = timeline_with_sound(path)
    np.testing.assert_allclose(timeline.times_s, TIMES, atol=0.001)
    assert timeline.warnings == ()
    levels = {frame.index0: frame.rgb.mean() for frame in read_video(path)}
    assert list(levels) == list(range(COUNT))
    np.testing.assert_allclose(list(levels.values()), [picture.mean() for picture in pictures], atol=2)


def test_fields_of_hevc_are_turned_like_any_other(tmp_path):
    path = write_hevc_fields(tmp_path / "turned.mp4", [_moment(0)] * 4, rotation=-90)
    shapes = [frame.rgb.shape for frame in read_video(path)]
    assert shapes == [(128, 96, 3)] * 4


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


@pytest.mark.parametrize(
    "coding", ["", "hrd=1:vbv-maxrate=500:vbv-bufsize=500", "repeat-headers=1", "temporal-layers=2"]
)
@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_ordinary_hevc_has_no_fields(tmp_path, media, suffix, coding):
    options = {"x265-params": f"log-level=none:{coding}".rstrip(":")}
    path = media(tmp_path / f"plain{suffix}", [_moment(0)] * 5, TIMES[:5], codec="libx265", codec_options=options)
    with av.open(str(path)) as container:
        assert not HevcFields(bytes(container.streams.video[0].codec_context.extradata)).possible
    assert timeline_with_sound(path).fields is None


def _rich_configuration(*, fields):
    """A sequence parameter set of HEVC with every part that may stand before its field_seq_flag."""
    bits = Bits()
    bits.fixed(1, 8)  # second byte of the unit's header
    bits.fixed(0b0000_001_1, 8)  # two sub-layers
    for present in ("11" + 14 * "0", ""):
        bits.fixed(2, 8)  # profile and level, of all and of a sub-layer
        bits.fixed(1 << 29, 32)
        bits.fixed(93, 56)
        bits.text += present
    bits.golomb(2, 1, 128, 64)
    bits.text += "1"
    bits.golomb(0, 0, 0, 8, 0, 0, 4)  # conformance window, bit depths, bits of order counts
    bits.text += "1"
    bits.golomb(2, 1, 0, 3, 2, 0, 0, 1, 0, 2, 1, 1)
    bits.text += "11"
    for size in range(4):
        for matrix in range(2 if size == 3 else 6):
            bits.text += "01"[matrix % 2]
            bits.golomb(*([3] * (min(64, 16 << 2 * size) + (size > 1)) if matrix % 2 else [0]))
    bits.text += "011"
    bits.fixed(0x77, 8)
    bits.golomb(0, 1)
    bits.text += "1"
    bits.golomb(4, 1, 1, 0)  # four sets of references: the first has one picture before and one behind
    bits.text += "1" + "1" + "1"
    bits.text += "11"
    bits.golomb(2)
    bits.text += "1" + "01" + "00"  # the second keeps two of three
    bits.text += "10"
    bits.golomb(9)
    bits.text += "111"
    bits.text += "0"
    bits.golomb(2, 0, 0)
    bits.text += "1"
    bits.golomb(1)
    bits.text += "0" + "1"
    bits.golomb(2)  # long-term references
    bits.text += "000001011" + "000001100" + "11" + "1"
    bits.text += "1" + 8 * "1"
    bits.fixed(64 << 16 | 11, 32)  # aspect ratio
    bits.text += "11" + "110101"
    bits.fixed(0x010101, 24)  # colours
    bits.text += "1"
    bits.golomb(1, 1)
    bits.text += f"0{fields:d}1" + "0000"
    return bits.unit(0x42)


def test_a_configuration_of_hevc_tells_of_fields():
    """FFmpeg's trace_headers reads the same from it."""
    configuration = _rich_configuration(fields=True)
    assert HevcFields(configuration).possible
    assert not HevcFields(_rich_configuration(fields=False)).possible
    packets = [configuration + b"\0\0\1\x4e\1\0\1\xb0\1\1" + bytes([kind << 4]) + b"\x80" for kind in (11, 10, 0, 8)]
    known = HevcFields(b"")
    for packet in packets:
        known.add(av.Packet(packet))
    known.add(av.Packet(b""))  # a sample that was left empty
    rows = known.rows(np.arange(5), np.arange(5.0))
    assert rows.kinds.tolist() == [TOP, BOTTOM, FRAME, FRAME, FRAME]
    assert rows.rows.tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("size", [0, 3, 22, 24, 40, 60, 80])
def test_a_configuration_of_hevc_that_is_cut_tells_nothing(tmp_path, size):
    path = write_hevc_fields(tmp_path / "fields.mp4", [_moment(0)] * 2)
    with av.open(str(path)) as container:
        extradata = bytes(container.streams.video[0].codec_context.extradata)
    fields = HevcFields(extradata[:size])
    fields.add(av.Packet(b"\0\0\1\x4e"))
    assert fields.rows(np.arange(1), np.zeros(1)) is None
