"""The signals of a demo track: true valence and arousal, their expression in face and voice, and its gaps.

The whole generator is linear and Gaussian (up to clipping), so the best prediction from the cues is known (`oracle`):

    expressed_s,d(t) = latent_d(t) + slow_error_s,d(t)               s in {visual, audio}, d in {valence, arousal}
    cue_s,c(t)       = loading_c,v expressed_s,v(t) + loading_c,a expressed_s,a(t) + cue_noise(t) + identity_offset

The slow error of each stream varies more slowly than the latents, so averaging over time cannot remove it; only the
other stream can. So both targets gain from fusion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

KNOT_S = 0.2
"""Spacing in seconds of the grid on which latents and cues are drawn; between knots they are cubic splines."""

STREAMS = ("visual", "audio")
TARGETS = ("valence", "arousal")

LATENT_SD = 0.45
LATENT_LENGTH_S = 2.0
LATENT_CORRELATION = 0.2
"""Correlation of valence and arousal."""

SLOW_ERROR_LENGTH_S = 3.0
SLOW_ERROR_SD = {"visual": (0.30, 0.40), "audio": (0.40, 0.30)}
"""Standard deviation of a slow error in (valence, arousal): the face shows valence better, the voice arousal."""

CUE_NOISE_SD = 0.15
CUE_NOISE_LENGTH_S = 0.9
IDENTITY_OFFSET_SD = 0.12

VISUAL_LOADINGS = {
    "smile": (0.95, 0.05),
    "brow_tilt": (-0.80, 0.05),
    "brow_height": (0.10, 0.55),
    "eye_opening": (0.05, 0.80),
    "mouth_gain": (0.00, 0.50),
}
AUDIO_LOADINGS = {
    "pitch": (0.10, 0.80),
    "energy": (0.00, 0.85),
    "rate": (0.05, 0.65),
    "tilt": (0.10, 0.70),
    "pitch_range": (0.40, 0.40),
    "formant_shift": (0.80, 0.00),
    "breathiness": (-0.90, 0.00),
}
LOADINGS = {"visual": VISUAL_LOADINGS, "audio": AUDIO_LOADINGS}

OCCLUDED_SHARE, BURST_SHARE, PAUSE_SHARE = 0.32, 0.20, 0.20
"""Target shares of the time, placed in this order; pauses get the remaining room, about 0.1."""
OCCLUSION_S = (2.0, 4.5)
AUDIO_GAP_S = (2.5, 4.5)
SPAN_GAP_S = 0.5
"""Least distance between spans, so that the face is visible again before the voice is lost."""

Span = tuple[float, float]


@dataclass(frozen=True)
class Spans:
    """Spans, in seconds, in which a cue is destroyed; spans of a track do not overlap."""

    occlusions: tuple[Span, ...]
    bursts: tuple[Span, ...]
    pauses: tuple[Span, ...]


@dataclass(frozen=True)
class Lead:
    """How one stream of a track leads the other: see `interaction`, which has the meaning of the values."""

    leader: str
    excited: bool
    ironic: bool


@dataclass(frozen=True)
class Signals:
    """One track's drawn signals on the knots `times` (K,) in seconds; values are roughly in [-1, 1].

    `latents` (K, 2) are true valence and arousal, clipped to [-1, 1]; `cues[stream]` (K, C) are ordered as `LOADINGS`.
    """

    times: np.ndarray
    latents: np.ndarray
    cues: dict[str, np.ndarray]
    spans: Spans
    lead: Lead | None = None
    """How one stream leads the other, where emotions show in their interaction (`interaction`)."""

    def latents_at(self, times: np.ndarray) -> np.ndarray:
        """Return valence and arousal (N, 2) in [-1, 1] at `times` (N,) in seconds."""
        return np.clip(CubicSpline(self.times, self.latents)(times), -1.0, 1.0)

    def cues_at(self, stream: str, times: np.ndarray) -> dict[str, np.ndarray]:
        """Return each cue of `stream` (N,) at `times` (N,) in seconds, softly limited to about ±1.4."""
        values = CubicSpline(self.times, self.cues[stream])(times)
        limited = 1.4 * np.tanh(values / 1.4)
        return {name: limited[:, index] for index, name in enumerate(LOADINGS[stream])}


def rbf(times: np.ndarray, length_s: float) -> np.ndarray:
    """Return the squared-exponential correlation (K, K) of `times` (K,) in seconds."""
    gap = (times[:, None] - times[None, :]) / length_s
    return np.exp(-0.5 * gap * gap)


def matern(times: np.ndarray, length_s: float) -> np.ndarray:
    """Return the Matérn-3/2 correlation (K, K) of `times` (K,) in seconds.

    Its paths look smooth, but cannot be extrapolated across a gap from their derivatives as squared-exponential paths
    can.
    """
    gap = np.sqrt(3.0) * np.abs(times[:, None] - times[None, :]) / length_s
    return (1.0 + gap) * np.exp(-gap)


def knots(duration_s: float) -> np.ndarray:
    """Return the knot times (K,) in seconds that cover a track of `duration_s`."""
    return np.arange(int(np.ceil(duration_s / KNOT_S)) + 2) * KNOT_S


def latent_kernel(times: np.ndarray) -> np.ndarray:
    """Return the prior covariance (K, K) of one latent."""
    return LATENT_SD**2 * matern(times, LATENT_LENGTH_S)


def slow_error_kernel(times: np.ndarray) -> np.ndarray:
    """Return the correlation (K, K) of a stream's slow error."""
    return matern(times, SLOW_ERROR_LENGTH_S)


