"""Challenge files from real predictions of `evaluate`: what is written, what is refused, and what a sample changes."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avfusion.cli import main
from avfusion.config import Evaluate, Geometry
from avfusion.corpora.table import read_tracks, write_tracks
from avfusion.data.features import read_features, write_features
from avfusion.errors import AVFusionError, BadInputError
from avfusion.evaluation.evaluate import load_evaluated, load_models, predict_tracks, protocol_facts, write_evaluation
from avfusion.fusion import build_fusion
from avfusion.inference.model_folder import ModelFolder
from avfusion.inference.submission import submit
from avfusion.inference.submission_files import check_table, value_table, write_table
from avfusion.training.fusion_files import save_fusion

FRAMES = {"test-0": 216, "test-1": 225, "test-2": 270}  # 9 s at 24, 25 and 30 fps
ROWS = sum(FRAMES.values())
HEADER = "image_location,valence,arousal\n"
GEOMETRY = Geometry(fps=25)


@pytest.fixture(scope="module")
def evaluated(plant_at: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project, its test tracks without label files and without truth, evaluated; not to be changed."""
    root = tmp_path_factory.mktemp("evaluated")
    plant_at(root, tracks={"train": 1, "val": 2, "test": 3}, seconds=9, rates=(24.0, 25.0, 30.0), noise=0.1)
    for path in [*(root / "data/labels").glob("test-*"), *(root / "data/raw/demo/truth").glob("test-*")]:
        path.unlink()
    evaluate(root)
    (root / "dvc.yaml").write_text("stages: {}\n")
    shutil.copyfile(Path(__file__).parents[2] / "params.yaml", root / "params.yaml")
    return root


def evaluate(root: Path, seed: int = 0) -> None:
    """An untrained model, its predictions and scores, as the stages `train` and `evaluate` leave them."""
    import torch

    torch.manual_seed(seed)
    spec = read_features(root / "data/features/val-0.safetensors").feature_spec.to_dict()
    facts = {"feature_spec": spec, "geometry": GEOMETRY.model_dump(), "inference": "overlap", "corpus": {}}
    model = build_fusion("concat", audio_dim=12, visual_dim=10)
    for parameter in model.parameters():
        parameter.data *= 3  # far from neutral
    save_fusion(root / "models/fusion", model, facts)
    tracks = load_evaluated(root, GEOMETRY)
    models, config = load_models({"concat": root / "models/fusion"}, tracks["test"])
    splits = {
        split: predict_tracks(entries, models, GEOMETRY, 8, config["inference"], root, root / "data/raw/demo")
        for split, entries in tracks.items()
    }
    settings_ = Evaluate(bootstrap=100, trace_plots=0)
    digest = ModelFolder.open(root / "models/fusion").digest()
    protocol = protocol_facts(GEOMETRY, 8, "overlap", settings_, {"name": "concat", "digest": digest})
    write_evaluation(root / "reports/evaluate", splits, ["concat"], settings_, protocol)


