"""A video with cuts between several people: each has values where they are seen, and nobody else's elsewhere."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avfusion import Predictor
from avfusion.inference.analysis import Analysis
from avfusion.presentation.batch import DONE, Request, predict_files
from avfusion.presentation.pictures import Pictures
from avfusion.presentation.video_statistics import video_statistics
from avfusion.runtime.errors import BadInputError
from tests.media.shots import Shot, alone, drawn, render_shots, unlike

STEP = 5  # frames from one detection to the next
TOGETHER = Shot(40, ((0, 0.26, 0.44), (1, 0.74, 0.44)), scale=0.55, room=9)
EMPTY_FOR_A_MOMENT, EMPTY_FOR_LONGER = Shot(25, room=12), Shot(30, room=12)
SHOTS = (
    *(alone(0, 50), alone(1, 40), alone(2, 35), alone(0, 30), alone(3, 35), TOGETHER, EMPTY_FOR_A_MOMENT),
    *(alone(0, 30), EMPTY_FOR_LONGER, alone(0, 30)),
)
STARTS = np.cumsum([0, *(shot.frames for shot in SHOTS)])


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The video, and who is to be seen, (4, N) bool."""
    path = tmp_path_factory.mktemp("cuts") / "four.mp4"
    return path, render_shots(path, SHOTS, unlike(4))


@pytest.fixture(scope="module")
def everybody(predictor: Predictor, clip: tuple[Path, np.ndarray]) -> Analysis:
    return predictor.analyse(clip[0], people="all")


@pytest.fixture(scope="module")
def main(predictor: Predictor, clip: tuple[Path, np.ndarray]) -> Analysis:
    return predictor.analyse(clip[0])


def own(table: pd.DataFrame) -> np.ndarray:
    known = table["valence"].notna().to_numpy()
    assert (known == table["arousal"].notna()).all()
    return known


def whose(table: pd.DataFrame, seen: np.ndarray) -> int:
    """The person who is seen in most of the frames with values."""
    return int((seen & own(table)).sum(axis=1).argmax())


def test_values_are_where_the_person_is_seen_and_nowhere_else(
    everybody: Analysis, clip: tuple[Path, np.ndarray]
) -> None:
    seen = clip[1]
    assert [person.number for person in everybody.persons] == [1, 2, 3, 4]
    assert sorted(whose(person.predictions, seen) for person in everybody.persons) == [0, 1, 2, 3]
    for person in everybody.persons:
        table, true = person.predictions, seen[whose(person.predictions, seen)].copy()
        known = own(table)
        if true[0]:  # the main person: alone around the moment without anybody
            true[STARTS[6] : STARTS[7]] = True
        assert not known[~true].any()
        missed = np.flatnonzero(true & ~known)
        assert all(np.abs(STARTS - frame).min() <= STEP for frame in missed), "beside a cut at most"
        assert known[table["face_confidence"] > 0].all()
        assert np.isfinite(person.boxes[:, 0]).tolist() == (table["face_confidence"] > 0).tolist()


def test_two_together_have_both_values_of_their_own(everybody: Analysis) -> None:
    during = slice(STARTS[5] + STEP, STARTS[6] - STEP)
    tables = [person.predictions[during] for person in everybody.persons]
    both = [table for table in tables if table["valence"].notna().all()]
    assert len(both) == 2
    assert not np.allclose(both[0]["valence"], both[1]["valence"], atol=1e-4)
    assert sum(table["valence"].isna().all() for table in tables) == 2


def test_the_voice_alone_carries_somebody_over_a_moment_and_no_longer(everybody: Analysis) -> None:
    table = everybody.persons[0].predictions
    moment, longer = (slice(STARTS[at], STARTS[at + 1]) for at in (6, 8))
    assert table["valence"][moment].notna().all()
    assert table["valence"][longer].isna().all()
    assert table["valence"][STARTS[9] :].notna().all(), "back again"
    assert table["audio_present"].all()
    assert table["visual_present"][longer].any(), "of the clip that ends there: as it is by contract"
    assert everybody.persons[1].predictions["valence"][STARTS[6] :].isna().all(), "who never comes back"


