"""Open corpora of acted emotion: names as published, splits by actor, category-derived labels."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from avfusion.cli import main
from avfusion.corpora.acted_names import cremad_clip, ravdess_clip
from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.categories import POINTS, category_point
from avfusion.corpora.layout import CorpusLayout
from avfusion.corpora.notes import label_origin
from avfusion.corpora.settings import CorpusSettings
from avfusion.corpora.sources import scan
from avfusion.data.label_store import update_labels
from avfusion.data.labels import read_labels
from avfusion.data.tracks import build_tracks
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.settings import ExecutionSettings
from tests.conftest import write_video

SERIAL = ExecutionSettings(executor="serial", workers=1)


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def opened(name: str, root: Path) -> CorpusLayout:
    return open_corpus(CorpusSettings(name=name, root=str(root)), root)


@pytest.mark.parametrize(
    ("name", "actor", "category", "strength", "both"),
    [
        ("01-01-06-01-02-01-12.mp4", "actor_12", "fearful", "medium", True),
        ("02-01-05-02-01-02-01.mp4", "actor_01", "angry", "high", False),
        ("01-02-02-01-01-01-24.mp4", "actor_24", "calm", "medium", True),
        ("03-01-08-02-01-01-03.wav", "actor_03", "surprised", "high", False),
    ],
)
def test_names_of_ravdess(name: str, actor: str, category: str, strength: str, both: bool) -> None:
    clip = ravdess_clip(name)
    assert clip
    assert (clip.actor, clip.category, clip.strength, clip.both) == (actor, category, strength, both)


@pytest.mark.parametrize(
    ("name", "category", "strength"),
    [
        ("1001_DFA_ANG_XX.flv", "angry", "unspecified"),
        ("1091_IEO_SAD_LO.flv", "sad", "low"),
        ("1002_IEO_DIS_MD.flv", "disgusted", "medium"),
        ("1003_IEO_HAP_HI.flv", "happy", "high"),
        ("1040_ITH_NEU_X.flv", "neutral", "unspecified"),
    ],
)
def test_names_of_crema_d(name: str, category: str, strength: str) -> None:
    clip = cremad_clip(name)
    assert clip
    assert (clip.actor, clip.category, clip.strength) == (f"actor_{name[:4]}", category, strength)


@pytest.mark.parametrize("name", ["01-01-09-01-01-01-01.mp4", "01-01-01-01-01-01-25.mp4", "01-01-01-01-01-01-00.mp4"])
def test_other_names_are_none_of_ravdess(name: str) -> None:
    assert ravdess_clip(name) is None


@pytest.mark.parametrize("name", ["1092_DFA_ANG_XX.flv", "1000_DFA_ANG_XX.flv", "1001_DFA_SUR_XX.flv"])
def test_other_names_are_none_of_crema_d(name: str) -> None:
    assert cremad_clip(name) is None


def test_strength_moves_a_point_towards_neutral() -> None:
    assert category_point("angry", "high") == (-0.51, 0.59)
    assert category_point("angry", "low") == (-0.255, 0.295)
    assert category_point("neutral", "high") == (0.0, 0.0)
    assert all(-1 <= value <= 1 for point in POINTS.values() for value in point)


@pytest.mark.parametrize(
    ("corpus", "actors", "names", "shares"),
    [
        ("ravdess", range(1, 25), "Actor_{0:02}/01-01-05-01-01-01-{0:02}.mp4", (16, 4, 4)),
        ("cremad", range(1001, 1092), "VideoFlash/{0}_DFA_ANG_XX.flv", (61, 15, 15)),
        ("cremad", (1001, 1007, 1009), "VideoFlash/{0}_DFA_ANG_XX.flv", (1, 1, 1)),
    ],
)
def test_splits_are_disjoint_by_actor(
    tmp_path: Path, corpus: str, actors: range, names: str, shares: tuple[int, int, int]
) -> None:
    put(tmp_path, *(names.format(actor) for actor in actors))
    put(tmp_path, *(names.replace("ANG_XX", "SAD_XX").replace("05-01", "04-01").format(actor) for actor in actors))
    tracks = opened(corpus, tmp_path).tracks
    assert len(tracks) == 2 * len(actors)
    actors_of = {split: {t.group for t in tracks if t.split == split} for split in ("train", "val", "test")}
    assert tuple(map(len, actors_of.values())) == shares
    assert len(set.union(*actors_of.values())) == sum(shares), "nobody in two splits"


def test_each_take_of_ravdess_once(tmp_path: Path) -> None:
    takes = [f"Video_Speech_Actor_0{n}/Actor_0{n}/01-01-05-01-01-01-0{n}.mp4" for n in (1, 2, 3)]
    twins = [take.replace("/01-01", "/02-01") for take in takes]
    sounds = [f"Actor_0{n}/03-01-05-01-01-01-0{n}.wav" for n in (1, 2, 3)]
    layout = opened("ravdess", put(tmp_path, *takes, *twins, *sounds, "Actor_01/holiday.mp4"))
    assert [track.video_path for track in layout.tracks] == takes
    assert layout.notes == (
        "3 clips without sound, twins of clips with it",
        "1 video without a name of RAVDESS: Actor_01/holiday.mp4",
    )


@pytest.mark.parametrize(
    ("corpus", "names", "message"),
    [
        (
            "ravdess",
            ["Actor_01/03-01-05-01-01-01-01.wav"],
            r"no clip of RAVDESS: .* has Actor_01/: unpack Video_Speech",
        ),
        ("ravdess", ["Actor_01/02-01-05-01-01-01-01.mp4"], r"\(1 clip without sound\): unpack Video_Speech_Actor_01"),
        (
            "cremad",
            ["AudioWAV/1001_DFA_ANG_XX.wav"],
            r"no clip of CREMA-D: .* fetch the folder VideoFlash with git-lfs",
        ),
        ("cremad", ["a/1001_DFA_ANG_XX.flv", "b/1001_DFA_ANG_XX.flv"], r"a/1001.* and b/1001.* are one clip twice"),
        ("cremad", ["a/1001_DFA_ANG_XX.flv"], r"1 actor of CREMA-D found \(actor_1001\): .* more actors"),
    ],
)
def test_bad_folders_are_named_in_one_line(tmp_path: Path, corpus: str, names: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as refused:
        opened(corpus, put(tmp_path, *names))
    assert "\n" not in str(refused.value)


def test_clips_that_git_lfs_has_not_fetched_are_named(tmp_path: Path) -> None:
    put(tmp_path, *(f"VideoFlash/100{n}_DFA_ANG_XX.flv" for n in range(1, 5)))
    (tmp_path / "VideoFlash" / "1002_DFA_ANG_XX.flv").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    with pytest.raises(
        BadInputError, match=r"1 clip of CREMA-D \(VideoFlash/1002_DFA_ANG_XX\.flv\) not fetched by git-lfs"
    ):
        opened("cremad", tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"corpus\.root .*gone is missing: unpack Video_Speech_Actor_01\.zip"):
        opened("ravdess", tmp_path / "gone")


def test_one_label_for_every_frame_of_a_clip(tmp_path: Path) -> None:
    root, folder = tmp_path / "raw", tmp_path / "labels"
    names = ("01-01-05-02-01-01-01", "01-01-04-01-01-01-02", "01-01-01-01-01-01-03")
    video = write_video(tmp_path / "clip.mp4", face=False, seconds=0.4).read_bytes()
    for name in names:
        (put(root, f"Actor_{name[-2:]}/{name}.mp4") / f"Actor_{name[-2:]}/{name}.mp4").write_bytes(video)
    params = CorpusSettings(name="ravdess", root=str(root))

    def label_files() -> dict[str, np.ndarray]:
        scan(root, params, tmp_path / "sources.txt")
        tracks = build_tracks(root, params, tmp_path / "sources.txt", execution=SERIAL)
        assert all(track.label_rows == track.frames > 0 and not track.warnings for track in tracks)
        update_labels(folder, root, tracks, SERIAL)
        tables = {path.stem: read_labels(path) for path in sorted(folder.glob("*.parquet"))}
        assert all(table.valid.all() for table in tables.values())
        assert {name: len(table) for name, table in tables.items()} == {t.track: t.frames for t in tracks}
        return {name: np.unique([table.valence, table.arousal], axis=1).ravel() for name, table in tables.items()}

    found = label_files()
    assert found.keys() == set(names)
    for name, point in zip(names, [(-0.51, 0.59), (-0.4725, -0.2025), (0, 0)], strict=True):
        np.testing.assert_allclose(found[name], point, atol=1e-6)
    (root / "Actor_01" / f"{names[0]}.mp4").rename(root / "Actor_01" / "01-01-03-02-01-01-01.mp4")
    assert [round(float(value), 2) for value in label_files()["01-01-03-02-01-01-01"]] == [0.81, 0.51], "same bytes"


@pytest.mark.parametrize(("corpus", "origin"), [("ravdess", "category-derived"), ("demo", ""), ("manifest", "")])
def test_metrics_say_where_labels_come_from(corpus: str, origin: str) -> None:
    assert label_origin(corpus) == origin


def test_one_command_sets_a_project_to_crema_d(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path / "project")
    root = put(
        tmp_path / "CREMA-D", *(f"VideoFlash/10{n:02}_DFA_{e}_XX.flv" for n in range(1, 7) for e in ("ANG", "SAD"))
    )

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["avfusion", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    assert "12 tracks, 12 sources" in run("preset", "cremad", "--root", str(root))
    items = {item["name"]: item for item in json.loads(run("doctor", "--json"))["items"]}
    assert items["train"]["text"] == "8 tracks of 8 videos; 8 without crops (faces will be detected)"
    assert "actor_1001 (2)" in items["groups"]["text"]
    assert items["labels"]["status"] == "ok"
