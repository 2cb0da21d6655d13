"""The report for people: it loads nothing, escapes what comes from a corpus, and says what the files say."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avfusion.data.frames import FrameRow, encode_crop, write_frames
from avfusion.data.settings import GeometrySettings
from avfusion.experiments.evaluate import protocol_facts, write_evaluation
from avfusion.reports.page.charts import curve, heat, runs
from avfusion.reports.page.page import PageSources, write_page
from avfusion.reports.page.tracks import ticks
from avfusion.reports.settings import EvaluateSettings, ReportSettings
from avfusion.runtime.errors import BadInputError
from avfusion.scoring.track_predictions import TrackPredictions

CONFIG = EvaluateSettings(trace_plots=0)
HOSTILE = "<img src=x onerror=alert(1)> & 'co"
MODELS = ["jca", "concat"]


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data + " "

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def track(name: str, number: int, split: str = "val", error: float = 0.2) -> TrackPredictions:
    rng = np.random.default_rng(number)
    time_s = np.arange(300) / 25
    labels = (0.6 * np.stack([np.sin(time_s + number), np.cos(time_s * 1.7)], axis=1)).astype(np.float32)
    valid = np.arange(300) >= 20
    guess = np.clip(labels + error * rng.normal(size=labels.shape), -1, 1).astype(np.float32)
    presence = np.stack([np.ones(300, bool), np.arange(300) < 200], axis=1)
    models = {"jca": guess, "concat": guess * np.float32(0.5)}
    return TrackPredictions(name, name, split, time_s, labels, valid, presence, models)


TRACKS = [track("easy", 1), track(HOSTILE, 2, error=0.9), track("fair", 3, error=0.4)]
UNSEEN = [dataclasses.replace(track("unseen", 4, "test"), valid=np.zeros(300, bool))]


def frames(folder: Path, name: str) -> None:
    crop = encode_crop(np.full((112, 112, 3), 120, np.uint8), 90)
    folder.mkdir(exist_ok=True)
    rows = (FrameRow(i + 1, i / 25, crop if i < 200 else None, float(i < 200)) for i in range(300))
    write_frames(folder / f"{name}.parquet", rows)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    protocol = protocol_facts(GeometrySettings(fps=25), 8, "overlap", CONFIG, {"name": "jca", "digest": "d" * 64})
    protocol["heads"] = {"jca": "linear-head"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avfusion.scoring.intervals.TOO_FEW_GROUPS", 2)
        write_evaluation(folder / "report", {"val": TRACKS, "test": UNSEEN}, MODELS, CONFIG, protocol)
    for entry in TRACKS:
        frames(folder / "frames", entry.track)
    return folder


def write(evaluated: Path, corpus: str = "own <b>", **settings: object) -> Page:
    attention = np.linspace(0, 12, 38), {"gates: audio": np.linspace(0.1, 0.7, 38)}
    sources = PageSources(lambda name: attention, evaluated / "frames", corpus)
    splits = {"val": TRACKS, "test": UNSEEN}
    path = write_page(evaluated / "report", splits, MODELS, CONFIG, ReportSettings(**settings), sources)  # type: ignore[arg-type]
    return Page(path.read_text(encoding="utf-8"))


def test_categories_of_people_are_scored_where_the_corpus_has_them(evaluated: Path, tmp_path: Path) -> None:
    assert "Groups of people" not in write(evaluated).text
    assert (evaluated / "report" / "attributes.csv").read_text() == "split,model,attribute,category\n"
    protocol = json.loads((evaluated / "report" / "protocol.json").read_text())
    attributes = {track.track: {"sex": sex} for track, sex in zip(TRACKS, ("f", "<b>", ""), strict=True)}
    splits = {"val": TRACKS, "test": UNSEEN}
    metrics = write_evaluation(tmp_path / "report", splits, MODELS, CONFIG, protocol, (), None, attributes)
    assert list(metrics["val"]["concat"]["attributes"]["sex"]) == ["<b>", "f", ""]
    rows = (tmp_path / "report" / "attributes.csv").read_text().splitlines()
    assert [row.split(",")[:4] for row in rows[1:]] == [
        ["val", model, "sex", category] for model in MODELS for category in ("<b>", "f", "")
    ]
    assert rows[0].endswith("ccc_arousal,ccc_low_arousal,ccc_high_arousal,note")
    sources = PageSources(lambda name: (np.arange(2.0), {}), evaluated / "frames", "own")
    path = write_page(tmp_path / "report", splits, MODELS, CONFIG, ReportSettings(), sources)
    table = re.sub(r"\s+", " ", Page(path.read_text(encoding="utf-8")).text).split("Groups of people")[2]
    assert "Validation: sex – too few videos for an interval category tracks, videos effectively bias valence" in table
    assert table.index(" <b> ") < table.index(" (not given) ") < table.index("Per track")
    assert f"{metrics['val']['jca']['attributes']['sex']['f']['bias_valence']:+.2f}" in table


def test_it_loads_nothing_and_runs_nothing(evaluated: Path) -> None:
    page = write(evaluated, thumbnails=True)
    assert not {"script", "link", "iframe", "object", "video", "audio"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert all(
            str(attributes[name]).startswith(("data:image/jpeg", "#")) for name in ("src", "href") if name in attributes
        )
    html = (evaluated / "report" / "report.html").read_text(encoding="utf-8")
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    policy = next(tag for tag in page.named("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert str(policy["content"]).startswith("default-src 'none'")


def test_names_of_a_corpus_are_text(evaluated: Path) -> None:
    page = write(evaluated)
    assert HOSTILE in page.text
    assert "own <b>" in page.text
    assert all(tag.get("src", "").startswith("data:") for tag in page.named("img"))  # type: ignore[union-attr]
    assert not page.named("b") or all("style" in tag for tag in page.named("b"))


def test_crops_are_shown_only_where_that_is_allowed(evaluated: Path) -> None:
    assert not write(evaluated, thumbnails=False).named("img")
    pictures = write(evaluated, thumbnails=True).named("img")
    assert len(pictures) == 3 * 5  # of 8 places in time, three are without a face
    assert all(str(picture["alt"]).startswith("face in frame ") for picture in pictures)


def test_faces_of_a_licensed_corpus_are_refused(evaluated: Path) -> None:
    with pytest.raises(BadInputError, match=r"report\.thumbnails is true: must be false.* affwild2"):
        write(evaluated, corpus="affwild2", thumbnails=True)
    assert not write(evaluated, corpus="affwild2").named("img")


def test_it_says_what_the_files_say(evaluated: Path) -> None:
    page = write(evaluated)
    words = " ".join(page.text.split())
    metrics = json.loads((evaluated / "report" / "metrics.json").read_text())["val"]
    entry = metrics["jca"]
    assert (
        f"On 3 validation videos joint cross-attention reaches a CCC of {entry['ccc_valence']:.2f} in valence" in words
    )
    low, high = entry["ci95_arousal"]
    assert f"{entry['ccc_arousal']:.2f} [{low:.2f}, {high:.2f}]" in words
    assert f"{entry['smoothed']['ccc_mean']:.2f}" in words
    assert f"{entry['pcc_mean']:.2f} {entry['rmse_mean']:.2f} {entry['sagr_mean']:.2f}" in words
    difference = json.loads((evaluated / "report" / "comparisons.json").read_text())["val"]["concat"]["mean"]
    assert f"{difference['difference']:+.3f}" in words
    assert words.lower().count("few videos: intervals may be too narrow") >= 3
    assert "uniform, per track, over all frames, 0.667 s in valence, 1.667 s in arousal" in words
    assert "joint cross-attention linear-head" in words
    assert "Test:" not in words  # a split without labels has no scores


@pytest.mark.usefixtures("few_videos_are_enough")
def test_the_published_codes_scores_stand_beside_ours_where_they_are_asked_for(evaluated: Path, tmp_path: Path) -> None:
    assert "As the published code scores" not in write(evaluated).text
    config = CONFIG.model_copy(update={"released_protocol": True})
    protocol = protocol_facts(GeometrySettings(fps=25), 8, "overlap", config, {"name": "jca", "digest": "d" * 64})
    metrics = write_evaluation(tmp_path / "report", {"val": TRACKS, "test": UNSEEN}, MODELS, config, protocol)
    words = " ".join(write(tmp_path, thumbnails=False).text.split())
    table = words.split("As the published code scores")[1].split("Is the difference real?")[0]
    assert "counted as pairs with label 0 (this inflates CCC)" in table
    for model, title in (("jca", "joint cross-attention"), ("concat", "concatenation")):
        entry = metrics["val"][model]
        low, high = entry["released_protocol"]["smoothed"]["ci95_mean"]
        theirs = f"{entry['released_protocol']['smoothed']['ccc_mean']:.2f} [{low:.2f}, {high:.2f}]"
        assert f"validation, {title} {theirs}" in table
        assert f"{entry['smoothed']['ccc_mean']:.2f}" in table


def test_the_worst_track_comes_first_with_its_trace(evaluated: Path) -> None:
    page = write(evaluated, worst_tracks=1, tracks=1)
    assert [tag["href"] for tag in page.named("a") if str(tag["href"]).startswith("#track-")] == [
        "#track-0",
        "#track-1",
    ]
    figures = [tag["id"] for tag in page.named("figure")]
    assert figures == ["track-0", "track-1"]
    after = page.text.split("Where it was worst")[1]
    assert after.index(HOSTILE) < after.index("Other tracks")


def test_equal_results_are_equal_bytes(evaluated: Path) -> None:
    write(evaluated, thumbnails=True)
    first = (evaluated / "report" / "report.html").read_bytes()
    write(evaluated, thumbnails=True)
    assert (evaluated / "report" / "report.html").read_bytes() == first


@pytest.mark.parametrize(
    ("length", "times"),
    [
        (12.0, [0, 2, 4, 6, 8, 10, 12]),
        (26.3, [0, 5, 10, 15, 20, 25]),
        (0.9, [0, 0.2, 0.4, 0.6, 0.8]),
        (1300, [0, 500, 1000]),
    ],
)
def test_axes_have_round_times(length: float, times: list[float]) -> None:
    assert ticks(length) == pytest.approx(times)


def test_cells_of_a_band_leave_no_gap() -> None:
    svg = heat(np.arange(83) / 83.7, np.linspace(0, 1, 83), 0, 1)
    cells = [tuple(map(float, cell)) for cell in re.findall(r'x="([\d.]+)" y="0" width="([\d.]+)"', svg)]
    assert len(cells) == 83
    assert all(a + width == pytest.approx(b) for (a, width), (b, _) in pairwise([*cells, (1000.0, 0.0)]))


def test_curves_leave_hidden_frames_out() -> None:
    x, y = np.array([0, 0.25, 0.5, 1]), np.array([1.0, 0.0, 0.5, -1.0])
    assert curve(x, y) == "M0.0 0.0L250.0 100.0L500.0 50.0L1000.0 200.0"
    assert curve(x, y, np.array([True, True, False, True])) == "M0.0 0.0L250.0 100.0M1000.0 200.0"
    assert runs(x, np.array([True, True, False, True])) == [(0, 500), (1000, 0)]
    long = np.linspace(0, 1, 5000)
    assert curve(long, long).count("L") < 800
