"""Entropies from counts: known values, known biases, and agreement of independent ways to the same number."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma

from l2m_eval.errors import L2MError
from l2m_eval.estimators.entropy import (
    ESTIMATORS,
    SMOOTH,
    entropy,
    grassberger_entropy,
    grassberger_g,
    miller_madow_entropy,
    ngram_counts,
    ngram_entropy,
    plugin_entropy,
)
from l2m_eval.statistics.jackknife import jackknife_bias, jackknife_error, jackknife_groups, with_bias

METHODS = ["grassberger", "plugin", "miller_madow"]
count_lists = st.lists(st.integers(0, 1000), min_size=1, max_size=50).filter(any)
documents = st.lists(st.lists(st.integers(0, 5), max_size=30), min_size=1, max_size=6)


def test_g_follows_its_recurrence():
    # Grassberger (2003), eq. 30: G(1) = -gamma - ln 2, G(2m+1) = G(2m), G(2m+2) = G(2m) + 2 / (2m+1)
    g = grassberger_g(np.arange(1, 1001))
    assert g[0] == pytest.approx(digamma(1) - np.log(2))
    assert g[1] == pytest.approx(2 + digamma(1) - np.log(2))
    np.testing.assert_allclose(g[2::2], g[1:-1:2], atol=1e-12)  # rounding of digamma near 7
    np.testing.assert_allclose(np.diff(g[1::2]), 2 / np.arange(3, 1001, 2), atol=1e-12)


def test_g_becomes_the_logarithm():
    n = np.array([10**3, 10**6, 10**9])
    np.testing.assert_allclose(grassberger_g(n), np.log(n), atol=1e-6)  # the difference is of order 1/n^2


@pytest.mark.parametrize("method", METHODS)
def test_uniform_counts_give_the_logarithm_of_their_number(method):
    # 10^5 samples per outcome: the biases, (K-1)/2N at most, are below 1e-5
    estimate = entropy(np.full(64, 10**5), method)
    assert estimate.value == pytest.approx(np.log(64), abs=1e-5)
    assert estimate.standard_error == pytest.approx(0, abs=1e-9)  # every sample has the same surprise
    assert (estimate.samples, estimate.method) == (64 * 10**5, method)


def test_plugin_and_miller_madow_by_their_formulas():
    counts = np.array([5, 3, 2, 0])
    p = counts[:3] / 10
    assert plugin_entropy(counts).value == pytest.approx(-(p * np.log(p)).sum())
    assert miller_madow_entropy(counts).value == pytest.approx(-(p * np.log(p)).sum() + 2 / 20)


def test_grassberger_by_the_values_of_its_g():
    """G(1) = -gamma - ln 2 and G(2) = G(3) = G(1) + 2: three outcomes seen once, twice and three times."""
    g1 = digamma(1) - np.log(2)
    assert grassberger_entropy([1, 1, 1]).value == pytest.approx(np.log(3) - g1)
    assert grassberger_entropy([1, 2, 3]).value == pytest.approx(np.log(6) - (g1 + 5 * (g1 + 2)) / 6)


@pytest.mark.parametrize("method", METHODS)
def test_the_error_of_independent_samples_is_that_of_the_mean_surprise(method):
    counts = np.array([1, 2, 3])
    of_each = np.repeat(np.log(6) - ESTIMATORS[method].log_count(counts), counts)
    expected = of_each.std(ddof=1) * np.sqrt(5 / 6) / np.sqrt(5)  # variance over N, of the mean over N - 1
    assert entropy(counts, method).standard_error == pytest.approx(expected)


@pytest.mark.parametrize("estimator", [*ESTIMATORS.values(), SMOOTH], ids=lambda estimator: estimator.name)
def test_large_counts_contribute_by_the_same_formula_as_small_ones(estimator):
    """Those that are looked up and those that are computed, beside each other; none contributes nothing."""
    counts = np.array([1, 2, 2**16 - 1, 2**16, 2**16 + 1, 10**6, 0])
    found = estimator.contribution(counts)
    expected = counts[:-1] * estimator.log_count(counts[:-1]) - estimator.per_outcome
    assert found[:-1] == pytest.approx(expected, rel=1e-14)
    assert found[-1] == 0
    assert estimator.contribution(np.zeros(0, dtype=np.int64)).shape == (0,)
    assert np.isnan(estimator.from_sum(0.0, 0))


def test_the_bias_is_smallest_for_grassberger_where_samples_are_few():
    rng = np.random.default_rng(0)
    p = 1 / np.arange(1, 2001)
    p /= p.sum()
    exact = -(p * np.log(p)).sum()
    counts = rng.multinomial(4000, p, size=20)  # two samples per outcome

    def mean_error(estimate):
        return np.mean([estimate(row).value for row in counts]) - exact

    assert abs(mean_error(grassberger_entropy)) < abs(mean_error(miller_madow_entropy))
    assert abs(mean_error(miller_madow_entropy)) < abs(mean_error(plugin_entropy))
    assert mean_error(plugin_entropy) < 0


def test_the_standard_error_is_the_spread_over_repetitions():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(30, 0.5))
    estimates = [grassberger_entropy(row) for row in rng.multinomial(5000, p, size=400)]
    spread = np.std([e.value for e in estimates])
    # the spread of 400 repetitions is itself known to 1/sqrt(800) = 3.5 percent; four of those
    assert np.mean([e.standard_error for e in estimates]) == pytest.approx(spread, rel=0.15)


@given(count_lists, st.sampled_from(METHODS), st.randoms())
def test_order_zeros_and_multiplicities_do_not_matter(counts, method, random):
    shuffled = [*counts, 0, 0]
    random.shuffle(shuffled)
    tally = Counter(counts)
    estimate = entropy(counts, method)
    compact = entropy(list(tally), method, multiplicities=list(tally.values()))
    for other in (entropy(shuffled, method), compact):
        assert other.value == pytest.approx(estimate.value, rel=1e-12, abs=1e-12)
        assert other.standard_error == pytest.approx(estimate.standard_error, rel=1e-9, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(
    ("method", "of"),
    zip(METHODS, [grassberger_entropy, plugin_entropy, miller_madow_entropy], strict=True),
)
def test_each_estimator_has_a_function_of_its_name_that_takes_the_compact_form_as_well(method, of):
    counts, multiplicities = [1, 3, 10], [7, 2, 1]
    assert of(counts, multiplicities=multiplicities) == entropy(np.repeat(counts, multiplicities), method)


def test_one_sample_has_no_standard_error():
    assert np.isnan(entropy([1]).standard_error)
    assert entropy([1, 1]).standard_error == 0  # two have one, and are equally surprising here


@given(documents, st.integers(1, 5))
def test_ngrams_are_those_of_a_dictionary_and_never_cross_a_boundary(sequences, n):
    tally = Counter(tuple(s[t : t + n]) for s in sequences for t in range(len(s) - n + 1))
    if not tally:
        with pytest.raises(L2MError, match="longer than every sequence"):
            ngram_counts(sequences, n)
    else:
        assert sorted(ngram_counts(sequences, n)) == sorted(tally.values())


def test_the_block_entropy_of_independent_tokens_is_additive():
    rng = np.random.default_rng(2)
    sequences = rng.integers(0, 8, size=(20, 5000))
    for n in (1, 2, 3):
        # 512 trigrams from 10^5 samples: a bias of at most 512 / 2e5 = 0.003
        assert ngram_entropy(sequences, n).value == pytest.approx(n * np.log(8), abs=0.004)


@pytest.mark.parametrize("documents", [10, 40, 160])
def test_the_error_of_a_block_entropy_contains_the_bias_of_a_small_sample(documents):
    """Independent tokens with frequencies like those of words: H_2 = 2 H_1 is known, and most pairs are rare.

    Leaving out documents shows half of the bias or more (all of it where that goes like 1/N, half where pairs have
    been seen once), so the truth lies within twice the error, and two more for the scatter.
    """
    rng = np.random.default_rng(documents)
    p = 1.0 / np.arange(1, 2001)
    p /= p.sum()
    truth = -2 * (p * np.log(p)).sum()
    found = ngram_entropy(rng.choice(2000, size=(documents, 500), p=p))
    independent = entropy(ngram_counts(rng.choice(2000, size=(documents, 500), p=p), 2)).standard_error
    assert abs(found.value - truth) < 4 * found.standard_error
    assert abs(found.value - truth) > 4 * independent  # what an error for independent samples would promise
    assert found.standard_error < 0.8


def test_where_every_pair_was_seen_often_the_error_is_the_scatter_of_the_documents():
    """200 samples: their spread is known to 5 %, the mean of their errors (32 groups) to 2 %; 4 of the larger."""
    rng = np.random.default_rng(5)
    found = [ngram_entropy(rng.choice(3, size=(64, 100), p=[0.6, 0.3, 0.1])) for _ in range(200)]
    spread = np.std([one.value for one in found])
    assert np.mean([one.standard_error for one in found]) == pytest.approx(spread, rel=0.2)


def test_the_parity_term_varies_as_its_formula_says():
    """e(n) = n (G(n) - psi(n)): -ln 2, 2 - 2 ln 2, 3/2 - 3 ln 2 for n = 1, 2, 3; two outcomes are seen once."""
    log2, parity = np.log(2), ESTIMATORS["grassberger"].parity_variance
    e = -log2, 2 - 2 * log2, 1.5 - 3 * log2
    by_chance = 2 * e[0] ** 2 + e[1] ** 2 + e[2] ** 2
    fixed = (2 * e[0] + 2 * e[1] + 3 * e[2]) ** 2 / 7
    assert parity(np.array([1, 2, 3]), np.array([2, 1, 1])) == pytest.approx(by_chance - fixed)
    assert parity(np.array([1]), np.array([50])) == pytest.approx(0, abs=50 * 1e-15)  # nothing is by chance
    # Only Grassberger's estimator has it.
    assert [ESTIMATORS[name].parity_variance(np.array([2]), np.array([5])) for name in METHODS[1:]] == [0, 0]


@pytest.mark.parametrize("samples", [600, 2000, 6000, 16000])
def test_the_parity_term_varies_between_samples_as_one_sample_says(samples):
    """Outcomes seen 0.3 to 8 times on average. A thousand samples know a variance to 4.5 %, four of those; that the
    term's mean is taken for zero is wrong by as much again where most outcomes are not seen."""
    grassberger = ESTIMATORS["grassberger"]
    counts = np.random.default_rng(samples).multinomial(samples, np.full(2000, 1 / 2000), size=1000)
    terms = grassberger.contribution(counts) - SMOOTH.contribution(counts)
    tallies = [np.unique(row[row > 0], return_counts=True) for row in counts[:20]]
    said = np.mean([grassberger.parity_variance(*tally) for tally in tallies])
    assert said == pytest.approx(terms.sum(axis=1).var(), rel=0.3)


