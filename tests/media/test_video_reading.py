import inspect
import tracemalloc
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from avfusion.media.opener import MediaLimits
from avfusion.media.probe import probe
from avfusion.media.timeline import _vp8_shown
from avfusion.media.video import frame_times, read_video
from avfusion.runtime.errors import BadInputError


def test_probe(plain_video):
    info = probe(plain_video)
    assert (info.frames, info.fps, info.width, info.height) == (50, 25.0, 64, 48)
    assert info.duration_s == pytest.approx(2.0)
    assert (info.has_audio, info.audio_rate, info.audio_channels) == (True, 48000, 2)
    assert info.warnings == ()


def test_frames_have_their_index_time_and_picture(plain_video):
    frames = list(read_video(plain_video))
    assert [frame.index0 for frame in frames] == list(range(50))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(50) / 25, atol=1e-6)
    np.testing.assert_array_equal(frame_times(plain_video), [frame.time_s for frame in frames])
    assert [frame.index0 for frame in frames if frame.rgb.mean() > 128] == [10, 11, 12]
    assert frames[0].rgb.shape == (48, 64, 3)
    assert frames[0].rgb.dtype == np.uint8


def test_only_wanted_frames(plain_video):
    assert [frame.index0 for frame in read_video(plain_video, wanted=lambda i: i % 20 == 3)] == [3, 23, 43]


@pytest.mark.parametrize(("rotation", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (-90, (0, 1))])
def test_rotation_metadata_turns_the_picture(tmp_path, media, rotation, corner):
    """A counter-clockwise turn takes the marked top left corner to the bottom left, and so on."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :16] = (255, 0, 0)
    path = media(tmp_path / "r.mp4", [picture] * 5, np.arange(5) / 25, rotation=rotation)
    rgb = next(read_video(path)).rgb
    assert rgb.shape == ((48, 64, 3) if rotation in (0, 180) else (64, 48, 3))
    height, width = rgb.shape[:2]
    marked = rgb[4 if corner[0] == 0 else height - 5, 4 if corner[1] == 0 else width - 5].astype(int)
    assert marked[0] > 200
    assert marked[1:].max() < 60


@pytest.mark.parametrize(
    ("name", "aspect", "rotation", "shape"),
    [
        ("wide.mkv", Fraction(64, 45), None, (96, 182, 3)),
        ("narrow.ts", Fraction(8, 9), None, (96, 114, 3)),
        ("turned.mp4", Fraction(4, 3), 90, (171, 96, 3)),
    ],
)
def test_pixels_that_are_not_square_become_square(tmp_path, media, name, aspect, rotation, shape):
    """A disc that is as wide as high where it is shown."""
    picture = np.zeros((96, 128, 3), np.uint8)
    cv2.ellipse(picture, (64, 48), (round(36 / aspect), 36), 0, 0, 360, (255, 255, 255), -1)
    path = media(tmp_path / name, [picture] * 5, np.arange(5) / 25, aspect=aspect, rotation=rotation)
    rgb = next(read_video(path)).rgb
    assert rgb.shape == shape
    rows, columns = np.nonzero(rgb[:, :, 0] > 128)
    assert np.ptp(rows) == pytest.approx(72, abs=3)
    assert np.ptp(columns) == pytest.approx(72, abs=3)


@pytest.mark.parametrize("aspect", [Fraction(1280, 1281), Fraction(5)])
def test_almost_square_and_absurd_pixels_are_left_as_they_are(tmp_path, media, aspect):
    pictures = list(np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8))
    square = media(tmp_path / "square.mp4", pictures, np.arange(3) / 25)
    told = media(tmp_path / "told.mp4", pictures, np.arange(3) / 25, aspect=aspect)
    with av.open(str(told)) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect
    for one, other in zip(read_video(square), read_video(told), strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)


def test_wide_pixels_count_for_the_limit_on_frames(tmp_path, media, plain_video):
    wide = media(tmp_path / "w.mp4", [np.zeros((48, 64, 3), np.uint8)], [0.0], aspect=Fraction(2))
    limits = MediaLimits(pixels=64 * 48)
    assert probe(plain_video, limits).width == 64
    with pytest.raises(BadInputError, match=r"has frames of 128x48, must be at most 3072 pixels"):
        probe(wide, limits)


def _blank(data, starts, numbers):
    """Zero the JPEGs of these frames; the 8 bytes of the next chunk's header stay, and some before them."""
    for number in numbers:
        begin, end = starts[number], starts[number + 1] - 24
        data[begin:end] = bytes(end - begin)


def test_damaged_frames_leave_gaps_and_move_no_other(tmp_path, media):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    path = media(tmp_path / "whole.avi", pictures, np.arange(40) / 25, codec="mjpeg", ticks=25)
    expected = {frame.index0: frame.rgb for frame in read_video(path)}
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data) - 3) if data[i : i + 3] == b"\xff\xd8\xff"]
    _blank(data, starts, range(5, 9))
    path.write_bytes(bytes(data))
    warnings = []
    got = {frame.index0: frame.rgb for frame in read_video(path, on_warning=warnings.append)}
    assert sorted(set(expected) - set(got)) == [5, 6, 7, 8]
    assert warnings == ["4 of 40 frames cannot be decoded"]
    np.testing.assert_array_equal(got[20], expected[20])
    _blank(data, starts, range(9, 35))
    path.write_bytes(bytes(data))
    assert [frame.index0 for frame in read_video(path, least_decoded=0.25)] == [*range(5), *range(35, 40)]
    with pytest.raises(BadInputError, match="only 10 of its 40 frames"):
        list(read_video(path, least_decoded=0.5))


def test_reading_is_a_generator_of_flat_memory(tmp_path, media):
    pictures = [np.full((240, 320, 3), index, np.uint8) for index in range(150)]
    path = media(tmp_path / "long.mp4", pictures, np.arange(150) / 25)
    del pictures
    assert inspect.isgeneratorfunction(read_video)
    tracemalloc.start()
    count = sum(1 for _ in read_video(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 150
    assert peak < 10 * 240 * 320 * 3


def test_b_frames_in_avi_keep_their_order(tmp_path, media, make_flash):
    """AVI has no presentation stamps, and those that FFmpeg guesses are out of order."""
    rng = np.random.default_rng(0)
    pictures = [
        np.clip(frame.astype(int) + rng.integers(0, 40, frame.shape), 0, 255).astype(np.uint8)
        for frame in make_flash(100, 50, 96, 128)
    ]
    path = media(tmp_path / "b.avi", pictures, np.arange(100) / 25, ticks=25)
    frames = list(read_video(path))
    assert [frame.index0 for frame in frames] == list(range(100))
    assert [frame.index0 for frame in frames if frame.rgb.mean() > 128] == [50, 51, 52]


def test_a_recording_without_a_duration_in_its_header_is_whole(tmp_path, media, make_flash):
    path = media(tmp_path / "live.mkv", make_flash(50, 10), np.arange(50) / 25, options={"live": "1"})
    assert (probe(path).frames, probe(path).duration_s) == (50, pytest.approx(2.0))


@pytest.mark.parametrize(("first_byte", "shown"), [(0x10, True), (0x11, True), (0x00, False), (0x01, False)])
def test_hidden_vp8_frames(first_byte, shown):
    assert _vp8_shown(av.Packet(bytes([first_byte, 2, 3]))) is shown
