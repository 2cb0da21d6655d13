"""The page of a video: what stands in it, that it loads nothing, and that no name can break out of its place."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from avfusion import Predictor
from avfusion.corpora.notes import DRAWN
from avfusion.inference.analysis import Person, person_names
from avfusion.presentation.model_card import ModelCard, model_card
from avfusion.presentation.overlay_panel import signed
from avfusion.presentation.person_marks import COLOURS
from avfusion.presentation.video_report import _ticks, report_provenance, write_video_report
from avfusion.presentation.video_statistics import video_statistics
from avfusion.reports.page.charts import WIDTH
from avfusion.runtime.errors import AVFusionError, BadInputError
from tests.media.test_picture import corners, with_orientation, write
from tests.presentation.test_overlay import one, write_source

HOSTILE = "<script>alert(1)</script> & \"'</title>.mp4"
CARD = ModelCard(
    fusion="jca",
    source="models:/avfusion@champion",
    digest="d" * 64,
    corpus="own <b>corpus",
    scores={"valence": 0.5, "arousal": 0.61},
    backbones={"audio": ("resnet18", "imagenet", "BSD-3-Clause")},
    timing="overlap",
)


class Page(HTMLParser):
    """Tags with their attributes, the text, and what stands in scripts by their id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self._script = "", {}, None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id", "") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += "".join(f"{word} " for word in data.split())
        else:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def predictions(frames: int, rate: float = 25) -> pd.DataFrame:
    time_s = np.arange(frames) / rate
    return pd.DataFrame(
        {
            "frame": np.arange(1, frames + 1),
            "time_s": time_s,
            "valence": np.where(time_s < 1, -0.5, 0.25),
            "arousal": np.linspace(-0.2, 0.6, frames),
            "face_confidence": np.where(np.arange(frames) < 13, 0, 0.9),
            "audio_present": True,
            "visual_present": np.arange(frames) >= 13,
        }
    )


def several(frames: int, count: int = 2, side: float = 60.0) -> list[Person]:
    """People one after the other with half a second in between, seen left of each other; the first again at the end."""
    persons = []
    jpeg = cv2.imencode(".jpg", np.full((112, 112, 3), 90, np.uint8))[1].tobytes()
    for number in range(count):
        table = predictions(frames)
        at = np.arange(frames) * count // frames == number
        at &= np.roll(at, 12)
        if number == 0:
            at[-5:] = True
        table.loc[~at, ["valence", "arousal"]] = np.nan
        table["face_confidence"] = np.where(at, 0.9, 0)
        boxes = np.where(at[:, None], [10.0 + 70 * number, 40, side, side], np.nan).astype(np.float32)
        persons.append(Person(person_names(count)[number], table, boxes, jpeg))
    return persons


def test_several_people_have_a_trace_a_number_and_a_face_each(face_video: Path, tmp_path: Path) -> None:
    persons = several(65)
    write_video_report(face_video, tmp_path / "p.html", persons, CARD)
    page = Page(tmp_path / "p.html")
    assert "65 frames · 2 people · model" in page.text
    rows = [tag for tag in page.named("div") if "person" in str(tag.get("class"))]
    assert [tag["style"] for tag in rows] == [f"--who:#{''.join(f'{c:02x}' for c in colour)}" for colour in COLOURS[:2]]
    faces = [tag for tag in page.named("img") if tag.get("class") == "face"]
    assert [tag["alt"] for tag in faces[:2]] == ["face of person 1", "face of person 2"]
    assert all(str(tag["src"]).startswith("data:image/jpeg;base64,/9j/") for tag in faces)
    assert len(faces) == 2 * 3  # beside the trace and in two tables
    data = json.loads(page.scripts["data"])
    for person, shown in zip(persons, data["persons"], strict=True):
        known = person.predictions["valence"].notna().tolist()
        assert [value is not None for value in shown["valence"]] == known
        assert [box is not None for box in shown["boxes"]] == known
        assert shown["boxes"][known.index(True)] == person.boxes[known.index(True)].tolist()
    paths = [str(tag["d"]) for tag in page.named("path") if str(tag.get("class")) == "smooth valence"]
    assert [path.count("M") for path in paths] == [2, 1], "gaps, and no line over them"
    assert "nan" not in "".join(paths)
    mean = video_statistics(persons[0].predictions)["valence"]["mean"]
    assert mean == pytest.approx(persons[0].predictions["valence"].mean())
    assert f"1 valence {signed(mean)} " in page.text
    assert len(page.named("main")) == 1
    assert page.named("main")[0]["class"] == "many"