def test_the_parity_term_enters_the_error_of_a_block_entropy_once():
    """The jackknife is of digamma's estimator, counted again without each group; the parity term is added to it.

    A thousand pairs seen six times each: a jackknife of Grassberger's own estimator would say twice the error.
    """
    sequences = np.random.default_rng(7).choice(32, size=(64, 100))
    found = ngram_entropy(sequences, groups=8)
    group = jackknife_groups(np.full(64, 100), 8)

    def smooth(documents):
        n = ngram_counts(documents, 2)
        return np.log(n.sum()) - (n * digamma(n)).sum() / n.sum()

    counts = ngram_counts(sequences, 2)
    assert found.value == pytest.approx(grassberger_entropy(counts).value, rel=1e-12)
    again = np.array([smooth(sequences[group != left]) for left in range(8)])
    tally = np.unique(counts, return_counts=True)
    parity = np.sqrt(ESTIMATORS["grassberger"].parity_variance(*tally)) / counts.sum()
    expected = with_bias(np.hypot(jackknife_error(again), parity), jackknife_bias(smooth(sequences), again))
    assert found.standard_error == pytest.approx(float(expected), rel=1e-9)


def test_one_document_has_no_error_of_its_block_entropy():
    assert np.isnan(ngram_entropy([[0, 1, 0, 1, 1]]).standard_error)
    assert np.isnan(ngram_entropy([[0, 1, 0, 1, 1], [0]]).standard_error)  # the other has no pair


