"""Colours as they are shown: pixel formats, ranges, matrices, wide gamuts, high dynamic range."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from skimage.data import astronaut

from avfusion.media.face_tracks import face_crops
from avfusion.media.timeline import read_timeline
from avfusion.media.video import read_video

TV, PC = ColorRange.MPEG, ColorRange.JPEG
MATRICES = {"601": (Colorspace.ITU601, 6), "709": (Colorspace.ITU709, 1), "2020": (Colorspace.BT2020, 9)}
COLOURS = np.array(
    [
        *[(16, 16, 16), (128, 128, 128), (235, 235, 235), (200, 60, 50), (60, 170, 70), (50, 70, 190)],
        *[(90, 60, 40), (150, 105, 80), (200, 150, 125), (235, 195, 170), (240, 225, 60), (80, 200, 210)],
    ],
    np.uint8,
)


def patches(side: int = 16) -> np.ndarray:
    """Squares of one colour, among them skin from dark to light."""
    return COLOURS.reshape(3, 4, 3).repeat(side, axis=0).repeat(side, axis=1)


def middles(picture: np.ndarray) -> np.ndarray:
    """The colours in the middle of the squares, where chroma at half resolution makes no difference."""
    return picture[8::16, 8::16].reshape(-1, 3).astype(int)


def write(path, frame, codec="ffv1", options=None):
    """Three copies of a frame, tagged as it is."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = frame.width, frame.height, frame.format.name
        for tag in ("colorspace", "color_range", "color_trc", "color_primaries"):
            setattr(video.codec_context, tag, getattr(frame, tag))
        for index in range(3):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def by_ffmpeg(path) -> np.ndarray:
    """The first frame as FFmpeg's filter `scale` converts it by the file's own tags."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        graph = Graph()
        source = graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base="1/25",
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
        graph.link_nodes(
            source, graph.add("scale", flags="bilinear"), graph.add("format", "rgb24"), graph.add("buffersink")
        ).configure()
        graph.push(frame)
        return graph.pull().to_ndarray()


FORMATS = [
    *[("libx264", "yuv420p", scale, matrix) for scale in (TV, PC) for matrix in MATRICES],
    *[("libx264", name, scale, "709") for name in ("yuv422p", "yuv444p", "yuv420p10le") for scale in (TV, PC)],
    ("libx264", "yuvj420p", PC, "601"),
    ("libx264", "gray", PC, "601"),
    ("libx264", "nv12", TV, "709"),
    ("libx265", "yuv420p10le", TV, "2020"),
    ("libx265", "yuv444p12le", TV, "709"),
    ("libx265", "gbrp", PC, None),
    ("mjpeg", "yuvj422p", PC, "601"),
    ("mjpeg", "yuvj444p", PC, "601"),
    ("ffv1", "yuv411p", TV, "601"),
    ("ffv1", "yuva420p", TV, "709"),
    ("ffv1", "gbrp10le", PC, None),
    ("ffv1", "gray16le", PC, "601"),
    ("ffv1", "bgra", PC, None),
    ("prores_ks", "yuv422p10le", TV, "709"),
    ("png", "rgb24", PC, None),
    ("rawvideo", "nv12", TV, "601"),
    ("rawvideo", "yuyv422", TV, "601"),
    ("qtrle", "rgb24", PC, None),
]
LOSSLESS = {"libx264": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=none"}, "mjpeg": {"qscale": "1"}}


@pytest.mark.parametrize(("codec", "form", "scale", "matrix"), FORMATS)
def test_colours_are_those_of_the_source_and_of_ffmpeg(tmp_path, codec, form, scale, matrix):
    source = av.VideoFrame.from_ndarray(patches(), "rgb24")
    to, tag = MATRICES.get(matrix, (None, 2))
    frame = VideoReformatter().reformat(source, format=form, dst_colorspace=to, dst_color_range=scale)
    frame.colorspace, frame.color_range = tag, scale
    path = write(
        tmp_path / ("v.mov" if codec in ("qtrle", "prores_ks", "png") else "v.mkv"), frame, codec, LOSSLESS.get(codec)
    )
    got = middles(next(read_video(path)).rgb)
    assert np.abs(got - middles(by_ffmpeg(path))).max() <= 2
    expected = COLOURS.astype(int)
    if form.startswith("gray"):
        expected = (expected @ [0.299, 0.587, 0.114])[:, None].repeat(3, axis=1)
    assert np.abs(got - expected).max() <= 5


def as_hdr(picture: np.ndarray, transfer: str, primaries: int = ColorPrimaries.BT2020) -> av.VideoFrame:
    """An SDR picture as HDR (ITU-R BT.2100) in 10 bits of BT.2020, SDR's white at 203 cd/m2 (BT.2408)."""
    light = ((picture.reshape(-1, 3) / 255) ** 2.4).T * 203
    weights = np.array([0.2126, 0.7152, 0.0722])
    if primaries == ColorPrimaries.BT2020:
        light = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]) @ light
        weights = np.array([0.2627, 0.6780, 0.0593])
    if transfer == "PQ":
        root = (light / 10_000) ** (2610 / 16384)
        code = ((3424 / 4096 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32)
    else:
        luminance = weights @ light / 1000
        scene = light / 1000 * np.maximum(luminance, 1e-9) ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        code = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    rgb = np.rint(65535 * code.T.reshape(picture.shape)).astype(np.uint16)
    frame = VideoReformatter().reformat(
        av.VideoFrame.from_ndarray(rgb, "rgb48le"),
        format="yuv420p10le",
        dst_colorspace=Colorspace.BT2020,
        dst_color_range=TV,
    )
    frame.colorspace, frame.color_range, frame.color_primaries = 9, TV, primaries
    frame.color_trc = {"PQ": ColorTrc.SMPTE2084, "HLG": ColorTrc.ARIB_STD_B67}[transfer]
    return frame


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *[("v.mkv", "libx265"), ("v.mp4", "libx265"), ("v.ts", "libx265"), ("v.mkv", "libx264"), ("v.mkv", "ffv1")],
        *[("v.webm", "libsvtav1"), ("v.mp4", "libsvtav1"), ("v.mov", "prores_ks")],
    ],
)
def test_hdr_is_shown_as_the_sdr_picture_that_it_was_made_of(tmp_path, transfer, name, codec):
    frame = as_hdr(patches(), transfer)
    if codec == "prores_ks":
        frame = frame_as(frame, "yuv422p10le")
    options = {"libsvtav1": {"crf": "5"}, **LOSSLESS}.get(codec)
    path = write(tmp_path / name, frame, codec, options)
    assert f"HDR ({transfer}) tone-mapped to SDR" in read_timeline(path).warnings
    assert np.abs(middles(next(read_video(path)).rgb) - COLOURS).max() <= 4


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_a_face_in_hdr_gives_the_crops_of_its_sdr_twin(tmp_path, transfer):
    face = astronaut()[:256, 96:352]
    plain = VideoReformatter().reformat(av.VideoFrame.from_ndarray(face, "rgb24"), format="yuv420p")
    twins = (
        write(tmp_path / "hdr.mp4", as_hdr(face, transfer), "libx265", LOSSLESS["libx265"]),
        write(tmp_path / "sdr.mp4", plain, "libx264", LOSSLESS["libx264"]),
    )
    for hdr, sdr in zip(*(face_crops(path) for path in twins), strict=True):
        np.testing.assert_allclose(hdr.box, sdr.box, atol=2)
        assert np.abs(hdr.rgb.astype(int) - sdr.rgb).mean() < 6


