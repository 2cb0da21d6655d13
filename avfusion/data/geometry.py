"""Clips, sequences and windows in time, as integer arithmetic on frame numbers (arXiv 2209.09068, section 4.2).

A *tick* is a position on a video's clock: its own frames, or a fixed rate. Arrays are 0-based. A clip is the window of
`clip_frames` ticks that ends at a tick; clips end at ticks 0, s, 2s, … (s: the stride). A sequence is `length` clips
whose ends lie `clip_frames` ticks apart: `clip_frames // s` clips apart in the list. A window is `length` neighbours in
the list.
"""

import numpy as np

PADDING = -1


def clock_frames(time_s: np.ndarray, fps: float | None) -> np.ndarray:
    """Video frame (K,) nearest to each tick of a clock of `fps`; every frame if `fps` is None.

    Args:
        time_s: presentation times (N,) in seconds, increasing, 0 at the first frame.
        fps: ticks per second, or None for the video's own frames.
    """
    time_s = np.asarray(time_s, dtype=np.float64)
    if fps is None or len(time_s) == 0:
        return np.arange(len(time_s))
    # The tolerance keeps a 25 fps video at 25 fps whole: its last time is k/25 up to rounding.
    ticks = np.arange(int(np.floor(time_s[-1] * fps + 1e-3)) + 1) / fps
    after = np.clip(np.searchsorted(time_s, ticks), 1, max(len(time_s) - 1, 1))
    after = np.minimum(after, len(time_s) - 1)
    before = np.maximum(after - 1, 0)
    # Ties, up to rounding noise, go to the earlier frame.
    return np.where(ticks - time_s[before] <= time_s[after] - ticks + 1e-9, before, after)


def frame_positions(time_s: np.ndarray, fps: float | None) -> np.ndarray:
    """Tick position (N,) of every video frame, as a float."""
    time_s = np.asarray(time_s, dtype=np.float64)
    return np.arange(len(time_s), dtype=np.float64) if fps is None else time_s * fps


def clip_end_ticks(ticks: int, stride: int) -> np.ndarray:
    """Ticks (T,) at which clips end: 0, stride, 2 stride, … below `ticks`."""
    return np.arange(0, ticks, stride)


