"""A predictor that remembers the last tokens only: exact by enumeration, and equal to the process where it may be."""

import itertools

import numpy as np
import pytest

from l2m_eval.errors import L2MError
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.processes import LimitedMemory, Markov, SantaFe, Tree

PROCESSES = [SantaFe(beta=0.6, facts=2, flip_rate=0.2), Markov(states=3, persistence=0.5)]
LENGTH = 6
ROUNDING = 1e-12


def all_sequences(process):
    return np.array(list(itertools.product(range(process.vocabulary_size), repeat=LENGTH)))


@pytest.mark.parametrize("memory", [1, 2, 4])
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_log_probs_are_the_process_own_from_the_last_tokens(process, memory):
    limited = LimitedMemory(process, memory)
    tokens = process.sample(3, 20, np.random.default_rng(0))
    expected = [
        [process.next_token_log_probs(row[max(0, t - memory) : t])[row[t]] for t in range(20)]
        for row in tokens
    ]
    np.testing.assert_allclose(limited.log_probs(tokens), expected, atol=ROUNDING)
    np.testing.assert_allclose(limited.predictions(tokens).shape, (3, 20, process.vocabulary_size))


@pytest.mark.parametrize("memory", [1, 2, 4])
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_exact_curves_are_means_over_all_sequences(process, memory):
    limited = LimitedMemory(process, memory)
    sequences = all_sequences(process)
    probability = np.exp(process.log_probs(sequences).sum(axis=1))
    log_q = limited.log_probs(sequences)
    assert np.exp(log_q.sum(axis=1)).sum() == pytest.approx(1, abs=ROUNDING)
    np.testing.assert_allclose(-probability @ log_q, limited.mean_nll(LENGTH), atol=1e-10)
    for left in range(1, LENGTH):  # unequal blocks as well
        gained = (log_q[:, left:] - limited.log_probs(sequences[:, left:])).sum(axis=1)
        assert limited.bipartite_mi(left, LENGTH) == pytest.approx(probability @ gained, abs=1e-10)


def test_information_ends_where_blocks_are_as_long_as_the_memory():
    process = SantaFe(facts=256)
    limited = LimitedMemory(process, 16)
    curve = [limited.bipartite_mi(l, 2 * l) for l in (1, 2, 4, 8, 16, 32, 64)]
    assert np.all(np.diff(curve[:5]) > 0)
    np.testing.assert_allclose(curve[5:], curve[4], rtol=1e-9)
    # Up to blocks of half the memory, no position of y looks farther back than the memory reaches.
    np.testing.assert_allclose(curve[:4], [process.bipartite_mi(l, 2 * l) for l in (1, 2, 4, 8)], rtol=1e-9)


def test_a_memory_longer_than_the_text_is_none():
    process = SantaFe(facts=64)
    tokens = process.sample(2, 40, np.random.default_rng(1))
    np.testing.assert_array_equal(LimitedMemory(process, 40).log_probs(tokens), process.log_probs(tokens))


def test_the_oracle_scores_and_writes_with_its_memory():
    oracle = OracleLM(process="santa_fe", facts=40, memory="8")
    tokens = SantaFe(facts=40).sample(1, 64, np.random.default_rng(2))
    expected = LimitedMemory(SantaFe(facts=40), 8).log_probs(tokens)[0]
    np.testing.assert_allclose(oracle.token_log_probs(tokens)[0], expected)
    ((total, _),) = oracle._loglikelihood_tokens([(("", ""), [80, *tokens[0, :30]], list(tokens[0, 30:]))])
    assert total == pytest.approx(expected[30:].sum())


@pytest.mark.parametrize("memory", [0, -1, 1.5, "much"])
def test_a_memory_is_a_positive_number_of_tokens(memory):
    with pytest.raises(L2MError, match=r"memory: .* give an integer from 1"):
        OracleLM(process="santa_fe", memory=memory)


def test_processes_without_the_formula_are_refused():
    with pytest.raises(L2MError, match=r"memory: 8 .*tree.*santa_fe, markov"):
        LimitedMemory(Tree(), 8)
