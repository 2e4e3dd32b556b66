"""How far a curve grows: planted ends, the error rate of the tests, and what must not change the answer."""

import math

import numpy as np
import pytest
from scipy import stats

from l2m_eval.condition.effective_context import EffectiveContext, check_clusters, effective_context
from l2m_eval.errors import L2MError

LENGTHS = tuple(4 * 2**k for k in range(10))  # 4 ... 2048


def documents_of(curve, count, seed, noise=1.0):
    """Terms around a curve: each document is off by a level of its own, and by a random walk along the lengths."""
    rng = np.random.default_rng(seed)
    steps = noise * rng.normal(size=(count, len(curve)))
    return np.asarray(curve, float) + 3 * rng.normal(size=(count, 1)) + np.cumsum(steps, axis=1) / 3


def found(curve, count=48, seed=0, **options):
    terms = documents_of(curve, count, seed, **options)
    return effective_context(LENGTHS, terms, np.arange(count), rng=np.random.default_rng(seed))


ENDS_AT_128 = np.minimum(LENGTHS, 128) ** 0.5
GROWS = np.array(LENGTHS) ** 0.5
FLAT = np.full(len(LENGTHS), 5.0)
# Grows to 256 as a model does up to its training length, and breaks beyond 512.
BREAKS = np.where(np.array(LENGTHS) <= 512, np.minimum(LENGTHS, 256) ** 0.5, -20.0)


def test_a_planted_end_is_found():
    result = found(ENDS_AT_128)
    assert (result.value, result.reached, result.grows, result.falls_beyond) == (128, False, True, None)
    assert result.upper == 128
    # What is left beyond lies between nothing and some standard errors, and the bound says how many nats.
    assert 0 <= result.remaining < 5 * result.growth[5].standard_error
    assert result.sentence().startswith("uses at least 128 of the 2,048 tokens measured (at most ")


def test_a_curve_that_still_grows_is_no_end():
    result = found(GROWS)
    assert (result.value, result.reached, result.longest) == (2048, True, 2048)
    assert result.upper == math.inf
    assert math.isnan(result.remaining)
    assert result.sentence() == "uses at least 2,048 of the 2,048 tokens measured"


def test_noise_alone_shows_no_growth():
    result = found(FLAT)
    assert (result.value, result.reached, result.grows) == (4, False, False)
    assert "shows no growth of information beyond 4 tokens" in result.sentence()


def test_growth_that_ends_in_a_fall_is_growth_and_the_fall_is_named():
    result = found(BREAKS)
    assert (result.value, result.reached) == (256, False)
    assert result.falls_beyond in (256, 512)  # equal values: either is the place
    assert f"information falls beyond {result.falls_beyond}" in result.sentence()


def test_a_curve_that_falls_from_the_start_does_not_grow():
    result = found(-GROWS)
    assert (result.value, result.grows, result.falls_beyond) == (4, False, 4)


@pytest.mark.parametrize("count", [5, 20])
@pytest.mark.parametrize("curve", [FLAT, np.minimum(LENGTHS, 16) ** 0.5], ids=["no growth", "growth to 16"])
def test_growth_is_overstated_in_at_most_one_of_twenty(curve, count):
    end = 4 if curve is FLAT else 16
    trials = 100
    over = sum(found(curve, count, seed, noise=1.0).value > end for seed in range(trials))
    # 5 % of the trials, and three standard deviations of that count: one run in a thousand is above by chance.
    assert over <= trials * 0.05 + 3 * math.sqrt(trials * 0.05 * 0.95)


@pytest.mark.parametrize(
    "terms", [lambda r, n: r.exponential(size=(n, 10)), lambda r, n: r.standard_t(3, size=(n, 10))]
)
def test_terms_with_heavy_tails_keep_the_error_rate(terms):
    trials = 100
    over = 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        values = terms(rng, 20)
        over += effective_context(LENGTHS, values, np.arange(20), rng=rng).value > 4
    assert over <= trials * 0.05 + 3 * math.sqrt(trials * 0.05 * 0.95)


def test_what_all_lengths_of_a_document_share_does_not_matter():
    terms = documents_of(ENDS_AT_128, 30, 1)
    levels = np.random.default_rng(5).normal(scale=1000, size=(30, 1))
    results = [
        effective_context(LENGTHS, values, np.arange(30), rng=np.random.default_rng(0))
        for values in (terms, terms + levels)
    ]
    for before, after in zip(results[0].growth, results[1].growth, strict=True):
        assert after.value == pytest.approx(before.value, abs=1e-9)
        assert after.p_value == before.p_value
    assert results[0].value == results[1].value


