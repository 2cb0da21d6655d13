"""A server's work in other processes: the serving process opens no uploaded file and runs no model."""

import json
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.opener import MediaLimits
from avfusion.runtime.errors import AVFusionError, describe_os_error

if TYPE_CHECKING:
    import pandas as pd

    from avfusion.inference.predictor import Predictor
    from avfusion.inference.streams import People

Report = Callable[[str, int, int], None]
REPORT_S = 0.2
VIDEO, PASSING, CSV, JSON = "video", "passing", "result.csv", "result.json"  # in a job's folder
EVERYBODY = "choose “Everybody in the video” (people=all)"
SMALLER = "the command avfusion predict --min-face looks for smaller ones"


class ServedModel(NamedTuple):
    """A server's description of its model: its source, the fusion model's name, the digest of its files, its notes."""

    source: str
    name: str
    digest: str
    notes: tuple[str, ...] = ()


class Inspection(NamedTuple):
    """Facts about a video from its packets."""

    frames: int
    duration_s: float


def copy_model(model: str | None, folder: Path) -> ServedModel:
    """Copy a model into `folder`, so that later training and registering do not change the served model.

    Raises:
        BadInputError: as `opened_model`.
        AVFusionError: it cannot be written to `folder`.
    """
    from avfusion.inference.model_source import opened_model

    with opened_model(model) as (files, source):
        try:
            files.copy_to(folder)
        except OSError as error:
            raise AVFusionError(describe_os_error(error)) from None
        return ServedModel(source, str(files.config["fusion"]["name"]), files.digest(), files.notes)


def load_model(model: Path, device: str, min_face: int | None) -> str:
    """Load the model into this process for `predict_upload`; returns the device that it runs on, for people."""
    from avfusion.runtime.devices import device_text

    return device_text(_predictor(model, device, min_face).device)


@lru_cache(maxsize=1)
def _predictor(model: Path, device: str, min_face: int | None) -> "Predictor":
    from avfusion.inference.predictor import Predictor

    return Predictor.load(model, device=device, min_face=min_face)


def inspect_upload(video: Path, limits: MediaLimits) -> Inspection:
    """Read a video's packets.

    Raises:
        BadInputError: it is no video and no sound, or is beyond the limits.
    """
    timeline = read_any_timeline(video, limits)
    return Inspection(timeline.frames, timeline.end_s)


def csv_name(number: int) -> str:
    """Name of the CSV of a person's predictions in a job's folder."""
    return CSV if number == 1 else f"{Path(CSV).stem}.person-{number}{Path(CSV).suffix}"


def predict_upload(
    model: Path, device: str, min_face: int | None, folder: Path, name: str, people: "People", report: Report
) -> None:
    """Predict the video in a job's folder; write the predictions beside it, as CSV and JSON.

    Args:
        model, device, min_face: the model's folder, and as for `Predictor.load`; loaded once.
        folder: the job's folder; temporary files go into it, too, so that they can be removed if this process is
            killed.
        people: the main person, or everybody: then a CSV each, and all in the JSON.
        report: called with phase, progress and total a few times per second.

    Raises:
        AVFusionError: as `Predictor.predict`, or the disk is full.
    """
    from avfusion.inference.advice import Advice
    from avfusion.presentation.person_marks import thumbnail_uri
    from avfusion.presentation.tables import write_frames_csv

    predictor, video, notes = _predictor(model, device, min_face), folder / VIDEO, list[str]()
    try:
        (folder / PASSING).mkdir()
        tempfile.tempdir = str(folder / PASSING)
        advice = Advice(EVERYBODY, SMALLER)
        analysis = predictor.analyse(video, people=people, advice=advice, progress=_seldom(report), notice=notes.append)
        persons = analysis.persons
        content: dict[str, Any] = {
            "video": name,
            "model": {"name": predictor.name, "digest": predictor.digest},
            "notes": [note.removeprefix(f"{video}: ") for note in [*predictor.notes, *notes]],
            "columns": _columns(persons[0].predictions),
        }
        if people == "all":
            content["persons"] = [
                {"number": p.number, "thumbnail": thumbnail_uri(p), "columns": _columns(p.predictions)} for p in persons
            ]
        for person in persons:
            write_frames_csv(folder / csv_name(person.number), person.predictions)
        (folder / JSON).write_text(json.dumps(content, allow_nan=False, separators=(",", ":")), encoding="utf-8")
    except OSError as error:
        raise AVFusionError(describe_os_error(error)) from None


def _columns(table: "pd.DataFrame") -> dict[str, list[float | None]]:
    """The CSV's columns, rounded as in the CSV; null for unknown numbers."""
    floats = table.astype({name: "float64" for name in table.columns if table[name].dtype.kind == "f"}).round(6)
    return {str(name): [None if x != x else x for x in floats[name].tolist()] for name in floats.columns}


def _seldom(report: Report) -> Report:
    last: tuple[str, float] = ("", 0.0)

    def pass_on(phase: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if phase != last[0] or now - last[1] >= REPORT_S or done == total:
            last = (phase, now)
            report(phase, done, total)

    return pass_on
