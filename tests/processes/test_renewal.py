"""The renewal process: a slow two-point law beside bipartite information that saturates."""

import numpy as np
import pytest
from tolerances import FLOAT64

from l2m_eval.processes import Renewal


@pytest.mark.parametrize("alpha", [0.9, 2, 4])
def test_two_point_information_has_the_exponent(alpha):
    process = Renewal(alpha=alpha)
    slope = np.log2(process.two_point_mi(4096) / process.two_point_mi(2048))
    # Corrections to the renewal theorem's power are of relative order d^(1-a), a few percent at these distances.
    assert slope == pytest.approx(-alpha, abs=0.03)


@pytest.mark.parametrize("alpha", [0.9, 2])
def test_bipartite_information_saturates(alpha):
    process = Renewal(alpha=alpha)
    curve = np.array([process.bipartite_mi(l, 2 * l) for l in 4 ** np.arange(8)])
    steps = np.diff(curve)
    assert (steps > 0).all()
    # What is still missing falls like l^(1-a), so each step is that of the one before times 4^(1-a).
    assert steps[-1] / steps[-2] == pytest.approx(4 ** (1 - process.tail), rel=0.03)


@pytest.mark.parametrize("alpha", [0.9, 4])
def test_the_loss_falls_to_the_entropy_rate(alpha):
    process = Renewal(alpha=alpha)
    excess = process.mean_nll(2**16) - process.entropy_rate()
    # Two losses, each of half a dozen roundings of numbers below ln 2.
    assert (np.diff(excess) <= 2 * 6 * np.log(2) * FLOAT64).all()
    # The excess is a power law t^(-a) down to where it drowns in rounding.
    assert 0 < excess[2**11 - 1] / excess[2**10 - 1] == pytest.approx(2**-process.tail, rel=0.02)


def test_long_documents_have_the_loss_and_the_share_of_ones():
    process = Renewal(alpha=2)
    tokens = process.sample(4000, 500, np.random.default_rng(1))
    log_probs = process.log_probs(tokens)
    error = log_probs.std(axis=0) / np.sqrt(len(tokens))
    # The largest of 500 deviations stays below 5 standard errors.
    assert (np.abs(-log_probs.mean(axis=0) - process.mean_nll(500)) < 5 * error).all()
    ones = tokens.mean(axis=1)
    assert abs(ones.mean() - 1 / process.mean_gap) < 4 * ones.std() / np.sqrt(len(ones))


def test_an_event_resets_the_process():
    process = Renewal()
    after_one = process.next_token_log_probs(np.array([0, 1, 0, 0, 1]))
    np.testing.assert_array_equal(after_one, process.next_token_log_probs(np.array([1])))
    assert after_one[1] == pytest.approx(np.log(1 - 2**-process.tail))
