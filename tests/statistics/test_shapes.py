"""Rival shapes: a planted shape is found again, and only documents say how sure that is."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from l2m_eval.errors import L2MError
from l2m_eval.statistics.clusters import cluster_sums, resampled_curves
from l2m_eval.statistics.shapes import (
    LINE,
    LOGARITHM,
    POWER_LAW,
    SATURATION,
    SHAPES,
    compare_shapes,
    fit_shapes,
)

LENGTHS = np.array([4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048], float)
PLANTED = {
    POWER_LAW: (2.0, 0.4),
    LOGARITHM: (1.0, 2.5),
    LINE: (3.0, 0.01),
    SATURATION: (9.0, 60.0),
}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_planted_shape_is_recovered_and_leaves_nothing(shape):
    values = shape.evaluate(LENGTHS, np.array([PLANTED[shape.name]]))[0]
    fits = fit_shapes(LENGTHS, values, np.full(10, 0.1))
    best = min(fits, key=lambda fit: fit.misfit)
    assert best.shape == shape.name
    # The two searches end on grids finer than a thousandth.
    assert best.parameters == pytest.approx(PLANTED[shape.name], rel=2e-3)
    assert best.misfit < 1e-2
    assert all(fit.misfit > 100 for fit in fits if fit is not best)


def test_residuals_are_in_standard_errors_and_their_squares_add_up_to_the_misfit():
    errors = np.linspace(0.1, 0.5, 10)
    for fit in fit_shapes(LENGTHS, 2 * LENGTHS**0.3, errors):
        np.testing.assert_allclose(fit.residuals, (2 * LENGTHS**0.3 - fit.fitted) / errors)
        assert fit.misfit == pytest.approx((fit.residuals**2).sum())


def test_linear_fits_agree_with_numpys_weighted_least_squares():
    rng = np.random.default_rng(1)
    values, errors = 5 + rng.normal(size=10), rng.uniform(0.2, 1, 10)
    fits = {fit.shape: fit for fit in fit_shapes(LENGTHS, values, errors)}
    for name, x in ((LINE, LENGTHS), (LOGARITHM, np.log(LENGTHS))):
        slope, intercept = np.polyfit(x, values, 1, w=1 / errors)
        assert fits[name].parameters == pytest.approx((intercept, slope), rel=1e-9)


def test_curved_fits_agree_with_a_general_solver():
    rng = np.random.default_rng(2)
    errors = rng.uniform(0.2, 1.5, 10)
    values = 9 * -np.expm1(-LENGTHS / 60) + errors * rng.normal(size=10)
    fits = {fit.shape: fit for fit in fit_shapes(LENGTHS, values, errors)}
    for name, curve in (
        (POWER_LAW, lambda x, a, b: a * x**b),
        (SATURATION, lambda x, a, b: -a * np.expm1(-x / b)),
    ):
        expected, _ = curve_fit(curve, LENGTHS, values, PLANTED[name], errors)
        # the last grids are finer than 1e-5 of the parameter or its logarithm
        assert fits[name].parameters == pytest.approx(expected, rel=1e-4)


def test_the_scale_of_a_saturation_ends_where_points_cannot_tell_it():
    """A constant has saturated before its first length, a line through zero will do so far behind its last."""
    for values, scale in ((np.full(10, 5.0), LENGTHS[0] / 10), (0.01 * LENGTHS, LENGTHS[-1] * 100)):
        fits = {fit.shape: fit for fit in fit_shapes(LENGTHS, values, np.full(10, 0.1))}
        assert fits[SATURATION].parameters[1] == pytest.approx(scale)
        np.testing.assert_allclose(fits[SATURATION].fitted, values, rtol=0.01)


def noisy_documents(curve, noise, count=60, seed=3):
    rng = np.random.default_rng(seed)
    terms = curve + rng.normal(scale=noise, size=(count, len(curve)))
    return terms, terms.std(axis=0, ddof=1) / np.sqrt(count)


def test_shares_are_sure_where_shapes_differ_by_far_and_split_where_they_do_not():
    sharp, errors = noisy_documents(2 * LENGTHS**0.6, 1.0)
    clusters = np.arange(60)
    fits = compare_shapes(LENGTHS, sharp, clusters, errors, rng=np.random.default_rng(0))
    shares = {fit.shape: fit.best_share for fit in fits}
    assert shares[POWER_LAW] > 0.999
    assert sum(shares.values()) == pytest.approx(1)
    # The same curve under noise a hundred times the difference between the shapes: no shape has it to itself.
    dull, errors = noisy_documents(5 + 0.001 * np.log(LENGTHS), 50.0)
    fits = compare_shapes(LENGTHS, dull, clusters, errors, rng=np.random.default_rng(0))
    assert max(fit.best_share for fit in fits) < 0.95


def test_shares_and_p_values_are_those_of_the_resampled_curves_fitted_one_by_one():
    """The second way: each resample by itself, and the best shape by its misfit."""
    terms, errors = noisy_documents(3 + np.log(LENGTHS), 3.0)
    errors *= np.geomspace(0.3, 3, 10)  # weights that matter
    clusters = np.arange(60) // 3
    settings = {"resamples": 40, "shared_error": 0.2}
    found = compare_shapes(LENGTHS, terms, clusters, errors, rng=np.random.default_rng(5), **settings)
    sums, sizes = cluster_sums(terms, clusters)
    curves = resampled_curves(sums, sizes, np.random.default_rng(5), 40, 0.2)
    names = [shape.name for shape in SHAPES]
    best = [min(fit_shapes(LENGTHS, one, errors), key=lambda fit: fit.misfit).shape for one in curves]
    mean = terms.mean(axis=0)
    of_mean = fit_shapes(LENGTHS, mean, errors)
    for fit, whole in zip(found, of_mean, strict=True):
        assert fit.best_share == best.count(fit.shape) / 40
        assert (fit.misfit, fit.parameters) == (whole.misfit, whole.parameters)
        # A mean of 20 resampled clusters varies by sqrt(19 / 20) less than that of a sample.
        around = whole.fitted + np.sqrt(20 / 19) * (curves - mean)
        refits = [dict(zip(names, fit_shapes(LENGTHS, one, errors), strict=True)) for one in around]
        far = sum(refit[fit.shape].misfit >= whole.misfit for refit in refits)
        assert fit.p_value == pytest.approx((1 + far) / 41)


def test_a_number_that_all_points_share_is_an_error_only_where_it_is_given():
    """Documents that agree: every resample is the curve itself, and is best fitted by its own shape."""
    terms = np.tile(3 + 2.5 * np.log(LENGTHS), (30, 1))
    settings = {"rng": np.random.default_rng(0), "resamples": 20}
    fits = compare_shapes(LENGTHS, terms, np.arange(30), np.full(10, 0.1), **settings)
    assert {fit.shape: fit.best_share for fit in fits}[LOGARITHM] == 1
    assert {fit.shape: fit.p_value for fit in fits}[POWER_LAW] == pytest.approx(1 / 21)


def test_the_same_seed_gives_the_same_shares():
    terms, errors = noisy_documents(3 + np.log(LENGTHS), 2.0)
    first, second = (
        compare_shapes(LENGTHS, terms, np.arange(60) // 2, errors, rng=np.random.default_rng(5))
        for _ in range(2)
    )
    assert [fit.best_share for fit in first] == [fit.best_share for fit in second]


def test_one_cluster_gives_fits_without_shares():
    terms, errors = noisy_documents(3 + np.log(LENGTHS), 1.0)
    fits = compare_shapes(LENGTHS, terms, np.zeros(60), errors, rng=np.random.default_rng(0))
    assert all(np.isnan(fit.best_share) and np.isfinite(fit.misfit) for fit in fits)
    halves = compare_shapes(LENGTHS, terms, np.arange(60) % 2, errors, rng=np.random.default_rng(0))
    assert sum(fit.best_share for fit in halves) == pytest.approx(1)


@pytest.mark.parametrize(
    ("lengths", "errors", "named"),
    [([4, 8], [1, 1], "three lengths"), ([4, 8, 16], [1, 0, 1], "standard error is not positive")],
)
def test_too_little_to_compare_is_refused_in_one_line(lengths, errors, named):
    with pytest.raises(L2MError, match=named):
        fit_shapes(lengths, np.ones(len(lengths)), errors)
