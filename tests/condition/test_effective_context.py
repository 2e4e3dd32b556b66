"""How far a curve grows: planted ends, the error rate of the tests, and what must not change the answer."""

import math

import numpy as np
import pytest
from scipy import stats

from l2m_eval.condition.effective_context import (
    EffectiveContext,
    check_clusters,
    claimed_and_used,
    effective_context,
)
from l2m_eval.errors import L2MError
from l2m_eval.statistics.growth import resampled_draws

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
    assert result.sentence() == (
        f"uses at least 128 of the 2,048 tokens measured (at most {result.remaining:.2g} nats more beyond, "
        "growth ends by 128 if the curve is a power law up to there)"
    )
    assert claimed_and_used("m", result, 4096) == f"m claims 4,096 tokens and {result.sentence()}."
    assert claimed_and_used("m", result) == f"m {result.sentence()}."


def test_growth_of_one_step_is_growth():
    result = found(np.minimum(LENGTHS, 8) * 2.0)
    assert (result.value, result.grows) == (8, True)


def test_a_curve_that_still_grows_is_no_end():
    result = found(GROWS)
    assert (result.value, result.reached, result.longest) == (2048, True, 2048)
    assert result.upper == math.inf
    assert math.isnan(result.remaining)
    assert result.sentence() == "uses at least 2,048 of the 2,048 tokens measured"


def test_noise_alone_shows_no_growth():
    result = found(FLAT)
    assert (result.value, result.reached, result.grows) == (4, False, False)
    assert result.sentence() == (
        "shows no growth of information beyond 4 tokens, the shortest length of the 2,048 measured (at most "
        f"{result.remaining:.2g} nats more beyond)"
    )


def test_growth_that_ends_in_a_fall_is_growth_and_the_fall_is_named():
    result = found(BREAKS)
    assert (result.value, result.reached) == (256, False)
    assert result.falls_beyond in (256, 512)  # equal values: either is the place
    assert f"information falls beyond {result.falls_beyond}" in result.sentence()


def test_information_falls_beyond_the_highest_point_though_that_is_no_growth_that_is_shown():
    """0.3 nats more at 512 than at 256, on the half of the documents that have it, with an error of 0.6."""
    rng = np.random.default_rng(9)
    terms = documents_of(BREAKS, 48, 0)
    terms[:24] -= terms[:24].mean(axis=0) - terms.mean(axis=0)  # the halves agree at every length
    own = rng.normal(size=24)
    terms[:24, 7] = terms[:24, 6] + 0.3 + 3 * (own - own.mean()) / own.std()
    terms[24:, 7] = np.nan
    result = effective_context(LENGTHS, terms, np.arange(48), rng=np.random.default_rng(0))
    assert (result.value, result.falls_beyond) == (256, 512)


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


@pytest.mark.parametrize("clusters", [1, 2, 3])
def test_fewer_than_four_groups_have_no_effective_context(clusters):
    result = effective_context(
        LENGTHS, np.ones((clusters, 10)), np.arange(clusters), rng=np.random.default_rng(0)
    )
    assert math.isnan(result.value)
    assert f"the documents are {clusters} independent group(s)" in result.sentence()
    assert (result.reached, result.grows, result.falls_beyond) == (False, False, None)
    again = EffectiveContext.from_json(result.to_json())
    assert again.sentence() == result.sentence()
    assert math.isnan(again.upper)
    assert math.isnan(again.remaining)
    with pytest.raises(L2MError, match=rf"documents: {clusters} .*give 4 or more"):
        check_clusters(clusters)


def test_four_groups_and_two_lengths_are_enough():
    """Growth of 10 nats on which groups agree to a thousandth is shown; of three groups no growth could be."""
    check_clusters(4)
    terms = np.array([[1.0, 11.0], [2.0, 12.01], [3.0, 12.99], [4.0, 14.004]])
    result = effective_context([4, 8], terms, np.arange(4), rng=np.random.default_rng(0))
    assert (result.value, result.reached, result.clusters, result.reason) == (8, True, 4, "")
    # One resample in 64 is one group four times over, and counts against growth: four errors of a thousand resamples.
    assert result.growth[0].p_value == pytest.approx(1 / 64, abs=4 * math.sqrt(1 / 64 / 1000))


