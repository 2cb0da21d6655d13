"""The best prediction from the cues of one or both streams: the Gaussian-process posterior mean of the track.

The oracle knows the generator (`latents`) but sees cues only while they are expressed: not during an occlusion, a pause
or a noise burst. Its gain from one stream to two approximates what fusion can gain. It is a yardstick, not a strict
bound on systems that see and hear the media, which hold a little more than the cues of a stream:

- the mouth opens and closes with the syllables, so pictures show the speaking rate, a cue of the voice;
- an occluder moves in and out, so the face is partly seen at the edges of an occlusion, where the oracle sees nothing;
- a track's draws are whitened together with those of its split (`latents.draw_split`), which a posterior of one track
  does not use; and it is the best in squared error, rescaled for CCC, not the best in CCC.

The whitening makes the tracks of a split dependent, too: intervals of the scores, the oracle's and the
models', hold for the videos of this corpus, not for other corpora of the same generator.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from avfusion.corpora.demo import latents as model
from avfusion.corpora.demo import lead_oracle
from avfusion.corpora.demo.cue_estimates import cue_estimate, estimate_noise, visible
from avfusion.corpora.demo.latents import Signals

SOURCES = {"audio": ("audio",), "visual": ("visual",), "both": ("visual", "audio")}


@dataclass(frozen=True)
class Scale:
    """An affine map from posterior means to predictions, per source and target: `offset + factor * mean`."""

    factor: Mapping[str, tuple[float, float]]
    offset: Mapping[str, tuple[float, float]]


def sources(signals: Signals) -> tuple[str, ...]:
    """Return the names of what a track's oracles see."""
    return tuple(SOURCES if signals.lead is None else lead_oracle.SOURCES)


def posterior_mean(signals: Signals, source: str) -> np.ndarray:
    """Return the posterior mean (K, 2) of valence and arousal at the knots, given the cues of `source`.

    The cues of a stream share one noise kernel, so their generalised least-squares estimate of the two expressed values
    is a sufficient statistic: the linear system has two unknowns per knot and stream instead of one per cue.
    """
    if signals.lead is not None:
        return lead_oracle.mixture_mean(signals, source)
    times = signals.times
    prior = np.kron(model.target_correlation(), model.latent_kernel(times))
    slow = model.slow_error_kernel(times)
    observed, rows, errors = [], [], []
    for stream in SOURCES[source]:
        seen = np.tile(visible(signals, stream), 2)
        error = np.kron(np.diag(np.square(model.SLOW_ERROR_SD[stream])), slow) + estimate_noise(stream, times)
        observed.append(cue_estimate(signals, stream).T.reshape(-1)[seen])
        rows.append(np.flatnonzero(seen))
        errors.append(error[np.ix_(seen, seen)])
    row = np.concatenate(rows)
    if len(row) == 0:
        return np.zeros((len(times), 2))
    covariance = prior[np.ix_(row, row)]
    start = 0
    for error in errors:
        stop = start + len(error)
        covariance[start:stop, start:stop] += error
        start = stop
    weights = cho_solve(cho_factor(covariance, lower=True), np.concatenate(observed))
    return (prior[:, row] @ weights).reshape(2, -1).T


def fit_scale(tracks: Iterable[Signals]) -> Scale:
    """Fit, on the training tracks, the affine map that gives posterior means the spread and centre that CCC rewards."""
    tracks = list(tracks)
    truth = np.concatenate([signals.latents for signals in tracks])
    factor, offset = {}, {}
    for source in sources(tracks[0]):
        mean = np.concatenate([posterior_mean(signals, source) for signals in tracks])
        spread = truth.std(axis=0) / np.maximum(mean.std(axis=0), 1e-6)
        centre = truth.mean(axis=0) - spread * mean.mean(axis=0)
        factor[source] = (float(spread[0]), float(spread[1]))
        offset[source] = (float(centre[0]), float(centre[1]))
    return Scale(factor, offset)


def predictions(signals: Signals, scale: Scale, times: np.ndarray) -> dict[str, np.ndarray]:
    """Return the oracle's predictions (N, 2) in [-1, 1] at `times` (N,) in seconds, per source."""
    result = {}
    for source in sources(signals):
        mean = posterior_mean(signals, source)
        scaled = mean * np.array(scale.factor[source]) + np.array(scale.offset[source])
        columns = [np.interp(times, signals.times, scaled[:, target]) for target in range(2)]
        result[source] = np.clip(np.stack(columns, axis=1), -1.0, 1.0)
    return result


def oracle_table(
    tracks: Iterable[Signals], scale: Scale, ccc: Callable[[np.ndarray, np.ndarray], float]
) -> dict[str, tuple[float, float]]:
    """Return the pooled score `ccc` (valence, arousal) over `tracks` of each oracle."""
    tracks = list(tracks)
    truth = np.concatenate([signals.latents for signals in tracks])
    predicted = [predictions(signals, scale, signals.times) for signals in tracks]
    table = {}
    for source in sources(tracks[0]):
        values = np.concatenate([track[source] for track in predicted])
        table[source] = (float(ccc(values[:, 0], truth[:, 0])), float(ccc(values[:, 1], truth[:, 1])))
    return table
