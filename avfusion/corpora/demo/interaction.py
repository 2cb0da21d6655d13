"""Signals of tracks whose emotions show in an interaction of the streams: one leads, the other follows.

    truth            change(t) + level
    leader shows     change(t)                + slow error
    follower shows   sign · change(t - lag)   + slow error

Neither the level of a track nor whom to believe can be seen in the pictures and sound of a moment, nor in one stream,
whose paths have the same law whichever leads and whatever the level. What tells is what the streams do together over
time, so the *product* of one with the other's past. A change of the leader returns in the follower, which is quick in
an excited track (a high level of arousal) and slow in a calm one. In an ironic track, whose level of valence is low,
the follower answers with the opposite valence (sign -1); so the echo in valence has another sign in half of the tracks,
and no sum of filtered streams finds it.

Leader, excitement and irony are drawn per track, as evenly in a split as the number of its tracks allows.
`lead_oracle` has the best predictions from one clip, from sums of both streams over time, and from everything.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from avfusion.corpora.demo import latents as model
from avfusion.corpora.demo.latents import KNOT_S, STREAMS, TARGETS, Lead, Signals, knots

LAG_S = {True: 2.0, False: 4.0}
"""Seconds from a change of the leader to the follower's, in an excited and in a calm track; multiples of `KNOT_S`."""
LEVEL = 0.25
"""Size of a track's level in valence (sincere: above 0, ironic: below) and arousal (excited: above, calm: below)."""
SLOW_ERROR_SHARE = 0.4
"""Slow errors, relative to those of `latents.SLOW_ERROR_SD`."""

LEADS = tuple(Lead(*values) for values in product(STREAMS, (True, False), (False, True)))
"""All that a track can be, each as likely as the others."""


def delay_s(lead: Lead, stream: str) -> float:
    """Return the seconds by which `stream` shows an emotion late: 0 for the leader."""
    return 0.0 if stream == lead.leader else LAG_S[lead.excited]


def signs(lead: Lead, stream: str) -> np.ndarray:
    """Return the signs (2,) with which `stream` shows changes of valence and arousal."""
    return np.array([-1.0 if lead.ironic and stream != lead.leader else 1.0, 1.0])


def level(lead: Lead) -> np.ndarray:
    """Return the mean (2,) of valence and arousal in a track, which neither stream shows."""
    return np.array([-LEVEL if lead.ironic else LEVEL, LEVEL if lead.excited else -LEVEL])


def draw_leads(rng: np.random.Generator, count: int) -> list[Lead]:
    """Draw the leads of a split's `count` tracks; the numbers of tracks with each differ by one at most."""
    order = rng.permutation(len(LEADS))
    return [LEADS[order[place % len(LEADS)]] for place in rng.permutation(count)]


def draw_interacting_split(rngs: Sequence[np.random.Generator], durations_s: Sequence[float]) -> list[Signals]:
    """Draw the signals of all tracks of a split, as `latents.draw_split` does, with one leading stream a track."""
    before = round(max(LAG_S.values()) / KNOT_S)  # knots before the track, which its follower still echoes
    times = [knots(duration) for duration in durations_s]
    grids = [np.arange(-before, len(track)) * KNOT_S for track in times]
    leads = draw_leads(rngs[0], len(rngs))
    return [
        _signals(rng, duration, track, path, lead)
        for rng, duration, track, path, lead in zip(
            rngs, durations_s, times, model.whitened_paths(rngs, grids), leads, strict=True
        )
    ]


def _signals(rng: np.random.Generator, duration_s: float, times: np.ndarray, paths: np.ndarray, lead: Lead) -> Signals:
    """The signals on the knots `times` (K,), from the paths (B + K, 6) that begin B knots earlier."""
    changes = np.clip(model.LATENT_SD * paths[:, : len(TARGETS)], -1.0, 1.0)
    before = len(paths) - len(times)
    cues = {}
    for stream in STREAMS:
        first = before - round(delay_s(lead, stream) / KNOT_S)
        shown = signs(lead, stream) * changes[first : first + len(times)]
        errors = SLOW_ERROR_SHARE * model.slow_errors(paths[before:], stream)
        cues[stream] = model.draw_cues(rng, times, stream, shown + errors)
    truth = np.clip(changes[before:] + level(lead), -1.0, 1.0)
    return Signals(times, truth, cues, model.draw_spans(rng, duration_s), lead)