@given(documents, st.sampled_from([1, 2, 3]), st.integers(2, 5))
def test_a_block_entropy_without_a_group_is_that_of_the_other_documents(sequences, n, groups):
    """The value is that of the counts; the jackknife agrees with counting again without each group."""
    long = [s for s in sequences if len(s) >= n]
    if len(long) < 2:
        return
    found = ngram_entropy(sequences, n, method="plugin", groups=groups)
    assert found.value == pytest.approx(plugin_entropy(ngram_counts(long, n)).value)
    group = jackknife_groups([len(s) for s in long], groups)
    again = [
        plugin_entropy(ngram_counts([s for s, g in zip(long, group, strict=True) if g != left], n)).value
        for left in range(group.max() + 1)
    ]
    error = with_bias(jackknife_error(again), jackknife_bias(np.float64(found.value), again))
    # where all replicates agree, rounding alone is left
    assert found.standard_error == pytest.approx(float(error), rel=1e-6, abs=1e-9)


def test_large_vocabularies_do_not_overflow_the_packing():
    sequence = np.array([2**31 - 1, 262_143, 2**31 - 1, 262_143], dtype=np.uint32)
    assert sorted(ngram_counts([sequence], 2)) == [1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy([1, 2], "bayes"), "entropy method: 'bayes' is not known; accepted: grassberger"),
        (lambda: entropy([]), "no sample"),
        (lambda: entropy([0, 0]), "no sample"),
        (lambda: entropy([1, -2]), "-2 is not accepted"),
        (lambda: entropy([0.5]), "float64 is not accepted"),
        (lambda: entropy([1, 2], multiplicities=[1]), "1 of them for 2 counts"),
        (lambda: ngram_entropy([[1, 2]], 0), "n: 0 is not accepted"),
        (lambda: ngram_entropy([[1, -2]], 2), "-2 is not accepted"),
        (lambda: ngram_entropy([[1], [2]], 2), "the longest has 1 tokens"),
        (lambda: ngram_entropy([], 2), "the longest has 0 tokens"),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(L2MError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
