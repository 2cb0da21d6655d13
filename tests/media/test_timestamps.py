import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.media.timestamps import JoinedClock, presentation_order


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


def test_a_reset_clock_goes_on():
    shown = _order([0, 40, 80, *range(5000, 5200, 40), 0, 40, 80])
    assert shown.ticks[-3:].tolist() == [5200, 5240, 5280]
    assert "steps back 1 times" in shown.warnings[0]


def test_other_streams_are_moved_by_as_much():
    shown = _order([400, 440, 480, 3000, 3040, 0, 40])
    assert shown.ticks.tolist() == [400, 440, 480, 3000, 3040, 3080, 3120]
    assert shown.shifts == (0.0, 3080.0)
    clock = JoinedClock(shown.shifts, tolerance=1000)
    sound = [390, 420, 410, 3030, 2040, 15, 45]  # a step back within the tolerance is no reset
    assert [clock.joined(time) for time in sound] == [390, 420, 410, 3030, 2040, 3095, 3125]
    assert clock.resets == 1
    assert clock.joined(-2000) == 1080, "more resets than the picture has: the last shift holds"


@given(st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), min_size=1, max_size=40))
def test_times_always_increase_and_none_is_lost(pts):
    shown = _order(pts)
    assert len(shown.ticks) == len(pts)
    assert np.isfinite(shown.ticks).all()
    assert (np.diff(shown.ticks) > 0).all()


@pytest.mark.parametrize("count", [0, 1])
def test_few_frames(count):
    assert len(_order([7] * count).ticks) == count
