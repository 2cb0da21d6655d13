"""Describe how the labels of a track and the frames of its video disagree."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from avfusion.data.label_times import labels_by_time, needs_times
from avfusion.data.own_labels import OwnLabels
from avfusion.media.probe import MediaInfo

NO_LABEL = "no frame has a label"
NOTHING_ANNOTATED = "nothing is annotated: every label is -5"
_MILLISECONDS = (500.0, 2000.0)  # times the duration


def millisecond_fault(labels: OwnLabels, duration_s: float) -> str:
    """A fault if the times of own labels, about a thousand times beyond the video, must be milliseconds; else ""."""
    last = float(labels.stamps[-1])
    if labels.by != "time" or not _MILLISECONDS[0] <= last / max(duration_s, 1e-3) <= _MILLISECONDS[1]:
        return ""
    return (
        f"its column time runs to {last:.12g}, its video lasts {duration_s:.2f} s: these are milliseconds, seconds are "
        "needed: divide them by 1000"
    )


def labels_nothing(warnings: Iterable[str]) -> bool:
    """Whether the warnings of a track say that its labels reach no frame."""
    return any(NO_LABEL in warning or warning == NOTHING_ANNOTATED for warning in warnings)


def compare_rows(rows: int, frames: int) -> list[str]:
    """Disagreements of labels with one row per frame."""
    if rows > frames:
        return [f"{rows} label rows for {frames} video frames: the last {rows - frames} are not used"]
    if rows < frames:
        return [f"{rows} label rows for {frames} video frames: the last {frames - rows} frames have no label"]
    return []


def compare_own_labels(labels: OwnLabels, info: MediaInfo, delay_s: float) -> list[str]:
    """Disagreements of own labels; frames are assumed evenly spaced, so counts of frames by time are approximate."""
    found = list(labels.warnings)
    if not labels.valid.any():
        found.append(NOTHING_ANNOTATED)
    if fault := millisecond_fault(labels, info.duration_s):
        return [*found, fault]
    if labels.by == "frame" and labels.stamps[0] == 0:
        found.append("there is a label of frame 0, which is not used: frames are numbered from 1")
    if needs_times(labels, delay_s):
        return found + _compare_times(labels, info, delay_s)
    if labels.by == "row":
        return found + compare_rows(len(labels), info.frames)
    inside = int(((labels.stamps >= 1) & (labels.stamps <= info.frames)).sum())
    if beyond := int((labels.stamps > info.frames).sum()):
        found.append(f"{beyond} labels of frames beyond the last of {info.frames} video frames are not used")
    if not inside:
        found.append(f"the labels are of frames {labels.stamps[0]:g} to {labels.stamps[-1]:g}: {NO_LABEL}")
    elif inside < info.frames:
        found.append(f"{info.frames - inside} of {info.frames} video frames have no label")
    return found


def _compare_times(labels: OwnLabels, info: MediaInfo, delay_s: float) -> list[str]:
    frame_s = info.duration_s / info.frames
    stamps = labels.stamps if labels.by == "time" else (labels.stamps - 1) * frame_s
    step = float(np.median(np.diff(stamps))) if len(stamps) > 1 else frame_s
    first, last = float(stamps[0]) - delay_s, float(stamps[-1]) - delay_s
    described = f"the labels describe {first:.2f} to {last:.2f} s"
    described += f" (label_delay_s {delay_s:g} subtracted)" if delay_s else ""
    described += f", the video has 0 to {info.duration_s:.2f} s"
    everything = replace(labels, valid=np.ones(len(labels), bool))
    times_s = np.arange(info.frames) * frame_s
    bare = info.frames - int(labels_by_time(everything, times_s, info.duration_s, delay_s).valid.sum())
    if bare == info.frames:
        hint = ": `time` counts seconds from the video's first frame" if labels.by == "time" else ""
        return [f"{described}: {NO_LABEL}{hint}"]
    if bare * frame_s > step:  # more than one more step of labels would cover
        return [f"{described}: about {bare} of {info.frames} frames have no label"]
    return [f"{described}: what lies beyond is not used"] if last - info.duration_s > max(step, frame_s) else []
