"""The same speech, in whichever channels it lies, is heard the same; what is no fault stays the average."""

import numpy as np
import pytest
import soundfile

from avfusion.media.audio import aligned_audio, read_aligned_audio
from avfusion.media.audio_timeline import read_any_timeline
from avfusion.media.audio_track import timeline_with_sound

RATE, SECONDS = 44100, 4
TIME_S = np.arange(RATE * SECONDS) / RATE
FIRST = TIME_S < SECONDS / 2
LEFT, RIGHT, FRONT = (f"heard from the {side} one alone" for side in ("left", "right", "centre"))

TURNS = "its two channels sound in turns: added"


def voice(pitch: float = 140.0, seed: int = 0) -> np.ndarray:
    """(n,) of harmonics in syllables, at most 0.7."""
    noise = np.random.default_rng(seed)
    wave = sum(np.sin(2 * np.pi * pitch * k * TIME_S + noise.uniform(0, 7)) / k for k in range(1, 30))
    wave = wave * np.clip(np.sin(2 * np.pi * 2.3 * TIME_S + seed), 0, 1)
    return 0.7 * wave / np.abs(wave).max()


SPEECH, OTHER, NOTHING = voice(), voice(220.0, 1), np.zeros(RATE * SECONDS)
NOISE = 1e-3 * np.random.default_rng(2).standard_normal((2, len(SPEECH)))
CLICKS = np.where(np.arange(len(SPEECH)) % 66150 < 20, 0.9, 0.0)  # three of half a millisecond
HUM = 0.05 * np.sin(2 * np.pi * 50 * TIME_S)
SIDES_OF_A_FILM = [OTHER, np.roll(OTHER, 99), SPEECH, 50 * NOISE[0], 0.3 * OTHER, 0.3 * OTHER]

MENDED: dict[str, tuple[list[np.ndarray], str]] = {
    "left": ([SPEECH, NOTHING], LEFT),
    "right": ([NOTHING, SPEECH], RIGHT),
    "beside noise": ([SPEECH, NOISE[0]], LEFT),
    "beside a copy 20 dB below": ([SPEECH, 0.1 * SPEECH], LEFT),
    "beside crosstalk": ([SPEECH, 0.05 * SPEECH + 5 * NOISE[0]], LEFT),
    "beside loud noise": ([SPEECH, 8 * NOISE[0]], LEFT),
    "beside an opposite copy 20 dB below, 1 ms later": ([SPEECH, -0.1 * np.roll(SPEECH, 44)], LEFT),
    "beside clicks": ([SPEECH, CLICKS], LEFT),
    "beside hum": ([SPEECH, HUM], LEFT),
    "beside an offset": ([SPEECH, NOTHING + 0.2], LEFT),
    "opposite": ([SPEECH, -SPEECH], LEFT),
    "opposite, right louder": ([-0.6 * SPEECH, SPEECH], RIGHT),
    "opposite with noise": ([SPEECH + NOISE[0], -SPEECH + NOISE[1]], LEFT),
    "opposite for a part": ([SPEECH, np.where(FIRST, SPEECH, -SPEECH)], LEFT),
    "right for a part": ([SPEECH, SPEECH * FIRST], "heard from the other, the left one, alone"),
    "left for a part": ([SPEECH * FIRST, SPEECH], "heard from the other, the right one, alone"),
    "off the middle": ([SPEECH, 0.7 * SPEECH], "the same sound: heard from the louder, the left one, alone"),
    "far off the middle": ([0.35 * SPEECH, SPEECH + NOISE[0]], "heard from the louder, the right one, alone"),
    "left, then right": ([SPEECH * FIRST, SPEECH * ~FIRST], TURNS),
    "left, then right, at an odd moment": ([SPEECH * (TIME_S < 2.23), SPEECH * (TIME_S >= 2.23)], TURNS),
    "many turns": ([SPEECH * (TIME_S % 1.3 < 0.6), SPEECH * (TIME_S % 1.3 >= 0.6)], TURNS),
    "left, then right, with crosstalk": (
        [np.where(FIRST, SPEECH, 0.008 * SPEECH), np.where(FIRST, 0.008 * SPEECH, SPEECH)],
        TURNS,
    ),
    "a word on the right": ([SPEECH * (TIME_S < 3.6), SPEECH * (TIME_S >= 3.6)], TURNS),
    "5.1, centre only": ([NOTHING] * 2 + [SPEECH] + [NOTHING] * 3, "in one of 6 channels: heard from FC alone"),
    "5.1, a film": (SIDES_OF_A_FILM, "of its 6 channels of sound the centre is heard, where speech is"),
    "5.1, stereo": (
        [SPEECH, SPEECH] + [NOTHING] * 4,
        "the loud ones are heard: FL, FR (not LFE, the bass)",
    ),
    "5.1, stereo and bass": ([SPEECH, SPEECH, NOTHING, OTHER] + [NOTHING] * 2, "are heard: FL, FR"),
    "5.1, opposite": ([SPEECH, -SPEECH] + [NOTHING] * 4, "cancel each other: heard from FL alone"),
    "5.1, speech at the sides": ([SPEECH, SPEECH, 12 * NOISE[0]] + [NOTHING] * 3, "are heard: FL, FR"),
    "7.1, centre only": ([NOTHING] * 2 + [SPEECH] + [NOTHING] * 5, "in one of 8 channels: heard from FC alone"),
    "7.1, right only": ([NOTHING, SPEECH] + [NOTHING] * 6, "in one of 8 channels: heard from FR alone"),
}
AVERAGED: dict[str, list[np.ndarray]] = {
    "mono in two": [SPEECH, SPEECH],
    "somebody who says little": [SPEECH, OTHER * (TIME_S < 0.6)],
    "two people": [SPEECH, OTHER],
    "nearly the middle": [SPEECH, 0.95 * SPEECH],
    "two people, off the middle": [SPEECH + 0.4 * OTHER, 0.4 * SPEECH + OTHER],
    "wide": [SPEECH + 0.4 * OTHER, SPEECH - 0.4 * OTHER],
    "silent": [NOTHING, NOTHING],
}


