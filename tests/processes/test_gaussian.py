"""The Gaussian process: its power law against determinants of its covariance, its conditionals against scipy."""

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.stats import multivariate_normal

from l2m_eval.errors import L2MError
from l2m_eval.processes import Gaussian, TokenProcess

SIGNS = ["random", "negative", "positive"]


def log_determinant(process, size):
    return np.linalg.slogdet(toeplitz(process.autocorrelation(size - 1)))[1]


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("beta", [0.3, 0.75])
@pytest.mark.parametrize(("left", "total"), [(1, 2), (10, 20), (10, 40), (300, 400)])
def test_bipartite_information_is_the_ratio_of_determinants(beta, signs, left, total):
    process = Gaussian(beta=beta, signs=signs)
    blocks = log_determinant(process, left) + log_determinant(process, total - left)
    expected = (blocks - log_determinant(process, total)) / 2
    # What a numerical determinant of the covariance loses: rounding times its condition number.
    lost = 1e-13 + 1e-15 * np.linalg.cond(toeplitz(process.autocorrelation(total - 1)))
    assert process.bipartite_mi(left, total) == pytest.approx(expected, abs=lost)
    by_entropies = super(Gaussian, process).bipartite_mi(left, total)
    assert process.bipartite_mi(left, total) == pytest.approx(by_entropies, abs=1e-11)


@pytest.mark.parametrize("beta", [0.2, 0.5, 0.76, 0.9])
def test_fitted_exponent_is_the_setting(beta):
    process = Gaussian(beta=beta)
    lengths = 2 ** np.arange(6, 13)
    curve = [process.bipartite_mi(l // 2, l) for l in lengths]
    # The law has no correction at any length, so only rounding is left.
    assert np.polyfit(np.log(lengths), np.log(curve), 1)[0] == pytest.approx(beta, abs=1e-10)


def test_fitted_exponent_of_determinants_is_the_setting():
    process = Gaussian(beta=0.76)
    lengths = 2 ** np.arange(6, 13)
    curve = [log_determinant(process, l // 2) - log_determinant(process, l) / 2 for l in lengths]
    # With random signs the condition number is below 1,000: the determinants keep ten digits and more.
    assert np.polyfit(np.log(lengths), np.log(curve), 1)[0] == pytest.approx(0.76, abs=1e-9)


@pytest.mark.parametrize("signs", SIGNS)
def test_densities_are_those_of_the_covariance(signs, monkeypatch):
    monkeypatch.setattr("l2m_eval.processes.gaussian._ROWS_AT_ONCE", 7)  # several pieces in thirty rows
    process = Gaussian(beta=0.6, amplitude=0.7, signs=signs)
    values = process.sample(20, 30, np.random.default_rng(1))
    expected = multivariate_normal(cov=toeplitz(process.autocorrelation(29))).logpdf(values)
    np.testing.assert_allclose(process.log_probs(values).sum(axis=1), expected, rtol=1e-9)
    mean, deviation = process.next_value(values[0, :20])
    density = -(((values[0, 20] - mean) / deviation) ** 2) / 2 - np.log(deviation * np.sqrt(2 * np.pi))
    assert process.log_probs(values)[0, 20] == pytest.approx(density, rel=1e-12)
    assert process.next_value(values[0, :0]) == (0.0, 1.0)


@pytest.mark.parametrize("signs", SIGNS)
def test_samples_have_the_covariance(signs):
    process = Gaussian(signs=signs)
    values = process.sample(40_000, 12, np.random.default_rng(2))
    observed = values.T @ values / len(values)
    expected = toeplitz(process.autocorrelation(11))
    error = np.sqrt((1 + expected**2) / len(values))
    # The largest of 78 deviations stays below 4.5 standard errors in all but one of 2,000 correct runs.
    assert (np.abs(observed - expected) < 4.5 * error).all()


def test_bipartite_information_and_loss_are_means_over_documents():
    process = Gaussian(beta=0.5)
    estimate = process.estimate_bipartite_mi(16, 48, 20_000, np.random.default_rng(3))
    # Four standard errors: a correct mean fails one test in 16,000.
    assert abs(estimate.value - process.bipartite_mi(16, 48)) < 4 * estimate.standard_error
    log_probs = process.log_probs(process.sample(20_000, 40, np.random.default_rng(4)))
    error = log_probs.std(axis=0) / np.sqrt(len(log_probs))
    assert (np.abs(-log_probs.mean(axis=0) - process.mean_nll(40)) < 4.5 * error).all()


def test_one_bipartite_curve_goes_with_different_two_point_curves():
    mixed, negative, positive = (Gaussian(signs=signs) for signs in SIGNS)
    assert (
        mixed.bipartite_mi(512, 1024) == negative.bipartite_mi(512, 1024) == positive.bipartite_mi(512, 1024)
    )
    assert negative.two_point_mi(256) < 1e-12
    assert positive.two_point_mi(256) == pytest.approx(positive.two_point_mi(1024), rel=0.05)  # a constant
    assert positive.two_point_mi(256) > 0.1
    far = np.mean([mixed.two_point_mi(d) for d in range(900, 1100)])
    near = np.mean([mixed.two_point_mi(d) for d in range(90, 110)])
    assert 1e-7 < far < near / 3


def test_two_point_information_of_neighbours_is_the_first_of_the_lags():
    process = Gaussian(amplitude=0.8)
    assert process.two_point_mi(1) == pytest.approx(process.information_per_lag(1)[0], rel=1e-13)
    assert process.bipartite_mi(1, 2) == pytest.approx(process.two_point_mi(1), rel=1e-13)
    assert process.entropy_rate() == pytest.approx(process.mean_nll(10**6)[-1], abs=0.05)  # t^(β−1) slow


def test_random_signs_do_not_depend_on_how_many_are_asked_for():
    process = Gaussian()
    np.testing.assert_array_equal(process.partial_correlations(10), process.partial_correlations(100)[:10])


def test_it_has_no_vocabulary():
    from l2m_eval.harness.oracle import OracleLM

    assert not isinstance(Gaussian(), TokenProcess)
    with pytest.raises(L2MError, match="process: 'gaussian' has no vocabulary"):
        OracleLM(process="gaussian")
    with pytest.raises(L2MError, match="signs: 'postive' is not known"):
        Gaussian(signs="postive")
