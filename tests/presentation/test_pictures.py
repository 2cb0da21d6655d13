"""`avfusion predict --overlay --report`: what lies there afterwards, whose it is, and what a second call does."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avfusion import Predictor
from avfusion.cli import main
from avfusion.inference.analysis import Person
from avfusion.media.timeline import read_timeline
from avfusion.media.video import read_video
from avfusion.presentation.batch import BAD_INPUT, DONE, FAILED, Request, predict_files
from avfusion.presentation.model_card import model_card
from avfusion.presentation.output import Target, video_identity
from avfusion.presentation.overlay import BOX, overlay_provenance
from avfusion.presentation.person_marks import COLOURS
from avfusion.presentation.pictures import Pictures
from avfusion.presentation.video_report import report_provenance
from avfusion.runtime.errors import AVFusionError
from tests.inference.test_analysis import face, other, pictures
from tests.media.conftest import write_media
from tests.presentation.test_overlay import near, predictions
from tests.presentation.test_video_report import Page

BOTH = Request(pictures=Pictures(overlay=True, report=True))


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_command_writes_both_and_they_show_what_the_table_says(
    project: Path, short_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = project / "a <b> ü.mp4"
    shutil.copyfile(short_video, video)
    arguments = ["predict", str(video), "--model", "models/fusion", "-o", "out", "--overlay", "--report"]
    monkeypatch.setattr(sys, "argv", ["avfusion", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    stem = "a <b> ü"
    wanted = [f"{stem}.csv", f"{stem}.overlay.mp4", f"{stem}.report.html", f"{stem}.trace.png"]
    assert names(project / "out") == wanted
    table = pd.read_csv(project / "out" / f"{stem}.csv")
    page = Page(project / "out" / f"{stem}.report.html")
    assert f"mean {table['valence'].mean():+.2f}".replace("-", "–").removeprefix("mean ") in page.text
    assert "40 of 40 (100 %)" in page.text
    assert stem in page.text
    assert len(page.named("b")) == 3 + 4  # time and values at the cursor, the quarters: none of the name's
    frames = [frame.rgb for frame in read_video(project / "out" / f"{stem}.overlay.mp4")]
    assert len(frames) == 40
    origin = overlay_provenance(project / "out" / f"{stem}.overlay.mp4")
    assert origin == report_provenance(project / "out" / f"{stem}.report.html")
    assert origin["video_identity"] == video_identity(video)
    assert origin["model"] == "models/fusion"
    boxes = Predictor.load("models/fusion").analyse(video).persons[0].boxes
    for index in (0, 39):
        left, top, _, high = (boxes[index] * 360 / 256).round().astype(int)
        line = frames[index][top + high // 4 : top + high // 2, left - 1 : left + 2]
        assert near(line, BOX, 80).any(axis=1).all()


def test_a_second_call_makes_what_is_missing_and_leaves_the_rest(
    predictor: Predictor, short_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(request: Request) -> bool:
        """Whether there was something to do."""
        assert predict_files([short_video], predictor, folder=tmp_path, request=request) == DONE
        return "done before" not in capsys.readouterr().out

    assert run(Request())
    assert run(BOTH)
    assert not run(BOTH)
    assert not run(Request())
    (tmp_path / "short.report.html").unlink()
    assert run(Request(pictures=Pictures(report=True)))
    assert not run(BOTH)
    assert run(Request(stride=16))
    assert run(Request(stride=16, pictures=Pictures(overlay=True))), "the overlay shows another prediction"


def test_everybody_is_in_one_overlay_and_on_one_page(predictor: Predictor, tmp_path: Path) -> None:
    frames = pictures(face(), other())[:40]
    video = write_media(tmp_path / "two.mp4", frames, [index / 25 for index in range(40)])
    request = Request(people="all", pictures=Pictures(overlay=True, report=True))
    assert predict_files([video], predictor, folder=tmp_path / "out", request=request) == DONE
    wanted = ["csv", "overlay.mp4", "person-2.csv", "person-2.trace.png", "report.html", "trace.png"]
    assert names(tmp_path / "out") == [f"two.{what}" for what in wanted]
    page = Page(tmp_path / "out" / "two.report.html")
    assert "2 people" in page.text
    persons = json.loads(page.scripts["data"])["persons"]
    boxes = [person.boxes[0].round() for person in predictor.analyse(video, people="all").persons]
    for person, box, number in zip(persons, boxes, (1, 2), strict=True):
        table = pd.read_csv(tmp_path / "out" / f"two.{'' if number == 1 else 'person-2.'}csv")
        assert person["valence"] == pytest.approx(table["valence"].tolist(), abs=1e-3)
        assert person["boxes"][0] == box.tolist()
    drawn = next(read_video(tmp_path / "out" / "two.overlay.mp4")).rgb
    above = drawn.shape[0] - 540  # the legend, over a picture of 360 and a panel of 180
    assert above == 54
    for box, colour in zip(boxes, COLOURS, strict=False):
        left, top, _, high = (box * 720 / 512).round().astype(int)
        line = drawn[above + top + high // 2 : above + top + high * 3 // 4, left - 2 : left + 3]
        assert near(line, colour, 80).any(axis=1).all()


@pytest.mark.parametrize("name", ["short.overlay.mp4", "short.report.html"])
def test_files_of_others_are_only_overwritten_with_force(
    predictor: Predictor,
    short_video: Path,
    silent_video: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    shutil.copyfile(silent_video, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert predict_files([short_video], predictor, folder=tmp_path, request=BOTH) == BAD_INPUT
    assert f"{tmp_path / name} is there and was not made from this video" in capsys.readouterr().err
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == content
    assert predict_files([short_video], predictor, folder=tmp_path, request=BOTH, force=True) == DONE
    assert (tmp_path / name).read_bytes() != content


def test_a_picture_that_cannot_be_written_is_named_and_the_table_is_there(
    predictor: Predictor, short_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, before in (("short.overlay.mp4", ["short.report.html"]), ("short.report.html", [])):
        out = tmp_path / name.replace(".", "-")
        (out / name).mkdir(parents=True)
        assert predict_files([short_video], predictor, folder=out, request=BOTH, force=True) == FAILED
        assert f"error: {out / name}: Is a directory\n" in capsys.readouterr().err
        assert names(out) == sorted(["short.csv", "short.trace.png", name, *before])


def test_an_interrupted_overlay_leaves_nothing(predictor: Predictor, short_video: Path, tmp_path: Path) -> None:
    times = read_timeline(short_video).times_s
    person = Person("", predictions(times), np.full((len(times), 4), np.nan))
    target = Target(short_video, tmp_path / "short.csv")

    def write(progress: object) -> None:
        Pictures(overlay=True).write(
            target, [person], model_card(predictor), warnings=(), origin={}, force=False, progress=progress  # type: ignore[arg-type]
        )  # fmt: skip

    def stop(phase: str, done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(stop)
    assert names(tmp_path) == []
    del person.predictions["valence"]
    with pytest.raises(AVFusionError, match=r"short\.mp4: KeyError: 'valence'"):
        write(lambda *step: None)
    assert names(tmp_path) == []
