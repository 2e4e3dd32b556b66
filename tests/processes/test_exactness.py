"""Every process on a small instance: its closed forms against sums over all sequences, and against samples."""

import itertools
from functools import cache

import numpy as np
import pytest

from l2m_eval.processes import Copy, HiddenMarkov, Markov, Renewal, SantaFe

SMALL = [
    SantaFe(beta=0.7, facts=2, flip_rate=0.2),
    SantaFe(beta=0.5, facts=2, flip_rate=0.0),
    Markov(states=3, persistence=0.0, transition_seed=1),
    Markov(states=4, persistence=0.7),
    HiddenMarkov(states=2, persistence=0.6, noise=0.2),
    HiddenMarkov(states=3, persistence=0.0, noise=0.1, transition_seed=2),
    Copy(period=3, octaves=1, symbols=3, noise=0.25),
    Copy(period=2, octaves=2, symbols=2, noise=0.4),
    Copy(period=2, octaves=1, symbols=4, noise=0.0),
    Renewal(alpha=0.5),
    Renewal(alpha=3),
]
LENGTH = 6
# Sums of up to 4^6 products of six rounded probabilities.
ROUNDING = 1e-12


@cache
def all_sequences(vocabulary_size, length):
    return np.array(list(itertools.product(range(vocabulary_size), repeat=length)))


@cache
def joint(process):
    """p(w_1, …, w_LENGTH) as an array with one axis for each position."""
    size = process.vocabulary_size
    log_probs = process.log_probs(all_sequences(size, LENGTH)).sum(axis=1)
    return np.exp(log_probs).reshape((size,) * LENGTH)


def mutual_information(pair):
    """I of a joint distribution of two variables, by its definition."""
    product = np.outer(pair.sum(axis=1), pair.sum(axis=0))
    present = pair > 0
    return float(np.sum(pair[present] * np.log(pair[present] / product[present])))


small = pytest.mark.parametrize("process", SMALL, ids=str)


@small
def test_probabilities_of_all_sequences_sum_to_one(process):
    assert joint(process).sum() == pytest.approx(1, abs=ROUNDING)


@small
def test_a_blocks_probability_is_its_marginal_in_the_stream(process):
    for start in (1, 3):
        block = joint(process).sum(axis=tuple(range(start)))
        fresh = process.log_probs(all_sequences(process.vocabulary_size, LENGTH - start)).sum(axis=1)
        np.testing.assert_allclose(np.exp(fresh), block.ravel(), atol=ROUNDING)


@small
def test_bipartite_information_is_that_of_the_joint_distribution(process):
    for left, total in [(1, 2), (2, 4), (3, 6), (2, 6), (4, 6), (1, 6)]:
        distribution = joint(process).sum(axis=tuple(range(total, LENGTH)))
        pair = distribution.reshape(process.vocabulary_size**left, -1)
        expected = mutual_information(pair)
        assert process.bipartite_mi(left, total) == pytest.approx(expected, abs=ROUNDING)
        by_entropies = super(type(process), process).bipartite_mi(left, total)
        assert by_entropies == pytest.approx(expected, abs=ROUNDING)


@small
def test_two_point_information_is_that_of_the_pair_distribution(process):
    for distance in range(1, LENGTH):
        rest = tuple(axis for axis in range(1, LENGTH) if axis != distance)
        expected = mutual_information(joint(process).sum(axis=rest))
        assert process.two_point_mi(distance) == pytest.approx(expected, abs=ROUNDING)


@small
def test_loss_at_every_position_is_that_of_the_joint_distribution(process):
    entropies = [0.0]
    for n in range(1, LENGTH + 1):
        marginal = joint(process).sum(axis=tuple(range(n, LENGTH)))
        entropies.append(-np.sum(marginal[marginal > 0] * np.log(marginal[marginal > 0])))
    np.testing.assert_allclose(process.mean_nll(LENGTH), np.diff(entropies), atol=ROUNDING)


@small
def test_the_conditional_distribution_is_normalised_and_is_what_log_probs_reads(process):
    tokens = process.sample(1, 50, np.random.default_rng(3))
    scored = process.log_probs(tokens)[0]
    for t in (0, 1, 2, 3, 17, 49):
        conditional = process.next_token_log_probs(tokens[0, :t])
        assert conditional.shape == (process.vocabulary_size,)
        assert np.exp(conditional).sum() == pytest.approx(1, abs=ROUNDING)
        assert conditional[tokens[0, t]] == pytest.approx(scored[t], abs=ROUNDING)


@small
def test_samples_have_the_probabilities_of_their_sequences(process):
    count = 40_000
    sampled = process.sample(count, 4, np.random.default_rng(4))
    size = process.vocabulary_size
    observed = np.bincount(np.ravel_multi_index(tuple(sampled.T), (size,) * 4), minlength=size**4)
    expected = count * joint(process).sum(axis=(4, 5)).ravel()
    assert (observed[expected < 1e-6] == 0).all()
    common = expected > 20
    deviations = (observed - expected)[common] / np.sqrt(expected[common])
    # Counts are Poisson to a good approximation: their mean square is 1 within five of its standard errors.
    assert abs(np.mean(deviations**2) - 1) < 5 * np.sqrt(2 / common.sum()) + 0.02


@small
def test_bipartite_information_is_the_mean_over_documents(process):
    exact = process.bipartite_mi(3, 6)
    estimate = process.estimate_bipartite_mi(3, 6, 20_000, np.random.default_rng(5))
    # Four standard errors: a correct mean fails one test in 16,000. Copies without noise have no spread.
    assert abs(estimate.value - exact) <= 4 * estimate.standard_error + ROUNDING


@pytest.mark.parametrize("process", [p for p in SMALL if not isinstance(p, (HiddenMarkov, Renewal))], ids=str)
def test_the_loss_falls_to_the_entropy_rate(process):
    loss = process.mean_nll(2000)
    assert (np.diff(loss) <= ROUNDING).all()
    # The slowest instance, a fact of probability 1/5, has long been seen; the rate's series is good to 1e-8.
    assert loss[-1] == pytest.approx(process.entropy_rate(), abs=1e-8)


@small
def test_samples_depend_on_the_seed_alone(process):
    first, again = (process.sample(5, 30, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.int64
    assert first.shape == (5, 30)
    assert (process.sample(5, 30, np.random.default_rng(8)) != first).any()
