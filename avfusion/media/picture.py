"""From a decoded frame to the picture as it is shown: 8-bit RGB of the range that screens show, upright.

High dynamic range (PQ and HLG, ITU-R BT.2100) and wide gamuts are converted to what the models have seen: standard
dynamic range with BT.709's primaries. Reference white of HDR, 203 cd/m2 (ITU-R BT.2408), becomes SDR's white; what is
brighter is white, too. So an SDR video that was converted to HDR comes out as it was.
"""

from functools import cache

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

# Numbers of ITU-T H.273, as in av.video.reformatter's ColorTrc, ColorPrimaries and in the streams themselves.
PQ, HLG = 16, 18
HDR = {PQ: "PQ", HLG: "HLG"}
BT2020, DCI_P3, DISPLAY_P3 = 9, 11, 12
UNKNOWN = 2
FULL_RANGE = 2  # of FFmpeg's AVColorRange
RESERVED_MATRIX, BT709_MATRIX, BT2020_MATRIX = 3, 1, 9
CONVERTED_MATRICES = (0, BT709_MATRIX, UNKNOWN, 4, 5, 6, 7, BT2020_MATRIX)  # by FFmpeg's swscale
DOLBY_VISION_ALONE = ("dvh1", "dvhe", "dva1", "dvav", "dav1")  # codes of MP4: no other player's colours inside

WHITE_CD_M2 = 203.0
SCREEN_GAMMA = 2.4  # BT.1886
HLG_PEAK_CD_M2, HLG_GAMMA = 1000.0, 1.2
BT709_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
_P3 = ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274))
# Linear RGB to linear RGB of BT.709 by primaries; white stays white.
TO_BT709 = {
    BT2020: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    DCI_P3: _P3,
    DISPLAY_P3: _P3,
}
_STEPS = 4096  # of the square root of light
_BAND = 64  # rows at once: memory stays flat, and the processor's cache holds them


def _other_kind(cls: type[Type], value: int) -> Type:
    """PyAV's list of kinds of side data is shorter than FFmpeg's, and a frame with another kind shows none of its."""
    kind = object.__new__(cls)
    kind._name_, kind._value_ = f"KIND_{value}", value  # type: ignore[assignment]
    return kind


Type._missing_ = classmethod(_other_kind)  # type: ignore[assignment]


class PictureMaker:
    """Makes pictures of the frames of one video, one after the other."""

    def __init__(self, stream: VideoStream, pixel_aspect: float) -> None:
        """Take what the container says of colours, before the first frame is decoded.

        Args:
            pixel_aspect: Width of a pixel over its height.
        """
        self._aspect = pixel_aspect
        context = stream.codec_context
        self._told = {"colorspace": context.colorspace, "color_trc": context.color_trc}
        self._told["color_primaries"] = context.color_primaries
        self._full_range = context.name == "hevc" and context.color_range == FULL_RANGE
        self._reformatter = VideoReformatter()  # keeps FFmpeg's tables from frame to frame

    def picture(self, frame: av.VideoFrame) -> np.ndarray:
        """The frame as it is shown, (H, W, 3) uint8 RGB: upright, with square pixels and its coded height."""
        # FFmpeg's decoder of HEVC forgets what the container says, and calls a range limited of which nothing is said.
        if self._full_range and all(getattr(frame, tag) == UNKNOWN for tag in self._told):
            frame.color_range = FULL_RANGE
        for tag, told in self._told.items():
            if getattr(frame, tag) == UNKNOWN:
                setattr(frame, tag, told)
        frame.colorspace = _matrix(frame)
        width = None if self._aspect == 1 else max(1, round(frame.width * self._aspect))
        transfer, primaries = frame.color_trc, frame.color_primaries
        if transfer not in HDR and primaries not in TO_BT709:
            rgb = self._reformatter.reformat(frame, width=width, format="rgb24").to_ndarray()
        else:
            coded = self._reformatter.reformat(frame, width=width, format="rgb48le").to_ndarray()
            rgb = to_bt709(coded, transfer, primaries)
        return turned_upright(rgb, display_matrix(frame))


