"""One-to-one assignment of faces to people, as far as it is sure."""

import numpy as np

IMPOSSIBLE = 1e6
"""Cost of a pair that cannot be."""


def sure_pairs(costs: np.ndarray, *, sure: float, missing: float, new: float) -> tuple[dict[int, int], set[int]]:
    """The pairs in which the cheapest assignments by several models agree, and which any other one costs clearly more.

    Args:
        costs: (models, T, D) of T people and D faces.
        sure: How much more.
        missing: Cost of a person without a face.
        new: Cost of a face without a person.

    Returns:
        Face of each person who surely has one, and the people who might as well have another's face, or none.
    """
    answers = [_cheapest(cost, sure, missing, new) for cost in costs]
    choices = [pairs for pairs, _ in answers]
    unclear = set[int]().union(*(doubtful for _, doubtful in answers))
    unclear |= {t for t in range(costs.shape[1]) if len({pairs.get(t) for pairs in choices}) > 1}
    return {t: d for t, d in choices[0].items() if t not in unclear}, unclear


def _cheapest(cost: np.ndarray, sure: float, missing: float, new: float) -> tuple[dict[int, int], set[int]]:
    """The cheapest assignment, and the people who have something else in one that costs less than `sure` more."""
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
