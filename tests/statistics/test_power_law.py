"""Power-law fits recover what was planted, and their errors are what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2m_eval.statistics.power_law import fit_power_law, power_law_with_interval, smoothed_errors

LENGTHS = 2.0 ** np.arange(2, 12)


@pytest.mark.parametrize("method", ["loglog", "wls", "weighted", "auto"])
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


def test_errors_that_lie_on_a_parabola_are_smooth_already_and_one_that_does_not_moves_little():
    smooth = 0.1 * LENGTHS ** (0.2 + 0.05 * np.log(LENGTHS))
    np.testing.assert_allclose(smoothed_errors(LENGTHS, smooth), smooth, rtol=1e-9)
    lucky = smooth.copy()
    lucky[4] /= 10
    values = 2 * LENGTHS**0.5
    values[4] *= 1.2
    far = {
        method: abs(fit_power_law(LENGTHS, values, lucky, method)[1][0] - 0.5)
        for method in ("wls", "weighted")
    }
    assert far["weighted"] < far["wls"] / 2  # a point whose error is small by chance decides less


@pytest.mark.parametrize("errors", [None, np.full(len(LENGTHS), np.nan), np.zeros(len(LENGTHS))])
def test_without_errors_the_weighted_fit_is_the_one_without_weights(errors):
    values = np.random.default_rng(0).uniform(0.5, 2, len(LENGTHS)) * LENGTHS**0.7
    found, expected = (fit_power_law(LENGTHS, values, errors, method) for method in ("weighted", "auto"))
    assert (found[1][0], found[2]) == (expected[1][0], "loglog")


def test_the_weighted_fit_scatters_less_than_the_published_one_where_short_lengths_are_uncertain():
    """Errors of 20 % at the shortest length and 2 % at the longest: the fit that knows of them is the better one."""
    rng, found = np.random.default_rng(3), {"loglog": [], "weighted": []}
    noise = np.geomspace(0.2, 0.02, len(LENGTHS)) * np.sqrt(40)
    for _ in range(200):
        terms = LENGTHS**0.6 * (1 + noise * rng.normal(size=(40, len(LENGTHS))))
        errors = terms.std(axis=0, ddof=1) / np.sqrt(40)
        for method, values in found.items():
            values.append(fit_power_law(LENGTHS, terms.mean(axis=0), errors, method)[1][0])
    spread = {method: np.nanstd(values) for method, values in found.items()}
    # By the rules of least squares the spreads are as 1 to 2.3; 200 samples know each to 5 %.
    assert spread["weighted"] < spread["loglog"] / 1.8
    assert abs(np.mean(found["weighted"]) - 0.6) < 4 * spread["weighted"] / np.sqrt(200)


def bent(documents=30):
    """Terms that grow like L^0.8 up to 64 tokens and like L^0.3 beyond, with noise that all lengths share."""
    curve = np.where(LENGTHS <= 64, LENGTHS**0.8, 64**0.5 * LENGTHS**0.3)
    return curve * (1 + 0.2 * np.random.default_rng(1).normal(size=(documents, 1)))


@pytest.mark.parametrize("method", ["loglog", "weighted"])
def test_a_fit_in_a_range_is_the_fit_to_its_points(method):
    terms = bent()
    errors = terms.std(axis=0, ddof=1) / np.sqrt(len(terms))

    def fit(columns, **given):
        rng = np.random.default_rng(7)
        return power_law_with_interval(
            LENGTHS[columns], terms[:, columns], range(len(terms)), rng=rng, resamples=100,
            method=method, **given,
        )  # fmt: skip

    whole, part, inside = fit(slice(None)), fit(slice(0, 5)), fit(slice(None), within=(None, 64))
    assert inside.points == part.points == 5
    # The same points in another place of memory: sums of ten numbers may round otherwise.
    assert inside.exponent.value == pytest.approx(part.exponent.value, rel=1e-12)
    np.testing.assert_allclose(inside.replicates, part.replicates, rtol=1e-9)
    assert inside.exponent.value == pytest.approx(0.8, abs=1e-6)
    assert whole.exponent.value < 0.7
    assert fit(slice(None), within=(128, None)).exponent.value == pytest.approx(0.3, abs=1e-6)
    again = inside.again(LENGTHS, terms.mean(axis=0), errors)
    assert again[1][0] == pytest.approx(inside.exponent.value, rel=1e-12)
    short = fit(slice(None), within=(100, 300))  # two points
    assert np.isnan(short.exponent.value)
    assert short.points == 0


def test_the_upper_half_says_whether_it_is_a_power_law_up_to_the_end():
    straight = LENGTHS**0.5 * (1 + 0.2 * np.random.default_rng(1).normal(size=(30, 1)))
    for terms, at_end in ((straight, 0.5), (bent(), 0.3)):
        fit = power_law_with_interval(LENGTHS, terms, range(30), rng=np.random.default_rng(2), resamples=200)
        assert fit.upper.value == pytest.approx(at_end, abs=1e-9)
        assert fit.bend.value == pytest.approx(at_end - fit.exponent.value, abs=1e-12)
        low, high = fit.bend.interval
        assert (low <= 1e-9 and high >= -1e-9) if at_end == 0.5 else high < 0
    few = power_law_with_interval(
        LENGTHS[:4], straight[:, :4], range(30), rng=np.random.default_rng(2), resamples=200
    )
    assert np.isnan(few.upper.value)


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
        fit = power_law_with_interval(LENGTHS, terms, np.arange(30), rng=rng, resamples=200)
        hits_exponent += fit.exponent.interval[0] <= 0.7 <= fit.exponent.interval[1]
        hits_amplitude += fit.amplitude.interval[0] <= 1.0 <= fit.amplitude.interval[1]
    assert 0.915 <= hits_exponent / 400 <= 0.985
    assert 0.915 <= hits_amplitude / 400 <= 0.985


def test_the_error_is_the_spread_over_samples_and_not_that_of_independent_points():
    rng = np.random.default_rng(2)
    exponents, errors = [], []
    for _ in range(300):
        terms = noisy_terms(rng, 60)
        fit = power_law_with_interval(LENGTHS, terms, np.arange(60), rng=rng, resamples=200)
        exponents.append(fit.exponent.value)
        errors.append(fit.exponent.standard_error)
    # 300 samples know a standard deviation to 4 %.
    assert np.mean(errors) == pytest.approx(np.std(exponents), rel=0.15)


def test_curves_with_errors_of_their_own_are_fitted_as_if_each_were_alone():
    rng = np.random.default_rng(5)
    curves = LENGTHS**0.5 * rng.uniform(0.7, 1.3, size=(6, len(LENGTHS)))
    curves[4, 0] = -0.1  # has no logarithm: by wls, whatever the others are
    errors = rng.uniform(0.1, 1.0, size=curves.shape)
    for method in ("auto", "loglog", "wls", "weighted"):
        together = fit_power_law(LENGTHS, curves, errors, method)[:2]
        alone = [fit_power_law(LENGTHS, *row, method)[:2] for row in zip(curves, errors, strict=True)]
        # float64, and sums in another order
        np.testing.assert_allclose(together, np.transpose(alone, (1, 0, 2))[..., 0], rtol=1e-9)


def test_the_error_is_the_spread_also_where_the_exponent_depends_on_the_weights():
    """A curve that saturates, which is no power law: what the scatter of the weights adds is in the error.

    With the sample's weights in all resamples errors are 0.67 of the spread.
    """
    rng, exponents, errors = np.random.default_rng(2), [], []
    curve = LENGTHS / (1 + LENGTHS / 64)
    for _ in range(300):
        terms = curve * (1 + 0.3 * rng.normal(size=(30, len(LENGTHS))))
        fit = power_law_with_interval(LENGTHS, terms, range(30), rng=rng, resamples=200, method="weighted")
        exponents.append(fit.exponent.value)
        errors.append(fit.exponent.standard_error)
    # 300 samples know a standard deviation to 4 %.
    assert np.mean(errors) == pytest.approx(np.std(exponents), rel=0.15)


def test_the_same_seed_gives_the_same_interval():
    terms = noisy_terms(np.random.default_rng(3), 20)
    fits = [
        power_law_with_interval(LENGTHS, terms, np.arange(20), rng=np.random.default_rng(5)) for _ in range(2)
    ]
    assert fits[0].exponent.interval == fits[1].exponent.interval


def test_points_that_are_not_positive_are_named():
    terms = noisy_terms(np.random.default_rng(4), 20)
    terms[:, 0] = -1.0
    fit = power_law_with_interval(LENGTHS, terms, np.arange(20), rng=np.random.default_rng(0))
    assert fit.not_positive == (4,)
    assert fit.method == "wls"


def test_one_cluster_gives_a_fit_without_an_error():
    terms = noisy_terms(np.random.default_rng(5), 4)
    fit = power_law_with_interval(LENGTHS, terms, np.zeros(4), rng=np.random.default_rng(0))
    assert np.isfinite(fit.exponent.value)
    assert np.isnan(fit.exponent.standard_error)
    assert np.isnan(fit.exponent.interval[0])
    assert np.isnan(fit.replicates).all()


def test_smoothed_errors_are_a_line_for_three_lengths_and_a_parabola_for_more():
    """By the residuals: least squares leave nothing of the columns they fit, and something of those they do not."""
    errors = np.array([0.1, 0.5, 0.3, 1.7, 0.9, 4.0])
    for points, degree in ((3, 1), (4, 2), (5, 2), (6, 2)):
        logs = np.log(LENGTHS[:points])
        smooth = smoothed_errors(LENGTHS[:points], errors[:points])
        columns = np.vander(logs - logs.mean(), degree + 1)
        left = np.log(errors[:points]) - np.log(smooth)
        np.testing.assert_allclose(columns.T @ left, 0, atol=1e-9)  # float64, logarithms of about ten
        assert np.abs(left).max() > 1e-3
        again = columns @ np.linalg.lstsq(columns, np.log(smooth), rcond=None)[0]
        np.testing.assert_allclose(again, np.log(smooth), atol=1e-9)
    assert smoothed_errors(LENGTHS[:2], errors[:2]).tolist() == errors[:2].tolist()


@pytest.mark.parametrize("method", ["weighted", "wls", "loglog"])
def test_the_fit_to_terms_is_the_fit_to_their_mean_with_its_errors_in_its_range(method):
    """The range has its ends in it, three points are enough for it, and five for a fit to the upper half."""
    rng = np.random.default_rng(5)
    terms = LENGTHS**0.5 * (1 + 0.5 * rng.normal(size=(30, 1)) + rng.normal(scale=0.3, size=(30, 10)))
    errors = terms.std(axis=0, ddof=1) / np.sqrt(30)
    for first, points in ((8, 5), (32, 3), (8, 4)):
        columns = np.flatnonzero(first <= LENGTHS)[:points]
        x, mean, weights = LENGTHS[columns], terms.mean(axis=0)[columns], errors[columns]
        fit = power_law_with_interval(
            LENGTHS, terms, range(30), rng=rng, resamples=100, method=method, within=(first, x[-1])
        )
        # rounding of float64, and of sums in another order
        amplitude, exponent, _ = fit_power_law(x, mean, weights, method)
        assert (fit.points, fit.amplitude.value) == (points, pytest.approx(amplitude[0], rel=1e-9))
        assert fit.exponent.value == pytest.approx(exponent[0], rel=1e-9)
        half = points // 2
        upper = fit_power_law(x[half:], mean[half:], weights[half:], method)[1][0]
        assert fit.upper.value == pytest.approx(upper if points == 5 else np.nan, rel=1e-9, nan_ok=True)
        again = fit.again(LENGTHS, terms.mean(axis=0), errors)
        assert again[1][0] == pytest.approx(exponent[0], rel=1e-9)
        alike = fit.again(LENGTHS, terms.mean(axis=0), None)
        assert alike[1][0] == pytest.approx(fit_power_law(x, mean, None, method)[1][0], rel=1e-9)
