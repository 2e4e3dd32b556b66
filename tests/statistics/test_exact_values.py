"""Small cases that can be worked out by hand: what each factor, limit and smallest number in the statistics is.

Tests by simulation tell a right error from one that is a fifth larger; a missing n - 1 among forty is less than that.
"""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

from l2m_eval.statistics.clusters import linearised_error, resampled_curves
from l2m_eval.statistics.goodness import goodness_of_fit
from l2m_eval.statistics.intervals import resampled_error, resampled_interval, student_t
from l2m_eval.statistics.power_law import fit_power_law, power_law_with_interval, smoothed_errors

LENGTHS = np.array([8.0, 16.0, 32.0, 64.0, 128.0])
HUNDRED = np.arange(100.0)

# Errors and intervals of resampled estimates


def test_with_few_clusters_the_error_is_the_standard_deviation_and_with_twenty_a_quantile():
    wild = np.append(HUNDRED, 1e6)
    assert resampled_error(wild, 19) == pytest.approx(math.sqrt(19 / 18) * wild.std())
    assert resampled_error(wild, 20) < 40  # one wild resample is none of the central two thirds


def test_the_quantile_error_is_half_the_distance_of_two_resamples():
    # 15.87 % and 84.13 % of a hundred: the sixteenth and the eighty-fifth, none between two of them.
    assert resampled_error(HUNDRED, 50) == pytest.approx(math.sqrt(50 / 49) * (84 - 15) / 2)


def test_two_clusters_and_two_resamples_are_the_fewest():
    assert resampled_error([1.0, 3.0], 2) == pytest.approx(math.sqrt(2))  # sqrt(2 / 1) times a deviation of 1
    low, high = resampled_interval([1.0, 3.0], 2.5, 2)
    reach = stats.t.ppf(0.975, 1) * math.sqrt(2)
    assert (low, high) == pytest.approx((2.5 - reach, 2.5 + reach))  # about the estimate
    for replicates, clusters in (([1.0, 3.0], 1), ([1.0], 2), ([1.0, math.nan], 2)):
        assert math.isnan(resampled_error(replicates, clusters))
        assert np.isnan(resampled_interval(replicates, 2.0, clusters)).all()


def test_from_twenty_clusters_on_the_interval_is_two_resamples_widened():
    values = np.linspace(0, 1, 100_001)
    tail = stats.norm.cdf(-student_t(20) * math.sqrt(20 / 19))
    # Neighbouring resamples lie 1e-5 apart.
    assert resampled_interval(values, 0.9, 20) == pytest.approx((tail, 1 - tail), abs=2e-5)
    low, high = resampled_interval(values, 0.9, 19)
    assert (low + high) / 2 == pytest.approx(0.9)  # Student's t about the estimate, which lies to one side


def test_the_linearised_error_of_a_mean_is_its_textbook_error():
    values = np.random.default_rng(1).normal(size=(7, 3))
    residuals = (values - values.mean(axis=0)) / 7
    assert linearised_error(residuals) == pytest.approx(values.std(axis=0, ddof=1) / math.sqrt(7), rel=1e-12)
    assert linearised_error(np.array([[0.5], [-0.5]])) == pytest.approx([1.0])  # sqrt(2 / 1 * (0.25 + 0.25))
    alone = linearised_error(residuals[:1])
    assert alone.shape == (3,)
    assert np.isnan(alone).all()


def test_an_error_that_all_points_share_moves_each_resample_as_a_whole():
    sums, sizes = np.full((30, 4), 5.0), np.ones(30)
    plain = resampled_curves(sums, sizes, np.random.default_rng(2), 4000)
    assert np.ptp(plain) < 1e-12  # the same documents: nothing varies but rounding
    moved = resampled_curves(sums, sizes, np.random.default_rng(2), 4000, 0.3)
    assert np.ptp(moved, axis=1).max() < 1e-12
    assert moved[:, 0].std() == pytest.approx(0.3, rel=4 / math.sqrt(2 * 4000))  # four errors of a deviation


# The weighted fit


def test_the_weighted_fit_is_the_least_squares_of_scipy():
    """Weights one over the error squared, of errors below and above one."""
    values = np.array([3.0, 3.9, 6.5, 8.0, 12.5])
    errors = np.array([0.1, 0.8, 0.3, 2.0, 0.4])
    amplitude, exponent, used = fit_power_law(LENGTHS, values, errors, "wls")
    expected, _ = curve_fit(lambda x, a, b: a * x**b, LENGTHS, values, (1.0, 0.5), errors)
    assert used == "wls"
    # The last grid is 0.025 / 20^4 = 2e-7 wide; ln A moves by it times the logarithm of the middle length.
    assert exponent[0] == pytest.approx(expected[1], abs=2e-7)
    assert amplitude[0] == pytest.approx(expected[0], rel=2e-7 * math.log(128))


