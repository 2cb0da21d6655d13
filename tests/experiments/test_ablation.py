"""Shuffled clips, and the words about attention."""

import numpy as np
import pytest

from avfusion.data.track_data import TrackData
from avfusion.experiments.ablation import attention_facts, shuffle_clips
from avfusion.reports.attention_gain import attention_markdown, attention_sentence

CLIPS = 40


def make_track(name: str) -> TrackData:
    there = np.arange(CLIPS) % 5 > 0
    numbers = np.arange(CLIPS, dtype=np.float32)
    nothing = np.zeros(CLIPS)
    return TrackData(
        track=name,
        video=name,
        split="test",
        clip_ticks=numbers,
        audio=numbers[:, None],
        visual=-numbers[:, None],
        audio_present=there,
        visual_present=np.ones(CLIPS, bool),
        time_s=nothing,
        frame_ticks=nothing,
        target_frames=nothing,
        labels=nothing,
        valid=there,
    )


def test_one_streams_clips_are_shuffled_among_those_that_are_there() -> None:
    track = make_track("a")
    shuffled = shuffle_clips(track, "audio", 0)
    there = track.audio_present
    assert shuffled.audio is not track.audio
    assert (shuffled.audio[~there] == track.audio[~there]).all()
    assert (shuffled.audio[there] != track.audio[there]).mean() > 0.8
    assert sorted(shuffled.audio[:, 0]) == sorted(track.audio[:, 0])
    assert shuffled.visual is track.visual
    assert shuffled.audio_present is there


def test_the_seed_and_the_tracks_name_decide_the_order() -> None:
    orders = [shuffle_clips(make_track(name), "visual", draw).visual for name, draw in ("a0", "a0", "b0", "a1")]  # type: ignore[arg-type]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], orders[3])


def differences(**found: tuple[float, list[float] | None]) -> dict[str, dict[str, object]]:
    return {key: {"mean": {"difference": value, "ci95": ends}} for key, (value, ends) in found.items()}


def test_a_sentence_says_what_attention_adds() -> None:
    at_test = {"neutral": (0.0002, [-0.0018, 0.0021])}
    gain = attention_facts("jca", {}) | {"differences": differences(**at_test)}  # type: ignore[arg-type]
    assert attention_sentence("jca", gain) == (
        "jca's attention changes its score by +0.000 [-0.002, +0.002] at test (C = 0)."
    )
    both = differences(**at_test, retrained=(-0.25, None))  # type: ignore[arg-type]
    assert attention_sentence("jca", gain | {"differences": both}) == (
        "jca's attention changes its score by +0.000 [-0.002, +0.002] at test (C = 0), and by -0.250 against its "
        "control, jca trained without attention."
    )
    assert attention_sentence("late", attention_facts("late", {}) | {"differences": {}}) is None


@pytest.mark.parametrize("note", ["few videos: too narrow", ""])
def test_the_table_has_a_row_per_model_and_a_dash_where_there_is_nothing(note: str) -> None:
    shuffled = {"audio_shuffled": (0.125, [0.0625, 0.25]), "face_shuffled": (0.5, None)}
    gains = {
        "jca": attention_facts("jca", {}) | {"differences": differences(neutral=(0.0, None), **shuffled)},  # type: ignore[arg-type]
        "late": attention_facts("late", {}) | {"differences": differences(**shuffled)},  # type: ignore[arg-type]
    }
    text = attention_markdown(gains, note)
    assert ("(few videos: too narrow)" in text) == bool(note)
    assert "| jca | +0.000 | – | +0.125 [+0.062, +0.250] | +0.500 |\n" in text
    assert text.endswith("| late | – | – | +0.125 [+0.062, +0.250] | +0.500 |\n")
    assert text.count("\n- ") == 1
