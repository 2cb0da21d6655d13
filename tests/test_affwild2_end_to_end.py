"""From a downloaded Aff-Wild2 with every irregularity to a model, submission files and a pulled clone, by commands."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from avfusion.corpora.table import Track, read_tracks
from avfusion.data.frames import decode_crops, read_frames
from avfusion.data.labels import read_labels
from tests.affwild2_tree import EDITION, LATER_EDITION, Tree, add_later_edition, make_tree
from tests.project_copy import Finished, ProjectCopy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STAGES = ["render", "corpus", "labels", "frames", "audio", "backbones", "features", "train", "evaluate", "register"]
STAGES += ["robustness"]
SMALL = {"weights": "random", "epochs": 2, "steps_per_epoch": 12, "batch_size": 16, "lr": 5e-3}
NARROW = {
    "common": {"on_error": "skip", "threads": 1},
    "backbones": {
        "visual": {"name": "narrow_r2plus1d", "width": 4, "input_size": 32, **SMALL},
        "audio": {"name": "narrow_resnet", "width": 8, **SMALL},
    },
    "features": {"stride": 16},
    "train": {"epochs": 3, "baselines": ["concat"], "batch_size": 8, "lr": 1e-3},
    "evaluate": {"trace_plots": 1},
}


@dataclass(frozen=True)
class Finale:
    """A corpus, the files of its later edition, the project that ran on it, and what its commands said."""

    tree: Tree
    later_files: int
    project: ProjectCopy
    said: dict[str, Finished]

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self.project.folder

    def tracks(self) -> dict[str, Track]:
        """The table of tracks."""
        found = read_tracks(self.folder / "data" / "corpus" / "tracks.parquet", unusable=True)
        return {track.track: track for track in found}


def _edit(project: ProjectCopy, changes: dict) -> None:
    def merge(old: dict, new: dict) -> dict:
        return old | {key: merge(old[key], value) if isinstance(value, dict) else value for key, value in new.items()}

    path = project.folder / "params.yaml"
    path.write_text(yaml.safe_dump(merge(yaml.safe_load(path.read_text()), changes)))


@pytest.fixture(scope="module")
def finale(tmp_path_factory: pytest.TempPathFactory) -> Finale:
    """The corpus comes with one edition of the annotations; a later one is unpacked beside it before the run."""
    folder = tmp_path_factory.mktemp("affwild2")
    tree = make_tree(folder / "download", seconds=20, size=128)
    project = ProjectCopy.of_working_tree(folder / "project")
    said = {"preset": project.must("avfusion", "preset", "affwild2", "--root", str(tree.root))}
    _edit(project, NARROW)
    said["first doctor"] = project.run("avfusion", "doctor", "--json")
    later_files = add_later_edition(tree.root)
    said["two editions"] = project.run("avfusion", "doctor", "--json")
    _edit(project, {"corpus": {"annotations": EDITION}})
    said["doctor"] = project.run("avfusion", "doctor", "--json")
    said["repro"] = project.must("dvc", "repro")
    said["last doctor"] = project.run("avfusion", "doctor", "--json")
    return Finale(tree, later_files, project, said)


def _items(finished: Finished, name: str) -> list[str]:
    return [item["text"] for item in json.loads(finished.output)["items"] if item["name"] == name]


def test_the_commands_end_as_they_should(finale: Finale) -> None:
    codes = {name: finished.code for name, finished in finale.said.items()}
    assert codes == {"preset": 0, "first doctor": 0, "two editions": 2, "doctor": 0, "repro": 0, "last doctor": 0}
    assert sorted(finale.said["repro"].stages) == sorted(STAGES)
    (problem,) = _items(finale.said["two editions"], "affwild2")
    assert f"annotations/{LATER_EDITION}, annotations/{EDITION}: name one in corpus.annotations" in problem
    assert "sources as scanned" in _items(finale.said["doctor"], "scan")[0]


def test_a_model_with_validation_scores_and_none_on_unlabelled_test_tracks(finale: Finale) -> None:
    assert (finale.folder / "models" / "fusion" / "model.safetensors").is_file()
    metrics = json.loads((finale.folder / "reports" / "evaluate" / "metrics.json").read_text())
    scored = {track: valid for track, valid in finale.tree.labelled.items() if finale.tracks()[track].split == "val"}
    for name in ("jca", "concat"):
        assert metrics["val"][name]["tracks"] == len(scored) == 4
        assert metrics["val"][name]["frames"] == sum(int(valid.sum()) for valid in scored.values())
        assert math.isfinite(metrics["val"][name]["ccc_mean"])
        assert metrics["test"][name]["ccc_mean"] is None


def test_every_irregularity_is_reported_once(finale: Finale) -> None:
    said = {name: list(track.warnings) for name, track in finale.tracks().items() if track.warnings}
    (truncated,) = said.pop("video71")
    assert truncated.startswith(
        "unreadable video: videos/batch1/video71.mp4: is truncated or damaged: its header promises 20."
    )
    assert said == {track: list(texts) for track, texts in finale.tree.warnings.items()}
    with (finale.folder / "reports" / "faces" / "summary.csv").open(newline="") as stream:
        rows = {row["track"]: row for row in csv.DictReader(stream)}
    assert {track: int(row["frames"]) for track, row in rows.items()} == finale.tree.frames
    remarks = {track: row["remarks"].split("; ") for track, row in rows.items() if row["remarks"]}
    assert remarks == {track: list(texts) for track, texts in finale.tree.remarks.items()}
    doctor = json.loads(finale.said["last doctor"].output)
    assert doctor["tracks"] == said | {"video71": [truncated]}
    later = (
        f"annotations/{LATER_EDITION}: {finale.later_files} annotation files ignored (valence-arousal set not chosen)"
    )
    assert sorted(_items(finale.said["last doctor"], "left out")) == sorted([*finale.tree.notes, later])


def test_labels_hold_for_the_frames_that_have_them(finale: Finale) -> None:
    for track, expected in finale.tree.labelled.items():
        if track != "video71":
            valid = read_labels(finale.folder / "data" / "labels" / f"{track}.parquet").valid
            assert valid.tolist() == expected[: len(valid)].tolist()
            assert not expected[len(valid) :].any()


def test_ready_crops_pass_byte_for_byte_from_whichever_folder(finale: Finale) -> None:
    root = finale.tree.root
    nested = root / "cropped_aligned_new_50_vids" / "cropped_aligned_new_50_vids"
    first = root / "cropped_aligned"
    for track, folders in (("video92", [nested, first]), ("7-24-1920x1080", [first])):
        files = {int(path.stem): path for folder in folders for path in (folder / track).glob("*.jpg")}
        table = read_frames(finale.folder / "data" / "frames" / f"{track}.parquet")
        assert {int(frame) for frame in table.frame[table.face_present]} == files.keys()
        assert all(table.jpeg[number - 1] == path.read_bytes() for number, path in files.items())


def test_detected_faces_are_those_that_were_filmed(finale: Finale) -> None:
    """A video on its side, and two people in one picture: each track's crops are of its own person."""
    pair = ("video49_left", "video49_right")
    for track in ("video27", *pair):
        table = read_frames(finale.folder / "data" / "frames" / f"{track}.parquet")
        filmed = sorted(int(path.stem) for path in (finale.tree.withheld / track).iterdir())
        both = [number for number in filmed if table.jpeg[number - 1]]
        assert len(both) > 0.7 * len(filmed)  # an occluder shows in some of the filmed ones
        both = both[::10]
        found = decode_crops([table.jpeg[number - 1] for number in both]).astype(float)
        others = [name for name in pair if track in pair and name != track]
        own = _distance(found, finale.tree.withheld / track, both)
        assert own < 20
        for other in others:
            assert own < 0.6 * _distance(found, finale.tree.withheld / other, both)


