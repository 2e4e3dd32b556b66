"""Goodness of fit: laws that hold are rejected as often as the p-value says, laws that do not hold are rejected."""

from dataclasses import replace

import numpy as np
import pytest

from l2m_eval.estimators.position import fit_approach, per_position_nll_from_sums, position_bins
from l2m_eval.estimators.two_point.curve import two_point_mutual_information
from l2m_eval.estimators.two_point.fit import fit_power_law_above_floor, fit_power_law_with_offset
from l2m_eval.processes import Markov
from l2m_eval.statistics.goodness import goodness_of_fit, misfit
from l2m_eval.statistics.jackknife import jackknife_error
from l2m_eval.statistics.shapes import POWER_LAW, SATURATION, compare_shapes

LENGTHS = 2.0 ** np.arange(2, 12)


def documents(curve, count, rng, tails):
    """Terms whose noise adds up along the curve, so that neighbours err together, as those of documents do."""
    variance = np.diff(np.concatenate([[0.0], curve**2 / 4 + 4]))
    if tails == "normal":
        noise = rng.normal(size=(count, len(curve)))
    else:
        noise = (rng.lognormal(size=(count, len(curve))) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    return curve + np.cumsum(noise * np.sqrt(variance), axis=1)


def p_values(curve, count, rng, tails, repetitions, shape):
    found = []
    for _ in range(repetitions):
        terms = documents(curve, count, rng, tails)
        errors = terms.std(axis=0, ddof=1) / np.sqrt(count)
        fits = compare_shapes(LENGTHS, terms, np.arange(count), errors, rng=rng, resamples=150)
        found.append(next(fit.p_value for fit in fits if fit.shape == shape))
    return np.array(found)


@pytest.mark.parametrize(("count", "tails"), [(20, "normal"), (50, "lognormal")])
def test_a_law_that_holds_is_rejected_as_often_as_the_p_value_says(count, tails):
    p = p_values(2 * LENGTHS**0.6, count, np.random.default_rng(1), tails, 100, POWER_LAW)
    # Of 100 correct p-values 10 are below 0.1, give or take 3, and 50 below 0.5, give or take 5. Three such errors.
    assert (p <= 0.1).sum() < 20
    assert 35 < (p <= 0.5).sum() < 67


def test_a_law_that_does_not_hold_is_rejected():
    bent = 20 * -np.expm1(-LENGTHS / 200)
    assert (p_values(bent, 100, np.random.default_rng(2), "normal", 10, POWER_LAW) < 0.01).all()
    assert (p_values(bent, 100, np.random.default_rng(2), "normal", 10, SATURATION) > 0.01).all()


def test_nothing_is_said_where_nothing_is_known():
    def flat(curves):
        return np.broadcast_to(curves.mean(axis=1, keepdims=True), curves.shape)

    values, errors = np.array([1.0, 2.0, 3.0]), np.ones(3)
    assert np.isnan(goodness_of_fit(values, errors, np.empty((0, 3)), flat))
    assert np.isnan(goodness_of_fit(values, np.array([1.0, 0.0, 1.0]), np.ones((5, 3)), flat))
    assert np.isnan(goodness_of_fit(values, errors, np.ones((5, 3)), lambda curves: curves * np.nan))
    # Deviations that a constant absorbs are never as far: the least p-value that five resamples can give.
    assert goodness_of_fit(values, errors, np.ones((5, 3)), flat) == pytest.approx(1 / 6)
    assert misfit(values, np.full(3, 2.0), errors) == 2


def losses(nll, rng, count=60):
    bins = position_bins(len(nll))
    per_token = nll + rng.normal(scale=1.0, size=(count, len(nll))) + rng.normal(scale=0.1, size=(count, 1))
    sums = np.stack([-per_token[:, b.first - 1 : b.last].sum(axis=1) for b in bins], axis=1)
    return per_position_nll_from_sums(sums, np.tile([b.last - b.first + 1 for b in bins], (count, 1)), bins)


def test_the_loss_rejects_an_approach_with_a_hump():
    t = np.arange(1, 1025)
    rng = np.random.default_rng(3)
    held = [fit_approach(losses(12 + 4 * t**-0.4, rng), resamples=200).p_value for _ in range(30)]
    # Of 30 p-values that are right 3 are below 0.1, give or take 1.6; three of these errors.
    assert np.sum(np.array(held) < 0.1) <= 8
    stepped = 12 + 4 * t**-0.4 + 0.2 * ((t > 30) & (t < 100))
    assert fit_approach(losses(stepped, rng), resamples=200).p_value < 0.01


def measured(law, rng, groups=16):
    """A two-point curve as groups of documents would give it: planted values, errors that neighbours share."""
    d = 2 ** np.arange(8)
    effects = 0.05 * law(d) * (rng.normal(size=(groups, 8)) + rng.normal(size=(groups, 1)))
    values = law(d) + effects.mean(axis=0)
    replicates = law(d) + (effects.sum(axis=0) - effects) / (groups - 1)
    curve = two_point_mutual_information(rng.integers(0, 3, size=(groups, 600)), d)
    planted = {"mi": values, "uncorrected": values, "replicates": replicates, "floor": 0 * values}
    return replace(curve, **planted, standard_error=jackknife_error(replicates))


def test_two_point_laws_are_rejected_as_often_as_the_p_value_says():
    rng = np.random.default_rng(5)
    p = [fit_power_law_above_floor(measured(lambda d: 1.1 * d**-0.9, rng)).p_value for _ in range(60)]
    # Of 60 p-values that are right 6 are below 0.1, give or take 2.3; three of these errors.
    assert np.sum(np.array(p) < 0.1) <= 13
    assert 0.3 < np.mean(p) < 0.7  # one half, give or take 0.04
    with_offset = measured(lambda d: 1.1 * d**-0.9 + 0.05, rng)
    assert fit_power_law_above_floor(with_offset).p_value < 0.01
    assert fit_power_law_with_offset(with_offset).p_value > 0.01


def test_a_chain_is_no_power_law_of_distance():
    """The two-point information of a Markov chain falls exponentially."""
    chain = Markov(states=4, persistence=0.9).sample(60, 4000, np.random.default_rng(4))
    fit = fit_power_law_above_floor(two_point_mutual_information(chain, [1, 2, 4, 8, 16]))
    assert len(fit.distances) == 5
    assert fit.p_value < 0.01


def test_deviations_count_with_their_sign():
    """A law that follows curves from 2 on and is 1 below: it fits a curve at 2.5 exactly, and one at -0.5 not."""

    def law(curves):
        return np.where(curves >= 2, curves, 1.0)

    above, below = np.full((3, 1), 1.5), np.full((3, 1), -1.5)
    assert goodness_of_fit(np.array([1.5]), np.ones(1), above, law) == 1 / 4
    assert goodness_of_fit(np.array([1.5]), np.ones(1), below, law) == 1
