import numpy as np

from avfusion.media.assignment import IMPOSSIBLE, sure_pairs

NATS = {"sure": 3.0, "missing": 1.0, "new": 6.0}


def test_the_cheapest_in_all_is_taken_even_where_a_pair_alone_would_be_cheaper():
    costs = np.array([[[0.0, 1.0], [1.0, 9.0]]])
    assert sure_pairs(costs, **NATS) == ({0: 1, 1: 0}, set())


def test_an_exchange_that_costs_hardly_more_is_unclear():
    for dearer, unclear in ((1.4, {0, 1}), (1.6, set())):
        costs = np.array([[[0.0, dearer], [dearer, 0.0]]])
        pairs, found = sure_pairs(costs, **NATS)
        assert found == unclear
        assert pairs == ({} if unclear else {0: 0, 1: 1})


def test_models_have_to_agree():
    costs = np.array([[[0.0, 9.0], [9.0, 0.0]], [[9.0, 0.0], [0.0, 9.0]]])
    assert sure_pairs(costs, **NATS) == ({}, {0, 1})


def test_one_face_for_two_people():
    assert sure_pairs(np.array([[[0.0], [4.0]]]), **NATS) == ({0: 0}, set())
    assert sure_pairs(np.array([[[0.0], [2.0]]]), **NATS) == ({}, {0, 1})
    assert sure_pairs(np.array([[[0.0], [IMPOSSIBLE]]]), **NATS) == ({0: 0}, set())


def test_doubt_about_two_people_leaves_a_third_alone():
    costs = np.full((1, 3, 3), IMPOSSIBLE)
    costs[0, :2, :2] = 1.0
    costs[0, 2, 2] = 0.0
    assert sure_pairs(costs, **NATS) == ({2: 2}, {0, 1})


def test_what_is_nobodys_has_no_pair():
    assert sure_pairs(np.full((2, 1, 1), IMPOSSIBLE), **NATS) == ({}, set())
    assert sure_pairs(np.full((1, 1, 1), 30.0), **NATS) == ({}, set()), "a new face and a missing one cost less"