def frame_as(frame: av.VideoFrame, form: str) -> av.VideoFrame:
    """The frame in another pixel format, with its tags."""
    other = frame.reformat(format=form)
    for tag in ("colorspace", "color_range", "color_trc", "color_primaries"):
        setattr(other, tag, getattr(frame, tag))
    return other


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_what_is_brighter_than_white_is_white_and_black_is_black(tmp_path, transfer):
    picture = np.zeros((48, 64, 3))
    picture[:, 32:] = 255 * (800 / 203) ** (1 / 2.4)
    path = write(tmp_path / "v.mkv", as_hdr(picture, transfer))
    rgb = next(read_video(path)).rgb
    assert rgb[:, :24].max() <= 1
    assert rgb[:, 40:].min() >= 254


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_hdr_of_which_only_the_container_knows(tmp_path, codec, name):
    frame = as_hdr(patches(), "HLG")
    frame.colorspace = frame.color_trc = frame.color_primaries = 2
    bare = write(tmp_path / "bare.mkv", frame, codec, LOSSLESS[codec])
    path = told_by_the_container(bare, tmp_path / name, colorspace=9, color_primaries=9, color_trc=18)
    assert "HDR (HLG) tone-mapped to SDR" in read_timeline(path).warnings
    assert np.abs(middles(next(read_video(path)).rgb) - COLOURS).max() <= 4


