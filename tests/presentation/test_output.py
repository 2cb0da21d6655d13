import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from avfusion.presentation.output import (
    Target,
    check_overwrite,
    picture_metadata,
    plan_targets,
    provenance,
    read_provenance,
)
from avfusion.presentation.tables import SUFFIXES, write_frames_csv, write_predictions
from avfusion.presentation.trace import plot_trace
from avfusion.reports.plots.style import AUDIO, VISUAL
from avfusion.runtime.errors import BadInputError


@pytest.fixture
def table() -> pd.DataFrame:
    time_s = np.arange(50) / 25
    return pd.DataFrame(
        {
            "frame": np.arange(1, 51, dtype=np.int32),
            "time_s": time_s,
            "valence": np.sin(time_s).astype(np.float32),
            "arousal": np.cos(time_s).astype(np.float32),
            "face_confidence": np.where(time_s < 1, 0, 0.97).astype(np.float32),
            "audio_present": np.ones(50, bool),
            "visual_present": time_s >= 1,
        }
    )


def csvs(videos: list[str], folder: str | None) -> list[str]:
    return [
        target.table.as_posix() for target in plan_targets([Path(v) for v in videos], Path(folder) if folder else None)
    ]


def test_names_of_csvs() -> None:
    assert csvs(["a/one.mp4", "b/two.mov"], "o") == ["o/one.csv", "o/two.csv"]
    assert csvs(["a/one.mp4", "b/one.mp4"], None) == ["a/one.csv", "b/one.csv"]
    assert csvs(["a/one.mp4", "a/one.mov"], None) == ["a/one.mp4.csv", "a/one.mov.csv"]
    assert csvs(["a/one.mp4", "b/one.mp4", "c.mp4"], "o") == ["o/a-one.mp4.csv", "o/b-one.mp4.csv", "o/c.csv"]
    assert csvs(["a/One.mp4", "b/one.mov"], "o") == ["o/One.mp4.csv", "o/one.mov.csv"]
    assert csvs(["a/one.mp4", "a/../a/one.mp4"], "o") == ["o/one.csv"]


def test_names_stay_apart_however_often_they_repeat() -> None:
    videos = [f"{outer}/x/one.mp4" for outer in "abc"] + ["one.mp4.mp4"]
    names = csvs(videos, "o")
    assert len({name.lower() for name in names}) == 4


def test_csv_text(table: pd.DataFrame, tmp_path: Path) -> None:
    write_frames_csv(tmp_path / "a.csv", table)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "frame,time_s,valence,arousal,face_confidence,audio_present,visual_present"
    assert lines[2] == "2,0.040000,0.039989,0.999200,0.000000,true,false"
    assert len(lines) == 51
    back = pd.read_csv(tmp_path / "a.csv")
    assert back["visual_present"].dtype == bool
    assert back["valence"].to_numpy() == pytest.approx(table["valence"].to_numpy(), abs=5e-7)


def test_the_same_numbers_in_every_format(table: pd.DataFrame, tmp_path: Path) -> None:
    table = table.assign(valence_sd=np.where(table["frame"] > 1, np.float32(0.25), np.nan), arousal_sd=np.float32(0.5))
    origin = {"video": "ü <b>.mp4", "person": "person-2"}
    for form, suffix in SUFFIXES.items():
        write_predictions(tmp_path / f"t{suffix}", table, form, origin, ["no sound"])
    assert (tmp_path / "t.csv").read_text().splitlines()[1].endswith(",0.000000,true,false,,0.500000")
    back = pd.read_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(back, table)
    metadata = pq.read_schema(tmp_path / "t.parquet").metadata
    assert json.loads(metadata[b"avfusion"]) == origin | {"notes": ["no sound"]}
    whole = json.loads((tmp_path / "t.json").read_text())
    rows = whole.pop("frames")
    assert whole == origin | {"notes": ["no sound"]}
    assert len(rows) == 50
    assert rows[0]["valence_sd"] is None
    assert rows[1] == {
        "frame": 2,
        "time_s": 0.04,
        "valence": 0.039989,
        "arousal": 0.9992,
        "face_confidence": 0.0,
        "audio_present": True,
        "visual_present": False,
        "valence_sd": 0.25,
        "arousal_sd": 0.5,
    }
    lines = (tmp_path / "t.txt").read_text().splitlines()
    assert lines[:3] == ["valence,arousal", "0.00000,1.00000", "0.03999,0.99920"]
    assert len(lines) == 51


def test_another_videos_csv_is_not_overwritten(table: pd.DataFrame, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.mp4", tmp_path / "other.mp4"
    mine.write_bytes(b"mine" * 1000)
    other.write_bytes(b"other" * 1000)
    target = Target(mine, tmp_path / "o.csv")
    check_overwrite(target, force=False)
    plot_trace(target.trace, table, "mine", picture_metadata(provenance(target, {"model_digest": "abc"})))
    write_frames_csv(target.table, table)
    assert read_provenance(target.trace)["video"] == "mine.mp4"
    assert read_provenance(target.trace)["model_digest"] == "abc"
    check_overwrite(target, force=False)
    foreign = Target(other, tmp_path / "o.csv")
    with pytest.raises(BadInputError, match=r"holds the predictions of another video named mine\.mp4.*--force"):
        check_overwrite(foreign, force=False)
    check_overwrite(foreign, force=True)
    target.trace.unlink()
    with pytest.raises(BadInputError, match="which would tell whose it is"):
        check_overwrite(target, force=False)


def test_the_trace_shows_a_face_in_the_frames_that_have_one(table: pd.DataFrame, tmp_path: Path) -> None:
    """Half of them; clips have it for up to 32 frames longer."""
    table["visual_present"] = True
    plot_trace(tmp_path / "t.png", table, "title", {})
    with Image.open(tmp_path / "t.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    paler = [round(255 + 0.35 * (int(colour[at : at + 2], 16) - 255)) for colour in (VISUAL, AUDIO) for at in (1, 3, 5)]
    seen, heard = (int((np.abs(pixels - colour).max(axis=2) < 3).sum()) for colour in (paler[:3], paler[3:]))
    assert heard > 1000
    assert seen / heard == pytest.approx(0.5, abs=0.02)


def test_the_trace_shows_both_targets_and_the_gap(table: pd.DataFrame, tmp_path: Path) -> None:
    plot_trace(tmp_path / "t.trace.png", table, "title", {})
    with Image.open(tmp_path / "t.trace.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) < 8).sum() > 300
    assert read_provenance(tmp_path / "t.trace.png") == {}