def heard(path):
    notes = []
    samples = np.concatenate(list(aligned_audio(path, read_any_timeline(path), on_warning=notes.append)))
    return samples, notes


def written(path, media, make_flash, channels, codec="flac"):
    sound = np.clip(np.stack(channels), -1, 1)
    return media(path, make_flash(100, 5), np.arange(100) / 25, sound=sound, sound_codec=codec, ticks=1000)


@pytest.mark.parametrize("name", MENDED)
def test_the_speech_is_heard_as_if_it_were_alone(tmp_path, media, make_flash, name):
    channels, words = MENDED[name]
    samples, (note,) = heard(written(tmp_path / "s.mkv", media, make_flash, channels))
    assert words in note
    assert np.abs(samples - SPEECH).max() < 0.01


@pytest.mark.parametrize("name", AVERAGED)
def test_what_is_no_fault_is_averaged_without_a_note(tmp_path, media, make_flash, name):
    samples, notes = heard(written(tmp_path / "s.mkv", media, make_flash, AVERAGED[name]))
    assert notes == []
    np.testing.assert_allclose(samples, np.clip(AVERAGED[name], -1, 1).mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("leak", [0.05, 0.1, 0.2])
def test_turns_on_two_microphones_with_crosstalk_keep_their_level(tmp_path, media, make_flash, leak):
    channels = [np.where(TIME_S % 1.9 < 0.9, 1, leak) * SPEECH, np.where(TIME_S % 1.9 < 0.9, leak, 1) * SPEECH]
    samples, (note,) = heard(written(tmp_path / "s.mkv", media, make_flash, channels))
    assert note == TURNS
    assert samples @ SPEECH / (SPEECH @ SPEECH) == pytest.approx(1 + leak, abs=0.05)


def test_a_channel_counts_less_the_quieter_it_is(tmp_path, media, make_flash):
    """Without a step: the level of the speech never falls as a channel beside it gets quieter."""
    heights = []
    for below_db in (4, 6, 7, 8, 9, 10, 11, 12, 13, 20):
        copy = 10 ** (-below_db / 20) * OTHER
        samples, _ = heard(written(tmp_path / "s.mkv", media, make_flash, [SPEECH, copy]))
        heights.append(float(samples @ SPEECH / (SPEECH @ SPEECH)))
    assert heights[0] == pytest.approx(0.5, abs=0.01)
    assert heights[-1] == pytest.approx(1, abs=0.01)
    assert (np.diff(heights) > -0.01).all()
    assert np.diff(heights).max() < 0.2


@pytest.mark.parametrize(
    ("suffix", "codec", "name", "words"),
    [
        ("mp4", "aac", "5.1, centre only", "FC"),
        ("ts", "ac3", "5.1, a film", "the centre"),
        ("mkv", "pcm_s16le", "5.1, centre only", "heard from FC alone (its channels have no names: 5.1 is assumed)"),
        ("mkv", "pcm_s16le", "left", "left"),
        ("webm", "libopus", "left", "left"),
        ("ts", "mp2", "opposite", "left"),
        ("avi", "libmp3lame", "right", "right"),
    ],
)
def test_codecs_and_containers(tmp_path, media, make_flash, suffix, codec, name, words):
    path, sound = tmp_path / f"s.{suffix}", np.stack(MENDED[name][0])
    video = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(suffix, "libx264")
    ticks = 25 if suffix == "avi" else 1000
    rate = 48000 if codec == "libopus" else RATE
    media(
        path,
        make_flash(100, 5),
        np.arange(100) / 25,
        sound=sound,
        rate=rate,
        sound_codec=codec,
        codec=video,
        ticks=ticks,
    )
    samples, (note,) = heard(path)
    assert words in note
    power = (samples**2).sum() / (len(SPEECH) * RATE / rate)
    assert power == pytest.approx((SPEECH**2).mean(), rel=0.15)  # half the amplitude would be a quarter of it


def unnamed(path, media, make_flash, channels):
    """PCM without the names of its channels: a film in Matroska, or a plain WAV."""
    if path.suffix == ".mkv":
        return written(path, media, make_flash, channels, "pcm_s16le")
    soundfile.write(path, np.clip(np.stack(channels), -1, 1).T, RATE, subtype="PCM_16", format="WAV")
    return path


@pytest.mark.parametrize("suffix", ["mkv", "wav"])
@pytest.mark.parametrize("more", [0, 2])
def test_six_and_eight_channels_without_names_are_those_of_a_film(tmp_path, media, make_flash, suffix, more):
    channels = SIDES_OF_A_FILM + [0.3 * OTHER] * more
    samples, (note,) = heard(unnamed(tmp_path / f"s.{suffix}", media, make_flash, channels))
    layout = {0: "5.1", 2: "7.1"}[more]
    assert note.endswith(f"the centre is heard, where speech is (its channels have no names: {layout} is assumed)")
    expected, _ = heard(written(tmp_path / "s.mov", media, make_flash, channels, "pcm_s16le"))
    np.testing.assert_allclose(samples, expected, atol=1e-4)  # rounded in two ways
    assert np.abs(samples - SPEECH).max() < 0.01


@pytest.mark.parametrize("suffix", ["mkv", "wav"])
@pytest.mark.parametrize(("total", "at"), [(3, 2), (4, 0), (6, 3), (8, 3), (16, 7)])
def test_one_microphone_of_many_without_names_is_heard_alone(tmp_path, media, make_flash, suffix, total, at):
    channels = [NOTHING] * total
    channels[at] = SPEECH
    samples, (note,) = heard(unnamed(tmp_path / f"s.{suffix}", media, make_flash, channels))
    assert note == f"its sound is in one of {total} channels: heard from channel {at + 1} alone"
    assert np.abs(samples - SPEECH).max() < 0.01


def test_the_choice_does_not_depend_on_packets(tmp_path, media, make_flash):
    """The same samples in packets of other sizes."""
    for name in ("opposite for a part", "right for a part", "5.1, a film"):
        both = [
            heard(written(tmp_path / f"{codec}.mov", media, make_flash, MENDED[name][0], codec))[0]
            for codec in ("alac", "pcm_s16le")
        ]
        np.testing.assert_allclose(*both, atol=1e-4)


def test_two_channels_are_kept_for_viewers_and_others_are_heard_as_by_the_model(tmp_path, media, make_flash):
    path = written(tmp_path / "left.mkv", media, make_flash, MENDED["left"][0])
    left, right = np.concatenate(list(aligned_audio(path, timeline_with_sound(path), stereo=True)), axis=1)
    np.testing.assert_allclose(left, SPEECH, atol=1e-4)
    assert not right.any()
    film = written(tmp_path / "film.mkv", media, make_flash, SIDES_OF_A_FILM)
    both = np.concatenate(list(aligned_audio(film, timeline_with_sound(film), stereo=True)), axis=1)
    np.testing.assert_array_equal(both, np.stack([read_aligned_audio(film)] * 2))
