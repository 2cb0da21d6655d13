import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.media.timestamps import JoinedClock, presentation_order, shown_after_delay


def _order(pts, dts=None):
    return presentation_order(pts, dts or [None] * len(pts), ticks_per_second=1000, nominal_step=40)


def test_frames_out_of_decoding_order_are_sorted():
    shown = _order([0, 160, 80, 40, 120], [-80, -40, 0, 40, 80])
    assert shown.ticks.tolist() == [0, 40, 80, 120, 160]
    assert shown.stamps.tolist() == [0, 40, 80, 120, 160]
    assert shown.warnings == ()


def test_doubles_are_interpolated_with_a_warning():
    shown = _order([0, 40, 40, 120])
    np.testing.assert_allclose(shown.ticks, [0, 40, 80, 120])
    assert shown.stamps is None
    assert "interpolated" in shown.warnings[0]


def test_missing_stamps_come_from_the_decoding_stamps():
    shown = _order([None, None, None], [0, 40, 80])
    assert shown.ticks.tolist() == [0, 40, 80]
    assert shown.warnings == ("3 of 3 frames have no time stamp: filled in",)


def test_without_any_stamp_the_nominal_step_counts():
    assert _order([None, None, None]).ticks.tolist() == [0, 40, 80]


def test_decoding_stamps_alone_give_the_times_of_reordered_pictures():
    """A gap of 100 ticks is behind the third picture; the decoder holds two back."""
    stamps = [7, 8, 9, 10, 11, 112, 113, 114]
    assert shown_after_delay(stamps, 2, 1) == [7, 8, 9, 110, 111, 112, 113, 114]
    assert shown_after_delay(stamps, 0, 1) == stamps
    assert shown_after_delay([3, 4], 2, 1) == [3, 4]
    assert shown_after_delay([3, None, 5, 6], 1, 1) == [3, None, 5, 6]


def test_a_reset_clock_goes_on():
    shown = _order([0, 40, 80, *range(5000, 5200, 40), 0, 40, 80])
    assert shown.ticks[-3:].tolist() == [5200, 5240, 5280]
    assert "steps back once" in shown.warnings[0]


def test_decoding_stamps_tell_a_reset_of_any_length_from_reordering():
    seconds = 1000
    slow = [0, 4 * seconds, 2 * seconds, seconds, 3 * seconds]  # one frame a second, B-frames among them
    assert _order(slow, [-2000, -1000, 0, 1000, 2000]).warnings == ()
    assert "steps back" in _order(slow).warnings[0], "nothing tells it"
    short = _order([0, 120, 40, 80, 0, 120, 40, 80], [-80, -40, 0, 40, -80, -40, 0, 40])
    assert short.ticks.tolist() == [*range(0, 320, 40)]
    assert (short.shifts, short.warnings) == ((0.0, 160.0), ("the clock steps back once: joined on",))
    damaged = _order([0, 120, 40, 80, 160], [-80, -40, -400, 40, 80])
    assert (damaged.ticks.tolist(), damaged.warnings) == ([0, 40, 80, 120, 160], ())


def test_a_reset_of_the_shown_times_alone_is_one():
    shown = _order([0, 40, 80, *range(5000, 5120, 40), 0, 40], [0, 40, 80, 5000, 5040, 5080, 5120, 5160])
    assert shown.ticks[-3:].tolist() == [5080, 5120, 5160]
    assert "steps back once" in shown.warnings[0]


def test_other_streams_are_moved_by_as_much():
    shown = _order([400, 440, 480, 3000, 3040, 0, 40])
    assert shown.ticks.tolist() == [400, 440, 480, 3000, 3040, 3080, 3120]
    assert shown.shifts == (0.0, 3080.0)
    clock = JoinedClock((0.0, 3.0))
    sound = [0.39, 0.42, 0.41, 3.03, 2.04, 0.015, 0.045]  # a step back of less than a second is no reset
    assert [clock.joined(time) for time in sound] == [0.39, 0.42, 0.41, 3.03, 2.04, 3.015, 3.045]
    assert clock.resets == 1
    assert clock.joined(-2.0) == 1.0, "more resets than the picture has: the last shift holds"


def test_other_streams_step_back_as_little_as_the_video():
    clock = JoinedClock((0.0, 0.5, 5.0))
    assert [clock.joined(time) for time in (0.0, 0.48, 0.3, 0.02, 0.5, 0.05)] == [0.0, 0.48, 0.3, 0.52, 1.0, 0.55]
    assert clock.resets == 1, "the next is longer"


@given(st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), min_size=1, max_size=40))
def test_times_always_increase_and_none_is_lost(pts):
    shown = _order(pts)
    assert len(shown.ticks) == len(pts)
    assert np.isfinite(shown.ticks).all()
    assert (np.diff(shown.ticks) > 0).all()


@pytest.mark.parametrize("count", [0, 1])
def test_few_frames(count):
    assert len(_order([7] * count).ticks) == count
