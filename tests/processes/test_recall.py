"""Questions and answers: probabilities summed over all sequences, and the law of the process that is told."""

import itertools
import math

import numpy as np
import pytest
from tolerances import of_a_sum

from l2m_eval.errors import L2MError
from l2m_eval.processes import SantaFe, SantaFeRecall

SMALL = SantaFeRecall(beta=0.7, facts=2, flip_rate=0.2)
LENGTH = 6


@pytest.fixture(scope="module")
def joint():
    """p(w_1, …, w_6) over all 6^6 sequences, one axis for each position."""
    size = SMALL.vocabulary_size
    sequences = np.array(list(itertools.product(range(size), repeat=LENGTH)))
    with np.errstate(invalid="ignore"):
        return np.exp(SMALL.log_probs(sequences).sum(axis=1)).reshape((size,) * LENGTH)


def test_probabilities_of_all_sequences_sum_to_one(joint):
    assert joint.sum() == pytest.approx(1, abs=1e-12)


def test_a_block_that_starts_with_a_question_has_its_marginal(joint):
    block = joint.sum(axis=(0, 1))
    assert np.abs(block - joint.sum(axis=(4, 5))).max() < of_a_sum(joint.size)


@pytest.mark.parametrize("left", [2, 4])
def test_the_bipartite_curve_is_the_sum_over_all_sequences(joint, left):
    pair = joint.reshape(SMALL.vocabulary_size**left, -1)
    product = np.outer(pair.sum(axis=1), pair.sum(axis=0))
    present = pair > 0
    expected = np.sum(pair[present] * np.log(pair[present] / product[present]))
    assert SMALL.bipartite_mi(left, LENGTH) == pytest.approx(expected, abs=1e-12)


def test_the_loss_is_the_entropy_of_all_sequences(joint):
    entropies = [0.0]
    for n in range(1, LENGTH + 1):
        p = joint.sum(axis=tuple(range(n, LENGTH))).ravel()
        entropies.append(-np.sum(p[p > 0] * np.log(p[p > 0])))
    np.testing.assert_allclose(SMALL.mean_nll(LENGTH), np.diff(entropies), atol=1e-12)


@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_two_point_information_is_that_of_the_mixture_of_both_phases(joint, distance):
    pairs = [
        joint.sum(axis=tuple(set(range(LENGTH)) - {start, start + distance})) for start in (0, 1)
    ]  # a pair that starts at a question, one that starts at an answer
    mixed = (pairs[0] + pairs[1]) / 2
    product = np.outer(mixed.sum(axis=1), mixed.sum(axis=0))
    present = mixed > 0
    expected = np.sum(mixed[present] * np.log(mixed[present] / product[present]))
    assert SMALL.two_point_mi(distance) == pytest.approx(expected, abs=1e-12)


def test_predictions_are_log_probs_in_full():
    tokens = SMALL.sample(20, 9, np.random.default_rng(0))
    full = SMALL.predictions(tokens)
    np.testing.assert_allclose(np.exp(full).sum(axis=2), 1, atol=1e-12)
    chosen = np.take_along_axis(full, tokens[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(chosen, SMALL.log_probs(tokens), atol=1e-12)


def test_samples_have_the_exact_loss():
    process = SantaFeRecall(facts=32)
    tokens = process.sample(4000, 64, np.random.default_rng(1))
    losses = -process.log_probs(tokens)
    error = losses.std(axis=0, ddof=1) / math.sqrt(len(losses))
    # 64 positions, the largest of as many deviations stays below 4 errors
    # (the first answer is ln 2 in every document, and has no error but rounding)
    assert (np.abs(losses.mean(axis=0) - process.mean_nll(64)) < 4 * error + 1e-12).all()


def test_the_law_is_that_of_the_process_behind_it():
    recall, told = SantaFeRecall(facts=512), SantaFe(facts=512, flip_rate=0.02)
    assert recall.bipartite_mi(64, 128) == told.bipartite_mi(32, 64)
    assert recall.law_holds_to() == 2 * told.law_holds_to()


def test_odd_splits_are_refused():
    with pytest.raises(L2MError, match=r"left_length: 3 is not accepted.*even"):
        SMALL.bipartite_mi(3, 6)
