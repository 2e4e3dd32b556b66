"""Repeated looks at Gaussian values: prediction and information against the covariance, the schedule, the law."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from l2m_eval.errors import L2MError
from l2m_eval.processes import GaussianRecall


def covariance(process, length):
    named = process.schedule(length)
    same = named[:, None] == named[None, :]
    return np.where(np.eye(length, dtype=bool), 1.0, process.correlation * same)


@given(
    beta=st.floats(0.3, 0.95),
    facts=st.integers(1, 40),
    correlation=st.floats(0.05, 0.95),
    left=st.integers(1, 39),
)
@settings(max_examples=40)
def test_information_is_the_ratio_of_determinants(beta, facts, correlation, left):
    process, total = GaussianRecall(beta, facts, correlation), 40
    full = covariance(process, total)
    blocks = [full[:left, :left], full[left:, left:], full]
    x, y, both = (np.linalg.slogdet(block)[1] for block in blocks)
    # Determinants of at most 40 rows whose condition is below 40/0.05.
    assert process.bipartite_mi(left, total) == pytest.approx((x + y - both) / 2, abs=1e-10)


@pytest.mark.parametrize("after", [0, 7])
def test_densities_are_those_of_the_covariance(after):
    process = GaussianRecall(facts=5, correlation=0.7)
    values = process.sample(20, 30, np.random.default_rng(1))[:, after:]
    block = covariance(process, 30)[after:, after:]
    expected = multivariate_normal(cov=block).logpdf(values)
    np.testing.assert_allclose(process.log_probs(values, after).sum(axis=1), expected, rtol=1e-10)


def test_samples_have_the_covariance():
    process = GaussianRecall(facts=4, correlation=0.6)
    values = process.sample(40_000, 12, np.random.default_rng(2))
    observed, expected = values.T @ values / len(values), covariance(process, 12)
    error = np.sqrt((1 + expected**2) / len(values))
    # The largest of 78 deviations stays below 4.5 standard errors in all but one of 2,000 correct runs.
    assert (np.abs(observed - expected) < 4.5 * error).all()


def test_loss_and_information_are_means_over_documents():
    process = GaussianRecall(facts=8)
    log_probs = process.log_probs(process.sample(20_000, 40, np.random.default_rng(4)))
    error = log_probs.std(axis=0) / math.sqrt(len(log_probs))
    assert (np.abs(-log_probs.mean(axis=0) - process.mean_nll(40)) < 4.5 * error).all()
    estimate = process.estimate_bipartite_mi(16, 48, 20_000, np.random.default_rng(3))
    # Four standard errors: a correct mean fails one test in 16,000.
    assert abs(estimate.value - process.bipartite_mi(16, 48)) < 4 * estimate.standard_error
    assert process.mean_nll(2**14)[-1] == pytest.approx(process.entropy_rate(), abs=1e-3)


@pytest.mark.parametrize("beta", [0.5, 0.75, 0.9])
def test_every_value_is_looked_at_as_often_as_it_is_due(beta):
    process, length = GaussianRecall(beta=beta, facts=50), 5000
    looks = np.bincount(process.schedule(length), minlength=50)
    frequency = np.arange(1, 51) ** (-1 / beta)
    # The one most overdue comes next, so that what is owed stays within a few looks for all.
    assert np.abs(looks - length * frequency / frequency.sum()).max() < 3
    np.testing.assert_array_equal(process.schedule(70), process.schedule(5000)[:70])


@pytest.mark.parametrize("beta", [0.5, 0.75, 0.9])
def test_information_grows_like_the_planted_exponent(beta):
    process = GaussianRecall(beta=beta, facts=4096)
    lengths = 2 ** np.arange(9, 15)
    curve = [process.bipartite_mi(l // 2, l) for l in lengths]
    # 0.05: whole values come in steps, and the law starts with the few most frequent ones.
    assert np.polyfit(np.log(lengths), np.log(curve), 1)[0] == pytest.approx(beta, abs=0.05)


def test_a_finite_number_of_values_ends_the_law_where_it_is_said_to():
    few, many = GaussianRecall(facts=64), GaussianRecall(facts=4096)
    held = few.law_holds_to()
    slopes = [
        math.log2(p.bipartite_mi(l, 2 * l) / p.bipartite_mi(l // 2, l))
        for p in (few, many)
        for l in (held, 4 * held)
    ]
    assert slopes[0] == pytest.approx(slopes[2], abs=0.1)  # as with many values
    assert slopes[1] < slopes[3] - 0.3  # bent down
    assert few.remarks([(held, 2 * held)]) == ()
    (remark,) = few.remarks([(2 * held, 4 * held)])
    assert f"the law holds to blocks of {held:,} tokens" in remark


def test_no_distance_has_information_of_its_own():
    with pytest.raises(
        L2MError, match=r"gaussian_recall has none at distance 3; two positions share 0\.5108 nats"
    ):
        GaussianRecall(correlation=0.8).two_point_mi(3)
