"""The mixed marginal: λ against its closed form, cross-fitting, and what it does to exact and to bad marginals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from l2m_eval.errors import L2MError
from l2m_eval.estimators.bipartite import clustered_mean
from l2m_eval.estimators.mixture import fitted_mixture, log_mean_exp, mean_gain
from l2m_eval.processes import Markov, SantaFe

STEP = 0.01  # of the grid of λ


def two_values(low, high, share_high, clusters=200, points=1):
    """Log-ratios that are `high` in a share of the documents and `low` in the others, one block each."""
    high_ones = (np.arange(clusters) < share_high * clusters)[:, None, None]
    return np.where(high_ones, high, low) * np.ones((1, points, 1))


def test_the_share_is_the_closed_form():
    """Of two values, A = e^high − 1 > 0 > B = e^low − 1: the mean of log(1 + λr) is largest at −(pA + qB) / (AB)."""
    p, high, low = 0.4, np.log(3.0), np.log(0.25)
    a, b = np.expm1(high), np.expm1(low)
    best = -(p * a + (1 - p) * b) / (a * b)
    assert 0 < best < 1
    found = fitted_mixture(two_values(low, high, p), np.arange(200))
    # The grid's half step, and leaving out one of 200 clusters, which moves p by at most a 199th.
    moved = abs(1 / b - 1 / a) / 199
    assert abs(found.weight[0] - best) <= STEP / 2 + moved
    expected = np.where(np.arange(200) < 80, np.log1p(best * a), np.log1p(best * b))
    slope = max(abs(a / (1 + best * a)), abs(b / (1 + best * b)))
    assert np.abs(found.gain[:, 0] - expected).max() <= 1.1 * slope * (STEP / 2 + moved)


@pytest.mark.parametrize(("ratio", "weight"), [(-3.0, 0.0), (3.0, 0.99)])
def test_contexts_that_are_always_worse_or_better_have_all_or_nothing(ratio, weight):
    found = fitted_mixture(np.full((8, 2, 3), ratio), np.arange(8))
    assert found.weight == pytest.approx([weight, weight], abs=1e-12)
    assert found.gain == pytest.approx(np.log1p(weight * np.expm1(ratio)), rel=1e-12)


def test_a_clusters_share_follows_from_the_others_alone():
    rng = np.random.default_rng(0)
    ratio = rng.normal(0, 2, (40, 3, 2))
    clusters = np.arange(40) // 4
    before = fitted_mixture(ratio, clusters)
    changed = ratio.copy()
    changed[:4] = rng.normal(5, 1, (4, 3, 2))  # of cluster 0
    after = fitted_mixture(changed, clusters)
    # Cluster 0 keeps its λ: its gain is that of its new values under the old one.
    for point in range(3):
        of_weights = np.array(
            [mean_gain(ratio[:4, point : point + 1], w)[:, 0] for w in np.arange(1, 100) / 100]
        )
        share = (np.abs(of_weights - before.gain[:4, point]).max(axis=1)).argmin() + 1
        if share > 1:
            expected = mean_gain(changed[:4, point : point + 1], share / 100)[:, 0]
            assert after.gain[:4, point] == pytest.approx(expected, abs=1e-9)


def test_blocks_that_a_document_lacks_and_contexts_that_nobody_scored_count_nothing():
    ratio = np.full((8, 1, 2), 1.0)
    ratio[0, 0, 1] = np.nan  # it has one block
    ratio[1] = 0.0  # no context was scored
    found = fitted_mixture(ratio, np.arange(8))
    assert found.gain[0, 0] == pytest.approx(found.gain[2, 0], abs=1e-12)
    assert found.gain[1, 0] == pytest.approx(0, abs=1e-12)
    assert log_mean_exp(np.array([[0.0, np.nan], [np.log(3.0), -800.0]])) == pytest.approx(
        [np.log(2.0), -800.0]
    )


def test_fewer_than_four_clusters_are_one_line():
    with pytest.raises(
        L2MError, match="of which there are 3; give documents of 4 or more, or marginal paired"
    ):
        fitted_mixture(np.zeros((6, 1, 1)), [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize("documents", [20, 100])
def test_an_exact_marginal_loses_nothing_beyond_the_error(documents):
    """The process' own q(y): no mixture predicts y better, and the λ of other documents costs less than an error."""
    process = Markov()
    tokens = process.sample(documents, 64, np.random.default_rng(3))
    partner = np.arange(documents) ^ 1
    right = tokens[:, 32:]
    marginal = process.log_probs(right).sum(axis=1)
    conditional = process.log_probs(tokens)[:, 32:].sum(axis=1)
    behind = process.log_probs(np.concatenate([tokens[partner, :32], right], axis=1))[:, 32:].sum(axis=1)
    found = fitted_mixture((behind - marginal)[:, None, None], np.arange(documents) // 2)
    terms = conditional - marginal
    error = terms.std(ddof=1) / np.sqrt(documents)
    assert abs(found.gain.mean()) < error
    assert found.weight[0] < 0.5


def test_a_marginal_that_mispredicts_a_blocks_beginning_is_mended():
    """Behind the bare prefix the first token costs five nats too many; other contexts predict it well."""
    process = Markov(states=8, persistence=0.5)
    documents = 100
    tokens = process.sample(documents, 64, np.random.default_rng(3))
    partner = np.arange(documents) ^ 1
    right = tokens[:, 32:]
    exact = process.log_probs(right).sum(axis=1)
    behind = process.log_probs(np.concatenate([tokens[partner, :32], right], axis=1))[:, 32:].sum(axis=1)
    found = fitted_mixture((behind - (exact - 5.0))[:, None, None], np.arange(documents) // 2)
    mended = exact - 5.0 + found.gain[:, 0]
    # Contexts of others alone would leave this much; the best mixture no more, but for the grid's end at λ = 0.99.
    assert (exact - behind).mean() < 2.5
    assert (exact - mended).mean() < (exact - behind).mean() + 0.02
    assert found.weight[0] > 0.5


@pytest.mark.parametrize("mispredicted", [0.0, 2.0])
def test_intervals_hold_the_truth_with_the_fit_included(mispredicted):
    """λ is fitted anew in each of 200 measurements of 80 documents; intervals are those of the terms alone.

    The truth is the exact information, where the marginal is exact; where each block's beginning is mispredicted by
    about `mispredicted` nats, it is what the same mixture gives on all 16,000 documents. Three Monte-Carlo errors
    around 95 %, each √(0.95 · 0.05 / 200).
    """
    process, replicates, documents, length = SantaFe(beta=0.75, facts=256, flip_rate=0.1), 200, 80, 64
    rng = np.random.default_rng(11)
    tokens = process.sample(replicates * documents, length, rng)
    partner = np.arange(len(tokens)) ^ 1
    half = length // 2
    right = tokens[:, half:]
    marginal = process.log_probs(right).sum(axis=1)
    conditional = process.log_probs(tokens)[:, half:].sum(axis=1)
    behind = process.log_probs(np.concatenate([tokens[partner, :half], right], axis=1))[:, half:].sum(axis=1)
    behind = marginal + 0.2 * (behind - marginal)  # contexts of others are nearly as good as none
    marginal = marginal - mispredicted * rng.exponential(size=len(tokens))
    groups = np.arange(len(tokens)) // 2
    ratio = (behind - marginal)[:, None, None]
    truth = process.bipartite_mi(half, length)
    if mispredicted:
        truth = float((conditional - marginal - fitted_mixture(ratio, groups).gain[:, 0]).mean())
    held = 0
    for start in range(0, len(tokens), documents):
        rows = slice(start, start + documents)
        gain = fitted_mixture(ratio[rows], groups[rows]).gain
        estimate = clustered_mean((conditional - marginal)[rows, None] - gain, groups[rows])
        reach = stats.t.ppf(0.975, estimate.clusters - 1) * estimate.standard_error[0]
        held += abs(estimate.value[0] - truth) <= reach
    assert held / replicates == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / replicates))