def _distance(crops: np.ndarray, folder: Path, numbers: list[int]) -> float:
    """Median over the frames of the mean absolute difference in grey levels; frames not in the folder left out."""
    pairs = [(crop, folder / f"{number:05d}.jpg") for crop, number in zip(crops, numbers, strict=True)]
    files = [(crop, cv2.imread(str(path))[..., ::-1]) for crop, path in pairs if path.is_file()]
    return float(np.median([np.abs(crop - picture).mean() for crop, picture in files]))


def _test_tracks(finale: Finale) -> list[str]:
    return sorted(track.track for track in finale.tracks().values() if track.split == "test")


def _sample(finale: Finale, path: Path) -> list[str]:
    """An organisers' sample file: tracks in an order of their own, of one only the frames that have a crop."""
    rows = []
    for track in reversed(_test_tracks(finale)):
        frames = range(1, finale.tree.frames[track] + 1)
        crops = finale.tree.root / "cropped_aligned" / track
        rows += [f"{track}/{n:05d}.jpg" for n in frames if track != "video2" or (crops / f"{n:05d}.jpg").is_file()]
    path.write_text("image_location,valence,arousal\n" + "".join(f"{row},0,0\n" for row in rows))
    return rows


def test_both_submission_formats_hold_every_row_and_agree(finale: Finale, tmp_path: Path) -> None:
    wanted = _sample(finale, tmp_path / "sample.txt")
    finale.project.must("avfusion", "submit", "--split", "test", "--format", "abaw3", "-o", str(tmp_path / "abaw3"))
    one = tmp_path / "predictions.txt"
    sample = ("--sample", str(tmp_path / "sample.txt"))
    finale.project.must("avfusion", "submit", "--format", "abaw5", *sample, "-o", str(one))
    tables = {}
    for path in (tmp_path / "abaw3").iterdir():
        header, *rows = path.read_text().splitlines()
        assert header == "valence,arousal"
        assert all(len(value.partition(".")[2]) == 5 for row in rows for value in row.split(","))
        tables[path.stem] = rows
        assert np.abs(np.array([row.split(",") for row in rows], float)).max() <= 1
    expected = {track: finale.tree.frames[track] for track in _test_tracks(finale)}
    assert {track: len(rows) for track, rows in tables.items()} == expected
    header, *rows = one.read_text().splitlines()
    assert header == "image_location,valence,arousal"
    assert [row.split(",")[0] for row in rows] == wanted
    for row in rows:
        place, values = row.split(",", 1)
        track, image = place.split("/")
        assert values == tables[track][int(image.removesuffix(".jpg")) - 1]


