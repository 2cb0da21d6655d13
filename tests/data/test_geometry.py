"""Clip and sequence windows: the published rules, and laws that hold for any length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.data.geometry import (
    PADDING,
    causal_sequences,
    clip_end_ticks,
    clock_frames,
    frame_positions,
    interpolate_to_frames,
    overlap_sequences,
    select_clip_frames,
    training_sequences,
    windows,
)

STRIDES = [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    ("faces", "kept"),
    [
        (32, [3, 7, 11, 15, 19, 23, 27, 31]),  # every 4th, counted back from the end
        (31, [10, 13, 16, 19, 22, 25, 28, 31]),  # every 3rd, the last 8
        (24, [10, 13, 16, 19, 22, 25, 28, 31]),
        (23, [17, 19, 21, 23, 25, 27, 29, 31]),  # every 2nd
        (16, [17, 19, 21, 23, 25, 27, 29, 31]),
        (15, [24, 25, 26, 27, 28, 29, 30, 31]),  # the last 8
        (8, [24, 25, 26, 27, 28, 29, 30, 31]),
        (3, [29, 30, 31, 31, 31, 31, 31, 31]),  # those, the last repeated
        (1, [31] * 8),
    ],
)
def test_published_choice_of_frames(faces: int, kept: list[int]) -> None:
    present = np.arange(32) >= 32 - faces
    indices, has_face = select_clip_frames(present, np.array([31]))
    assert indices[0].tolist() == kept
    assert has_face[0]


def test_gaps_and_neighbouring_windows() -> None:
    present = np.zeros(100, dtype=bool)
    present[[3, 40, 41, 90]] = True
    indices, has_face = select_clip_frames(present, np.array([2, 3, 34, 35, 60, 71, 72, 99]))
    assert has_face.tolist() == [False, True, True, False, True, True, True, True]
    assert indices[0].tolist() == [PADDING] * 8
    assert indices[4].tolist() == [40, 41, 41, 41, 41, 41, 41, 41]
    assert indices[6].tolist() == [41] * 8
    assert select_clip_frames(np.zeros(5, bool), np.array([4]))[0].tolist() == [[PADDING] * 8]


@given(st.lists(st.booleans(), min_size=1, max_size=120), st.sampled_from(STRIDES))
def test_chosen_frames_lie_in_the_window_and_have_a_face(present: list[bool], stride: int) -> None:
    faces = np.array(present)
    ends = clip_end_ticks(len(faces), stride)
    indices, has_face = select_clip_frames(faces, ends)
    for row, end, any_face in zip(indices, ends, has_face, strict=True):
        window = faces[max(0, end - 31) : end + 1]
        assert any_face == window.any()
        if any_face:
            assert ((row > end - 32) & (row <= end)).all()
            assert faces[row].all()
            assert (np.diff(row) >= 0).all()
            assert row[-1] == np.flatnonzero(faces[: end + 1])[-1]


@given(st.integers(1, 1500), st.sampled_from(STRIDES), st.integers(1, 16))
def test_training_holds_every_clip_exactly_once(clips: int, stride: int, length: int) -> None:
    sequences = training_sequences(clips, stride, length)
    used = sequences[sequences != PADDING]
    assert sorted(used.tolist()) == list(range(clips))
    assert (sequences[:, 0] != PADDING).all()


@given(st.integers(1, 300), st.sampled_from(STRIDES), st.integers(1, 16), st.data())
def test_shifted_sequences_hold_every_clip_once_at_its_shifted_place(
    clips: int, stride: int, length: int, data: st.DataObject
) -> None:
    apart = 32 // stride
    shifts = np.array(data.draw(st.lists(st.integers(0, length - 1), min_size=apart, max_size=apart)))
    sequences = training_sequences(clips, stride, length, shifts=shifts)
    rows, places = np.nonzero(sequences != PADDING)
    held = sequences[rows, places]
    assert sorted(held.tolist()) == list(range(clips))
    assert (places == (held // apart + shifts[held % apart]) % length).all()
    assert set(rows) == set(range(len(sequences)))
    firsts = dict(zip(rows[::-1], (held - apart * places)[::-1], strict=True))
    assert (held == np.array([firsts[row] for row in rows]) + apart * places).all()
    unshifted = training_sequences(clips, stride, length, shifts=0 * shifts)
    np.testing.assert_array_equal(unshifted, training_sequences(clips, stride, length))


def test_training_sequences_are_the_papers() -> None:
    """At stride 1 a sequence ends at frames 481 + o + 512 j, that is at tick 480 + o + 512 j."""
    sequences = training_sequences(2000, 1)
    ends = {int(row[0]) + 480 for row in sequences}
    assert ends == {480 + o + 512 * j for o in range(32) for j in range(4) if o + 512 * j < 2000}
    assert (np.diff(sequences[0]) == 32).all()


@given(st.integers(1, 300), st.sampled_from(STRIDES))
def test_overlap_starts_and_causal_ends_at_every_clip(clips: int, stride: int) -> None:
    assert overlap_sequences(clips, stride)[:, 0].tolist() == list(range(clips))
    causal = causal_sequences(clips, stride)
    assert causal[:, -1].tolist() == list(range(clips))
    assert (causal.max(axis=1) == np.arange(clips)).all()


@pytest.mark.parametrize(
    ("rows", "starts"),
    [
        (700, [0, 200, 400]),  # the third reaches the end
        (701, [0, 200, 400, 401]),  # one more window ends with the track
        (650, [0, 200, 350]),
        (300, [0]),
        (299, [0]),
        (0, []),
    ],
)
def test_windows_start_every_hop_and_the_last_ends_with_the_track(rows: int, starts: list[int]) -> None:
    found = windows(rows, 300, 200)
    assert found.shape == (len(starts), 300)
    assert found[:, 0].tolist() == starts
    assert rows == 0 or found.max() == rows - 1


def test_shifted_windows_lie_earlier_within_the_track() -> None:
    assert windows(700, 300, 200, 50)[:, 0].tolist() == [0, 150, 350, 400]
    assert windows(290, 300, 200, 50)[:, 0].tolist() == [0]


@given(st.integers(1, 500), st.integers(1, 60), st.data())
def test_windows_hold_every_row_and_pad_only_a_track_shorter_than_one(
    rows: int, length: int, data: st.DataObject
) -> None:
    hop = data.draw(st.integers(1, length))
    found = windows(rows, length, hop, data.draw(st.integers(0, hop - 1)))
    assert set(found[found != PADDING]) == set(range(rows))
    assert (found == PADDING).sum() == max(length - rows, 0)
    assert (np.diff(found[found[:, -1] != PADDING], axis=1) == 1).all()
    assert len(np.unique(found[:, 0])) == len(found)


def test_clock_keeps_an_equal_rate_and_resamples_others() -> None:
    assert clock_frames(np.arange(7), None).tolist() == [0, 1, 2, 3, 4, 5, 6]
    for fps in (24, 25, 29.97):
        times = np.round(np.arange(500) / fps, 6)
        assert clock_frames(times, fps).tolist() == list(range(500))
    halved = clock_frames(np.arange(100) / 50, 25)
    assert halved.tolist() == list(range(0, 100, 2))
    doubled = clock_frames(np.arange(5) / 12.5, 25)
    assert doubled.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert clock_frames(np.array([0.0]), 25).tolist() == [0]
    assert clock_frames(np.array([]), 25).tolist() == []


@given(st.lists(st.floats(0.005, 0.2), min_size=1, max_size=60))
def test_clock_takes_the_nearest_frame(gaps: list[float]) -> None:
    times = np.concatenate([[0], np.cumsum(gaps)])
    for tick, frame in enumerate(clock_frames(times, 25)):
        assert abs(times[frame] - tick / 25) <= np.abs(times - tick / 25).min() + 1e-8


def test_interpolation_between_clips_and_holding_at_the_ends() -> None:
    values = np.array([[0.0, 1.0], [0.8, 0.2], [0.0, 0.0]], dtype=np.float32)
    out = interpolate_to_frames(values, np.array([0, 8, 16]), frame_positions(np.arange(20) / 25, 25))
    assert out[2] == pytest.approx([0.2, 0.8])
    assert out[12] == pytest.approx([0.4, 0.1])
    assert out[19].tolist() == out[16].tolist() == [0, 0]
    centred = interpolate_to_frames(values, np.array([0, 8, 16]), np.arange(20.0), target_offset=-4)
    assert centred[4] == pytest.approx([0.8, 0.2])
