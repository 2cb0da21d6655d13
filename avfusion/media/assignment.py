"""Assign faces to people one to one, where the assignment is certain."""

import numpy as np

IMPOSSIBLE = 1e6
"""Cost of an impossible pair."""


def sure_pairs(costs: np.ndarray, *, sure: float, missing: float, new: float) -> tuple[dict[int, int], set[int]]:
    """The pairs on which the cheapest assignments under several cost models agree by a clear margin.

    Args:
        costs: (models, T, D), the costs of pairing T people with D faces.
        sure: The margin: how much more any other assignment must cost.
        missing: Cost of a person without a face.
        new: Cost of a face without a person.

    Returns:
        The face of each person with a certain one, and the people for whom another face, or none, is as likely.
    """
    answers = [_cheapest(cost, sure, missing, new) for cost in costs]
    choices = [pairs for pairs, _ in answers]
    unclear = set[int]().union(*(doubtful for _, doubtful in answers))
    unclear |= {t for t in range(costs.shape[1]) if len({pairs.get(t) for pairs in choices}) > 1}
    return {t: d for t, d in choices[0].items() if t not in unclear}, unclear


def _cheapest(cost: np.ndarray, sure: float, missing: float, new: float) -> tuple[dict[int, int], set[int]]:
    """The cheapest assignment, and the people who differ in another that costs less than `sure` more."""
    people, faces = cost.shape
    whole = np.full((people + faces, faces + people), IMPOSSIBLE)
    whole[:people, :faces] = cost
    np.fill_diagonal(whole[:people, faces:], missing)
    np.fill_diagonal(whole[people:, :faces], new)
    whole[people:, faces:] = 0.0
    total, best = _solve(whole)
    doubtful: set[int] = set()
    for t in np.flatnonzero(best[:people] < faces):
        without = whole.copy()
        without[t, best[t]] = IMPOSSIBLE
        other_total, other = _solve(without)
        if other_total - total < sure:
            doubtful |= set(np.flatnonzero((other != best)[:people]).tolist())
    return {int(t): int(best[t]) for t in np.flatnonzero(best[:people] < faces)}, doubtful


def _solve(whole: np.ndarray) -> tuple[float, np.ndarray]:
    from scipy.optimize import linear_sum_assignment  # slow to import, and most videos show one face

    rows, columns = linear_sum_assignment(whole)
    return float(whole[rows, columns].sum()), columns
