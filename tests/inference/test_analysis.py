"""Several people in one video: a curve and face boxes for each, the main person's the same as alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage import data

from avfusion import Predictor
from avfusion.inference.analysis import Analysis, person_names
from avfusion.runtime.errors import BadInputError
from tests.media.conftest import tone, write_media

SECONDS, SIDE = 2, 256


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion")


def pictures(*faces: np.ndarray) -> list[np.ndarray]:
    """The faces side by side, swaying."""
    whole = np.concatenate(faces, axis=1)
    return [np.ascontiguousarray(np.roll(whole, int(5 * np.sin(i / 6)), axis=1)) for i in range(25 * SECONDS)]


def face() -> np.ndarray:
    return data.astronaut()[:SIDE, 96 : 96 + SIDE]


def other() -> np.ndarray:
    """Somebody of other colours and a little smaller, looking the other way."""
    small = np.full((SIDE, SIDE, 3), 90, np.uint8)
    small[:, 20:236] = data.astronaut()[:SIDE, 116:332][:, ::-1, ::-1] // 2
    return small


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = pictures(face(), other())
    path = tmp_path_factory.mktemp("people") / "two.mp4"
    return write_media(path, frames, np.arange(len(frames)) / 25, sound=tone(SECONDS))


@pytest.fixture(scope="module")
def everybody(predictor: Predictor, two: Path) -> Analysis:
    return predictor.analyse(two, people="all")


def test_everybody_has_a_curve_and_the_main_persons_is_the_one_of_predict(
    predictor: Predictor, two: Path, everybody: Analysis
) -> None:
    main, second = everybody.persons
    assert (main.name, second.name) == ("", "person-2")
    pd.testing.assert_frame_equal(main.predictions, predictor.predict(two))
    assert len(second.predictions) == len(main.predictions) == 25 * SECONDS
    assert not np.allclose(main.predictions["valence"], second.predictions["valence"], atol=1e-4), "another face"
    assert second.predictions["audio_present"].all(), "the sound is everybody's"
    assert (everybody.width, everybody.height, everybody.fps) == (2 * SIDE, SIDE, 25)
    assert not everybody.warnings, "nobody is left out"


def test_one_person_alone_and_what_is_said(predictor: Predictor, two: Path) -> None:
    said: list[str] = []
    analysis = predictor.analyse(two, notice=said.append)
    assert len(analysis.persons) == 1
    assert analysis.warnings[0].startswith("several faces at the same time: 50 % of the face detections are of others")
    assert said == [f"{two}: {text}" for text in analysis.warnings]


def test_boxes_are_of_the_upright_picture(predictor: Predictor, everybody: Analysis, tmp_path: Path) -> None:
    main, second = (person.boxes for person in everybody.persons)
    assert (main[:, 0] + main[:, 2] < SIDE).all()
    assert (second[:, 0] > SIDE).all()
    frames = pictures(face())
    lying = [np.ascontiguousarray(np.rot90(np.pad(frame, ((0, 44), (0, 0), (0, 0))))) for frame in frames]
    hidden = [frame * (index < 20) for index, frame in enumerate(lying)]
    path = write_media(tmp_path / "turned.mp4", hidden, np.arange(len(frames)) / 25, rotation=-90)
    analysis = predictor.analyse(path)
    assert (analysis.width, analysis.height) == (SIDE, SIDE + 44)
    boxes = analysis.persons[0].boxes
    assert np.isfinite(boxes[:16]).all()
    assert np.isnan(boxes[20:]).all()
    assert boxes[0] == pytest.approx(main[0], abs=8), "as in the picture that was not turned"


def test_nobody_is_one_person_without_boxes(predictor: Predictor, faceless_video: Path) -> None:
    analysis = predictor.analyse(faceless_video, people="all")
    (nobody,) = analysis.persons
    assert np.isnan(nobody.boxes).all()
    assert len(nobody.boxes) == len(nobody.predictions) == 65
    assert (
        "no face of 40 pixels or more (min_face of Predictor.load lowers it): predicted from the sound alone"
        in analysis.warnings
    )


def test_names_and_choices(predictor: Predictor, two: Path) -> None:
    assert person_names(3) == ["", "person-2", "person-3"]
    for option, value, allowed in (("people", "some", "main, all"), ("mode", "psychic", "overlap, tile, causal")):
        with pytest.raises(BadInputError, match=f"{option} is .{value}.: must be one of {allowed}"):
            predictor.analyse(two, **{option: value})
    with pytest.raises(BadInputError, match="mode causal follows one face"):
        predictor.analyse(two, people="all", mode="causal")
