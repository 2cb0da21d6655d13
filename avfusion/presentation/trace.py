"""A picture of one video's predictions: valence, arousal and the presence of the streams over time."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from avfusion.inference.analysis import Person
from avfusion.presentation.person_marks import colour_of, thumbnail_of
from avfusion.reports.plots.style import (
    AROUSAL,
    AUDIO,
    DPI,
    FAINT,
    INK,
    VALENCE,
    VISUAL,
    new_figure,
    quiet,
    spans,
    write_notes,
)
from avfusion.runtime.atomic import atomic_path
from avfusion.runtime.printable import printable

if TYPE_CHECKING:
    import pandas as pd

_FACE = 72  # pixels of a thumbnail


def plot_trace(
    path: str | Path,
    predictions: "pd.DataFrame",
    title: str,
    metadata: Mapping[str, str],
    person: Person | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Draw valence and arousal, and below them where sound was heard and the face seen, and the face's confidence.

    Args:
        path: PNG file, written whole or not at all.
        metadata: text kept in the PNG.
        person: shown with thumbnail and number, where several people are told apart.
        notes: what readers must know about the model, written into the lower right corner.
    """
    time_s = predictions["time_s"].to_numpy(float)
    figure = new_figure(10, 4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1.1))
    _emotion(above, time_s, predictions)
    _evidence(below, time_s, predictions)
    if person is None:
        above.set_title(printable(title), loc="left", fontsize=11, color=INK, parse_math=False)
    else:
        _who(above, person, printable(title))
    below.set_xlabel("time (s)")
    write_notes(figure, notes)
    below.set_xlim(0, max(float(time_s[-1]), 1e-3))
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ ")  # a character that the font lacks is drawn as a box
        figure.savefig(temporary, dpi=DPI, format="png", metadata=dict(metadata))


def _who(axes: Axes, person: Person, title: str) -> None:
    """Thumbnail and number of a person before the title."""
    colour = tuple(channel / 255 for channel in colour_of(person))
    picture = OffsetImage(thumbnail_of(person, _FACE), zoom=72 / DPI)
    at: dict[str, Any] = {"xycoords": "axes fraction", "box_alignment": (0, 0), "pad": 0.12, "annotation_clip": False}
    frame = AnnotationBbox(picture, (0, 1.03), bboxprops={"edgecolor": colour, "linewidth": 2}, **at)
    frame.set_in_layout(True)
    axes.add_artist(frame)
    beside: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    left = _FACE * 72 / DPI + 14
    tag = {"boxstyle": "square,pad=0.25", "facecolor": colour, "edgecolor": "none"}
    axes.annotate(f"{person.number}", (0, 1.03), (left, 22), color="white", weight="bold", bbox=tag, **beside)
    axes.annotate(title, (0, 1.03), (left - 3, 2), fontsize=11, color=INK, parse_math=False, **beside)


def _emotion(axes: Axes, time_s: np.ndarray, predictions: "pd.DataFrame") -> None:
    axes.axhline(0, color=FAINT, linewidth=0.8)
    for name, colour in (("valence", VALENCE), ("arousal", AROUSAL)):
        values = predictions[name].to_numpy(float)
        known = values[np.isfinite(values)]
        mean = f"mean {round(float(known.mean()), 2) + 0.0:+.2f}" if len(known) else "unknown"  # never -0.00
        axes.plot(time_s, values, color=colour, linewidth=1.6, label=f"{name} ({mean})")
        if f"{name}_low" in predictions:
            ends = (predictions[f"{name}_{end}"].to_numpy(float) for end in ("low", "high"))
            axes.fill_between(time_s, *ends, color=colour, alpha=0.12, linewidth=0)
    axes.set_ylim(-1.02, 1.02)
    axes.set_ylabel("unpleasant / calm   …   pleasant / excited", fontsize=8)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99), ncols=2, frameon=False, fontsize=9)
    quiet(axes)


def _evidence(axes: Axes, time_s: np.ndarray, predictions: "pd.DataFrame") -> None:
    confidence = predictions["face_confidence"].to_numpy(float)
    heard = predictions["audio_present"].to_numpy(bool)
    for row, (present, colour) in enumerate(((heard, AUDIO), (confidence > 0, VISUAL))):
        axes.broken_barh(spans(present, time_s), (row + 0.1, 0.8), color=colour, alpha=0.35, linewidth=0)
    height = 2.1 + 0.8 * np.clip(confidence, 0, 1)
    axes.fill_between(time_s, 2.1, height, color=INK, alpha=0.45, linewidth=0, step="post")
    axes.set_ylim(0, 3)
    axes.set_yticks([0.5, 1.5, 2.5], ["sound heard", "face seen", "face confidence"], fontsize=8)
    quiet(axes)
    axes.tick_params(axis="y", length=0)
