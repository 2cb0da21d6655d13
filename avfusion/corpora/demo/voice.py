"""A voice that carries its cues: pitch, loudness, speaking rate, spectral tilt, formants and breath.

A source–filter synthesiser that sings syllables: two pulse tables (dark and bright), mixed by spectral tilt and read at
the pitch, plus breath noise, through the formants of a few vowels; then a room and its background noise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter, oaconvolve

from avfusion.corpora.demo.latents import Span, Spans, inside

CONTROL_HZ = 100.0
"""Rate of the control signals; they are interpolated to samples."""
CUES = ("pitch", "energy", "rate", "tilt", "pitch_range", "formant_shift", "breathiness")

_VOWELS = ((750.0, 1250.0, 2600.0), (460.0, 1900.0, 2650.0), (480.0, 950.0, 2450.0))
_BANDWIDTHS = (90.0, 120.0, 180.0)
_TABLE = 2048
_HARMONICS = 48
_FORMANT_SHIFT = 1.15
_EDGE_S = 0.06
_GONE = 1e-30  # of a decaying amplitude
_SOURCE_DB = -13.0
"""Level of the source before the formants, which attenuate by another 14 dB."""
_VOICE_DB = -27.0
_BURST_KINDS = ("crowd", "traffic", "machine")
_BURST_ABOVE_VOICE_DB = 3.0
_OUTSIDER_PAUSE_DB, _OUTSIDER_BURST_DB = -10.0, 10.0
"""Level of the voice off camera, relative to its level on camera: an interviewer in pauses, a shout in bursts."""


@dataclass(frozen=True)
class Speaker:
    """Constants of one voice and its recording: pitch in Hz, formant factor, level in dB, room decay in seconds."""

    pitch_hz: float
    formant_factor: float
    tilt: float
    rate_hz: float
    level_db: float
    room_s: float
    room_share: float
    background_db: float


@dataclass(frozen=True)
class Syllables:
    """Syllables at control times (C,): the envelope (0..1), and the number of the syllable."""

    times: np.ndarray
    envelope: np.ndarray
    index: np.ndarray


def draw_speaker(rng: np.random.Generator) -> Speaker:
    """Draw a speaker, low or high, and the room of the recording."""
    pitch = rng.uniform(100, 135) if rng.random() < 0.5 else rng.uniform(165, 215)
    return Speaker(
        pitch_hz=float(pitch),
        formant_factor=float((0.95 if pitch < 150 else 1.10) * rng.normal(1.0, 0.025)),
        tilt=float(rng.normal(0.0, 0.12)),
        rate_hz=float(rng.normal(3.8, 0.2)),
        level_db=float(np.clip(rng.normal(0.0, 1.2), -2.5, 2.5)),
        room_s=float(rng.uniform(0.08, 0.22)),
        room_share=float(rng.uniform(0.10, 0.30)),
        background_db=float(rng.uniform(-62.0, -50.0)),
    )


def draw_syllables(rng: np.random.Generator, rate: np.ndarray, speaker: Speaker, pauses: tuple[Span, ...]) -> Syllables:
    """Draw syllables at control times; `rate` (C,) is the speaking-rate cue, and `pauses` are silent."""
    times = np.arange(len(rate)) / CONTROL_HZ
    phase = np.cumsum(speaker.rate_hz * np.exp2(0.60 * rate)) / CONTROL_HZ + rng.random()
    index = phase.astype(int)
    stress = np.where(rng.random(index[-1] + 2) < 0.10, 0.05, rng.uniform(0.70, 1.0, index[-1] + 2))
    envelope = stress[index] * np.sin(np.pi * (phase - index)) ** 0.8
    return Syllables(times, envelope * (1.0 - _soft(pauses, times)), index)


def synthesise(
    rng: np.random.Generator, cues: dict[str, np.ndarray], syllables: Syllables, speaker: Speaker, rate: int
) -> np.ndarray:
    """Return the voice (N,) float32 at `rate` Hz, about -27 dB full scale, without room and background.

    Args:
        cues: `CUES` at control times (C,), about ±1 each.
    """
    samples = int(len(syllables.times) / CONTROL_HZ * rate)
    grid = np.arange(samples, dtype=np.float32) * np.float32(CONTROL_HZ / rate)
    control = np.arange(len(syllables.times), dtype=np.float32)

    def spread(values: np.ndarray) -> np.ndarray:
        return np.interp(grid, control, values.astype(np.float32)).astype(np.float32)

    count = int(syllables.index[-1]) + 2
    accent = rng.standard_normal(count)[syllables.index] * 0.085 * np.exp2(1.1 * cues["pitch_range"])
    accent = np.convolve(accent, np.hanning(15) / np.hanning(15).sum(), mode="same")
    pitch = speaker.pitch_hz * np.exp2(0.34 * cues["pitch"] + accent)
    position = np.cumsum(spread(pitch), dtype=np.float64) * (_TABLE / rate)
    cell = position.astype(np.int64) & (_TABLE - 1)
    dark, bright = _pulse_tables()
    share = spread(1.0 / (1.0 + np.exp(-1.7 * (cues["tilt"] + speaker.tilt))))
    source = dark[cell] + share * (bright[cell] - dark[cell])
    breath = spread(10.0 ** ((-17.0 + 9.0 * cues["breathiness"]) / 20.0))
    source += breath * rng.standard_normal(samples, dtype=np.float32)
    loudness = 10.0 ** ((_SOURCE_DB + speaker.level_db + 6.5 * cues["energy"]) / 20.0)
    source *= spread(syllables.envelope * loudness)
    high = spread(np.clip(0.5 + 0.5 * cues["formant_shift"], 0.0, 1.0))
    vowel_of = rng.integers(len(_VOWELS), size=count)
    voice = np.zeros(samples, np.float32)
    smooth = np.hanning(9) / np.hanning(9).sum()
    for vowel, formants in enumerate(_VOWELS):
        chosen = np.convolve((vowel_of == vowel)[syllables.index].astype(np.float32), smooth, mode="same")
        part = source * spread(chosen)
        for factor, weight in ((_FORMANT_SHIFT, high), (1.0 / _FORMANT_SHIFT, 1.0 - high)):
            voice += _formants(part * weight, formants, speaker.formant_factor * factor, rate)
    return voice


def record(
    rng: np.random.Generator, voice: np.ndarray, speaker: Speaker, bursts: tuple[Span, ...], rate: int
) -> np.ndarray:
    """Return `voice` (N,) as a microphone hears it: with room, background noise and noise bursts, within ±0.98."""
    length = int(2.5 * speaker.room_s * rate)
    echo = rng.standard_normal(length, dtype=np.float32) * np.exp(-np.arange(length) / (0.4 * speaker.room_s * rate))
    echo *= speaker.room_share / np.sqrt(np.sum(echo**2))
    heard = voice + oaconvolve(voice, echo.astype(np.float32))[: len(voice)].astype(np.float32)
    hiss = lfilter([1.0], [1.0, -0.85], rng.standard_normal(len(voice), dtype=np.float32)).astype(np.float32)
    heard += hiss * np.float32(10.0 ** (speaker.background_db / 20.0))
    for start, end in bursts:
        first, last = int(start * rate), min(int(end * rate), len(voice))
        if last > first:
            heard[first:last] += _burst(rng, last - first, rate)
    return np.clip(heard, -0.98, 0.98)


def outsider_level(spans: Spans, times: np.ndarray) -> np.ndarray:
    """Return the gain (N,) at `times` of a voice off camera, heard only while the person's own voice is not.

    Silence and plain noise are easily told from speech: a model then predicts the mean, a small error. Another voice
    misleads it.
    """
    level = np.zeros(len(times), np.float32)
    level[inside(spans.pauses, times)] = 10.0 ** (_OUTSIDER_PAUSE_DB / 20.0)
    level[inside(spans.bursts, times)] = 10.0 ** (_OUTSIDER_BURST_DB / 20.0)
    return level


def _soft(spans: tuple[Span, ...], times: np.ndarray) -> np.ndarray:
    """Return 0..1 inside `spans` with short ramps, so that a pause does not click."""
    hard = inside(spans, times).astype(float)
    width = max(3, int(_EDGE_S * CONTROL_HZ) | 1)
    return np.maximum(np.convolve(hard, np.ones(width) / width, mode="same"), hard)


def _pulse_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return one period of a dark and of a bright pulse, each of unit power."""
    phase = 2.0 * np.pi * np.arange(_TABLE) / _TABLE
    tables = []
    for slope in (2.4, 0.9):
        pulse = sum(np.cos(k * phase + 0.35 * k * k) / k**slope for k in range(1, _HARMONICS + 1))
        tables.append((pulse / np.sqrt(np.mean(np.square(pulse)))).astype(np.float32))
    return tables[0], tables[1]