def draw_split(rngs: Sequence[np.random.Generator], durations_s: Sequence[float]) -> list[Signals]:
    """Draw the signals of all tracks of a split, from one generator and duration per track.

    The latents and slow errors of the split are whitened together, so that its sample moments are the generator's own:
    with few tracks, chance correlations between a latent and an error would otherwise move every score by up to 0.1. So
    the tracks of a split are not independent: an excess in one is a lack in the others. Bootstrap intervals hold for
    the videos of this corpus, not for corpora of other seeds.
    """
    times = [knots(duration) for duration in durations_s]
    return [
        _signals(rng, duration, grid, path)
        for rng, duration, grid, path in zip(rngs, durations_s, times, whitened_paths(rngs, times), strict=True)
    ]


def whitened_paths(rngs: Sequence[np.random.Generator], times: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Draw the paths (K, 6) of a split on the knots of each track, whitened together: mean 0, variance 1, uncorrelated.

    Columns are valence and arousal, the slow errors of both in the visual, then in the audio stream.
    """
    paths = [_draw_paths(rng, grid) for rng, grid in zip(rngs, times, strict=True)]
    pooled = np.concatenate(paths)
    centre = pooled.mean(axis=0)
    whitener = np.linalg.inv(np.linalg.cholesky(np.cov(pooled.T, bias=True))).T
    return [(path - centre) @ whitener for path in paths]


def _draw_paths(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Draw unit-variance paths (K, 6) of one track, as in `whitened_paths`."""
    latents = _draw(rng, latent_kernel(times) / LATENT_SD**2, len(TARGETS))
    return np.concatenate([latents, _draw(rng, slow_error_kernel(times), len(TARGETS) * len(STREAMS))], axis=1)


def _signals(rng: np.random.Generator, duration_s: float, times: np.ndarray, paths: np.ndarray) -> Signals:
    latents = LATENT_SD * paths[:, :2] @ np.linalg.cholesky(target_correlation()).T
    latents = np.clip(latents, -1.0, 1.0)
    errors = {stream: slow_errors(paths, stream) for stream in STREAMS}
    cues = {stream: draw_cues(rng, times, stream, latents + errors[stream]) for stream in STREAMS}
    return Signals(times, latents, cues, draw_spans(rng, duration_s))


def slow_errors(paths: np.ndarray, stream: str) -> np.ndarray:
    """Return the slow errors (K, 2) of `stream` in valence and arousal, from the paths (K, 6) of a track."""
    first = len(TARGETS) * (STREAMS.index(stream) + 1)
    return paths[:, first : first + len(TARGETS)] * np.array(SLOW_ERROR_SD[stream])


def draw_cues(rng: np.random.Generator, times: np.ndarray, stream: str, expressed: np.ndarray) -> np.ndarray:
    """Draw the cues (K, C) of `stream` on the knots `times` (K,), which show the `expressed` values (K, 2)."""
    loadings = np.array(list(LOADINGS[stream].values()))
    noise = CUE_NOISE_SD * _draw(rng, rbf(times, CUE_NOISE_LENGTH_S), len(loadings))
    offset = IDENTITY_OFFSET_SD * rng.standard_normal(len(loadings))
    return expressed @ loadings.T + noise + offset


def target_correlation() -> np.ndarray:
    """Return the correlation (2, 2) of valence and arousal."""
    return np.array([[1.0, LATENT_CORRELATION], [LATENT_CORRELATION, 1.0]])


def draw_spans(rng: np.random.Generator, duration_s: float) -> Spans:
    """Draw occlusions, noise bursts and speech pauses that never overlap each other."""
    taken: list[Span] = []
    occlusions = _place(rng, duration_s, OCCLUDED_SHARE, OCCLUSION_S, taken)
    bursts = _place(rng, duration_s, BURST_SHARE, AUDIO_GAP_S, taken)
    pauses = _place(rng, duration_s, PAUSE_SHARE, AUDIO_GAP_S, taken)
    return Spans(occlusions, bursts, pauses)


def inside(spans: tuple[Span, ...], times: np.ndarray) -> np.ndarray:
    """Return which `times` (N,) lie in one of `spans`, as booleans (N,)."""
    result = np.zeros(len(times), dtype=bool)
    for start, end in spans:
        result |= (times >= start) & (times < end)
    return result


def _draw(rng: np.random.Generator, covariance: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` independent Gaussian paths (K, count); the jitter keeps a smooth kernel factorable."""
    factor = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(covariance)))
    return factor @ rng.standard_normal((len(covariance), count))


def _place(
    rng: np.random.Generator, duration_s: float, share: float, lengths: tuple[float, float], taken: list[Span]
) -> tuple[Span, ...]:
    """Place spans of total length `share * duration_s` clear of `taken` (which grows); gives up when nothing fits."""
    placed: list[Span] = []
    budget = share * duration_s
    for _ in range(400):
        if budget < 0.5 * lengths[0]:
            break
        length = min(rng.uniform(*lengths), max(budget, lengths[0]), 0.4 * duration_s)
        start = rng.uniform(0.0, duration_s - length)
        end = start + length
        if all(end + SPAN_GAP_S <= other[0] or start >= other[1] + SPAN_GAP_S for other in taken):
            placed.append((start, end))
            taken.append((start, end))
            budget -= length
    return tuple(sorted(placed))