@pytest.fixture
def root(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The evaluated project, to be changed; the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(evaluated, folder)
    monkeypatch.chdir(folder)
    return folder


def predicted(root: Path, track: str) -> np.ndarray:
    table = pd.read_parquet(root / "reports/evaluate/predictions" / f"{track}.parquet")
    return table[["valence", "arousal"]].to_numpy(np.float64)


def smoothed(values: np.ndarray, windows: tuple[int, int] = (20, 50)) -> np.ndarray:
    """The uniform filter of the published windows, by hand: a window of w frames ends (w - 1) // 2 frames later."""
    columns = []
    for column, w in zip(values.T, windows, strict=True):
        padded = np.concatenate([np.repeat(column[0], w), column, np.repeat(column[-1], w)])
        columns.append([padded[w + i - w // 2 : w + i - w // 2 + w].mean() for i in range(len(column))])
    return np.stack(columns, axis=1)


def locations(frames: dict[str, int] = FRAMES) -> list[str]:
    return [f"{track}/{frame:05d}.jpg" for track, count in frames.items() for frame in range(1, count + 1)]


def sample_file(folder: Path, lines: list[str], text: Callable[[str], str] = lambda text: text) -> Path:
    path = folder / "sample.txt"
    path.write_bytes(text("\n".join(lines) + "\n").encode())
    return path


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


def test_smoothing_is_the_published_one_unless_it_is_declined(root: Path) -> None:
    done = submit(root, Path("smooth.txt"))
    values = pd.read_csv("smooth.txt")[["valence", "arousal"]].to_numpy()
    expected = np.concatenate([smoothed(predicted(root, track)) for track in FRAMES])
    np.testing.assert_allclose(values, expected, atol=6e-6)
    assert done.smoothing == (20, 50)
    metrics = json.loads((root / "reports/evaluate/metrics.json").read_text())["val"]["concat"]
    assert done.validation == {"unsmoothed": metrics["ccc_mean"], "smoothed": metrics["smoothed"]["ccc_mean"]}
    assert done.validation["smoothed"] != done.validation["unsmoothed"]
    assert f"20 (valence) and 50 (arousal) frames; validation CCC {metrics['smoothed']['ccc_mean']:.3f} smoothed" in (
        done.to_text()
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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_of_a_sample_come_in_its_order(data: st.DataObject, root: Path) -> None:
    everything = locations()
    rows = data.draw(st.one_of(st.permutations(everything), st.lists(st.sampled_from(everything), min_size=1)))
    done = submit(root, Path("o.txt"), sample=sample_file(root, [HEADER.strip(), *rows]), smooth=False, force=True)
    table = pd.read_csv("o.txt")
    assert table["image_location"].tolist() == rows
    values = {track: predicted(root, track) for track in FRAMES}
    expected = [values[row.split("/")[0]][int(row[-9:-4]) - 1] for row in rows]
    np.testing.assert_allclose(table[["valence", "arousal"]], expected, atol=5.0001e-6)
    named, notes = set(rows), " ".join(done.notes)
    present = {row.split("/")[0] for row in rows}
    unused = sum(FRAMES[track] for track in present) - len(named)
    assert (f"{unused} frames are not in the sample" in notes) == (unused > 0)
    assert (f"{3 - len(present)} tracks are not in the sample" in notes) == (len(present) < 3)
    assert (f"{len(rows) - len(named)} rows of the sample name a frame again" in notes) == (len(rows) > len(named))


@pytest.mark.parametrize(
    ("header", "row", "change", "note"),
    [
        ("image_location,valence,arousal", "{},-5,-5", lambda text: text.replace("\n", "\r\n"), None),
        ("image_location,valence,arousal", "{},,", lambda text: "\ufeff" + text, None),
        ("image_location,valence,arousal", "{},", lambda text: text + "\n  \n\n", None),
        ("Image_Location, valence , arousal", " {} , 0.1 , ", lambda text: text.rstrip("\n"), None),
        ("image_location", "{}", str, None),
        (None, "{},0,0", lambda text: "\ufeff" + text.replace("\n", "\r\n"), "the sample has no header"),
        (None, "{}", str, "the sample has no header"),
        ("arousal,valence,image_location", "0.5,,{}", str, "columns are arousal, valence, image_location"),
        ("valence,image_location,arousal", ",{},", str, "written in the order image_location, valence, arousal"),
    ],
)
def test_samples_in_every_state_are_read(
    root: Path, header: str | None, row: str, change: Callable[[str], str], note: str | None
) -> None:
    rows = locations()[::-1]
    sample = sample_file(root, [*([header] if header else []), *(row.format(one) for one in rows)], change)
    done = submit(root, Path("out.txt"), sample=sample)
    text = Path("out.txt").read_text()
    assert text.startswith(HEADER)
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == rows
    assert len(done.notes) == (note is not None)
    assert note is None or note in done.notes[0]


def test_a_sample_far_longer_than_a_block_keeps_its_order_and_lines(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avfusion.inference.submission_sample._BLOCK_BYTES", 100)
    rows = locations()[::-1]
    submit(root, Path("out.txt"), sample=sample_file(root, [HEADER.strip(), *rows]))
    assert pd.read_csv("out.txt")["image_location"].tolist() == rows
    bad = sample_file(root, [HEADER.strip(), *rows, "", "nonsense"])
    with pytest.raises(BadInputError, match=f"line {ROWS + 3}: 'nonsense': rows"):
        submit(root, Path("out.txt"), sample=bad)
    bad = sample_file(root, [HEADER.strip(), *rows, "test-0/00999.jpg"])
    with pytest.raises(BadInputError, match=f"line {ROWS + 2}: test-0/00999.jpg"):
        submit(root, Path("out.txt"), sample=bad)


def test_the_frame_past_the_last_has_its_values(root: Path) -> None:
    rows = locations({track: count + 1 for track, count in FRAMES.items()})
    done = submit(root, Path("out.txt"), sample=sample_file(root, [HEADER.strip(), *rows]))
    table = pd.read_csv("out.txt").set_index("image_location")
    assert table.index.tolist() == rows
    for track, count in FRAMES.items():
        pd.testing.assert_series_equal(
            table.loc[f"{track}/{count + 1:05d}.jpg"], table.loc[f"{track}/{count:05d}.jpg"], check_names=False
        )
    assert done.notes == ("3 rows are one past the last frame of their video: they have its values",)
    assert done.rows == ROWS + 3


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["image_location,valence,arousal", "test-0/00218.jpg", "test-0/00217.jpg", "test-1/00000.jpg"],
         ["2 frames that the videos do not have", "line 2: test-0/00218.jpg (frames 1 to 216 exist); line 4: test-1"]),
        (["image_location,valence,arousal", "other/00001.jpg", "test-0/00001.jpg", "other/00007.jpg", "val-0/1.jpg"],
         ["names 2 of 3 tracks", "test: other (2 rows, the first in line 2), val-0 (1 rows, the first in line 5)"]),
        (["image_location,valence,arousal", "test-0/1.jpg", "test-0", "a,b,c", "test-0/x.jpg", "test-0/00001.txt"],
         ["line 3: 'test-0'; line 4: 'a,b,c'; line 5: 'test-0/x.jpg'; 1 more lines"]),
        (["image_location,valence,arousal", "test-0/00001.jpg,1,2,3"], ["line 2: 'test-0/00001.jpg,1,2,3'"]),
        (["image_location,valence,arousal", "batch1/test-0/00001.jpg"], ["line 2: 'batch1/test-0/00001.jpg'"]),
        (["image_location,Neutral,Anger", "test-0/00001.jpg,0,1"], ["line 1: 'image_location,Neutral,Anger'"]),
        (["test-0", "test-1"], ["line 1: 'test-0'", "a list of tracks goes with --format abaw3"]),
        (["image_location,valence,arousal"], ["has no rows"]),
        ([""], ["line 1: ''"]),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_filled_are_named_and_counted(root: Path, lines: list[str], words: list[str]) -> None:
    with pytest.raises(BadInputError) as error:
        submit(root, Path("out.txt"), sample=sample_file(root, lines))
    assert all(word in str(error.value) for word in ["sample.txt", *words])
    assert not Path("out.txt").exists()


def test_what_is_no_sample(root: Path) -> None:
    with pytest.raises(BadInputError, match=r"gone\.txt: No such file"):
        submit(root, Path("out.txt"), sample=Path("gone.txt"))
    with pytest.raises(BadInputError, match=r"data: Is a directory: a file with the rows"):
        submit(root, Path("out.txt"), sample=Path("data"))
    Path("latin.txt").write_bytes(b"image_location,valence,arousal\ntest-\xe9/00001.jpg\n")
    with pytest.raises(BadInputError, match=r"latin\.txt is not UTF-8 text"):
        submit(root, Path("out.txt"), sample=Path("latin.txt"))
    sample = sample_file(root, [HEADER.strip(), *locations()])
    with pytest.raises(BadInputError, match="is the sample"):
        submit(root, sample, sample=sample, force=True)


def test_a_list_of_tracks_chooses_the_files(root: Path) -> None:
    listed = sample_file(root, ["test-2", "test-0.txt", ""], lambda text: "\ufeff" + text.replace("\n", "\r\n"))
    done = submit(root, Path("out"), form="abaw3", sample=listed)
    assert {path.name for path in Path("out").iterdir()} == {"test-0.txt", "test-2.txt"}
    assert done.notes == ("1 tracks are not in the sample: left out (test-1)",)
    with pytest.raises(BadInputError, match=r"names 1 of 2 tracks that are not in the split test: nobody"):
        submit(root, Path("o"), form="abaw3", sample=sample_file(root, ["test-0", "nobody"]))
    with pytest.raises(BadInputError, match=r"line 1: .*: one track name a line is needed: .* --format abaw5"):
        submit(root, Path("o"), form="abaw3", sample=sample_file(root, locations()))
    with pytest.raises(BadInputError, match=r"it is empty"):
        submit(root, Path("o"), form="abaw3", sample=sample_file(root, [""]))


def test_a_folder_of_samples_says_the_rows(root: Path) -> None:
    samples = Path("samples")
    samples.mkdir()
    for track, rows in (("test-0", 216 + 1), ("test-1", 225 - 4), ("test-2", 0)):
        (samples / f"{track}.txt").write_text("valence,arousal\n" + "-5,-5\n" * rows)
    done = submit(root, Path("out"), form="abaw3", sample=samples)
    lines = {track: Path(f"out/{track}.txt").read_text().splitlines()[1:] for track in FRAMES}
    assert {track: len(found) for track, found in lines.items()} == {"test-0": 217, "test-1": 221, "test-2": 270}
    assert lines["test-0"][-1] == lines["test-0"][-2]
    assert done.notes == (
        "1 rows are one past the last frame of their video: they have its values",
        "4 frames are not in the sample: left out",
    )
    (samples / "test-0.txt").write_text("valence,arousal\n" + "-5,-5\n" * 218)
    with pytest.raises(BadInputError, match=r"in 1 tracks: test-0 \(218 rows, 216 frames\)"):
        submit(root, Path("out"), form="abaw3", sample=samples)


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
    write_features(features, replace(read_features(features), fingerprint="other frames"))
    refused(r"test-2 \(its features were computed anew\)")
    features.write_bytes(kept)

    params = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(params.replace("smoothing_arousal: 50", "smoothing_arousal: 40"))
    refused(r"are 20 and 40, but the scores were made with 20 and 50")
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
    assert done.notes == ("1 tracks without predictions have 0, 0 in every row: test-1",)

    write_tracks(table, [replace(track, frames=0) if track.track == "test-1" else track for track in tracks])
    with pytest.raises(BadInputError, match=r"rows of test-1 is not known"):
        submit(root, Path("o"), form="abaw3", fill_missing=True)
    rows = locations({**FRAMES, "test-1": 400})
    done = submit(root, Path("o.txt"), fill_missing=True, sample=sample_file(root, [HEADER.strip(), *rows]))
    assert done.rows == len(rows)
    without = [row for row in rows if not row.startswith("test-1/")]
    done = submit(root, Path("p.txt"), sample=sample_file(root, [HEADER.strip(), *without]))
    assert done.notes == (), "the sample does not ask for it"
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
        with pytest.raises(BadInputError, match=f"1 things that are no submission \\({name}\\)"):
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
        with pytest.raises(BadInputError, match=r"no submission \(test-0\.txt\)"):
            submit(root, Path(out), form="abaw3", force=True)
    Path("place").mkdir()
    Path("link").symlink_to("place")
    submit(root, Path("link"), form="abaw3")
    assert Path("link").is_symlink()
    assert len(list(Path("place").iterdir())) == 3


def test_a_failed_write_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(root, Path("many"), form="abaw3", smooth=False)
    before = {path.name: path.read_bytes() for path in Path("many").iterdir()}
    monkeypatch.setattr("avfusion.inference.submission_files._value_texts", lambda: pa.array(["0.1"] * 200_001))
    with pytest.raises(AVFusionError, match=r"validation of the written .* failed: line 2: not a row of the format"):
        submit(root, Path("one.txt"))
    with pytest.raises(AVFusionError, match=r"test-0\.txt failed: line 2"):
        submit(root, Path("many"), form="abaw3", force=True)
    assert {path.name: path.read_bytes() for path in Path("many").iterdir()} == before
    assert not [path for path in root.rglob("*") if ".partial-" in path.name or path.name == "one.txt"]
    with pytest.raises(AVFusionError, match=r"params\.yaml cannot be written"):
        submit(root, Path("params.yaml/out.txt"))


values_st = st.lists(st.tuples(*[st.floats(-1, 1, width=32)] * 2), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=values_st, located=st.booleans())
def test_what_is_written_is_read_to_five_decimals(
    values: list[tuple[float, float]], located: bool, tmp_path: Path
) -> None:
    array = np.array(values, np.float32)
    location = pa.array([f"a b/{i:05d}.jpg" for i in range(len(array))]) if located else None
    table = value_table(array, location)
    write_table(tmp_path / "t.txt", table)
    written = check_table(tmp_path / "t.txt", table)
    found = pd.read_csv(tmp_path / "t.txt")
    read = found[["valence", "arousal"]].to_numpy()
    assert np.abs(read - array).max() <= 5.0001e-6
    assert "-0.00000" not in (tmp_path / "t.txt").read_text()
    assert written.lowest == tuple(read.min(axis=0))
    assert written.highest == tuple(read.max(axis=0))
    assert not located or found["image_location"].tolist() == location.to_pylist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.replace("valence,arousal", "arousal,valence"), "line 1: another header"),
        (lambda t: t.replace("\n", "\r\n"), "line 1: another header"),
        (lambda t: t.replace("0.25000", "0.25"), "line 3: not a row of the format"),
        (lambda t: t.replace("0.25000", "nan"), "line 3: not a row of the format"),
        (lambda t: t.replace("0.25000", "1.25000"), "line 3: not a row of the format"),
        (lambda t: t.replace("0.25000", "0.25001"), "line 3: another value than predicted"),
        (lambda t: t.replace("0.25000", "-0.25000"), "line 3: another value than predicted"),
        (lambda t: t.replace("a/2.jpg", "a/02.jpg"), "line 3: another image location"),
        (lambda t: "\n".join([*t.split("\n")[:2], *t.split("\n")[3:]]), "line 3: another image location"),
        (lambda t: t[: t.rindex("a/3")], "line 4: the file ends after 2 of 3 rows"),
        (lambda t: t + "a/4.jpg,0.00000,0.00000\n", "line 5: a row too many"),
        (lambda t: t.rstrip("\n"), "line 4: not a row of the format"),
        (lambda t: t + "\n", "line 5: not a row of the format"),
    ],
)
def test_validation_sees_every_kind_of_damage(tmp_path: Path, change: Callable[[str], str], words: str) -> None:
    location = pa.array(["a/1.jpg", "a/2.jpg", "a/3.jpg"])
    table = value_table(np.array([[0, 1], [0.25, -1], [-0.5, 0.5]], np.float32), location)
    path = tmp_path / "t.txt"
    write_table(path, table)
    assert check_table(path, table).rows == 3
    path.write_bytes(change(path.read_text()).encode())
    with pytest.raises(AVFusionError, match=words):
        check_table(path, table)


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
    assert captured.err == "note: 1 rows are one past the last frame of their video: they have its values\n"
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
        "import sys, avfusion.inference.submission; print(sorted({'torch', 'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
