"""Whose frame it is: seen, or missing for at most a clip while nobody else is seen."""

import numpy as np
import pytest

from avfusion.inference.own_frames import own_frames

CLIP = 32


def _own(seen: np.ndarray, others: np.ndarray | None = None, positions: np.ndarray | None = None) -> list[int]:
    count = len(seen)
    others = np.zeros(count, bool) if others is None else others
    positions = np.arange(count, dtype=float) if positions is None else positions
    return np.flatnonzero(own_frames(seen, others, positions, CLIP)).tolist()


def _flags(count: int, *spans: tuple[int, int]) -> np.ndarray:
    flags = np.zeros(count, bool)
    for start, stop in spans:
        flags[start:stop] = True
    return flags


@pytest.mark.parametrize("missing", [1, 30, 31, 32, 100])
def test_a_gap_of_a_clip_is_bridged_and_a_longer_one_is_not(missing: int) -> None:
    seen = _flags(220, (20, 40), (40 + missing, 200))
    bridged = missing + 1 <= CLIP  # from the last frame with the face to the next
    assert _own(seen) == [*range(20, 40), *(range(40, 40 + missing) if bridged else ()), *range(40 + missing, 200)]


def test_the_clock_decides_not_the_number_of_frames() -> None:
    """The same half second at 10, 25 and 60 frames a second; and 1.28 s, the length of a clip at 25 ticks a second."""
    for rate in (10, 25, 60):
        times = np.arange(4 * rate) / rate
        for length_s, bridged in ((0.5, True), (1.28, True), (1.32, False)):
            after = 1 + max(length_s, 1 / rate)
            seen = (times <= 1) | (times >= after - 1e-9)
            last, following = times[times <= 1][-1], times[times >= after - 1e-9][0]
            expected = bridged and following - last <= 1.28 + 1e-9
            assert (len(_own(seen, positions=times * 25)) == len(times)) == expected, (rate, length_s)


def test_somebody_else_in_the_gap_even_for_a_frame_leaves_all_of_it_empty() -> None:
    seen = _flags(60, (0, 10), (20, 30), (35, 60))
    assert _own(seen, _flags(60, (15, 16))) == [*range(10), *range(20, 60)]
    assert _own(seen, _flags(60, (0, 10), (20, 30))) == list(range(60)), "beside the person, not in the gap"


def test_nothing_before_the_first_and_after_the_last_face() -> None:
    assert _own(_flags(50, (10, 20))) == list(range(10, 20))
    assert _own(np.zeros(5, bool)) == []
    assert _own(np.zeros(0, bool)) == []
