"""Own labels on the frames of a video: the three forms agree, a delay shifts exactly, nothing is made up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avfusion.data.label_times import SAME_S, labels_by_number, labels_by_time, needs_times
from avfusion.data.labels import LabelTable
from avfusion.data.own_labels import OwnLabels, read_own_labels

RATES = [15.0, 24.0, 25.0, 30000 / 1001, 60.0]


def own(by, stamps, valence, missing=()):
    valence = np.asarray(valence, float)
    values = np.stack([valence, -valence / 2], axis=1)
    valid = ~np.isin(np.arange(len(values)), missing)
    values[~valid] = np.nan
    return OwnLabels(by, np.asarray(stamps, float), values, valid)


def same(first: LabelTable, second: LabelTable) -> None:
    for name in ("valence", "arousal", "valid"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def frame_times(frames, rate, jitter=()):
    """Even times, or some of them off by up to 0.4 of a frame."""
    offsets = np.resize(np.asarray([0.0, *jitter]), frames)
    offsets[0] = 0
    return (np.arange(frames) + offsets) / rate


VALUE = st.floats(-1, 1) | st.just(-5.0)
TRACKS = {
    "rows": st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=30),
    "rate": st.sampled_from(RATES),
    "jitter": st.lists(st.floats(-0.4, 0.4), max_size=5),
}


def written(folder, by, stamps, rows):
    lines = [f"{by},valence,arousal", *(f"{s},{v!r},{a!r}" for s, (v, a) in zip(stamps, rows, strict=True))]
    path = folder / f"{by}.csv"
    path.write_text("\n".join(lines))
    return read_own_labels(path)


@settings(max_examples=80)
@given(**TRACKS, decimals=st.sampled_from([3, 6, 17]))
def test_the_three_forms_give_the_same_labels(tmp_path_factory, rows, rate, jitter, decimals):
    folder = tmp_path_factory.mktemp("l")
    times_s = frame_times(len(rows), rate, jitter)
    end_s = times_s[-1] + 1 / rate
    by_row = labels_by_number(written(folder, "note", ["x"] * len(rows), rows), len(rows))
    by_frame = labels_by_number(written(folder, "frame", range(1, len(rows) + 1), rows), len(rows))
    by_time = labels_by_time(written(folder, "time", [f"{t:.{decimals}f}" for t in times_s], rows), times_s, end_s)
    valid = np.array([-5.0 not in row for row in rows])
    np.testing.assert_array_equal(by_row.valid, valid)
    np.testing.assert_array_equal(by_row.valence[valid], np.array([v for v, _ in rows], np.float32)[valid])
    np.testing.assert_array_equal(by_row.arousal[valid], np.array([a for _, a in rows], np.float32)[valid])
    assert np.isnan(by_row.valence[~valid]).all()
    same(by_frame, by_row)
    same(by_time, by_row)


@settings(max_examples=80)
@given(**TRACKS, delay_s=st.floats(-5, 5))
def test_late_labels_are_those_of_the_moments_before(rows, rate, jitter, delay_s):
    times_s = frame_times(len(rows), rate, jitter)
    end_s = times_s[-1] + 1 / rate
    valence = np.array(rows)[:, 0]
    missing = np.flatnonzero(valence == -5)
    punctual = labels_by_time(own("time", times_s, valence, missing), times_s, end_s)
    late = labels_by_time(own("time", times_s + delay_s, valence, missing), times_s, end_s, delay_s)
    same(late, punctual)


@pytest.mark.parametrize("by", ["row", "frame", "time"])
@given(shift=st.integers(-8, 8), rate=st.sampled_from(RATES), missing=st.sets(st.integers(0, 39), max_size=6))
def test_a_delay_of_whole_frames_moves_labels_by_frames(by, shift, rate, missing):
    times_s = frame_times(40, rate)
    valence = np.linspace(-1, 1, 40)
    stamps = times_s if by == "time" else np.arange(1, 41)
    found = labels_by_time(own(by, stamps, valence, list(missing)), times_s, 40 / rate, shift / rate)
    described = np.arange(40) + shift
    valid = (described >= 0) & (described < 40) & ~np.isin(described, list(missing))
    np.testing.assert_array_equal(found.valid, valid)
    np.testing.assert_array_equal(found.valence[valid], valence[described[valid]].astype(np.float32))
    assert np.isnan(found.arousal[~valid]).all()


def test_rows_after_the_last_frame_describe_it_where_labels_are_late():
    times_s = frame_times(10, 25)
    found = labels_by_time(own("row", range(1, 16), np.arange(15) / 20), times_s, 0.4, 0.2)
    np.testing.assert_allclose(found.valence, np.arange(5, 15) / 20, atol=1e-7)
    assert found.valid.all()


@settings(max_examples=80)
@given(
    label_rate=st.floats(2, 120),
    rate=st.sampled_from(RATES),
    jitter=st.lists(st.floats(-0.4, 0.4), max_size=5),
    start=st.floats(-1, 1),
    count=st.integers(2, 150),
    delay_s=st.floats(-1, 1),
)
def test_a_line_stays_a_line_and_ends_half_a_step_after_its_last_sample(
    label_rate, rate, jitter, start, count, delay_s
):
    times_s = frame_times(40, rate, jitter)
    stamps = start + np.arange(count) / label_rate
    slope = 0.9 / (abs(stamps).max() + 1)
    found = labels_by_time(own("time", stamps, slope * stamps), times_s, times_s[-1] + 1 / rate, delay_s)
    moments, half = times_s + delay_s, 0.5 / label_rate
    np.testing.assert_allclose(
        found.valence[found.valid],
        slope * np.clip(moments, stamps[0], stamps[-1])[found.valid],
        atol=slope * SAME_S * 1.01,
    )
    outside = np.maximum(stamps[0] - moments, moments - stamps[-1])
    sure = abs(outside - half) > 1e-5
    np.testing.assert_array_equal(found.valid[sure], (outside <= half)[sure])


def test_between_samples_it_is_linear():
    times_s = frame_times(9, 25)
    found = labels_by_time(own("time", [0, 0.16, 0.32], [0.0, 0.4, -0.4]), times_s, 0.36)
    np.testing.assert_allclose(found.valence, [0, 0.1, 0.2, 0.3, 0.4, 0.2, 0, -0.2, -0.4], atol=1e-6)
    np.testing.assert_allclose(found.arousal, found.valence / -2, atol=1e-6)


def test_frames_beside_a_sample_that_is_not_annotated_are_not_valid():
    times_s = frame_times(13, 25)
    labels = own("time", [0, 0.16, 0.32, 0.48], [0.1, 0.2, 0.3, 0.4], missing=[1])
    found = labels_by_time(labels, times_s, 0.52)
    assert np.flatnonzero(found.valid).tolist() == [0, 8, 9, 10, 11, 12]
    assert labels_by_time(labels, times_s + 0.0009, 0.52).valid.tolist() == found.valid.tolist(), "the same moment"
    assert np.flatnonzero(labels_by_time(labels, times_s + 0.0011, 0.52).valid).tolist() == [8, 9, 10, 11, 12]


def test_a_gap_is_not_bridged():
    times_s = frame_times(50, 25)
    stamps = [0, 0.2, 0.4, 0.9, 1.1, 1.3, 2.0]
    found = labels_by_time(own("time", stamps, np.arange(7) / 10), times_s, 2.0)
    covered = (times_s <= 1.4 + 1e-9) | (times_s >= 1.9 - 1e-9)  # 0.5 s is no gap among steps of 0.2 s, 0.7 s is one
    np.testing.assert_array_equal(found.valid, covered)
    held = (times_s > 1.3) & (times_s < 1.41)
    np.testing.assert_array_equal(found.valence[held], np.float32(0.5))
    np.testing.assert_array_equal(found.valence[times_s > 1.89], np.float32(0.6))


def test_missing_frame_numbers_are_gaps_also_where_labels_are_late():
    times_s = frame_times(10, 25)
    labels = own("frame", [0, 2, 3, 4, 8, 99], [0.9, 0.2, 0.3, 0.4, 0.8, 0.9])
    assert np.flatnonzero(labels_by_number(labels, 10).valid).tolist() == [1, 2, 3, 7]
    late = labels_by_time(labels, times_s, 0.4, 0.02)  # half a frame
    assert np.flatnonzero(late.valid).tolist() == [0, 1, 2, 3, 6, 7]
    np.testing.assert_allclose(late.valence[late.valid], [0.2, 0.25, 0.35, 0.4, 0.8, 0.8], atol=1e-6)
    nothing = labels_by_time(own("frame", [0], [0.5]), times_s, 0.4, 0.02)
    assert (len(nothing), nothing.valid.any()) == (10, False)


def test_a_single_sample_is_the_label_of_the_frame_nearest_to_it():
    times_s = frame_times(10, 25)
    for moment, frames in ((0.17, [4]), (0.2, [5]), (5.0, [])):
        found = labels_by_time(own("time", [moment], [0.5]), times_s, 0.4)
        assert np.flatnonzero(found.valid).tolist() == frames


def test_labels_never_leave_the_range_of_their_neighbours():
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.uniform(0.01, 0.09, 200))
    values = rng.choice([-1.0, 1.0], 200)
    found = labels_by_time(own("time", stamps, values), frame_times(250, 25), 10.0)
    assert np.abs(found.valence[found.valid]).max() <= 1


@pytest.mark.parametrize(
    ("by", "delay_s", "expected"),
    [("row", 0, False), ("frame", 0, False), ("row", 0.1, True), ("frame", -1, True), ("time", 0, True)],
)
def test_when_frame_times_matter(by, delay_s, expected):
    assert needs_times(own(by, [1, 2], [0, 0]), delay_s) is expected