def test_one_person_with_gaps(face_video: Path, tmp_path: Path) -> None:
    (person,) = several(65, 1)
    person.predictions.loc[20:29, ["valence", "arousal"]] = np.nan
    write_video_report(face_video, tmp_path / "p.html", [person], CARD)
    page = Page(tmp_path / "p.html")
    known = int(person.predictions["valence"].notna().sum())
    assert f"All numbers are over the {known} frames with values" in page.text
    assert "65 frames · model" in page.text
    assert json.loads(page.scripts["data"])["valence"][25] is None


@pytest.fixture(scope="module")
def page(face_video: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "p.html"
    write_video_report(face_video, path, one(predictions(65)), CARD, title=HOSTILE, warnings=[HOSTILE])
    return Page(path)


def test_the_video_is_in_the_page_and_its_values_beside_it(page: Page, face_video: Path) -> None:
    assert base64.b64decode(page.scripts["media"]) == face_video.read_bytes()
    assert len(page.named("video")) == 1
    data = json.loads(page.scripts["data"])
    assert (data["length"], data["lead"], data["film"]) == (2.56, 0.0, [])
    assert data["time"] == pytest.approx(np.arange(65) / 25, abs=1e-3)
    assert data["valence"] == [-0.5] * 25 + [0.25] * 40
    assert (data["arousal"][0], data["arousal"][-1]) == (-0.2, 0.6)


def test_nothing_is_loaded_and_only_the_pages_own_script_runs(page: Page) -> None:
    policy = next(tag["content"] for tag in page.named("meta") if tag.get("http-equiv"))
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(page.scripts[""].encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        "media-src blob:",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
    ]
    assert not page.named("link")
    for _, attributes in page.tags:
        for name in ("src", "href", "poster", "srcset", "xlink:href"):
            assert name not in attributes or str(attributes[name]).startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    rest = page.text + page.scripts[""] + page.scripts["data"] + str(page.tags)
    assert not re.search(r"https?:|//[a-z]", rest.replace("// ", ""))


@pytest.mark.parametrize(
    ("length", "words", "first"),
    [
        (0.04, ["0:00.0"], 0),
        (0.9, ["0:00.0", "0:00.2", "0:00.4", "0:00.6", "0:00.8"], 0.2),
        (29.3, ["0:00", "0:05", "0:10", "0:15", "0:20", "0:25"], 5),
        (7200, ["0:00", "20:00", "40:00", "1:00:00", "1:20:00", "1:40:00"], 1200),
    ],
)
def test_times_below_the_traces_are_round_and_where_they_say(length: float, words: list[str], first: float) -> None:
    ticks = _ticks(length)
    assert [tick["words"] for tick in ticks] == words
    assert [tick["left"] for tick in ticks[:2]] == pytest.approx([0, 100 * first / length][: len(words)], abs=1e-3)


def test_names_are_text(page: Page) -> None:
    assert len(page.named("script")) == 3  # media, data, the page's own
    assert page.text.count(HOSTILE) == 3  # title, heading, warning
    assert "own <b>corpus" in page.text


def test_the_numbers_and_the_card_are_read_by_people(page: Page) -> None:
    for words in (
        "65 frames · model jca dddddddddddd",
        "valence –0.04 0.36 –0.50 0:00.0 +0.25 0:01.0",  # 25 frames of -0.5, 40 of 0.25
        "52 of 65 (80 %)",
        "80 %, 100 % of frames",
        "Digest " + "d" * 64,
        "Validation CCC valence 0.50, arousal 0.61 (pooled",
        "Backbone, audio resnet18; weights: imagenet; terms: BSD-3-Clause",
        "The EU AI Act forbids",
    ):
        assert words in page.text
    strips = [tag for tag in page.named("div") if "strip" in str(tag.get("class"))]
    assert [tag["class"] for tag in strips] == ["row strip k-visual", "row strip k-audio"]
    assert [tag["data-at"] for tag in page.named("button")] == ["0.000", "1.000", "0.000", "2.560"]


def test_a_face_is_seen_in_frames_not_in_clips(face_video: Path, tmp_path: Path) -> None:
    """A clip has the face for up to 32 frames longer than the person is seen."""
    persons = several(65)
    for person in persons:
        person.predictions["visual_present"] = True
    write_video_report(face_video, tmp_path / "p.html", persons[1:], CARD)
    tags = Page(tmp_path / "p.html").tags
    at = next(place for place, (_, known) in enumerate(tags) if known.get("class") == "row strip k-visual")
    rects = [known for name, known in tags[at : at + 8] if name == "rect"]
    seen = np.flatnonzero(persons[1].predictions["face_confidence"])
    assert [float(rect["x"] or 0) for rect in rects] == [pytest.approx(WIDTH * seen[0] / 64, abs=0.1)]
    assert float(rects[0]["width"] or 0) == pytest.approx(WIDTH * (64 - seen[0]) / 64, abs=0.1)
    assert 0.4 < seen[0] / 64 < 0.8


def test_another_container_is_shown_by_stills(tmp_path: Path) -> None:
    """Five seconds, first dark, then bright: two stills, at 0 s and 2.5 s."""
    frames = [np.full((48, 64, 3), 30 if index < 50 else 220, np.uint8) for index in range(125)]
    video = write_source(tmp_path / "s.mkv", frames, [index / 25 for index in range(125)])
    write_video_report(video, tmp_path / "p.html", one(predictions(125)), CARD)
    page = Page(tmp_path / "p.html")
    assert not page.named("video")
    assert "media" not in page.scripts
    assert "Not every browser plays the video" in page.text
    assert json.loads(page.scripts["data"])["film"] == [0.0, 2.52]
    stills = [tag["src"] for tag in page.named("img") if tag.get("id") != "still"]

    def brightness(uri: str | None) -> float:
        content = base64.b64decode(str(uri).removeprefix("data:image/jpeg;base64,"))
        return float(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).mean())

    assert [brightness(still) for still in stills] == pytest.approx([30, 220], abs=6)