def test_the_main_person_is_the_same_alone_and_among_all(everybody: Analysis, main: Analysis) -> None:
    one, among = main.persons[0], everybody.persons[0]
    known = own(among.predictions)
    pd.testing.assert_frame_equal(one.predictions[known], among.predictions[known])
    assert one.predictions["valence"].notna().all(), "rows from audio alone where there is no face"
    np.testing.assert_array_equal(one.boxes, among.boxes)
    for column in ("frame", "time_s", "face_confidence", "audio_present", "visual_present"):
        pd.testing.assert_series_equal(one.predictions[column], among.predictions[column])


def test_cuts_to_other_people_are_told_to_whom_they_concern(everybody: Analysis, main: Analysis) -> None:
    times = ", ".join(f"{STARTS[at] / 25:.1f} s" for at in (1, 2, 4))
    beside, after_cuts = (text for text in main.warnings if "several" in text)
    assert beside.startswith("several faces at the same time: 12 % "), (
        "those who are seen together with the main person"
    )
    assert after_cuts == f'probably several people after the cuts at {times}: use people="all"'
    assert not any("several" in text for text in everybody.warnings)


def test_the_command_advises_its_option(
    predictor: Predictor, clip: tuple[Path, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_files([clip[0]], predictor, folder=tmp_path) == DONE
    notes = capsys.readouterr().err.splitlines()
    assert [note.endswith(" s: use --people all") for note in notes if "several people" in note] == [True]


def test_numbers_are_over_the_persons_own_frames(everybody: Analysis, clip: tuple[Path, np.ndarray]) -> None:
    for person in everybody.persons:
        table = person.predictions
        on_screen = clip[1][whose(table, clip[1])] & own(table)
        found = video_statistics(table)
        assert found["own_frames"] == own(table).sum()
        assert found["frames"] == len(table)
        assert found["valence"]["mean"] == pytest.approx(table["valence"].mean(), abs=1e-6), "frames of equal length"
        if person.number > 1:
            assert found["valence"]["mean"] == pytest.approx(table.loc[on_screen, "valence"].mean(), abs=1e-6)
        assert sum(found["quadrants"].values()) == pytest.approx(1)
        assert on_screen[round(found["valence"]["low_s"] * 25)] or person.number == 1


def test_who_may_be_somebody_else_after_a_cut_is_said_at_every_door(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person beside somebody unlike, then somebody alike in the person's place."""
    people = drawn(14)
    together, alone_after = ((0, 0.28, 0.44), (1, 0.74, 0.44)), ((2, 0.28, 0.44),)
    shots = [Shot(30, together, scale=0.5), Shot(30, alone_after, scale=0.45, room=2)]
    render_shots(tmp_path / "alike.mp4", shots, [people[2], unlike(2)[1], people[13]])
    request = Request(people="all", form="json", pictures=Pictures(report=True))
    assert predict_files([tmp_path / "alike.mp4"], predictor, folder=tmp_path, request=request) == DONE
    note = "person 1 may be somebody else after the cut at 1.2 s: looks do not tell"
    assert capsys.readouterr().err.count(note) == 1
    assert note in (tmp_path / "alike.report.html").read_text()
    assert note in json.loads((tmp_path / "alike.json").read_text())["notes"]


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_files_have_empty_cells_where_a_person_is_not(
    predictor: Predictor,
    everybody: Analysis,
    clip: tuple[Path, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    assert predict_files([clip[0]], predictor, folder=tmp_path, request=Request(people="all", form=form)) == DONE
    printed = capsys.readouterr().out.splitlines()
    third = everybody.persons[2].predictions
    mean = f"mean valence {round(third['valence'].mean(), 2) + 0.0:+.2f}"
    assert mean in printed[2]
    assert f"over the person's own {own(third).sum()} frames, face in" in printed[2]
    path = tmp_path / f"four.person-3.{form}"
    if form == "csv":
        assert path.read_text().splitlines()[1].split(",")[2:5] == ["", "", "0.000000"]
        table = pd.read_csv(path)
    elif form == "json":
        table = pd.DataFrame(json.loads(path.read_text())["frames"])
        assert table["valence"][0] is None or np.isnan(table["valence"][0])
        assert '"valence": null, "arousal": null' in path.read_text()
    else:
        import pyarrow.parquet as pq

        assert pq.read_table(path)["valence"].null_count == (~own(third)).sum()
        table = pd.read_parquet(path)
    assert table["valence"].notna().tolist() == own(third).tolist()


def test_the_challenges_text_has_no_empty_values(predictor: Predictor, clip: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(BadInputError, match="format abaw has a value for every frame"):
        predict_files([clip[0]], predictor, request=Request(people="all", form="abaw"))


def test_uncertainty_is_empty_where_values_are(predictor: Predictor, clip: tuple[Path, np.ndarray]) -> None:
    for person in predictor.analyse(clip[0], people="all", uncertainty=True).persons:
        table = person.predictions
        assert table.loc[~own(table), ["valence_sd", "arousal_sd"]].isna().all(axis=None)
        assert table.loc[own(table), "valence_sd"].notna().any() or own(table)[:32].any()


def test_without_sound_a_gap_has_what_the_face_before_it_says(predictor: Predictor, tmp_path: Path) -> None:
    shots = (alone(0, 30), Shot(15, room=12), alone(0, 30), Shot(45, room=12))
    render_shots(tmp_path / "mute.mp4", shots, unlike(1), sound=False)
    (person,) = predictor.analyse(tmp_path / "mute.mp4", people="all").persons
    known = own(person.predictions)
    assert known[:70].all()
    assert not known[75:].any()
    assert person.predictions["visual_present"][known].all()


def test_a_main_person_whom_no_clip_has_is_nobody_else(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without sound; seen only after the end of the last clip, as large as the picture."""
    small, large = Shot(35, ((0, 0.5, 0.44),), scale=0.4), Shot(27, ((1, 0.5, 0.44),), scale=0.95, room=2)
    video = tmp_path / "late.mp4"
    seen = render_shots(video, (small, large), unlike(2), sound=False)
    options = Request(people="all", stride=32, pictures=Pictures(overlay=True, report=True))
    main, second = predictor.analyse(video, people="all", stride=32).persons
    assert (main.number, second.number) == (1, 2)
    assert main.predictions["valence"].isna().all()
    assert whose(second.predictions, seen) == 0
    assert np.isfinite(main.boxes[40:60]).all()
    assert main.boxes[50, 2] > 1.5 * second.boxes[10, 2], "the large face is the first person's"
    with pytest.raises(BadInputError, match="no clip of it has a face or sound"):
        predictor.predict(video, stride=32)
    assert predict_files([video], predictor, folder=tmp_path / "out", request=options) == DONE
    first, other = capsys.readouterr().out.splitlines()
    assert "no values (no clip has the face), face in " in first
    assert first.startswith(f"{tmp_path / 'out' / 'late.csv'}: ")
    assert f"over the person's own {own(second.predictions).sum()} frames" in other
    page = (tmp_path / "out" / "late.report.html").read_text()
    assert "2 people" in page
    assert ">nan" not in page
    assert predict_files([video], predictor, folder=tmp_path / "out", request=options) == DONE
    assert "done before" in capsys.readouterr().out


def test_twenty_people(predictor: Predictor, tmp_path: Path) -> None:
    places = tuple((i, (i % 5 + 0.5) / 5, (i // 5 + 0.4) / 4) for i in range(20))
    render_shots(tmp_path / "crowd.mp4", [Shot(35, places, scale=0.5)], unlike(20), size=(880, 760))
    persons = predictor.analyse(tmp_path / "crowd.mp4", people="all").persons
    assert [person.number for person in persons] == list(range(1, 21))
    centres = np.stack([person.boxes[10, :2] + person.boxes[10, 2:] / 2 for person in persons]) / (880, 760)
    found = {(int(x * 5), int(y * 4)) for x, y in centres}
    assert len(found) == 20, "each in another place"
    assert all(own(person.predictions).all() for person in persons)
    assert all(person.thumbnail.startswith(b"\xff\xd8") for person in persons)
