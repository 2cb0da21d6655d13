"""Curves and bands as inline SVG, stretched to the page's width; all text is HTML beside them.

A stretched picture keeps its line widths (`non-scaling-stroke`) and has no text, so it is as legible on a phone as on a
desktop.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 1000, 200
MARGIN = 5  # above and below a panel, so that lines at its edge are not cut in half
MOST_POINTS = 800  # per curve


def curve(x: np.ndarray, y: np.ndarray, shown: np.ndarray | None = None) -> str:
    """SVG path data of y (N,) in [-1, 1] over x (N,) in [0, 1]; only where `shown` (N,)."""
    step = -(-len(x) // MOST_POINTS)
    parts, drawing = [], False
    for i in range(0, len(x), max(step, 1)):
        visible = shown is None or bool(shown[i])
        if visible:
            parts.append(f"{'L' if drawing else 'M'}{WIDTH * x[i]:.1f} {HEIGHT * (1 - y[i]) / 2:.1f}")
        drawing = visible
    return "".join(parts)


def panel(x: np.ndarray, curves: Sequence[tuple[str, np.ndarray, np.ndarray | None]], hatched: np.ndarray) -> Markup:
    """A panel of curves over time: `(class, y, shown)` each; the times of `hatched` (N,) are shaded."""
    shades = "".join(
        f'<rect class="unlabelled" x="{start:.1f}" y="{-MARGIN}" width="{width:.1f}" height="{HEIGHT + 2 * MARGIN}"/>'
        for start, width in runs(x, hatched)
    )
    lines = "".join(
        f'<path class="{name}" d="{curve(x, np.clip(y, -1.05, 1.05), shown)}"/>' for name, y, shown in curves
    )
    zero = f'<path class="zero" d="M0 {HEIGHT / 2:g}L{WIDTH} {HEIGHT / 2:g}"/>'
    return _svg(HEIGHT, shades + zero + lines, MARGIN)


def strip(x: np.ndarray, flags: np.ndarray) -> Markup:
    """A strip, filled where `flags` (N,) are true."""
    return _svg(10, "".join(f'<rect x="{a:.1f}" y="0" width="{b:.1f}" height="10"/>' for a, b in runs(x, flags)))


def heat(x: np.ndarray, values: np.ndarray, low: float, high: float) -> Markup:
    """A strip of opacities for `values` (T,) between `low` and `high`; each value starts at its x (T,) in [0, 1]."""
    edges = np.round(WIDTH * np.append(x, 1.0), 1)  # a cell ends where the next begins, to leave no gaps
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    cells = "".join(
        f'<rect x="{a:.1f}" y="0" width="{b - a:.1f}" height="10" fill-opacity="{s:.2f}"/>'
        for (a, b), s in zip(pairwise(edges), share, strict=True)
    )
    return _svg(10, f'<g shape-rendering="crispEdges">{cells}</g>')


def runs(x: np.ndarray, flags: np.ndarray) -> list[tuple[float, float]]:
    """(start, width) of every run of True, in units of the picture."""
    if not len(x):
        return []
    edges = np.append(x, 1.0) * WIDTH
    change = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(float(edges[a]), float(edges[b] - edges[a])) for a, b in zip(change[::2], change[1::2], strict=True)]


def _svg(height: int, content: str, margin: int = 0) -> Markup:
    # Safe as markup: only numbers and fixed class names, nothing from a corpus.
    box = f'viewBox="0 {-margin} {WIDTH} {height + 2 * margin}" preserveAspectRatio="none" aria-hidden="true"'
    return Markup(f"<svg {box}>{content}</svg>")
