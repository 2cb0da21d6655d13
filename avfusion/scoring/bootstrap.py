"""95 % intervals of CCCs by a bootstrap over base videos.

Frames of a video, and the two tracks of a video with two people, are not independent, so whole videos are drawn. A
pooled CCC depends on a video only through six sums, so a resample is a weighted sum of rows, and thousands of resamples
are one matrix product. Of the three forms, reports use `studentised`, since it has the best coverage with few videos:
on 1,000 simulated corpora 92 % at 8 videos, 93 % at 16 and 94 % at 76, where percentile gave 86, 91 and 94, BCa 84, 90
and 93 (docs/evaluation.md).

Studentised and BCa: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 12 and 14.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit  # as scipy.stats calls them, which is slow to import

FEW_VIDEOS = 20
RESAMPLED_VIDEOS = 5  # with fewer, most resamples hold only one or two videos
NOTE = "few videos: too narrow"
Form = Literal["percentile", "bca", "studentised"]


def video_sums(predictions: np.ndarray, targets: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """Sufficient statistics (V, 6) of CCC per video: n, Σx, Σy, Σx², Σy², Σxy.

    Args:
        predictions: (N,) valid frames of all tracks.
        targets: (N,).
        videos: (N,) number of each frame's video, from 0; V is the highest + 1.
    """
    x, y = predictions.astype(np.float64), targets.astype(np.float64)
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    count = int(videos.max()) + 1 if len(videos) else 0
    return np.stack([np.bincount(videos, weights=column, minlength=count) for column in columns], axis=1)


def ccc_of_sums(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CCC (...) of sums (..., 6), and its gradient (..., 6) with respect to them."""
    n, sx, sy, sxx, syy, sxy = np.moveaxis(sums, -1, 0)
    n = np.maximum(n, 1)
    mx, my = sx / n, sy / n
    # top = cov, bottom = mean square of x - y + 2 cov: the numerator and denominator of CCC / 2.
    top = sxy / n - mx * my
    # For two equal constants only rounding is left, which the floor turns into a score of 0.
    bottom = np.maximum(sxx / n + syy / n - 2 * mx * my, 1e-12)
    score = 2 * top / bottom
    gradient_top = np.stack([2 * mx * my - sxy / n, -my, -mx, 0 * n, 0 * n, 1 + 0 * n], axis=-1)
    gradient_bottom = np.stack([4 * mx * my - (sxx + syy) / n, -2 * my, -2 * mx, 1 + 0 * n, 1 + 0 * n, 0 * n], axis=-1)
    gradient = (2 * gradient_top - score[..., None] * gradient_bottom) / (bottom * n)[..., None]
    return score, gradient


def interval(
    sums: np.ndarray,
    coefficients: Sequence[float],
    *,
    resamples: int = 2000,
    seed: int = 0,
    form: Form = "studentised",
    fisher: bool = True,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Confidence interval of Σₖ coefficientₖ · CCCₖ, with all K CCCs over the same resampled videos.

    One CCC: K = 1. Mean of two targets: coefficients (½, ½). Paired difference of two models' means: (½, ½, -½, -½).

    Args:
        sums: (K, V, 6) from `video_sums`, the V videos in the same order.
        form: with fewer than 5 videos, `studentised` uses Student's t on the linearised error instead of resamples.
        fisher: work on Fisher's z, which keeps the ends within [-1, 1]; must be False for differences.

    Returns:
        Lower and upper end, or None with fewer than two videos.
    """
    sums = sums[:, (sums[:, :, 0] > 0).any(axis=0)]
    videos = sums.shape[1]
    if videos < 2:
        return None
    weights = np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), size=resamples)
    estimate, error, influence = _statistic(sums, np.ones((1, videos)), coefficients, fisher)
    drawn, errors, _ = _statistic(sums, weights.astype(np.float64), coefficients, fisher)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if form == "percentile":
        ends = np.quantile(drawn, tails)
    elif form == "bca":
        ends = np.quantile(drawn, _bca_tails(drawn, estimate[0], influence[0], tails))
    elif videos < RESAMPLED_VIDEOS:
        ends = estimate[0] + stdtrit(videos - 1, tails) * error[0]
    else:
        # A resample of nearly one video has almost no standard error and says nothing.
        usable = errors > 0.05 * error[0]
        if not usable.any() or error[0] == 0:
            ends = np.repeat(estimate[0], 2)
        else:
            pivots = np.quantile((drawn[usable] - estimate[0]) / errors[usable], tails)
            ends = estimate[0] - pivots[::-1] * error[0]
    low, high = np.tanh(ends) if fisher else ends
    return float(low), float(high)


def paired_p_value(
    sums: np.ndarray, coefficients: Sequence[float], *, resamples: int = 2000, seed: int = 0
) -> float | None:
    """Two-sided p value of a difference (arguments as for `interval`): the level at which its interval just excludes 0.

    It is below 0.05 exactly if the 95 % interval excludes 0, and never below 1 / `resamples`.
    """

    def excludes_zero(p: float) -> bool | None:
        ends = interval(sums, coefficients, resamples=resamples, seed=seed, fisher=False, level=1 - p)
        return None if ends is None else not ends[0] <= 0 <= ends[1]

    low, high = 1 / resamples, 1.0
    if (sure := excludes_zero(low)) is None:
        return None
    if sure:
        return low
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if excludes_zero(middle) else (middle, high)
    return high


def _statistic(
    sums: np.ndarray, weights: np.ndarray, coefficients: Sequence[float], fisher: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value (R,), linearised standard error (R,) and influence (R, V) of the combination under weights (R, V)."""
    total = np.zeros(len(weights))
    influence = np.zeros(weights.shape)
    for coefficient, component in zip(coefficients, sums, strict=True):
        score, gradient = ccc_of_sums(weights @ component)
        total += coefficient * score
        influence += coefficient * (gradient @ component.T)
    if fisher:
        inside = np.clip(total, -1 + 1e-9, 1 - 1e-9)
        influence /= (1 - inside**2)[:, None]
        total = np.arctanh(inside)
    videos = weights.shape[1]
    return total, np.sqrt((weights * influence**2).sum(axis=1) * videos / (videos - 1)), influence


def _bca_tails(drawn: np.ndarray, estimate: float, influence: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Bias-corrected and accelerated quantile levels."""
    below = np.clip(((drawn < estimate).mean() + (drawn <= estimate).mean()) / 2, 1e-4, 1 - 1e-4)
    bias = ndtri(below)
    scale = (influence**2).sum() ** 1.5
    acceleration = (influence**3).sum() / (6 * scale) if scale > 0 else 0.0
    z = bias + ndtri(tails)
    return np.asarray(ndtr(bias + z / (1 - acceleration * z)))
