"""One picture per track: crops sampled over its length, and a bar of the frames with and without a face."""

import cv2
import numpy as np

from avfusion.media.alignment import TEMPLATE_SIZE

COLUMNS = 10
_GAP, _CAPTION, _HEADER, _BAR, _MARGIN, _TICK = 8, 18, 54, 14, 16, 4
_PAPER, _INK, _FAINT, _ABSENT = (250, 250, 248), (40, 40, 44), (130, 130, 136), (228, 228, 226)
_PRESENT, _MISSING = (58, 124, 165), (221, 161, 94)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def sample_frames(frames: int, cells: int = 40) -> np.ndarray:
    """Up to `cells` 0-based frames spread evenly from the first to the last, ascending, without duplicates."""
    return np.unique(np.linspace(0, max(frames - 1, 0), min(cells, frames)).round().astype(int))


def contact_sheet(
    title: str,
    subtitle: str,
    indices: np.ndarray,
    crops: list[np.ndarray | None],
    face_present: np.ndarray,
    cuts: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the sheet as (H, W, 3) uint8 RGB.

    Args:
        indices: (k,) 0-based frames of the crops.
        crops: k crops (112, 112, 3) uint8 RGB, None: no face.
        face_present: (N,) bool of all frames, drawn as a bar along the track's time.
        cuts: (c,) 0-based frames at which the track was cut, marked on the bar.
    """
    rows = -(-len(crops) // COLUMNS)
    cell_w, cell_h = TEMPLATE_SIZE + _GAP, TEMPLATE_SIZE + _CAPTION + _GAP
    width = 2 * _MARGIN + COLUMNS * cell_w - _GAP
    top = _MARGIN + _HEADER + _BAR + 2 * _GAP
    sheet = np.full((top + rows * cell_h + _MARGIN - _GAP, width, 3), _PAPER, np.uint8)
    cv2.putText(sheet, title, (_MARGIN, _MARGIN + 18), _FONT, 0.7, _INK, 1, cv2.LINE_AA)
    cv2.putText(sheet, subtitle, (_MARGIN, _MARGIN + 42), _FONT, 0.45, _FAINT, 1, cv2.LINE_AA)
    _draw_bar(sheet[_MARGIN + _HEADER : _MARGIN + _HEADER + _BAR, _MARGIN : width - _MARGIN], face_present)
    for cut in () if cuts is None else cuts:
        x = _MARGIN + round(cut / len(face_present) * (width - 2 * _MARGIN - 1))
        sheet[_MARGIN + _HEADER - _TICK : _MARGIN + _HEADER + _BAR + _TICK, x - 1 : x + 1] = _INK
    for position, (index, crop) in enumerate(zip(indices, crops, strict=True)):
        x = _MARGIN + position % COLUMNS * cell_w
        y = top + position // COLUMNS * cell_h
        cell = sheet[y : y + TEMPLATE_SIZE, x : x + TEMPLATE_SIZE]
        if crop is None:
            cell[:] = _ABSENT
            cv2.putText(sheet, "no face", (x + 28, y + TEMPLATE_SIZE // 2 + 5), _FONT, 0.45, _FAINT, 1, cv2.LINE_AA)
        else:
            cell[:] = crop
        caption = (x, y + TEMPLATE_SIZE + 14)
        cv2.putText(sheet, f"{index + 1}", caption, _FONT, 0.42, _FAINT if crop is None else _INK, 1, cv2.LINE_AA)
    return sheet


def _draw_bar(bar: np.ndarray, face_present: np.ndarray) -> None:
    """Colour each column by the share of its frames that have a face."""
    width = bar.shape[1]
    frames = len(face_present)
    if not frames:
        return
    before = np.concatenate([[0], np.cumsum(face_present)])
    edges = np.linspace(0, frames, width + 1)
    share = np.diff(np.interp(edges, np.arange(frames + 1), before)) / np.diff(edges)
    bar[:] = np.rint(np.outer(share, _PRESENT) + np.outer(1 - share, _MISSING)).astype(np.uint8)[None]