@pytest.mark.parametrize("unknown", [0.0, math.nan, math.inf])
def test_points_weigh_the_same_where_an_error_is_not_known(unknown):
    values = np.array([3.0, 3.9, 6.5, 8.0, 12.5])
    errors = [0.1, unknown, 0.3, 2.0, 0.4]
    weighted, plain = (fit_power_law(LENGTHS, values, given, "wls")[:2] for given in (errors, None))
    assert np.array_equal(weighted, plain)


def test_every_curve_has_its_own_fit_or_none():
    curves = np.array([2 * LENGTHS**0.5, -LENGTHS, LENGTHS**4.5, LENGTHS**-3.5])
    amplitude, exponent, _ = fit_power_law(LENGTHS, curves, None, "wls")
    assert (amplitude[0], exponent[0]) == pytest.approx((2.0, 0.5), abs=1e-5)  # the last grid, as above
    assert amplitude[1] == 0  # nothing positive about it, and so no exponent
    assert np.isnan(exponent[1:]).all()  # steeper than the range on either side


def test_curves_fitted_together_are_fitted_as_if_alone():
    """Each by its own method, where that depends on its points: a zero has no logarithm either."""
    curves = np.array([2 * LENGTHS**0.5, 7 * LENGTHS**0.2, LENGTHS - 8, LENGTHS**0.3])
    curves[1] *= 1 + 0.1 * np.cos(LENGTHS)
    errors = np.array([0.1, 0.8, 0.3, 2.0, 0.4])
    for method, separately in (
        ("auto", ["loglog", "loglog", "wls", "loglog"]),
        ("weighted", 4 * ["weighted"]),
    ):
        amplitude, exponent, _ = fit_power_law(LENGTHS, curves, errors, method)
        for i, (curve, used) in enumerate(zip(curves, separately, strict=True)):
            alone = fit_power_law(LENGTHS, curve, errors, method)
            assert alone[2] == used
            found = amplitude[i], exponent[i]
            assert found == pytest.approx((alone[0][0], alone[1][0]), rel=1e-12)  # rounding of sums
            assert found == pytest.approx(
                [part[0] for part in fit_power_law(LENGTHS, curve, errors, used)[:2]]
            )
    assert np.isnan(fit_power_law(LENGTHS, curves, errors, "loglog")[1]).tolist() == [
        False,
        False,
        True,
        False,
    ]


def test_the_weighted_fit_is_least_squares_with_smoothed_errors_where_all_are_known():
    values = np.array([3.0, 3.9, 6.5, 8.0, 12.5])
    errors = np.array([0.1, 0.8, 0.3, 2.0, 0.4])
    logs = np.log(LENGTHS)
    smooth = np.exp(np.polyval(np.polyfit(logs, np.log(errors), 2), logs))
    expected, _ = curve_fit(lambda x, a, b: a * x**b, LENGTHS, values, (1.0, 0.5), smooth)
    amplitude, exponent, used = fit_power_law(LENGTHS, values, errors, "weighted")
    assert used == "weighted"
    assert (amplitude[0], exponent[0]) == pytest.approx(expected, rel=1e-5)  # 2e-7 in the exponent, as above
    errors[2] = 0.0
    assert smoothed_errors(LENGTHS, errors) is None
    assert fit_power_law(LENGTHS, values, errors, "weighted")[2] == "loglog"


@pytest.mark.parametrize("method", ["loglog", "wls", "weighted"])
def test_two_points_are_a_power_law_and_one_is_none(method):
    amplitude, exponent, _ = fit_power_law([8, 32], [3.0, 12.0], [0.1, 0.3], method)
    assert (amplitude[0], exponent[0]) == pytest.approx((3 / 8, 1.0), rel=1e-5)  # of the last grid
    amplitude, exponent, _ = fit_power_law([8], [3.0], [0.1], method)
    assert np.isnan([amplitude[0], exponent[0]]).all()


# Power laws from documents


def laws(clusters, **arguments):
    rng = np.random.default_rng(3)
    terms = LENGTHS**0.5 * (2 + 0.3 * rng.normal(size=(clusters, 1))) + 0.2 * rng.normal(size=(clusters, 5))
    return power_law_with_interval(
        LENGTHS, terms, np.arange(clusters), rng=np.random.default_rng(4), **arguments
    )