@pytest.mark.parametrize(
    ("mirrored", "by_the_stream", "plays"), [(0, False, True), (1, False, False), (0, True, False)]
)
def test_only_a_video_that_browsers_show_upright_plays(
    tmp_path: Path, mirrored: int, by_the_stream: bool, plays: bool
) -> None:
    """Firefox mirrors no video, and browsers know nothing of the display orientation of H.264."""
    video = tmp_path / "v.mp4"
    if by_the_stream:
        write(video, corners(), edit=lambda data: with_orientation(data, "libx264", 0, 180))
    else:
        write(video, corners(), mirrored=mirrored, turn=180)
    write_video_report(video, tmp_path / "p.html", one(predictions(5)), CARD)
    page = Page(tmp_path / "p.html")
    assert bool(page.named("video")) is plays
    assert ("Not every browser shows the video upright" in page.text) is not plays


def test_a_large_video_is_shown_by_stills(face_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avfusion.presentation.video_report.MOST_BYTES", 1000)
    write_video_report(face_video, tmp_path / "p.html", one(predictions(65)), CARD)
    assert not Page(tmp_path / "p.html").named("video")


def test_a_long_video_shows_means(face_video: Path, tmp_path: Path) -> None:
    frames = 9000
    table = predictions(frames)
    table["valence"] = np.where(np.arange(frames) % 3 == 0, 0.9, 0.0)
    write_video_report(face_video, tmp_path / "p.html", one(table), CARD)
    page = Page(tmp_path / "p.html")
    data = json.loads(page.scripts["data"])
    assert len(data["time"]) == len(data["valence"]) == 3000
    assert set(data["valence"]) == {0.3}
    assert data["time"][1] == 0.12
    assert "Curves show means of 12 frames" in page.text


def test_the_page_says_where_it_comes_from(face_video: Path, tmp_path: Path) -> None:
    origin = {"video": HOSTILE, "model": "m"}
    write_video_report(face_video, tmp_path / "p.html", one(predictions(65)), CARD, provenance=origin)
    assert report_provenance(tmp_path / "p.html") == origin
    assert report_provenance(face_video) == {}
    assert report_provenance(tmp_path / "none") == {}
    write_video_report(face_video, tmp_path / "p.html", one(predictions(65)), CARD)
    assert report_provenance(tmp_path / "p.html") == {}


def test_what_cannot_be_read_or_written_is_named_and_an_older_page_stays(face_video: Path, tmp_path: Path) -> None:
    (tmp_path / "p.html").mkdir()
    with pytest.raises(AVFusionError, match=r"p\.html: Is a directory"):
        write_video_report(face_video, tmp_path / "p.html", one(predictions(65)), CARD)
    (tmp_path / "older.html").write_text("older")
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    with pytest.raises(BadInputError, match=r"text\.mp4 cannot be read"):
        write_video_report(tmp_path / "text.mp4", tmp_path / "older.html", one(predictions(65)), CARD)
    assert (tmp_path / "older.html").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["older.html", "p.html", "text.mp4"]


def test_statistics_weigh_a_frame_by_how_long_it_is_shown() -> None:
    table = predictions(4).assign(
        time_s=[0.0, 3.0, 4.0, 5.0], valence=[1.0, 0.0, -1.0, -1.0], arousal=[0.5, -0.5, 0.5, -0.5]
    )
    found = video_statistics(table)
    assert found["valence"]["mean"] == pytest.approx((3 * 1 + 0 - 1 - 1) / 6)
    assert found["valence"]["sd"] == pytest.approx(np.sqrt((3 + 0 + 1 + 1) / 6 - (1 / 6) ** 2))
    assert (found["valence"]["low_s"], found["valence"]["high_s"]) == (4.0, 0.0)
    assert found["quadrants"] == pytest.approx(
        {
            "unpleasant, excited": 1 / 6,
            "pleasant, excited": 3 / 6,
            "unpleasant, calm": 1 / 6,
            "pleasant, calm": 1 / 6,
        }
    )
    assert video_statistics(predictions(1))["valence"] == {
        "mean": -0.5, "sd": 0.0, "low": -0.5, "high": -0.5, "low_s": 0.0, "high_s": 0.0,
    }  # fmt: skip


def test_statistics_are_over_the_frames_with_values() -> None:
    table = predictions(10)
    table["valence"] = [0.5] * 4 + [-1.0] * 6
    table.loc[4:, ["valence", "arousal"]] = np.nan
    found = video_statistics(table)
    assert (found["frames"], found["own_frames"]) == (10, 4)
    assert found["valence"]["mean"] == found["valence"]["low"] == found["valence"]["high"] == 0.5
    assert found["valence"]["sd"] == 0
    assert sum(found["quadrants"].values()) == pytest.approx(1)


def test_a_card_has_the_scores_of_this_very_model(project: Path) -> None:
    predictor = Predictor.load(project / "models" / "fusion")
    card = model_card(predictor)
    assert (card.fusion, card.corpus, card.notes) == ("jca", "demo", (DRAWN,))
    assert card.scores == {}
    assert card.backbones["visual"] == ("narrow_r2plus1d", predictor.spec.backbones["visual"].source, "not recorded")
    assert card.timing == "overlap; clips of 32 frames at 25 frames per second"
    record = {"model_digest": predictor.digest, "metrics": {"ccc_mean": 0.5, "ccc_valence": 0.4, "ccc_arousal": None}}
    (project / ".avfusion").mkdir()
    (project / ".avfusion" / "registration.json").write_text(json.dumps(record | {"model_digest": "another"}))
    path = project / "reports" / "register" / "model_version.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    assert model_card(predictor).scores == {"valence": 0.4, "mean": 0.5}
    path.write_text("no JSON")
    assert model_card(predictor).scores == {}
