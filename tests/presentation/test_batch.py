"""Many videos, some of them bad: each fault is named in its own words, and the others are done."""

import os
from pathlib import Path

import numpy as np
import pytest

from avfusion.inference.analysis import Analysis
from avfusion.inference.predictor import Predictor
from avfusion.presentation.batch import BAD_INPUT, DONE, FAILED, Request, predict_files
from avfusion.runtime.errors import BadInputError


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(
    trained_models: Path, silent_video: Path, tmp_path: Path
) -> None:
    left, written = tmp_path / ".partial-1-silent.csv", tmp_path / ".partial-2-other.csv"
    left.touch()
    written.touch()
    os.utime(left, (0, 0))
    assert predict_files([silent_video], Predictor.load(trained_models / "fusion"), folder=tmp_path) == DONE
    assert sorted(path.name for path in tmp_path.iterdir()) == [written.name, "silent.csv", "silent.trace.png"]


class StumblingPredictor(Predictor):
    """Fails on one video as a fault of the program or of a library would."""

    def analyse(self, path: str | Path, **options: object) -> Analysis:
        if Path(path).name == "silent.mp4":
            raise KeyError("a fault\nof ours")
        return super().analyse(path, **options)  # type: ignore[arg-type]


def test_a_fault_of_ours_is_named_and_the_next_video_is_done(
    trained_models: Path,
    silent_video: Path,
    face_video: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    predictor = StumblingPredictor.load(trained_models / "fusion")
    missing = tmp_path / "none.mp4"
    assert predict_files([silent_video, missing, face_video], predictor, folder=tmp_path / "out") == FAILED
    lines = capsys.readouterr().err.splitlines()
    assert lines[-3] == "3 files: 1 predicted, 2 failed"
    assert lines[-2].split()[:2] == [str(silent_video), "KeyError:"]
    assert lines[-1].split() == [str(missing), "does", "not", "exist"]
    assert lines[-2].index("KeyError") == lines[-1].index("does not"), "a table"
    errors = [line for line in lines if line.startswith("error:")]
    assert len(errors) == 2
    assert errors[0].startswith(f"error: {silent_video}: KeyError: ")
    assert "(at test_batch.py:" in errors[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["face.csv", "face.trace.png"]


def test_a_strip_of_pixels_stops_nobody(
    trained_models: Path, face_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import av

    strip = tmp_path / "strip.mkv"
    with av.open(str(strip), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 4000, 2, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((2, 4000, 3), np.uint8), "rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
    predictor = Predictor.load(trained_models / "fusion")
    assert predict_files([strip, face_video], predictor, folder=tmp_path / "out") == BAD_INPUT
    reason = "no face of 250 pixels or more (40 at 640 wide: predict --min-face lowers it) and no audio in it"
    assert f"error: {strip}: {reason}" in capsys.readouterr().err
    assert (tmp_path / "out" / "face.csv").is_file()


def test_what_is_no_file_is_called_what_it_is(
    trained_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = Predictor.load(trained_models / "fusion")
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "folder").mkdir()
    for path, words in (
        (Path("/dev/zero"), "is a device, pipe or socket"),
        (Path("http://host/y.mp4"), "is a URL or FFmpeg protocol (http:)"),
        (tmp_path / "folder", "holds no video (files that end with .mp4, "),
        (tmp_path / "none.mp4", "does not exist"),
    ):
        (out / f"{path.stem}.csv").write_text("somebody's\n")  # whose it is would be asked of the video's content
        assert predict_files([path], predictor, folder=out) == BAD_INPUT
        assert f"error: {path} {words}" in capsys.readouterr().err
    assert predict_files([], predictor, folder=out) == DONE


def test_an_output_folder_below_a_file_is_named_and_no_video_is_blamed(
    trained_models: Path, face_video: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    predictor = Predictor.load(trained_models / "fusion")
    with pytest.raises(BadInputError, match=r"file is not a folder: -o names the folder"):
        predict_files([face_video], predictor, folder=tmp_path / "file" / "sub")


def test_a_stream_that_was_not_asked_for_is_not_counted(
    trained_models: Path, face_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = Predictor.load(trained_models / "fusion")
    assert predict_files([face_video], predictor, folder=tmp_path, request=Request(stream="audio")) == DONE
    assert "face not used" in capsys.readouterr().out