def told_by_the_container(bare, path, **tags: int):
    """The same packets in a container that tells of their colours."""
    with av.open(str(bare)) as source, av.open(str(path), "w") as told:
        video = told.add_stream_from_template(source.streams.video[0])
        for tag, value in tags.items():
            setattr(video.codec_context, tag, value)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                told.mux(packet)
    return path


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
@pytest.mark.parametrize("scale", [TV, PC])
def test_a_range_of_which_only_the_container_knows(tmp_path, codec, name, scale):
    source = av.VideoFrame.from_ndarray(patches(), "rgb24")
    frame = VideoReformatter().reformat(
        source, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=scale
    )
    frame.colorspace = frame.color_trc = frame.color_primaries = 2
    frame.color_range = ColorRange.UNSPECIFIED
    bare = write(tmp_path / "bare.mkv", frame, codec, LOSSLESS[codec])
    tags = {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": int(scale)}
    path = told_by_the_container(bare, tmp_path / name, **tags)
    assert np.abs(middles(next(read_video(path)).rgb) - COLOURS).max() <= 4


def test_a_range_in_the_stream_is_worth_more_than_that_of_the_container(tmp_path):
    source = av.VideoFrame.from_ndarray(patches(), "rgb24")
    frame = VideoReformatter().reformat(source, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=TV)
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 1, TV, 1, 1
    bare = write(tmp_path / "bare.mkv", frame, "libx265", LOSSLESS["libx265"])
    path = told_by_the_container(bare, tmp_path / "v.mp4", color_range=int(PC))
    assert np.abs(middles(next(read_video(path)).rgb) - COLOURS).max() <= 4


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
@pytest.mark.parametrize("told", [True, False])
def test_hdr_with_the_primaries_of_bt709_keeps_them_and_without_any_it_is_of_bt2020(tmp_path, transfer, told):
    frame = as_hdr(patches(), transfer, ColorPrimaries.BT709 if told else ColorPrimaries.BT2020)
    if not told:
        frame.color_primaries = ColorPrimaries.UNSPECIFIED
    path = write(tmp_path / "v.mkv", frame)
    assert np.abs(middles(next(read_video(path)).rgb) - COLOURS).max() <= 4


def test_hdr_without_a_matrix_is_of_bt2020(tmp_path):
    frame = as_hdr(patches(), "PQ")
    frame.colorspace = 2
    path = write(tmp_path / "v.mkv", frame)
    assert np.abs(middles(next(read_video(path)).rgb) - COLOURS).max() <= 4


@pytest.mark.parametrize(("primaries", "matrix"), [(ColorPrimaries.BT2020, "2020"), (ColorPrimaries.SMPTE432, "709")])
def test_wide_gamuts_in_sdr(tmp_path, primaries, matrix):
    """Colours of BT.709 written with other primaries come out as they were; without HDR there is no note."""
    ours = primaries_of((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
    theirs = {
        ColorPrimaries.BT2020: primaries_of((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
        ColorPrimaries.SMPTE432: primaries_of((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    }[primaries]
    light = (patches().reshape(-1, 3) / 255) ** 2.4 @ (np.linalg.inv(theirs) @ ours).T
    coded = np.rint(65535 * light.reshape(patches().shape) ** (1 / 2.4)).astype(np.uint16)
    source = av.VideoFrame.from_ndarray(coded, "rgb48le")
    to, tag = MATRICES[matrix]
    frame = VideoReformatter().reformat(source, format="yuv420p10le", dst_colorspace=to, dst_color_range=TV)
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = tag, TV, primaries, ColorTrc.BT709
    path = write(tmp_path / "v.mkv", frame, "libx265", LOSSLESS["libx265"])
    assert np.abs(middles(next(read_video(path)).rgb) - COLOURS).max() <= 3
    assert read_timeline(path).warnings == ()


def primaries_of(*corners: tuple[float, float]) -> np.ndarray:
    """The matrix from linear RGB to XYZ, (3, 3), of primaries (x, y) with white D65."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in corners]).T
    return columns * np.linalg.solve(columns, [0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])


@pytest.mark.parametrize("matrix", [3, 8, 10, 14])
def test_matrices_that_ffmpeg_refuses_are_read_with_a_note(tmp_path, matrix):
    frame = VideoReformatter().reformat(av.VideoFrame.from_ndarray(patches(), "rgb24"), format="yuv420p")
    frame.colorspace = matrix
    path = write(tmp_path / "v.mkv", frame)
    rgb = middles(next(read_video(path)).rgb)
    assert np.abs(rgb[:3] - COLOURS[:3]).max() <= 3  # greys are grey by any matrix
    assert any("colours" in text for text in read_timeline(path).warnings) is (matrix != 3)
