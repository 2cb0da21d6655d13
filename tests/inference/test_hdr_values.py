"""A video in HDR has nearly the values of its SDR twin."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

from avfusion import Predictor
from avfusion.media.video import read_video
from tests.media.shots import alone, render_shots, unlike
from tests.media.test_colours import LOSSLESS, as_hdr

FRAMES = 34
TARGETS = ["valence", "arousal"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    path = tmp_path_factory.mktemp("sdr") / "source.mp4"
    render_shots(path, [alone(0, FRAMES)], unlike(1), sound=False)
    return [picture.rgb.copy() for picture in read_video(path)]


def _values(path: Path, frames: Sequence[av.VideoFrame], predictor: Predictor) -> np.ndarray:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx265", rate=25, options=LOSSLESS["libx265"])
        video.width, video.height, video.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        for tag in ("colorspace", "color_range", "color_trc", "color_primaries"):
            setattr(video.codec_context, tag, getattr(frames[0], tag))
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return predictor.predict(path)[TARGETS].to_numpy()


@pytest.mark.parametrize("transfer", ["PQ", "HLG"])
def test_values_in_hdr_are_nearly_those_of_the_sdr_twin(
    transfer: str, pictures: list[np.ndarray], trained_models: Path, tmp_path: Path
) -> None:
    predictor = Predictor.load(trained_models / "fusion")
    plain = [av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p") for picture in pictures]
    sdr = _values(tmp_path / "sdr.mp4", plain, predictor)
    frames = [as_hdr(picture, transfer) for picture in pictures]
    hdr = _values(tmp_path / "hdr.mp4", frames, predictor)
    for frame in frames:
        frame.colorspace, frame.color_trc = Colorspace.ITU709, ColorTrc.BT709
        frame.color_primaries = ColorPrimaries.BT709
    taken_for_sdr = _values(tmp_path / "untold.mp4", frames, predictor)
    assert np.abs(hdr - sdr).max() < np.abs(taken_for_sdr - sdr).max() / 3
