"""`avfusion live`."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avfusion.commands.loading import loaded_predictor
from avfusion.commands.options import AudioTrackOption, DeviceOption, MinFaceOption, ModelOption

if TYPE_CHECKING:
    from avfusion.inference.live import LiveSummary, LiveValue


def live(
    source: Annotated[Path, typer.Option(metavar="FILE", help="The video to show.", show_default=False)],
    model: ModelOption = None,
    stride: Annotated[
        int | None, typer.Option(metavar="N", help="Frames between values, a divisor of 32. Default: the model's.")
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime/--no-realtime", help="Show frames when due, or as fast as possible.")
    ] = True,
    audio_track: AudioTrackOption = None,
    min_face: MinFaceOption = None,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, the summary last.")] = False,
) -> None:
    """Predict a video while it is shown, from the past alone; prints a line per value and a summary of latencies.

    Ctrl-C stops it and prints the summary. Exit status: 0 done; 2 the input was bad; 1 something failed.
    """
    from avfusion.inference.live import predict_live

    predictor = loaded_predictor(model, device, min_face=min_face)
    shown = _as_json if as_json else _as_text
    summary = predict_live(
        predictor,
        source,
        lambda value: print(shown(value), flush=True),
        stride=stride,
        realtime=realtime,
        audio_track=audio_track,
    )
    for warning in summary.warnings:
        print(f"note: {source}: {warning}", file=sys.stderr)
    facts = _facts(summary) | {"notes": list(predictor.notes)}
    print(json.dumps({"summary": facts}) if as_json else _told(summary), flush=True)


def _as_json(value: "LiveValue") -> str:
    numbers = {key: round(number, 6) if isinstance(number, float) else number for key, number in asdict(value).items()}
    return json.dumps(numbers)


def _as_text(value: "LiveValue") -> str:
    missing = "" if value.visual_present else "  no face"
    missing += "" if value.audio_present else "  no sound"
    latency = f"{1000 * value.latency_s:.0f} ms"
    return f"{value.time_s:8.2f} s  valence {value.valence:+.3f}  arousal {value.arousal:+.3f}  ({latency}){missing}"


def _facts(summary: "LiveSummary") -> dict[str, object]:
    return {
        "clips": summary.clips,
        "dropped": summary.dropped,
        "late": summary.late,
        "latency_p50_s": _rounded(summary.latency_s(50)),
        "latency_p99_s": _rounded(summary.latency_s(99)),
        "period_s": _rounded(summary.period_s),
        "realtime": summary.realtime,
        "interrupted": summary.interrupted,
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 6)


def _told(summary: "LiveSummary") -> str:
    median, worst = summary.latency_s(50), summary.latency_s(99)
    if median is None or worst is None:
        return "no value yet"
    how = "frame shown to value out" if summary.realtime else "frame decoded to value out"
    counts = f"{summary.clips} clips, {summary.dropped} dropped, {summary.late} late (after the next one's end)"
    return f"{counts}; {how}: p50 {1000 * median:.0f} ms, p99 {1000 * worst:.0f} ms"
