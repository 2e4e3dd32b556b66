"""KL against values that are known: a model that is the process, one that is uniform, one that knows no past."""

import math

import numpy as np
import pytest
from tolerances import of_a_log_probability

from l2m_eval.experiments.divergence import (
    evaluation_documents,
    gaussian_divergence,
    token_divergence,
    token_predictions,
)
from l2m_eval.experiments.models import GaussianModel, token_model
from l2m_eval.experiments.plan import EvaluationPlan, ModelPlan
from l2m_eval.measurements.kl import full_kl, gaussian_kl, kl_curve, sampled_kl
from l2m_eval.processes import Gaussian, GaussianRecall, Markov, SantaFeRecall

PROCESS = SantaFeRecall(facts=8, flip_rate=0.05)
PLAN = EvaluationPlan(documents=200, batch=64)
SAMPLED = EvaluationPlan(documents=200, batch=64, most_cells=0)


@pytest.fixture(scope="module")
def documents():
    return evaluation_documents(PROCESS, PLAN, 32, seed=0)


@pytest.mark.parametrize("plan", [PLAN, SAMPLED])
def test_the_process_is_no_distance_from_itself(documents, plan):
    terms, how = token_divergence(PROCESS, PROCESS.predictions, documents, plan)
    assert how == ("full" if plan is PLAN else "sampled")
    # predictions and log_probs are computed in different ways: rounding
    np.testing.assert_allclose(terms, 0, atol=1e-12)


def test_a_uniform_model_is_what_it_lacks_of_the_vocabulary_away(documents):
    def uniform(tokens):
        return np.full((*tokens.shape, PROCESS.vocabulary_size), -math.log(PROCESS.vocabulary_size))

    exact = math.log(PROCESS.vocabulary_size) - PROCESS.mean_nll(32)
    full = kl_curve(token_divergence(PROCESS, uniform, documents, PLAN)[0])
    sampled = kl_curve(token_divergence(PROCESS, uniform, documents, SAMPLED)[0])
    for curve in (full, sampled):
        means = [exact[b.first - 1 : b.last].mean() for b in curve.bins]
        # Four errors; the first positions have none, since every document has the same names before it.
        assert (np.abs(curve.kl - means) < 4 * curve.standard_error + 1e-12).all()
        assert abs(curve.overall.value - exact.mean()) < 4 * curve.overall.standard_error
    # Taking the inner mean exactly is worth an error several times smaller.
    assert full.overall.standard_error < sampled.overall.standard_error / 3


def test_an_untrained_language_model_predicts_from_the_start_id_on():
    model = token_model(ModelPlan("t", width=16), PROCESS.vocabulary_size, 16, seed=0).eval()
    predict = token_predictions(model, PROCESS.vocabulary_size)
    tokens = PROCESS.sample(3, 16, np.random.default_rng(0))
    log_q = predict(tokens)
    assert log_q.shape == (3, 16, PROCESS.vocabulary_size)
    # Position 1 has read nothing of the document, position t nothing of t and after.
    rounding = of_a_log_probability()
    np.testing.assert_allclose(log_q[0, 0], log_q[1, 0], atol=rounding)
    changed = tokens.copy()
    changed[:, 8:] = PROCESS.sample(3, 16, np.random.default_rng(1))[:, 8:]
    np.testing.assert_allclose(predict(changed)[:, :9], log_q[:, :9], atol=rounding)


@pytest.mark.parametrize("process", [Gaussian(beta=0.7), GaussianRecall(facts=8)])
def test_a_gaussian_head_that_knows_no_past_pays_all_of_it(process):
    documents = evaluation_documents(process, PLAN, 24, seed=0)
    model = GaussianModel(
        ModelPlan("t", width=16), process, 24, seed=0
    ).eval()  # untrained: N(0, 1) everywhere
    curve = kl_curve(gaussian_divergence(process, model, documents, PLAN)[0])
    exact = 0.5 * math.log(2 * math.pi * math.e) - process.mean_nll(24)
    means = [exact[b.first - 1 : b.last].mean() for b in curve.bins]
    assert (np.abs(curve.kl - means) < 4 * curve.standard_error + 1e-6).all()  # float32 model


def test_gaussian_predictions_are_the_process_own():
    process = Gaussian(beta=0.6)
    values = process.sample(4, 10, np.random.default_rng(0))
    means, deviations = process.predictions(values)
    for t in (0, 1, 9):
        mean, deviation = process.next_value(values[2, :t])
        assert means[2, t] == pytest.approx(mean, abs=1e-12)
        assert deviations[t] == pytest.approx(deviation, rel=1e-12)
    densities = -0.5 * ((values - means) / deviations) ** 2 - np.log(deviations) - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(densities, process.log_probs(values), atol=1e-10)


def test_the_mixing_matrix_is_a_root_of_the_covariance():
    from scipy.linalg import toeplitz

    process = Gaussian(beta=0.6)
    mixing = process.mixing_matrix(20)
    np.testing.assert_allclose(mixing @ mixing.T, toeplitz(process.autocorrelation(19)), atol=1e-12)


def test_known_divergences():
    assert gaussian_kl(0, 1, 0, 1) == 0
    assert gaussian_kl(0, 1, 1, 1) == pytest.approx(0.5)
    assert gaussian_kl(0, 1, 0, 2) == pytest.approx(math.log(2) + 1 / 8 - 0.5)
    with np.errstate(divide="ignore"):
        log_p = np.log([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    log_q = np.log([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]])
    np.testing.assert_allclose(full_kl(log_p, log_q), [math.log(2), math.log(2)])
    assert sampled_kl([-1.0], [-3.0]) == [2.0]


def test_errors_are_those_of_documents():
    """A Markov chain predicted by its own marginal: the error bar against the spread of repeated measurements."""
    process = Markov(states=4, persistence=0.5)
    marginal = np.log(process.stationary)
    rng = np.random.default_rng(0)
    curves = []
    for _ in range(200):
        tokens = process.sample(30, 16, rng)
        curves.append(kl_curve(sampled_kl(process.log_probs(tokens), marginal[tokens])))
    spread = np.std([curve.overall.value for curve in curves], ddof=1)
    # 200 repetitions know a standard deviation to 5 %.
    assert np.mean([curve.overall.standard_error for curve in curves]) == pytest.approx(spread, rel=0.2)
    exact = process.mean_nll(1)[0] - process.mean_nll(16)
    assert np.mean([curve.overall.value for curve in curves]) == pytest.approx(
        exact.mean(), abs=4 * spread / math.sqrt(200)
    )
