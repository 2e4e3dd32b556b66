"""The tree: power-law pairs, bounded blocks, and message passing that is the sum over all inner nodes."""

import itertools

import numpy as np
import pytest

from l2m_eval.errors import L2MError
from l2m_eval.processes import Tree


def brute_force(process, leaves):
    """log-probability of the leaves of a whole tree: the sum over all symbols of all inner nodes."""
    size = len(leaves)
    q, copied = process.symbols, process.copied
    edge = copied * np.eye(q) + (1 - copied) / q
    total = 0.0
    for inner in itertools.product(range(q), repeat=size - 1):
        nodes = [None, *inner, *leaves]  # a heap: node n has children 2n and 2n + 1
        product = 1 / q
        for n in range(2, 2 * size):
            product *= edge[nodes[n // 2], nodes[n]]
        total += product
    return np.log(total)


@pytest.mark.parametrize(("symbols", "size"), [(2, 8), (3, 4)])
def test_likelihood_is_the_sum_over_inner_nodes(symbols, size):
    process = Tree(alpha=0.8, symbols=symbols)
    documents = process.sample(5, size, np.random.default_rng(1))
    expected = [brute_force(process, leaves.tolist()) for leaves in documents]
    np.testing.assert_allclose(process.log_probs(documents).sum(axis=1), expected, rtol=1e-12)


@pytest.mark.parametrize("length", [1, 3, 7, 8])
def test_probabilities_of_all_sequences_sum_to_one(length):
    process = Tree(symbols=2)
    sequences = np.array(list(itertools.product(range(2), repeat=length)))
    assert np.exp(process.log_probs(sequences).sum(axis=1)).sum() == pytest.approx(1, abs=1e-12)


def test_conditional_distribution_is_normalised_and_is_what_log_probs_reads():
    process = Tree(symbols=5)
    tokens = process.sample(1, 40, np.random.default_rng(2))
    scored = process.log_probs(tokens)[0]
    for t in (0, 1, 2, 3, 16, 31, 32, 39):
        conditional = process.next_token_log_probs(tokens[0, :t])
        assert np.exp(conditional).sum() == pytest.approx(1, abs=1e-12)
        assert conditional[tokens[0, t]] == pytest.approx(scored[t], abs=1e-12)


def test_a_fresh_start_is_the_marginal_of_an_aligned_block_and_of_no_other():
    process = Tree(alpha=0.8, symbols=2)
    probability = np.exp(process.log_probs(np.indices((2,) * 8).reshape(8, -1).T).sum(axis=1)).reshape(
        (2,) * 8
    )

    def error_of_fresh_start(start, stop):
        outside = tuple(axis for axis in range(8) if not start <= axis < stop)
        sequences = np.indices((2,) * (stop - start)).reshape(stop - start, -1).T
        fresh = np.exp(process.log_probs(sequences).sum(axis=1))
        return np.abs(fresh - probability.sum(axis=outside).ravel()).max()

    for start, stop in [(4, 8), (4, 7), (2, 4), (6, 8), (3, 4)]:
        assert error_of_fresh_start(start, stop) < 1e-12
    assert error_of_fresh_start(3, 5) > 1e-3
    assert error_of_fresh_start(2, 5) > 1e-3


@pytest.mark.parametrize(("left", "total"), [(1, 2), (2, 4), (4, 8), (4, 7), (6, 8)])
def test_bipartite_information_is_that_of_the_joint_distribution_and_of_documents(left, total):
    process = Tree(alpha=0.8, symbols=2)
    sequences = np.indices((2,) * total).reshape(total, -1).T
    pair = np.exp(process.log_probs(sequences).sum(axis=1)).reshape(2**left, -1)
    product = np.outer(pair.sum(axis=1), pair.sum(axis=0))
    exact = process.bipartite_mi(left, total)
    assert exact == pytest.approx(np.sum(pair * np.log(pair / product)), abs=1e-12)
    estimate = process.estimate_bipartite_mi(left, total, 10_000, np.random.default_rng(3))
    # Four standard errors: a correct mean fails one test in 16,000.
    assert abs(estimate.value - exact) < 4 * estimate.standard_error


def test_bipartite_information_is_bounded_where_two_point_information_is_slow():
    process = Tree(alpha=0.9, symbols=4)
    for l in (8, 64, 256):
        estimate = process.estimate_bipartite_mi(l, 2 * l, 400, np.random.default_rng(4))
        assert estimate.value - 4 * estimate.standard_error < process.bipartite_bound()
    assert process.bipartite_mi(1, 2) == pytest.approx(process.bipartite_bound(), rel=1e-12)
    slope = np.log2(process.two_point_mi(2**14) / process.two_point_mi(2**13))
    # J(c) is quadratic in a correlation that is below a hundredth there.
    assert slope == pytest.approx(-0.9, abs=0.01)


@pytest.mark.parametrize(("distance", "length"), [(1, 4), (2, 4), (3, 8), (5, 8), (4, 7)])
def test_two_point_information_is_that_of_counted_pairs(distance, length):
    process = Tree(alpha=0.8, symbols=2)
    probability = np.exp(
        process.log_probs(np.indices((2,) * length).reshape(length, -1).T).sum(axis=1)
    ).reshape((2,) * length)
    pairs = [
        probability.sum(axis=tuple(axis for axis in range(length) if axis not in (t, t + distance)))
        for t in range(length - distance)
    ]
    pair = np.mean(pairs, axis=0)
    product = np.outer(pair.sum(axis=1), pair.sum(axis=0))
    expected = np.sum(pair * np.log(pair / product))
    assert process.two_point_mi(distance, length) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("distance", [1, 3, 64])
def test_two_point_information_has_a_limit_for_long_documents(distance):
    process = Tree()
    # A document of 2^40 leaves has an edge of relative size d/2^40.
    assert process.two_point_mi(distance, 2**40) == pytest.approx(process.two_point_mi(distance), rel=1e-9)


def test_what_is_not_exact_is_refused_with_the_reason():
    process = Tree(symbols=16)
    with pytest.raises(L2MError, match="a right block of 6 starts at a multiple of 8"):
        process.bipartite_mi(3, 9)
    with pytest.raises(L2MError, match="a multiple of 16"):
        process.estimate_bipartite_mi(8, 24, 10, np.random.default_rng(1))
    with pytest.raises(L2MError, match="exact up to 4 tokens"):
        process.bipartite_mi(4, 8)
    with pytest.raises(L2MError, match="no closed form"):
        process.entropy_rate()


def test_documents_are_split_without_trace(monkeypatch):
    process = Tree()
    tokens = process.sample(9, 50, np.random.default_rng(7))
    whole = process.log_probs(tokens)
    monkeypatch.setattr("l2m_eval.processes.tree._MESSAGES_AT_ONCE", 3000)
    np.testing.assert_allclose(process.log_probs(tokens), whole, rtol=1e-13)
