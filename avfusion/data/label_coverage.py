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
_END_OFF = 0.1  # of the duration; frame numbers that end closer to the video's end may as well be seconds
_SHORTEST_SPAN = 0.1  # of the duration, for a time per frame; minutes span a sixtieth
ROWS_OFF = 2  # readers of video count a frame more or less at its end
ROWS_OFF_SHARE = 0.01  # 24 for 25 frames per second is 4 %
ROWS_OFF_S = 1.0  # then labels of another rate lag by this much at the end


def label_fault(labels: OwnLabels, frames: int, duration_s: float, delay_s: float = 0.0) -> str:
    """Why own labels cannot be those of a video of `frames` frames and `duration_s` seconds; "" if they can.

    Without a column `frame` or `time`, the number of rows may differ from that of frames by `rows_off`: a larger
    difference may mean another rate. Frame numbers may exceed the last frame by as many, but not count all frames from
    0. Labels that lag by `delay_s` may go on for so long. Times may begin late, end early, or go beyond the video,
    where they are not used, but not more than half of them; nor may they look like frame numbers, milliseconds or
    minutes.
    """
    off, last = rows_off(frames, duration_s), round(float(labels.stamps[-1]))
    lagging = round(max(delay_s, 0.0) * frames / max(duration_s, 1e-3))
    fewest, most = frames - off, frames + lagging + off
    if labels.by == "time":
        return _time_fault(labels.stamps, frames, (fewest, most), max(duration_s, 1e-3), delay_s)
    if labels.by == "row" and not fewest <= last <= most:
        return (
            f"{last} rows for the {frames} frames of its video ({last / max(duration_s, 1e-3):.3g} rows a second): "
            f"without a column `frame` or `time` every frame needs a row, {off} more or fewer at most: add `time` "
            "(seconds from the first frame) or `frame` (numbers from 1)"
        )
    if last > most:
        return (
            f"its column frame runs to {last}, its video has {frames} frames: these are frames of another rate or "
            "video: number the frames of this video from 1, or write `time` (seconds from the first frame) instead"
        )
    counted = labels.by == "frame" and labels.stamps[0] == 0 and len(labels) == last + 1
    if counted and fewest <= len(labels) <= frames + lagging:
        return (
            f"its column frame runs from 0 to {last}, its video has {frames} frames: it counts from 0, frames are "
            "numbered from 1: add 1 to each"
        )
    if labels.by == "frame" and labels.stamps[0] == 0 and len(labels) < last + 1:
        return "its column frame begins with 0, with gaps: frames are numbered from 1: add 1 to each"
    return ""


def rows_off(frames: int, duration_s: float) -> int:
    """By how many the rows of labels may differ from the frames: 1 % of the frames, at most a second, at least 2."""
    return max(ROWS_OFF, int(min(ROWS_OFF_SHARE * frames, ROWS_OFF_S * frames / max(duration_s, 1e-3))))


def _time_fault(stamps: np.ndarray, frames: int, rows: tuple[int, int], duration_s: float, delay_s: float) -> str:
    """As `label_fault`; `rows`: the fewest and most rows of a table that has one for each of the `frames`."""
    first, last = float(stamps[0]), float(stamps[-1])
    lasts = f"{round(duration_s, 2):g} s"
    per_frame = rows[0] <= len(stamps) <= rows[1]
    if _MILLISECONDS[0] <= last / duration_s <= _MILLISECONDS[1] and last - first > 2 * duration_s:
        return (
            f"its column time runs to {last:.12g}, its video lasts {lasts}: these are milliseconds, seconds are "
            "needed: divide them by 1000"
        )
    if per_frame and first >= 0 and last <= rows[1] and (stamps == np.round(stamps)).all():
        beyond = min(last, last - delay_s) > (1 + _END_OFF) * duration_s
        if beyond or max(last, last - delay_s) + 1 < (1 - _END_OFF) * duration_s:  # the last second of seconds
            return (
                f"its column time has whole numbers to {last:.12g}, about one for each of the video's {frames} frames, "
                f"which last {lasts}: these look like frame numbers: write them in a column `frame`, counted from 1, "
                "or write seconds"
            )
    if first - delay_s > duration_s:
        return (
            f"its times begin at {first:.12g} s, beyond the video's {lasts}: `time` counts seconds from the video's "
            "first frame: subtract the clock time of that frame"
        )
    if (stamps - delay_s > duration_s).mean() > 0.5:
        return (
            f"its times reach {last:.12g} s, beyond the video's {lasts}, and more than half lie there: `time` counts "
            "seconds from the video's first frame: convert other units, or remove the rows beyond the end"
        )
    step = (last - first) / max(len(stamps) - 1, 1)
    as_minutes = abs(60 * (last + step) - duration_s) < _END_OFF * duration_s + 60 * step
    if len(stamps) > 1 and last - first < _SHORTEST_SPAN * duration_s and (per_frame or as_minutes):
        return (
            f"its column time has {len(stamps)} rows, but spans {last - first:.3g} of the video's {lasts}: are these "
            "minutes? Seconds are needed: multiply minutes by 60"
        )
    return ""


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
    if fault := label_fault(labels, info.frames, info.duration_s, delay_s):
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
        return [f"{described}: {NO_LABEL}"]
    if bare * frame_s > step:  # more than one more step of labels would cover
        return [f"{described}: about {bare} of {info.frames} frames have no label"]
    return [f"{described}: what lies beyond is not used"] if last - info.duration_s > max(step, frame_s) else []