@pytest.fixture(scope="module")
def pulled(finale: Finale, tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """A fresh clone of the committed results, filled from a remote that is a folder."""
    folder = tmp_path_factory.mktemp("other-machine")
    finale.project.must("dvc", "remote", "add", "--default", "local", str(folder / "remote"))
    finale.project.must("dvc", "push")
    finale.project.commit()
    clone = finale.project.clone(folder / "project")
    clone.must("dvc", "pull")
    return clone


@pytest.fixture
def moved(finale: Finale, tmp_path: Path) -> Iterator[Path]:
    """The corpus, for the time of a test at another place."""
    place = tmp_path / "corpus"
    finale.tree.root.rename(place)
    yield place
    place.rename(finale.tree.root)


@pytest.mark.usefixtures("moved")
def test_after_a_pull_there_is_nothing_to_do_and_no_raw_data_are_needed(finale: Finale, pulled: ProjectCopy) -> None:
    done = pulled.must("dvc", "repro")
    assert done.stages == []
    assert "Data and pipelines are up to date." in done.output
    pulled.must("avfusion", "submit", "--format", "abaw5", "-o", str(pulled.folder / "again.txt"))
    assert len((pulled.folder / "again.txt").read_text().splitlines()) == 1 + sum(
        finale.tree.frames[track] for track in _test_tracks(finale)
    )


def test_another_place_of_the_corpus_costs_a_look_at_it_and_no_file(pulled: ProjectCopy, moved: Path) -> None:
    """The place is in the section `corpus`, so its stages run again; their files carry fingerprints and are kept."""
    before = {
        name: (pulled.folder / name).read_bytes()
        for name in ("data/corpus/tracks.parquet", "reports/evaluate/metrics.json", "models/fusion/model.safetensors")
    }
    (pulled.folder / "data" / "raw" / "affwild2").symlink_to(moved)
    _edit(pulled, {"corpus": {"root": "data/raw/affwild2"}})
    done = pulled.must("dvc", "repro")
    concerned = ["render", "corpus", "labels", "frames", "audio", "train", "evaluate", "robustness"]
    assert sorted(done.stages) == sorted(concerned)
    for made in ("labels: 0 made, 18 kept", "frames: 0 made, 23 kept", "audio: 0 made, 19 kept"):
        assert made in done.output
    assert {name: (pulled.folder / name).read_bytes() for name in before} == before
    assert "sources as scanned" in _items(pulled.must("avfusion", "doctor", "--json"), "scan")[0]