def _formants(source: np.ndarray, formants: tuple[float, ...], factor: float, rate: int) -> np.ndarray:
    """Filter `source` (N,) through resonances at `formants` Hz times `factor`, of unit gain in their sum."""
    result = source * np.float32(0.10)
    for gain, frequency, bandwidth in zip((1.0, 0.6, 0.35), formants, _BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * bandwidth / rate)
        angle = 2.0 * np.pi * frequency * factor / rate
        scale = gain * (1.0 - radius) * 2.0
        poles = np.array([1.0, -2.0 * radius * np.cos(angle), radius**2], np.float32)
        decay = int(np.log(_GONE) / np.log(radius))
        for part in _sounding(source, decay):
            result[part] += lfilter(np.array([scale, 0.0, -scale], np.float32), poles, source[part])
    return result


def _sounding(source: np.ndarray, decay: int) -> list[slice]:
    """Return where a filter of `source` (N,) sounds, which it does for `decay` samples after its input.

    What it would give beyond are subnormal numbers, many times slower on Intel's processors, and inaudible.
    """
    heard = np.flatnonzero(source)
    if not len(heard):
        return []
    first = np.flatnonzero(np.diff(heard, prepend=-decay - 1) > decay)
    last = np.append(first[1:] - 1, len(heard) - 1)
    return [slice(start, end + decay) for start, end in zip(heard[first], heard[last], strict=True)]


def _burst(rng: np.random.Generator, samples: int, rate: int) -> np.ndarray:
    """Return noise (samples,) that drowns the voice: a crowd, traffic or a machine."""
    kind = _BURST_KINDS[int(rng.integers(len(_BURST_KINDS)))]
    noise = rng.standard_normal(samples, dtype=np.float32)
    time = np.arange(samples, dtype=np.float32) / rate
    if kind == "crowd":
        swell = 1.0 + 0.5 * np.sin(2 * np.pi * rng.uniform(3, 6) * time)
        noise = lfilter([0.5, 0.0, -0.3], [1.0, -0.75], noise) * swell
    elif kind == "traffic":
        noise = lfilter([0.25], [1.0, -0.93], noise) + 0.3 * noise
    else:
        hum = rng.uniform(70, 140)
        noise = 0.6 * noise + sum(np.sin(2 * np.pi * hum * k * time) / k for k in (1, 2, 3, 5, 8))
    level = 10.0 ** ((_VOICE_DB + _BURST_ABOVE_VOICE_DB + rng.normal(0.0, 2.0)) / 20.0)
    edge = np.minimum(1.0, np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (_EDGE_S * rate))
    return (noise * (level / (np.std(noise) + 1e-6)) * edge).astype(np.float32)
