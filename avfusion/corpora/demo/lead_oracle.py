"""The best predictions where one stream leads the other (`interaction`), for each set of cues that a model may use.

| source | cues | prediction |
|---|---|---|
| `audio`, `visual` | one stream, whole track | posterior mean |
| `clip` | both streams, the clip that ends now: concatenation without time | posterior mean |
| `linear` | both streams, whole track | best sum of a filter over each stream: concatenation with time |
| `both` | both streams, whole track | posterior mean |

Given the lead of a track (who leads, level, irony) its signals are Gaussian. So the posterior mean is that of each
lead, weighted by the lead's probability, which is its likelihood, since all are equally likely. These weights hold the
products of one stream with the other's past. The best sum is the linear prediction from the moments of all leads
together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avfusion.corpora.demo import latents as model
from avfusion.corpora.demo.cue_estimates import cue_estimate, estimate_noise, visible
from avfusion.corpora.demo.interaction import LEADS, SLOW_ERROR_SHARE, delay_s, level, signs
from avfusion.corpora.demo.latents import KNOT_S, STREAMS, TARGETS, Lead, Signals

CLIP_S = 1.24
"""Seconds from a clip's first frame to its last: 32 frames at 25 frames per second."""

SOURCES = {"audio": ("audio",), "visual": ("visual",), "clip": STREAMS, "linear": STREAMS, "both": STREAMS}


@dataclass(frozen=True)
class _Moments:
    """Of the cues' estimates, with mean 0: covariance (N, N); of the truth: mean (M,), covariance (M, N) with them."""

    covariance: np.ndarray
    true_mean: np.ndarray
    cross: np.ndarray


def mixture_mean(signals: Signals, source: str) -> np.ndarray:
    """Return the best prediction (K, 2) of valence and arousal at the knots, from the cues of `source`."""
    times, streams = signals.times, SOURCES[source]
    values = np.stack([cue_estimate(signals, stream).T for stream in streams], axis=1)  # (target, stream, knot)
    seen = np.broadcast_to([visible(signals, stream) for stream in streams], values.shape)
    if source == "clip":
        clip = int(CLIP_S / KNOT_S) + 1
        before = ((0, 0), (0, 0), (clip - 1, 0))

        def clips(array: np.ndarray) -> np.ndarray:
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(array, before), clip, axis=2)
            return np.moveaxis(windows, 2, 0).reshape(len(times), -1)

        grid = np.arange(clip) * KNOT_S
        return _mixture([_moments(lead, streams, grid, grid[-1:]) for lead in LEADS], clips(values), clips(seen))
    moments = [_moments(lead, streams, times, times) for lead in LEADS]
    if source == "linear":
        moments = [_together(moments)]
    return _mixture(moments, values.reshape(1, -1), seen.reshape(1, -1)).reshape(len(TARGETS), -1).T


def _moments(lead: Lead, streams: Sequence[str], times: np.ndarray, wanted: np.ndarray) -> _Moments:
    """The moments, given `lead`, of estimates by target, stream, time, and of the truth by target and `wanted` time."""
    shown_at = np.concatenate([times - delay_s(lead, stream) for stream in streams] + [wanted])
    sign = np.concatenate([np.outer(signs(lead, s), np.ones(len(times))) for s in streams], axis=1)
    sign = np.concatenate([sign, np.ones((len(TARGETS), len(wanted)))], axis=1)
    count, targets = len(streams) * len(times), len(TARGETS)
    changes = np.zeros((targets, len(shown_at)) * 2)
    for target in range(targets):
        changes[target, :, target] = np.outer(sign[target], sign[target]) * model.latent_kernel(shown_at)
    errors = np.zeros((targets, len(streams), len(times)) * 2)
    for index, stream in enumerate(streams):
        spread = np.diag(np.square(SLOW_ERROR_SHARE * np.array(model.SLOW_ERROR_SD[stream])))
        error = np.kron(spread, model.slow_error_kernel(times)) + estimate_noise(stream, times)
        errors[:, index, :, :, index] = error.reshape((targets, len(times)) * 2)
    observed = changes[:, :count, :, :count].reshape(targets * count, -1)
    return _Moments(
        covariance=observed + errors.reshape(observed.shape),
        true_mean=np.repeat(level(lead), len(wanted)),
        cross=changes[:, count:, :, :count].reshape(-1, targets * count),
    )


def _together(moments: Sequence[_Moments]) -> _Moments:
    """The moments of a track of which the lead is not known."""
    parts = [(one.covariance, one.true_mean, one.cross) for one in moments]
    return _Moments(*(np.mean(part, axis=0) for part in zip(*parts, strict=True)))


def _mixture(moments: Sequence[_Moments], values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return posterior means (B, M) from estimates `values` (B, N), where they are `seen` (B, N) bool.

    What is not seen becomes a 0 that depends on nothing: it changes neither means nor odds.
    """
    means, log_likelihoods = [], []
    known = np.where(seen, values, 0.0)
    both_seen = seen[:, :, None] & seen[:, None, :]
    for one in moments:
        covariance = np.where(both_seen, one.covariance, np.eye(seen.shape[1]))
        weights = np.linalg.solve(covariance, known[:, :, None])[:, :, 0]
        diagonal = np.diagonal(np.linalg.cholesky(covariance), axis1=1, axis2=2)
        log_likelihoods.append(-0.5 * np.sum(known * weights, axis=1) - np.log(diagonal).sum(axis=1))
        means.append(one.true_mean + weights @ one.cross.T)
    odds = np.exp(np.array(log_likelihoods) - np.max(log_likelihoods, axis=0))
    return np.einsum("lb,lbm->bm", odds / odds.sum(axis=0), np.array(means))
