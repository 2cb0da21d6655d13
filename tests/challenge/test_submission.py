"""Challenge files from real predictions of `evaluate`: what is written, what is refused, and what may be replaced."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from avfusion.challenge.submission import submit
from avfusion.cli import main
from avfusion.corpora.notes import DRAWN
from avfusion.corpora.table import read_tracks, write_tracks
from avfusion.data.features import read_features, write_features
from avfusion.fusion.model_folder import ModelFolder
from avfusion.runtime.errors import AVFusionError, BadInputError
from tests.challenge.evaluated_project import FRAMES, HEADER, ROWS, locations, predicted, sample_file

WINDOWS = {"test-0": (16, 40), "test-1": (17, 42), "test-2": (20, 50)}  # .667 and 1.667 s at 24, 25 and 30 fps


def smoothed(values: np.ndarray, windows: tuple[int, int]) -> np.ndarray:
    """The uniform filter of the published windows, by hand: a window of w frames ends (w - 1) // 2 frames later."""
    columns = []
    for column, w in zip(values.T, windows, strict=True):
        padded = np.concatenate([np.repeat(column[0], w), column, np.repeat(column[-1], w)])
        columns.append([padded[w + i - w // 2 : w + i - w // 2 + w].mean() for i in range(len(column))])
    return np.stack(columns, axis=1)


def test_one_file_holds_every_frame_of_every_track_sorted(root: Path) -> None:
    done = submit(root, Path("out/predictions.txt"), smooth=False)
    lines = Path("out/predictions.txt").read_bytes().decode().split("\n")
    assert (lines[0] + "\n", lines.pop()) == (HEADER, "")
    assert [line.split(",")[0] for line in lines[1:]] == locations()
    assert all(len(field.split(".")[1]) == 5 for line in lines[1:] for field in line.split(",")[1:])
    values = np.array([[float(field) for field in line.split(",")[1:]] for line in lines[1:]])
    expected = np.concatenate([predicted(root, track) for track in FRAMES])
    np.testing.assert_allclose(values, expected, atol=5.0001e-6)
    assert np.ptp(values, axis=0).min() > 0.05, "a constant would prove nothing"
    assert (done.tracks, done.rows, done.smoothing, done.model) == (3, ROWS, None, "concat")
    assert done.valence == (values[:, 0].min(), values[:, 0].max())
    assert done.arousal == (values[:, 1].min(), values[:, 1].max())
    assert done.model_digest == ModelFolder.open(root / "models/fusion").digest()


def test_settings_or_sources_that_changed_since_the_pipeline_ran_are_refused(root: Path) -> None:
    """As DVC writes it down: the sections and the sources that each stage ran with."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    (root / "data/sources.txt").write_text("videos/a.mp4\t1\tabc\n")
    digest = hashlib.md5((root / "data/sources.txt").read_bytes()).hexdigest()
    stages = {
        "corpus": {"deps": [{"path": "data/sources.txt", "md5": digest}], "params": {"params.yaml": {}}},
        "features": {"params": {"params.yaml": {"features": params["features"]}}},
        "backbones": {"params": {"params.yaml": {"train.stopping": params["train"]["stopping"]}}},
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    submit(root, Path("a.txt"))
    (root / "data/sources.txt").write_text("videos/a.mp4\t2\tabd\n")
    with pytest.raises(BadInputError, match="scanned anew since the pipeline ran on it: run `dvc repro`"):
        submit(root, Path("b.txt"))
    stages["features"]["params"]["params.yaml"]["features"] = params["features"] | {"stride": 4}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    with pytest.raises(BadInputError, match=r"params\.yaml has changed since the pipeline ran \(features\)"):
        submit(root, Path("b.txt"))
    stages["features"]["params"]["params.yaml"]["features"] = params["features"]
    stages["backbones"]["params"]["params.yaml"]["train.stopping"] = "other"
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    with pytest.raises(BadInputError, match=r"changed since the pipeline ran \(train\.stopping\)"):
        submit(root, Path("b.txt"))
    assert not Path("b.txt").exists()


def test_smoothing_is_the_published_one_unless_it_is_declined(root: Path) -> None:
    done = submit(root, Path("smooth.txt"))
    values = pd.read_csv("smooth.txt")[["valence", "arousal"]].to_numpy()
    expected = np.concatenate([smoothed(predicted(root, track), WINDOWS[track]) for track in FRAMES])
    np.testing.assert_allclose(values, expected, atol=6e-6)
    assert done.smoothing == (0.667, 1.667)
    metrics = json.loads((root / "reports/evaluate/metrics.json").read_text())["val"]["concat"]
    assert done.validation == {"unsmoothed": metrics["ccc_mean"], "smoothed": metrics["smoothed"]["ccc_mean"]}
    assert done.validation["smoothed"] != done.validation["unsmoothed"]
    assert (
        f"0.667 s (valence) and 1.667 s (arousal); validation CCC {metrics['smoothed']['ccc_mean']:.3f} smoothed"
        in (done.to_text())
    )
    submit(root, Path("plain.txt"), smooth=False)
    assert Path("plain.txt").read_bytes() != Path("smooth.txt").read_bytes()


def test_a_folder_has_a_file_per_track(root: Path) -> None:
    done = submit(root, Path("out/abaw3"), form="abaw3", smooth=False)
    assert {path.name for path in Path("out/abaw3").iterdir()} == {f"{track}.txt" for track in FRAMES}
    assert [path.name for path in Path("out").iterdir()] == ["abaw3"], "nothing temporary is left"
    for track, frames in FRAMES.items():
        lines = Path(f"out/abaw3/{track}.txt").read_bytes().decode().split("\n")
        assert (lines[0], lines[-1], len(lines)) == ("valence,arousal", "", frames + 2)
        values = np.array([[float(field) for field in line.split(",")] for line in lines[1:-1]])
        np.testing.assert_allclose(values, predicted(root, track), atol=5.0001e-6)
    assert (done.tracks, done.rows, done.format) == (3, ROWS, "abaw3")


def test_another_split(root: Path) -> None:
    submit(root, Path("val.txt"), split="val", smooth=False)
    table = pd.read_csv("val.txt")
    assert table["image_location"].tolist() == locations({"val-0": 216, "val-1": 225})


def test_predictions_that_are_missing_or_outdated_are_refused(root: Path) -> None:
    report = root / "reports/evaluate"

    def refused(words: str) -> None:
        with pytest.raises(BadInputError, match=words) as error:
            submit(root, Path("out.txt"))
        assert "run `dvc repro evaluate`" in str(error.value)
        assert not Path("out.txt").exists()

    table = root / "data/corpus/tracks.parquet"
    tracks, before = read_tracks(table), table.read_bytes()
    write_tracks(table, [replace(track, frames=track.frames + (track.track == "test-1")) for track in tracks])
    refused(r"out of date for 1 of 3 tracks: test-1 \(225 frames predicted, 226 in the video\)")
    write_tracks(table, [*tracks, replace(tracks[2], track="test-3")])
    shutil.copyfile(root / "data/features/test-2.safetensors", root / "data/features/test-3.safetensors")
    refused(r"1 of 4 tracks: test-3 \(has features but no predictions\)")
    table.write_bytes(before)

    features = root / "data/features/test-2.safetensors"
    kept = features.read_bytes()
    stored = read_features(features)
    write_features(features, replace(stored, audio=stored.audio * stored.audio.dtype.type(0.5)))
    refused(r"test-2 \(its features were computed anew\)")
    features.write_bytes(kept)

    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("smoothing_arousal_s: 1.667", "smoothing_arousal_s: 1.5"))
    refused(r"are 0.667 and 1.5, but the scores were made with 0.667 and 1.667")
    submit(root, Path("plain.txt"), smooth=False)
    (root / "params.yaml").write_text(params)

    fusion = shutil.copytree(root / "models/fusion", root / "kept")
    config = json.loads((root / "models/fusion/config.json").read_text())
    (root / "models/fusion/config.json").write_text(json.dumps(config | {"inference": "tile"}))
    refused("are another model's than the one in")
    shutil.copyfile(fusion / "config.json", root / "models/fusion/config.json")
    submit(root, Path("plain.txt"), smooth=False)

    protocol = json.loads((report / "protocol.json").read_text())
    (report / "protocol.json").write_text(json.dumps({key: protocol[key] for key in protocol if key != "model"}))
    refused("does not say which model")
    (report / "protocol.json").write_text("{")
    refused("is not readable JSON")
    (report / "protocol.json").unlink()
    refused(r"protocol\.json is missing")


def test_damaged_predictions_are_an_error(root: Path) -> None:
    path = root / "reports/evaluate/predictions/test-1.parquet"
    table = pq.read_table(path)
    for column, values, words in (
        ("valence", np.full(225, np.nan, np.float32), "not in"),
        ("arousal", np.full(225, 1.5, np.float32), "not in"),
        ("frame", np.arange(225, dtype=np.int32), "frames are not 1, 2, 3"),
    ):
        pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(values)), path)
        with pytest.raises(AVFusionError, match=f"test-1.parquet.*{words}"):
            submit(root, Path("out.txt"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(AVFusionError, match=r"test-1\.parquet is not a file of predictions"):
        submit(root, Path("out.txt"))


def test_tracks_without_predictions_are_named_or_filled(root: Path) -> None:
    """A video that the stages skipped has no features; one that could not be read has no known frames either."""
    table = root / "data/corpus/tracks.parquet"
    tracks = read_tracks(table)
    (root / "data/features/test-1.safetensors").unlink()
    with pytest.raises(BadInputError, match=r"1 of 3 tracks have no features, .*: test-1: `avfusion doctor` says why"):
        submit(root, Path("out.txt"))
    done = submit(root, Path("out.txt"), fill_missing=True)
    values = pd.read_csv("out.txt").set_index("image_location")
    assert values.index.tolist() == locations()
    assert not values[values.index.str.startswith("test-1/")].to_numpy().any()
    assert values[values.index.str.startswith("test-2/")].to_numpy().any()
    assert done.notes == (
        DRAWN,
        "1 tracks without predictions have 0, 0 in every row: test-1",
    )

    write_tracks(table, [replace(track, frames=0) if track.track == "test-1" else track for track in tracks])
    with pytest.raises(BadInputError, match=r"rows of test-1 is unknown"):
        submit(root, Path("o"), form="abaw3", fill_missing=True)
    rows = locations({**FRAMES, "test-1": 400})
    done = submit(root, Path("o.txt"), fill_missing=True, sample=sample_file(root, [HEADER.strip(), *rows]))
    assert done.rows == len(rows)
    without = [row for row in rows if not row.startswith("test-1/")]
    done = submit(root, Path("p.txt"), sample=sample_file(root, [HEADER.strip(), *without]))
    assert done.notes == (DRAWN,), "the sample does not ask for it"
    write_tracks(table, [replace(track, split="train") for track in tracks])
    with pytest.raises(BadInputError, match="no track of the corpus is in the split test"):
        submit(root, Path("q.txt"))


def test_another_submission_is_replaced_only_by_force(root: Path) -> None:
    one, many = Path("one.txt"), Path("many")
    for form, place in (("abaw5", one), ("abaw3", many)):
        submit(root, place, form=form, smooth=False)  # type: ignore[arg-type]
        submit(root, place, form=form, smooth=False)  # type: ignore[arg-type]
    first = one.read_bytes()
    with pytest.raises(BadInputError, match=r"one\.txt is there with other contents: overwrite it with --force"):
        submit(root, one)
    assert one.read_bytes() == first
    submit(root, one, force=True)
    assert one.read_bytes() != first
    with pytest.raises(BadInputError, match=r"3 files differ, 0 are of tracks not in this one"):
        submit(root, many, form="abaw3")
    listed = sample_file(root, ["test-1"])
    with pytest.raises(BadInputError, match=r"0 files differ, 2 are of tracks not in this one"):
        submit(root, many, form="abaw3", sample=listed, smooth=False)
    submit(root, many, form="abaw3", sample=listed, force=True)
    assert [path.name for path in many.iterdir()] == ["test-1.txt"], "no file of the earlier submission remains"
    with pytest.raises(BadInputError, match="holds another submission"):
        submit(root, many, form="abaw3", split="val")
    submit(root, many, form="abaw3")
    assert len(list(many.iterdir())) == 3, "what is there stays as it is, so nothing is lost"
    assert not [path for path in root.rglob("*") if ".partial-" in path.name]


ONES = "valence,arousal\n0.10000,-0.25000\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.md", ONES),
        ("test-0.txt", "valence,arousal\n0.1,0.25\n"),  # labels have the header of a submission
        ("test-0.txt", ONES + "-5,-5\n"),
        ("test-0.txt", "valence,arousal\n"),
        ("test-0.txt", ""),
    ],
)
def test_a_folder_with_other_things_is_never_replaced(root: Path, name: str, text: str) -> None:
    out = Path("annotations")
    out.mkdir()
    (out / name).write_text(text)
    for force in (False, True):
        with pytest.raises(BadInputError, match=f"1 things that are not a submission \\({name}\\)"):
            submit(root, out, form="abaw3", force=force)
    assert [path.name for path in out.iterdir()] == [name]
    with pytest.raises(BadInputError, match=r"annotations is a folder: -o names the file"):
        submit(root, out, force=True)
    with pytest.raises(BadInputError, match=r"is a file: -o names the folder"):
        submit(root, out / name, form="abaw3", force=True)


def test_links_and_folders_in_a_folder_are_not_followed(root: Path) -> None:
    (root / "labels.txt").write_text(ONES)
    Path("linked").mkdir()
    Path("linked/test-0.txt").symlink_to(root / "labels.txt")
    Path("deep/test-0.txt").mkdir(parents=True)
    for out in ("linked", "deep"):
        with pytest.raises(BadInputError, match=r"not a submission \(test-0\.txt\)"):
            submit(root, Path(out), form="abaw3", force=True)
    Path("place").mkdir()
    Path("link").symlink_to("place")
    submit(root, Path("link"), form="abaw3")
    assert Path("link").is_symlink()
    assert len(list(Path("place").iterdir())) == 3


def test_a_failed_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(root, Path("many"), form="abaw3", smooth=False)
    before = {path.name: path.read_bytes() for path in Path("many").iterdir()}
    monkeypatch.setattr("avfusion.challenge.submission_files._value_texts", lambda: pa.array(["0.1"] * 200_001))
    with pytest.raises(AVFusionError, match=r"validation of the written .* failed: line 2: not a row of the format"):
        submit(root, Path("one.txt"))
    with pytest.raises(AVFusionError, match=r"test-0\.txt failed: line 2"):
        submit(root, Path("many"), form="abaw3", force=True)
    assert {path.name: path.read_bytes() for path in Path("many").iterdir()} == before
    assert not [path for path in root.rglob("*") if ".partial-" in path.name or path.name == "one.txt"]
    with pytest.raises(AVFusionError, match=r"params\.yaml cannot be written"):
        submit(root, Path("params.yaml/out.txt"))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["avfusion", "submit", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = locations({**FRAMES, "test-0": 217})
    sample = sample_file(root, [HEADER.strip(), *rows])
    assert call(monkeypatch, "-o", "out.txt", "--sample", sample) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"note: {DRAWN}",
        "note: 1 rows are one past the last frame of their video: they have its values",
    ]
    lines = dict(line.split(maxsplit=1) for line in captured.out.splitlines())
    assert list(lines) == ["tracks", "rows", "valence", "arousal", "smoothing", "model", "written"]
    assert (lines["tracks"], lines["rows"]) == ("3 of the split test", "712")
    assert lines["written"] == "out.txt (abaw5), read back and validated"
    assert call(monkeypatch, "-o", "out", "--format", "abaw3", "--split", "val", "--no-smooth", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["rows"], summary["tracks"], summary["smoothing"], summary["split"]) == (441, 2, None, "val")
    assert call(monkeypatch, "-o", "out.txt") == 2
    assert capsys.readouterr().err.startswith("error: out.txt is there with other contents")
    assert call(monkeypatch, "-o", "out.txt", "--force") == 0
    assert call(monkeypatch, "-o", "new.txt", "--split", "train") == 2
    assert call(monkeypatch, "--format", "abaw5") == 2
    (root / "data/features/test-1.safetensors").unlink()
    capsys.readouterr()
    assert call(monkeypatch, "-o", "new.txt") == 2
    assert "test-1" in capsys.readouterr().err
    assert call(monkeypatch, "-o", "new.txt", "--fill-missing") == 0
    (root / "reports/evaluate/predictions/test-0.parquet").write_bytes(b"PAR1")
    assert call(monkeypatch, "-o", "newer.txt", "--fill-missing") == 1
    assert "test-0.parquet is not a file of predictions" in capsys.readouterr().err


def test_no_framework_is_loaded() -> None:
    import subprocess

    script = (
        "import sys, avfusion.challenge.submission; print(sorted({'torch', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
