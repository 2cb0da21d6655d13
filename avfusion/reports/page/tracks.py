"""One track on the page: its curves, the presence of each stream, the model's attention, and a few face crops."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from avfusion.data.frames import decode_crops, encode_crop, read_crops_at, read_face_confidence
from avfusion.reports.page import charts
from avfusion.reports.plots.traces import CONDITION_TITLES
from avfusion.scoring.ccc import ccc
from avfusion.scoring.metrics import rmse
from avfusion.scoring.smoothing import smooth_seconds
from avfusion.scoring.track_predictions import TARGETS, TrackPredictions

THUMBNAILS, THUMBNAIL_SIZE, THUMBNAIL_QUALITY = 8, 56, 80
MOST_TICKS = 6


def track_figure(
    track: TrackPredictions,
    model: str,
    windows_s: Sequence[float],
    attention: Mapping[str, np.ndarray],
    attention_s: np.ndarray,
    thumbnails: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The data of a track for the page's template.

    Args:
        attention: (T,) values by title, from `attention_over_time`.
        attention_s: (T,) end times of the clips in seconds.
        thumbnails: from `crop_thumbnails`; may be empty.
    """
    length = max(float(track.time_s[-1]) if len(track.time_s) else 0.0, 1e-3)
    x, smoothed = track.time_s / length, smooth_seconds(track.predictions[model], track.time_s, windows_s)
    panels = []
    for c, target in enumerate(TARGETS):
        predicted, labels = track.predictions[model][:, c], track.labels[:, c]
        curves = [
            ("truth", labels, track.valid),
            (f"raw {target}", predicted, None),
            (f"smooth {target}", smoothed[:, c], None),
        ]
        score = ccc(predicted, labels, track.valid) if track.valid.sum() >= 2 else None
        hatched = ~track.valid if track.valid.any() else np.zeros(len(x), bool)
        panels.append({"target": target, "ccc": score, "svg": charts.panel(x, curves, hatched)})
    strips = [("audio present", "audio", track.presence[:, 0]), ("face present", "visual", track.presence[:, 1])]
    strips += [(CONDITION_TITLES.get(name, name), "known", flags) for name, flags in track.conditions.items()]
    bands = []
    for title, values in attention.items():
        low, high = float(values.min()), float(values.max())
        svg = charts.heat(np.clip(attention_s / length, 0, 1), values, low, high)
        bands.append({"title": title, "low": low, "high": high, "svg": svg})
    return {
        "track": track.track,
        "panels": panels,
        "strips": [{"title": title, "kind": kind, "svg": charts.strip(x, flags)} for title, kind, flags in strips],
        "bands": bands,
        "thumbnails": thumbnails,
        "ticks": [{"left": round(100 * at / length, 2), "seconds": f"{at:g}"} for at in ticks(length)],
    }


def ticks(length: float) -> list[float]:
    """Round times for an axis of `length` seconds, at most `MOST_TICKS` + 1 of them, from 0 on."""
    steps = (digit * 10.0**power for power in range(-4, 10) for digit in (1, 2, 5))
    step = next(step for step in steps if length <= MOST_TICKS * step)
    return [step * i for i in range(int(length / step + 1e-9) + 1)]


def crop_thumbnails(frames: Path) -> list[dict[str, Any]]:
    """A few face crops of a track, evenly over its frames, as data URIs: `uri` (None: no face) and `frame` (from 1)."""
    faces = read_face_confidence(frames)
    if not len(faces):
        return []
    # The middle of each part of the track: the first and last frames are often dark.
    rows = np.unique((np.arange(THUMBNAILS) + 0.5) / THUMBNAILS * len(faces)).astype(int).tolist()
    return [
        {"frame": row + 1, "uri": None if jpeg is None else _thumbnail(jpeg)}
        for row, jpeg in zip(rows, read_crops_at(frames, rows), strict=True)
    ]


def worst_tracks(tracks: Sequence[TrackPredictions], model: str) -> list[dict[str, Any]]:
    """A row per labelled track, the lowest mean CCC first, with what may explain it: spread, bias, missing streams."""
    rows = []
    for track in tracks:
        if track.valid.sum() < 2:
            continue
        row: dict[str, Any] = {"track": track.track, "frames": int(track.valid.sum())}
        for c, target in enumerate(TARGETS):
            x, y = track.predictions[model][track.valid, c].astype(np.float64), track.labels[track.valid, c]
            row |= {
                f"ccc_{target}": ccc(x, y),
                f"rmse_{target}": rmse(x, y),
                f"bias_{target}": float(x.mean() - y.mean(dtype=np.float64)),
                f"sd_{target}": float(y.std(dtype=np.float64)),
            }
        row["ccc_mean"] = (row["ccc_valence"] + row["ccc_arousal"]) / 2
        row |= {stream: float(track.presence[track.valid, c].mean()) for c, stream in enumerate(("audio", "visual"))}
        rows.append(row)
    return sorted(rows, key=lambda row: (row["ccc_mean"], row["track"]))


def _thumbnail(jpeg: bytes) -> str:
    size = (THUMBNAIL_SIZE, THUMBNAIL_SIZE)
    small = cv2.resize(decode_crops([jpeg])[0], size, interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + base64.b64encode(encode_crop(small, THUMBNAIL_QUALITY)).decode()
