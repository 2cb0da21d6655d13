"""What face and voice do when their cues move: each cue has to show in pictures and samples."""

import numpy as np
import pytest

from avfusion.corpora.demo import voice
from avfusion.corpora.demo.crops import TEMPLATE, alignment
from avfusion.corpora.demo.features import Expression
from avfusion.corpora.demo.identity import draw_identity
from avfusion.corpora.demo.latents import Spans
from avfusion.corpora.demo.scene import Sitter

RATE = 22050
NEUTRAL = {"smile": 0.0, "brow_tilt": 0.0, "brow_height": 0.0, "eye_opening": 0.0, "mouth_opening": 0.0, "yaw": 0.0}


def _face(**changes: float) -> tuple[np.ndarray, np.ndarray]:
    person = Sitter(draw_identity(np.random.default_rng(1)), (0.0, 0.0))
    frame = np.full((280, 224, 3), 128, np.uint8)
    expression = Expression(eyelids=1.0, gaze=(0.0, 0.0), pitch=0.0, **{**NEUTRAL, **changes})  # type: ignore[arg-type]
    landmarks = person.paint(frame, expression, np.eye(2, 3))
    return frame, landmarks


def test_a_smile_lifts_and_widens_the_corners_of_the_mouth() -> None:
    _, sad = _face(smile=-1.0)
    _, glad = _face(smile=1.0)
    assert (glad[3:, 1] < sad[3:, 1] - 8).all()
    assert glad[4, 0] - glad[3, 0] > sad[4, 0] - sad[3, 0] + 4


def test_landmarks_lie_on_what_they_name() -> None:
    frame, landmarks = _face(eye_opening=0.8)
    for x, y in landmarks[:2]:
        pupil = frame[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].min()
        assert pupil < 40
    open_mouth, _ = _face(mouth_opening=1.0)
    centre = landmarks[3:].mean(axis=0).astype(int)
    assert open_mouth[centre[1] : centre[1] + 20, centre[0]].min() < 45


@pytest.mark.parametrize("cue", ["smile", "brow_tilt", "brow_height", "eye_opening", "mouth_opening"])
def test_each_cue_changes_the_picture_more_than_sensor_noise(cue: str) -> None:
    low, _ = _face(**{cue: 0.0})
    high, _ = _face(**{cue: 1.0})
    changed = np.abs(low.astype(int) - high).max(axis=2) > 25
    assert changed.sum() > 60


def test_turning_the_head_moves_the_nose_ahead_of_the_eyes() -> None:
    _, ahead = _face()
    _, turned = _face(yaw=0.3)
    shift = turned - ahead
    assert shift[2, 0] > shift[:2, 0].mean() + 3 > 13


def test_alignment_inverts_a_similarity() -> None:
    angle, factor = 0.3, 1.7
    turn = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = TEMPLATE @ turn.T + [40.0, -7.0]
    matrix = alignment(moved)
    np.testing.assert_allclose(moved @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=1e-9)


def _say(**changes: float) -> np.ndarray:
    rng = np.random.default_rng(8)
    control = np.ones(300)
    cues = {name: changes.get(name, 0.0) * control for name in voice.CUES}
    speaker = voice.Speaker(120.0, 1.0, 0.0, 3.8, 0.0, 0.1, 0.1, -60.0)
    syllables = voice.draw_syllables(rng, cues["rate"], speaker, ())
    return voice.synthesise(rng, cues, syllables, speaker, RATE)


def _spectrum(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    return np.fft.rfftfreq(len(samples), 1 / RATE), power


def test_energy_is_loudness() -> None:
    ratio = np.std(_say(energy=1.0)) / np.std(_say(energy=-1.0))
    assert 20 * np.log10(ratio) == pytest.approx(13.0, abs=0.5)


def test_pitch_moves_the_fundamental() -> None:
    def fundamental(samples: np.ndarray) -> float:
        samples = samples[: RATE * 2]
        correlation = np.fft.irfft(np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2)
        first, last = RATE // 260, RATE // 80
        return RATE / (first + int(np.argmax(correlation[first:last])))

    assert fundamental(_say(pitch=1.0)) / fundamental(_say(pitch=-0.5)) == pytest.approx(2 ** (0.34 * 1.5), rel=0.1)


def test_tilt_and_breath_brighten_the_spectrum() -> None:
    def share_above(hertz: float, samples: np.ndarray) -> float:
        frequency, power = _spectrum(samples)
        return float(power[frequency > hertz].sum() / power.sum())

    assert share_above(1000, _say(tilt=1.0)) > 1.5 * share_above(1000, _say(tilt=-1.0))
    assert share_above(6000, _say(breathiness=1.0)) > 4 * share_above(6000, _say(breathiness=-1.0))


def test_rate_sings_more_syllables() -> None:
    rng = np.random.default_rng(0)
    speaker = voice.draw_speaker(rng)
    fast = voice.draw_syllables(rng, np.ones(1000), speaker, ())
    slow = voice.draw_syllables(rng, -np.ones(1000), speaker, ())
    assert fast.index[-1] / slow.index[-1] == pytest.approx(2**1.2, rel=0.1)


def test_nothing_is_said_in_a_pause_and_a_burst_drowns_the_voice() -> None:
    rng = np.random.default_rng(3)
    speaker = voice.draw_speaker(rng)
    cues = {name: np.zeros(600) for name in voice.CUES}
    syllables = voice.draw_syllables(rng, cues["rate"], speaker, ((2.0, 3.5),))
    said = voice.synthesise(rng, cues, syllables, speaker, RATE)
    heard = voice.record(rng, said, speaker, ((4.0, 5.5),), RATE)

    def level(samples: np.ndarray, start: float, end: float) -> float:
        return float(20 * np.log10(np.std(samples[int(start * RATE) : int(end * RATE)]) + 1e-9))

    assert level(said, 2.2, 3.3) < -80
    assert level(heard, 2.2, 3.3) < level(heard, 0.5, 1.8) - 14
    assert level(heard - said, 4.2, 5.3) > level(said, 0.5, 1.8)


def test_somebody_off_camera_is_heard_only_when_the_person_is_not() -> None:
    times = np.arange(0.0, 6.0, 0.01)
    level = voice.outsider_level(Spans((), ((4.0, 5.0),), ((1.0, 2.0),)), times)
    pause, burst = (times >= 1) & (times < 2), (times >= 4) & (times < 5)
    assert (level[~pause & ~burst] == 0).all()
    assert 0 < level[pause].max() < 1 < level[burst].min()


def test_silence_costs_the_voice_no_subnormal_numbers_and_changes_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters of float32 decay into them within a second, and take ten times as long in them on Intel's processors."""
    random = np.random.default_rng(0)
    sound = 0.1 * random.standard_normal(4 * RATE, dtype=np.float32)
    sound[RATE // 2 : 2 * RATE] = sound[3 * RATE :] = 0
    skipped = voice._formants(sound, (460.0, 1900.0, 2650.0), 1.0, RATE)
    monkeypatch.setattr(voice, "_sounding", lambda source, decay: [slice(0, len(source))])
    plain = voice._formants(sound, (460.0, 1900.0, 2650.0), 1.0, RATE)
    subnormal = np.abs(plain[plain != 0]) < np.finfo(np.float32).tiny
    assert subnormal.sum() > 1000
    assert not (np.abs(skipped[skipped != 0]) < np.finfo(np.float32).tiny).any()
    hiss = 1e-6 * random.standard_normal(len(sound), dtype=np.float32)  # of the faintest microphone
    np.testing.assert_array_equal(skipped + hiss, plain + hiss)
