"""Power-law fits recover what was planted, and their errors are what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2m_eval.scaling import fit_power_law, power_law_with_interval

LENGTHS = 2.0 ** np.arange(2, 12)


@pytest.mark.parametrize("method", ["loglog", "wls", "auto"])
@given(amplitude=st.floats(0.01, 100), exponent=st.floats(-0.5, 1.5))
@settings(max_examples=30)
def test_an_exact_power_law_is_recovered(method, amplitude, exponent):
    a, b, _ = fit_power_law(LENGTHS, amplitude * LENGTHS**exponent, np.ones(len(LENGTHS)), method)
    # The weighted fit searches exponents to 2e-7.
    assert b[0] == pytest.approx(exponent, abs=1e-6)
    assert a[0] == pytest.approx(amplitude, rel=1e-5)


@given(scale=st.floats(0.1, 10), unit=st.floats(0.1, 10))
@settings(max_examples=30)
def test_units_change_the_amplitude_and_not_the_exponent(scale, unit):
    values = np.random.default_rng(0).uniform(0.5, 2, len(LENGTHS)) * LENGTHS**0.7
    a, b, _ = fit_power_law(LENGTHS, values)
    a2, b2, _ = fit_power_law(LENGTHS * unit, values * scale)
    assert b2[0] == pytest.approx(b[0], abs=1e-9)
    assert a2[0] == pytest.approx(a[0] * scale * unit ** -b[0], rel=1e-9)


def test_a_point_that_is_not_positive_is_fitted_by_weighted_least_squares():
    values = 2.0 * LENGTHS**0.6
    values[0] = -0.3
    errors = np.where(np.arange(len(LENGTHS)) == 0, 5.0, 0.1)  # the bad point is known to be noise
    a, b, method = fit_power_law(LENGTHS, values, errors, "auto")
    assert method == "wls"
    assert b[0] == pytest.approx(0.6, abs=0.005)
    assert a[0] == pytest.approx(2.0, rel=0.03)


def test_loglog_refuses_what_has_no_logarithm():
    _, b, method = fit_power_law(LENGTHS, np.where(LENGTHS == 4, -1.0, LENGTHS), None, "loglog")
    assert method == "loglog"
    assert np.isnan(b[0])


def test_a_curve_without_any_positive_trend_has_no_exponent():
    a, b, _ = fit_power_law(LENGTHS, -np.ones(len(LENGTHS)), None, "auto")
    assert a[0] == 0
    assert np.isnan(b[0])


def noisy_terms(rng, documents, exponent=0.7, noise=0.5):
    """Per-document terms that share their noise over lengths, as sums over nested blocks do."""
    curve = LENGTHS**exponent
    common = rng.normal(size=(documents, 1))
    own = rng.normal(size=(documents, len(LENGTHS)))
    return curve * (1 + noise * (0.7 * common + 0.7 * own))


def test_intervals_cover_the_planted_exponent():
    """95 % intervals, 400 samples of 30 documents: the count of hits is binomial, with a spread of 1.1 %."""
    rng = np.random.default_rng(1)
    hits_exponent = hits_amplitude = 0
    for _ in range(400):
        terms = noisy_terms(rng, 30)
        errors = terms.std(axis=0, ddof=1) / np.sqrt(30)
        fit = power_law_with_interval(LENGTHS, terms, np.arange(30), errors, rng=rng, resamples=200)
        hits_exponent += fit.exponent_interval[0] <= 0.7 <= fit.exponent_interval[1]
        hits_amplitude += fit.amplitude_interval[0] <= 1.0 <= fit.amplitude_interval[1]
    assert 0.915 <= hits_exponent / 400 <= 0.985
    assert 0.915 <= hits_amplitude / 400 <= 0.985


def test_the_error_is_the_spread_over_samples_and_not_that_of_independent_points():
    rng = np.random.default_rng(2)
    exponents, errors = [], []
    for _ in range(300):
        terms = noisy_terms(rng, 60)
        fit = power_law_with_interval(
            LENGTHS, terms, np.arange(60), np.ones(len(LENGTHS)), rng=rng, resamples=200
        )
        exponents.append(fit.exponent)
        errors.append(fit.exponent_error)
    # 300 samples know a standard deviation to 4 %.
    assert np.mean(errors) == pytest.approx(np.std(exponents), rel=0.15)


def test_the_same_seed_gives_the_same_interval():
    terms = noisy_terms(np.random.default_rng(3), 20)
    fits = [
        power_law_with_interval(
            LENGTHS, terms, np.arange(20), np.ones(len(LENGTHS)), rng=np.random.default_rng(5)
        )
        for _ in range(2)
    ]
    assert fits[0].exponent_interval == fits[1].exponent_interval


def test_points_that_are_not_positive_are_named():
    terms = noisy_terms(np.random.default_rng(4), 20)
    terms[:, 0] = -1.0
    fit = power_law_with_interval(
        LENGTHS, terms, np.arange(20), np.ones(len(LENGTHS)), rng=np.random.default_rng(0)
    )
    assert fit.not_positive == (4,)
    assert fit.method == "wls"


def test_one_cluster_gives_a_fit_without_an_error():
    terms = noisy_terms(np.random.default_rng(5), 4)
    fit = power_law_with_interval(
        LENGTHS, terms, np.zeros(4), np.full(len(LENGTHS), np.nan), rng=np.random.default_rng(0)
    )
    assert np.isfinite(fit.exponent)
    assert np.isnan(fit.exponent_error)
    assert np.isnan(fit.exponent_interval[0])
