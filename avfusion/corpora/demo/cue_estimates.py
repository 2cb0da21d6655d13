"""What oracles see of a track: estimates of the two values that a stream expresses, where its cues are not hidden."""

import numpy as np

from avfusion.corpora.demo import latents as model
from avfusion.corpora.demo.latents import Signals, inside

_WHITE_NOISE = 1e-4
"""Variance of a cue's reading error; without it smooth kernels are numerically singular."""


def visible(signals: Signals, stream: str) -> np.ndarray:
    """Return at which knots (K,) `stream` is expressed."""
    if stream == "visual":
        return ~inside(signals.spans.occlusions, signals.times)
    return ~inside(signals.spans.bursts + signals.spans.pauses, signals.times)


def cue_estimate(signals: Signals, stream: str) -> np.ndarray:
    """Return the generalised least-squares estimate (K, 2) of what `stream` expresses, from its cues.

    The cues of a stream share one noise kernel, so the estimate is a sufficient statistic of them.
    """
    loadings = np.array(list(model.LOADINGS[stream].values()))
    return signals.cues[stream] @ loadings @ np.linalg.inv(loadings.T @ loadings)


def estimate_noise(stream: str, times: np.ndarray) -> np.ndarray:
    """Return the covariance (2 K, 2 K), by target and knot, of the estimate's noise at `times` (K,)."""
    loadings = np.array(list(model.LOADINGS[stream].values()))
    noise = model.CUE_NOISE_SD**2 * model.rbf(times, model.CUE_NOISE_LENGTH_S) + model.IDENTITY_OFFSET_SD**2
    noise += _WHITE_NOISE * np.eye(len(times))
    return np.kron(np.linalg.inv(loadings.T @ loadings), noise)