def test_one_length_has_no_growth():
    result = effective_context([64], np.ones((5, 1)), np.arange(5), rng=np.random.default_rng(0))
    assert "only one length" in result.reason


@pytest.mark.parametrize("curve", [ENDS_AT_128, GROWS, BREAKS, FLAT])
def test_results_hold_all_of_it(curve):
    result = found(curve)
    assert EffectiveContext.from_json(result.to_json()).to_json() == result.to_json()
    again = EffectiveContext.from_json(result.to_json())
    assert again.sentence() == result.sentence()
    assert (again.value, again.upper, again.longest) == (result.value, result.upper, 2048)


def test_gains_are_differences_of_neighbours_per_doubling():
    terms = documents_of(GROWS, 20, 6)
    lengths = [0, 4, 16, 32]
    gains = effective_context(lengths, terms[:, :4], np.arange(20), rng=np.random.default_rng(0)).gains
    mean = terms.mean(axis=0)
    assert gains[1].value == pytest.approx(mean[2] - mean[1])
    assert gains[1].per_doubling == pytest.approx((mean[2] - mean[1]) / 2)
    assert math.isnan(gains[0].per_doubling)
    for k, doublings in ((1, 2), (2, 1)):  # 4 to 16, 16 to 32
        error = (terms[:, k + 1] - terms[:, k]).std(ddof=1) / math.sqrt(20)
        assert (gains[k].standard_error, gains[k].per_doubling_error) == pytest.approx(
            (error, error / doublings)
        )
    from_one = effective_context([1, 2], terms[:, :2], np.arange(20), rng=np.random.default_rng(0)).gains[0]
    assert from_one.per_doubling == from_one.value


@pytest.mark.parametrize(("end", "upper"), [(64, 64), (64 * 2**0.5, 128), (100, 128), (400, 512)])
def test_the_upper_bound_is_the_end_of_the_power_law_rounded_up_to_a_measured_length(end, upper):
    """Noise of a thousandth; the ends that are tried lie four to a doubling."""
    result = found(np.minimum(LENGTHS, end) ** 0.5, noise=1e-3)
    assert result.upper == upper
    terms = np.hstack([np.zeros((48, 1)), documents_of(np.minimum(LENGTHS, end) ** 0.5, 48, 0, noise=1e-3)])
    from_zero = effective_context((0, *LENGTHS), terms, np.arange(48), rng=np.random.default_rng(0))
    assert from_zero.upper == upper  # no information from no tokens, and no logarithm of them


def test_the_upper_bound_is_the_quantile_of_the_ends_of_resampled_curves_fitted_one_by_one():
    """The second way: the residuals of every curve A min(L, K)^β, weighted by the errors, which grow with L here."""
    lengths = np.array(LENGTHS)
    rng = np.random.default_rng(0)
    terms = np.minimum(lengths, 100) ** 0.5 + rng.normal(size=(30, 10)) * np.geomspace(0.2, 60, 10)
    result = effective_context(LENGTHS, terms, np.arange(30), rng=np.random.default_rng(0))
    draws = next(iter(resampled_draws(30, np.random.default_rng(0))()))
    curves, errors = draws @ terms / 30, terms.std(axis=0, ddof=1) / math.sqrt(30)
    ends = np.geomspace(4, 2048, 4 * 9 + 1)
    grid = [(end, b) for end in ends for b in np.linspace(0.05, 1.5, 30)]
    laws = np.array([np.minimum(lengths, end) ** b for end, b in grid]) / errors
    scaled = curves / errors
    amplitude = np.maximum(scaled @ laws.T / (laws**2).sum(axis=1), 0)
    left = (scaled**2).sum(axis=1)[:, None] - amplitude**2 * (laws**2).sum(axis=1)
    best = np.sort([grid[i][0] for i in left.argmin(axis=1)])
    bound = best[949]  # 950 of a thousand are no longer
    assert result.value <= bound * (1 + 1e-9) < 2048  # with equal weights it would be the longest length
    assert result.upper == lengths[lengths >= bound * (1 - 1e-9)][0]