def colour_notes(stream: VideoStream) -> tuple[str, ...]:
    """What to tell of a video whose colours are not simply shown; empty for ordinary video."""
    context = stream.codec_context
    if context.codec_tag in DOLBY_VISION_ALONE or context.colorspace not in (*CONVERTED_MATRICES, RESERVED_MATRIX):
        return ("its colours are of a kind that is not converted (Dolby Vision alone, or a rare one): they are off",)
    kind = HDR.get(context.color_trc)
    return (f"HDR ({kind}) tone-mapped to SDR",) if kind else ()


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """How the frame is shown: a pixel at (x, y) goes to (a x + c y, b x + d y), as (a, b, c, d); None: as it is.

    The matrix comes from the container (MP4, MOV, Matroska), from the stream (display orientation of H.264 and HEVC) or
    from EXIF (Motion JPEG).
    """
    try:
        found = frame.side_data[Type.DISPLAYMATRIX]  # type: ignore[typeddict-item]
    except KeyError:
        return None
    a, b, _, c, d = np.frombuffer(bytes(found), np.int32)[:5].tolist()
    return a, b, c, d


def turned_upright(rgb: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """Turn and mirror an (H, W, 3) picture by its display matrix, in steps of 90 degrees."""
    if matrix is None:
        return rgb
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        rgb, across, down = rgb.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    return np.ascontiguousarray(rgb[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def to_bt709(coded: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Convert HDR or a wide gamut to SDR with BT.709's primaries.

    Args:
        coded: (H, W, 3) uint16, full range.
        transfer: HDR's transfer characteristics (`PQ`, `HLG`); any other counts as that of SDR and stays.
        primaries: A key of `TO_BT709`; unknown ones count as BT.2020, any other as those of BT.709.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    matrix = np.array(TO_BT709.get(BT2020 if primaries == UNKNOWN else primaries, np.eye(3)), np.float32).T
    luminance = matrix @ BT709_LUMINANCE
    light, shown = _light(transfer), _shown()
    picture = np.empty(coded.shape, np.uint8)
    for top in range(0, len(coded), _BAND):
        rgb = light[coded[top : top + _BAND]]
        if transfer == HLG:  # from the scene's light to the screen's
            rgb *= (rgb @ luminance)[..., None] ** (HLG_GAMMA - 1) * (HLG_PEAK_CD_M2 / WHITE_CD_M2)
        steps = np.sqrt(np.clip(rgb @ matrix, 0, 1)) * (_STEPS - 1)
        picture[top : top + _BAND] = shown[np.rint(steps).astype(np.uint16)]
    return picture


@cache
def _light(transfer: int) -> np.ndarray:
    """(65536,) float32: linear light of a code, 1 is SDR's white; for HLG the scene's light, 1 is its greatest."""
    code = np.arange(1 << 16) / 65535
    if transfer == PQ:
        root = code ** (32 / 2523)
        fraction = np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)
        return (fraction ** (16384 / 2610) * 10_000 / WHITE_CD_M2).astype(np.float32)
    if transfer == HLG:
        high = (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
        return np.where(code <= 0.5, code**2 / 3, high).astype(np.float32)
    return (code**SCREEN_GAMMA).astype(np.float32)


@cache
def _shown() -> np.ndarray:
    """(4096,) uint8: the code of SDR by steps of the square root of light."""
    return np.rint(255 * np.linspace(0, 1, _STEPS) ** (2 / SCREEN_GAMMA)).astype(np.uint8)


def _matrix(frame: av.VideoFrame) -> int:
    """The frame's matrix, or a likely one where FFmpeg refuses it or HDR has none."""
    if frame.colorspace == RESERVED_MATRIX:
        return UNKNOWN
    if frame.color_trc in HDR and frame.colorspace == UNKNOWN:
        return BT2020_MATRIX
    if frame.colorspace in CONVERTED_MATRICES:
        return int(frame.colorspace)
    return BT2020_MATRIX if frame.color_primaries == BT2020 else BT709_MATRIX