def test_errors_of_a_fit_are_those_of_its_resamples():
    """For the amplitude, of the logarithm: the interval is a factor either way."""
    fit = laws(6, resamples=200)
    logs, exponents = np.log(fit.replicates[:, 0]), fit.replicates[:, 1]
    widened = math.sqrt(6 / 5)
    log_error = widened * logs.std()
    assert fit.amplitude.standard_error == pytest.approx(fit.amplitude.value * log_error)
    assert fit.exponent.standard_error == pytest.approx(widened * exponents.std())
    reach = student_t(6)
    factor = math.exp(reach * log_error)
    assert fit.amplitude.interval == pytest.approx(
        (fit.amplitude.value / factor, fit.amplitude.value * factor)
    )
    assert fit.exponent.interval == pytest.approx(
        (
            fit.exponent.value - reach * fit.exponent.standard_error,
            fit.exponent.value + reach * fit.exponent.standard_error,
        )
    )
    assert (fit.clusters, fit.points, len(fit.replicates)) == (6, 5, 200)


def test_two_clusters_are_the_fewest_with_an_error_and_the_fit_needs_none():
    assert laws(2).exponent.standard_error > 0
    alone = laws(1)
    assert math.isnan(alone.exponent.standard_error)
    assert math.isfinite(alone.exponent.value)
    assert np.array_equal(alone.replicates, np.full((1000, 2), math.nan), equal_nan=True)


def test_documents_that_agree_leave_no_error():
    curve = 2 * LENGTHS**0.5
    fit = power_law_with_interval(
        LENGTHS,
        np.tile(curve, (30, 1)),
        np.arange(30),
        rng=np.random.default_rng(5),
        resamples=100,
    )
    for found, value in ((fit.amplitude, 2.0), (fit.exponent, 0.5), (fit.upper, 0.5), (fit.bend, 0.0)):
        assert (found.value, *found.interval) == pytest.approx(
            (value,) * 3, abs=1e-12
        )  # rounding of thirty terms
        assert found.standard_error < 1e-12


def test_too_few_points_for_an_upper_half_leave_nothing_known_of_it():
    rng = np.random.default_rng(3)
    terms = LENGTHS[:4] ** 0.5 * (2 + 0.3 * rng.normal(size=(30, 1)))
    fit = power_law_with_interval(LENGTHS[:4], terms, np.arange(30), rng=rng, resamples=50)
    for unknown in (fit.upper, fit.bend):
        assert np.isnan([unknown.value, unknown.standard_error, *unknown.interval]).all()


def test_a_length_is_named_where_nothing_positive_was_measured_and_only_there():
    terms = np.tile([-0.5, 0.0, 1e-3, 0.5, 2.0], (4, 1))
    fit = power_law_with_interval(LENGTHS, terms, np.arange(4), rng=np.random.default_rng(0))
    assert fit.not_positive == (8, 16)


def test_an_error_of_all_points_reaches_the_exponent():
    """Documents that agree to the last digit, and a number that all points contain: its error alone is left."""
    curve = 2 * LENGTHS**0.5
    fit = power_law_with_interval(
        LENGTHS, np.tile(curve, (40, 1)), np.arange(40), rng=np.random.default_rng(5),
        resamples=4000, shared_error=0.05,
    )  # fmt: skip
    x = np.log(LENGTHS) - np.log(LENGTHS).mean()
    moved = abs((x / (x @ x) / curve).sum()) * 0.05  # d beta = sum of c dI / I
    # A quantile of 4,000 resamples is known to two percent, three such errors; the curve bends by one.
    assert fit.exponent.standard_error == pytest.approx(math.sqrt(40 / 39) * moved, rel=0.08)


def test_p_values_count_the_curve_itself_and_ties():
    values, errors = np.array([1.0, 2.0, 3.0, 6.0]), np.ones(4)

    def mean(curves):
        return np.repeat(curves.mean(axis=1, keepdims=True), 4, axis=1)

    own = values - values.mean()
    deviations = np.array([own, 0.5 * own, 2 * own, np.zeros(4)])
    # Two of four are at least as far, one of them exactly as far: (1 + 2) / (1 + 4).
    assert goodness_of_fit(values, errors, deviations, mean) == pytest.approx(3 / 5)
    assert math.isnan(goodness_of_fit(values, errors, deviations[:0], mean))
    assert math.isnan(goodness_of_fit(values, np.array([1.0, 1, 1, 0]), deviations, mean))