def select_clip_frames(
    face_present: np.ndarray, ends: np.ndarray, clip_frames: int = 32, kept: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the frames of each clip for the visual backbone.

    Of the n ticks with a face in the window, every (n // kept)-th is kept, counted back from the last; with fewer than
    `kept`, all of them and the last one repeated. With 32 and 8 these are the published rules.

    Args:
        face_present: (K,) bool, per tick.
        ends: (T,) ticks at which the clips end.

    Returns:
        Ticks (T, kept), with rows of -1 for windows without a face; and (T,) bool, which windows have a face.
    """
    face_present = np.asarray(face_present, dtype=bool)
    ends = np.asarray(ends, dtype=np.int64)
    with_face = np.flatnonzero(face_present)
    # Positions in `with_face` of the first face in the window and of the first face after it.
    first = np.searchsorted(with_face, ends - clip_frames + 1)
    behind = np.searchsorted(with_face, ends, side="right")
    count = behind - first
    step = np.maximum(count // kept, 1)
    back = np.arange(kept - 1, -1, -1)
    position = np.where(
        (count >= kept)[:, None],
        behind[:, None] - 1 - back * step[:, None],
        np.minimum(first[:, None] + np.arange(kept), behind[:, None] - 1),
    )
    present = count > 0
    if len(with_face) == 0:
        return np.full((len(ends), kept), PADDING), present
    chosen = with_face[np.clip(position, 0, len(with_face) - 1)]
    return np.where(present[:, None], chosen, PADDING), present


def clip_sound_spans(
    time_s: np.ndarray, ends: np.ndarray, *, clip_frames: int, sample_rate: int, window_s: float | None = None
) -> np.ndarray:
    """Start and end (exclusive) of each clip's sound, (T, 2) in samples.

    A clip's sound spans its first to its last frame (arXiv 2209.09068), or the `window_s` seconds before its last
    frame.

    Args:
        time_s: (K,) seconds of the clock's ticks, 0 at the first.
        ends: (T,) ticks at which the clips end.
    """
    last = np.round(time_s[ends] * sample_rate).astype(np.int64)
    if window_s is not None:
        return np.stack([np.maximum(last - round(window_s * sample_rate), 0), last], axis=1)
    first = np.round(time_s[np.maximum(ends - clip_frames + 1, 0)] * sample_rate).astype(np.int64)
    return np.stack([first, last], axis=1)


def clips_apart(stride: int, spacing: int = 32) -> int:
    """Distance, in clips, between neighbours in a sequence that lie `spacing` ticks apart: spacing / stride."""
    if spacing % stride:
        raise ValueError(f"stride {stride} does not divide the {spacing} frames of a clip")
    return spacing // stride


def _sequences(first: np.ndarray, clips: int, apart: int, length: int) -> np.ndarray:
    index = first[:, None] + apart * np.arange(length)
    return np.where((index >= 0) & (index < clips), index, PADDING)


def training_sequences(
    clips: int, stride: int, length: int = 16, spacing: int = 32, shifts: np.ndarray | None = None
) -> np.ndarray:
    """Sequences (S, length) of clip indices with every clip exactly once; -1 is padding around a track's clips.

    Args:
        shifts: (`clips_apart`,) from 0 below `length`: so many places before the first clip begin the sequences of
            clips 0, apart, 2 apart, …, those of clips 1, 1 + apart, …, and so on. None: 0, there is no padding before.
    """
    apart = clips_apart(stride, spacing)
    before = np.zeros(apart, np.int64) if shifts is None else apart * shifts
    first = [
        start
        for offset in range(min(apart, clips))
        for start in range(offset - int(before[offset]), clips, apart * length)
    ]
    return _sequences(np.array(first, dtype=np.int64), clips, apart, length)


def overlap_sequences(clips: int, stride: int, length: int = 16, spacing: int = 32) -> np.ndarray:
    """Sequences (clips, length), one starting at every clip; each clip is in up to `length` of them."""
    return _sequences(np.arange(clips), clips, clips_apart(stride, spacing), length)


def causal_sequences(clips: int, stride: int, length: int = 16, spacing: int = 32) -> np.ndarray:
    """Sequences (clips, length), one ending at every clip; -1 is padding before the first clip."""
    apart = clips_apart(stride, spacing)
    return _sequences(np.arange(clips) - apart * (length - 1), clips, apart, length)


def windows(rows: int, length: int, hop: int, shift: int = 0) -> np.ndarray:
    """Windows (W, length) of neighbouring rows that start every `hop` rows, as the ABAW challenge's networks have them.

    The first starts with the track, the last ends with it. A track shorter than a window has a single one; -1 is
    padding behind its last row.

    Args:
        shift: rows, from 0 below `hop`, by which all windows between lie earlier.
    """
    last = max(rows - length, 0)
    first = np.unique(np.clip(np.arange(-shift, last + hop, hop), 0, last))
    return _sequences(first[:rows], rows, 1, length)


def interpolate_to_frames(
    values: np.ndarray, clip_ticks: np.ndarray, frame_ticks: np.ndarray, target_offset: int = 0
) -> np.ndarray:
    """Values (T, C) of clips → (N, C) of frames: linear between clips, held before the first and after the last.

    Args:
        clip_ticks: (T,) ticks at which the clips end.
        frame_ticks: (N,) positions of the frames on the same clock.
        target_offset: ticks from a clip's end to the time that its value describes (0: its end).
    """
    at = np.asarray(clip_ticks, dtype=np.float64) + target_offset
    columns = [np.interp(frame_ticks, at, values[:, c]) for c in range(values.shape[1])]
    return np.stack(columns, axis=1).astype(values.dtype)