def test_copies_of_documents_in_one_cluster_add_nothing():
    terms = documents_of(ENDS_AT_128, 12, 2)
    once = effective_context(LENGTHS, terms, np.arange(12), rng=np.random.default_rng(0))
    twice = effective_context(
        LENGTHS, np.repeat(terms, 2, axis=0), np.repeat(np.arange(12), 2), rng=np.random.default_rng(0)
    )
    assert twice.clusters == once.clusters == 12
    for one, two in zip(once.growth, twice.growth, strict=True):
        assert two.standard_error == pytest.approx(one.standard_error, rel=1e-9)
        assert two.p_value == pytest.approx(one.p_value, abs=1e-9)


def test_the_last_test_is_students_where_terms_are_normal():
    """One end alone is left there; the studentised resamples may only make it more careful."""
    terms = documents_of(GROWS, 40, 3) - GROWS
    last = effective_context(LENGTHS, terms, np.arange(40), rng=np.random.default_rng(0)).growth[-1]
    growth = terms[:, -1] - terms[:, -2]
    expected = stats.ttest_1samp(growth, 0, alternative="greater").pvalue
    assert last.value == pytest.approx(growth.mean(), abs=1e-12)
    # Four standard deviations of a share of a thousand resamples.
    assert last.p_value >= expected - 4 * math.sqrt(expected * (1 - expected) / 1000)


def test_curves_without_scatter_are_certain():
    exact = np.tile(ENDS_AT_128, (4, 1))
    result = effective_context(LENGTHS, exact, np.arange(4), rng=np.random.default_rng(0))
    assert (result.value, result.remaining) == (128, 0)
    flat = effective_context(LENGTHS, np.ones((4, 10)), np.arange(4), rng=np.random.default_rng(0))
    assert (flat.value, flat.grows) == (4, False)


def test_documents_without_the_longest_lengths_count_where_they_are():
    terms = documents_of(ENDS_AT_128, 48, 4)
    terms[:24, 8:] = np.nan
    result = effective_context(LENGTHS, terms, np.arange(48), rng=np.random.default_rng(0))
    whole = effective_context(LENGTHS, terms[24:], np.arange(24), rng=np.random.default_rng(0))
    assert result.value == 128
    assert result.growth[-1].standard_error == pytest.approx(whole.growth[-1].standard_error)


@pytest.mark.parametrize("clusters", [1, 2])
def test_fewer_than_three_groups_have_no_effective_context(clusters):
    result = effective_context(
        LENGTHS, np.ones((clusters, 10)), np.arange(clusters), rng=np.random.default_rng(0)
    )
    assert math.isnan(result.value)
    assert f"the documents are {clusters} independent group(s)" in result.sentence()
    with pytest.raises(L2MError, match=rf"documents: {clusters} .*give 3 or more"):
        check_clusters(clusters)


def test_one_length_has_no_growth():
    result = effective_context([64], np.ones((5, 1)), np.arange(5), rng=np.random.default_rng(0))
    assert "only one length" in result.reason


@pytest.mark.parametrize("curve", [ENDS_AT_128, GROWS, BREAKS, FLAT])
def test_results_hold_all_of_it(curve):
    result = found(curve)
    assert EffectiveContext.from_json(result.to_json()).to_json() == result.to_json()
    assert EffectiveContext.from_json(result.to_json()).sentence() == result.sentence()


def test_gains_are_differences_of_neighbours_per_doubling():
    terms = documents_of(GROWS, 20, 6)
    lengths = [0, 4, 16, 32]
    gains = effective_context(lengths, terms[:, :4], np.arange(20), rng=np.random.default_rng(0)).gains
    mean = terms.mean(axis=0)
    assert gains[1].value == pytest.approx(mean[2] - mean[1])
    assert gains[1].per_doubling == pytest.approx((mean[2] - mean[1]) / 2)
    assert math.isnan(gains[0].per_doubling)
    assert gains[2].per_doubling_error == pytest.approx(
        (terms[:, 3] - terms[:, 2]).std(ddof=1) / math.sqrt(20)
    )


@pytest.mark.parametrize(("key", "wrong"), [("falls_beyond", "far"), ("growth", 5), ("longest", None)])
def test_what_was_not_written_like_this_is_no_effective_context(key, wrong):
    """Whoever reads a file says so in one line; nothing of another type may get further."""
    with pytest.raises((ValueError, TypeError)):
        EffectiveContext.from_json({**found(GROWS).to_json(), key: wrong})