def test_three_lengths_bound_no_power_law_and_an_end_at_the_last_is_none():
    curve = np.minimum(LENGTHS[:4], 8) ** 0.5
    for count, upper in ((3, math.inf), (4, 8)):
        terms = documents_of(curve[:count], 48, 1, noise=1e-3)
        result = effective_context(LENGTHS[:count], terms, np.arange(48), rng=np.random.default_rng(0))
        assert (result.value, result.upper) == (8, upper)
    unsure = found(0.002 * GROWS, count=12)  # growth that is not shown, and may well go on to the last length
    assert not unsure.reached
    assert unsure.upper == math.inf


@pytest.mark.parametrize(("key", "wrong"), [("falls_beyond", "far"), ("growth", 5), ("longest", None)])
def test_what_was_not_written_like_this_is_no_effective_context(key, wrong):
    """Whoever reads a file says so in one line; nothing of another type may get further."""
    with pytest.raises((ValueError, TypeError)):
        EffectiveContext.from_json({**found(GROWS).to_json(), key: wrong})


def with_short_documents(curve, long, short, seed=0):
    """Documents that have all lengths, and others that have them up to 256 alone."""
    terms = documents_of(curve, long + short, seed)
    terms[long:, np.array(LENGTHS) > 256] = np.nan
    return terms


def test_beyond_what_short_documents_have_the_gains_are_those_of_the_long_ones():
    terms = with_short_documents(GROWS, long=20, short=60)
    both, alone = (
        effective_context(LENGTHS, part, np.arange(len(part)), rng=np.random.default_rng(0))
        for part in (terms, terms[:20])
    )
    for ours, theirs in zip(both.gains[6:], alone.gains[6:], strict=True):  # from 256 on
        assert ours.value == pytest.approx(theirs.value, rel=1e-12)
        assert ours.standard_error == pytest.approx(theirs.standard_error, rel=1e-12)
    shorter = zip(both.gains[:6], alone.gains[:6], strict=True)
    assert all(ours.standard_error < theirs.standard_error for ours, theirs in shorter)
    assert both.reached


@pytest.mark.parametrize("long", [8, 20])
def test_a_planted_end_is_found_where_few_documents_are_long(long):
    """The first lengths have all documents: what they show is not lost to the few that the last ones have."""
    terms = with_short_documents(ENDS_AT_128, long, short=48)
    result = effective_context(LENGTHS, terms, np.arange(len(terms)), rng=np.random.default_rng(0))
    assert (result.value, result.reached, result.longest) == (128, False, 2048)


def test_a_length_that_very_few_documents_have_is_not_tested():
    terms = with_short_documents(GROWS, long=7, short=48)
    result = effective_context(LENGTHS, terms, np.arange(55), rng=np.random.default_rng(0))
    assert (result.longest, result.reached) == (256, True)


@pytest.mark.slow
def test_short_documents_do_not_raise_the_error_rate():
    """Where the curve is flat beyond 128, growth beyond it is shown in at most 5 % of samples: of 400 samples at most
    20 + 3.1 * 4.4 = 33, but for one in a thousand."""
    wrong = 0
    for seed in range(400):
        terms = with_short_documents(ENDS_AT_128, long=12, short=36, seed=seed)
        found_end = effective_context(LENGTHS, terms, np.arange(48), rng=np.random.default_rng(seed)).value
        wrong += found_end > 128
    assert wrong <= 33
