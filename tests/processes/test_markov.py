"""Area laws: the information of a Markov chain is constant, that of a hidden one is bounded."""

import numpy as np
import pytest
from tolerances import of_a_sum

from l2m_eval.errors import L2MError
from l2m_eval.processes import HiddenMarkov, Markov


def test_information_is_that_of_one_step_at_every_split():
    process = Markov(states=8, persistence=0.8)
    values = {process.bipartite_mi(l, total) for l, total in [(1, 2), (4, 8), (1000, 2000), (500, 2000)]}
    assert values == {process.two_point_mi(1)}
    entropy = process.mean_nll(1)[0]
    # H(π) − h by entropies and by the pair distribution round differently.
    assert process.two_point_mi(1) == pytest.approx(entropy - process.entropy_rate(), abs=1e-13)


def test_two_point_information_decays_with_the_second_eigenvalue():
    process = Markov(states=3, persistence=0.5, transition_seed=1)
    second = np.sort(np.abs(np.linalg.eigvals(process.transitions)))[-2]
    ratio = process.two_point_mi(41) / process.two_point_mi(40)
    # The third eigenvalue's share has decayed to less than a thousandth by distance 40.
    assert ratio == pytest.approx(second**2, rel=1e-3)
    assert process.two_point_mi(200) > 0  # far below rounding of the probabilities themselves


def test_stationary_distribution_is_kept_by_the_transitions():
    process = Markov(states=50)  # sums of fifty probabilities
    np.testing.assert_allclose(
        process.stationary @ process.transitions, process.stationary, atol=of_a_sum(50)
    )
    np.testing.assert_allclose(process.transitions.sum(axis=1), 1, atol=of_a_sum(50))


def test_hidden_chain_without_noise_is_the_chain():
    hidden, plain = HiddenMarkov(states=3, noise=0), Markov(states=3)
    tokens = plain.sample(5, 40, np.random.default_rng(1))
    np.testing.assert_allclose(hidden.log_probs(tokens), plain.log_probs(tokens), atol=1e-13)
    assert hidden.two_point_mi(3) == pytest.approx(plain.two_point_mi(3), abs=1e-13)
    assert hidden.bipartite_mi(4, 8) == pytest.approx(plain.bipartite_mi(4, 8), abs=1e-12)


def test_hidden_chain_under_full_noise_is_independent_tokens():
    process = HiddenMarkov(states=3, noise=1)
    assert process.bipartite_mi(4, 8) == pytest.approx(0, abs=1e-12)
    # The information is of second order in what is left of a deviation, the rounding of three by three products.
    assert process.two_point_mi(1) == pytest.approx(0, abs=of_a_sum(9))


def test_hidden_information_grows_to_a_bound():
    process = HiddenMarkov(states=2, persistence=0.8, noise=0.2)
    curve = [process.bipartite_mi(l, 2 * l) for l in range(1, 11)]
    assert (np.diff(curve) > 0).all()
    assert curve[-1] < process.hidden.two_point_mi(1)  # the hidden states on both sides know at least as much


def test_what_is_not_exact_is_refused_with_the_way_out():
    process = HiddenMarkov(states=4)
    assert process.bipartite_mi(5, 10) > 0
    with pytest.raises(L2MError, match=r"exact up to 10 tokens .* estimate_bipartite_mi"):
        process.bipartite_mi(6, 12)
    estimate = process.estimate_bipartite_mi(32, 64, 2000, np.random.default_rng(1))
    assert process.bipartite_mi(5, 10) < estimate.value + 4 * estimate.standard_error
    assert estimate.documents == 2000
