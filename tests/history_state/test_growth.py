"""How a state grows: exponents, saturation, interpolation."""

from __future__ import annotations

import json

import numpy as np
import pytest

from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState, history_state_size, state_growth
from l2m_eval.history_state.state import saturation

LENGTHS = [2**k for k in range(1, 12)]


def growth(formula):
    return state_growth(history_state_size({"formula": formula}, LENGTHS))


@pytest.mark.parametrize(
    ("formula", "gamma"),
    [
        ("7*L", 1), ("10**9 + L", 1), ("min(L, 4096)", 0), ("5", 0), ("10**9 + 1000*sqrt(L)", 0.5),
        ("100*L**0.8", 0.8), ("L*L", 2), ("1000*log(L) + 1", 0), ("10**6 - 1000/L", 0),
    ],
)  # fmt: skip
def test_the_exponent_at_large_lengths_ignores_constants(formula, gamma):
    # sizes are whole numbers, so that exponents are known to a few parts in a thousand
    assert growth(formula).asymptotic_exponent == pytest.approx(gamma, abs=5e-3)


def test_a_hybrid_has_a_constant_part_and_a_slope():
    found = growth("123456 + 32*L + 16*min(L, 1000)")
    assert (found.constant_part, found.slope_per_token) == (123456 + 16000, 32)
    assert found.exponent < 0.5  # over the lengths asked for the constant dominates


def test_saturation_is_found_to_the_token():
    assert growth("3*min(L, 777)").saturation_length == 777
    assert growth("9").saturation_length == 1
    assert growth("L").saturation_length is None


def test_windows_fill_token_by_token():
    lengths = np.array([1, 2, 16, 64, 128, 256])
    assert saturation(lengths, 12 * np.minimum(lengths, 63)) == 63
    assert saturation(lengths, 12 * lengths) is None
    assert saturation(lengths, np.full(6, 5)) == 1


def test_sizes_between_and_beyond_known_lengths():
    state = history_state_size({"formula": "100 + 7*min(L, 50) + 2*L", "bits": 8}, LENGTHS)
    at = np.array([10.0, 50.0, 51.0, 3000.0, 2.0**45])
    exact = 100 + 7 * np.minimum(at, 50) + 2 * at
    # the kink lies between two grid lengths, 9 % apart
    np.testing.assert_allclose(state.elements_at(at), exact, rtol=0.02)
    np.testing.assert_allclose(state.bits_at(at), 8 * exact, rtol=0.02)


def test_a_table_of_two_lengths_does_not_tell_how_it_goes_on():
    state = history_state_size({"table": {1024: 10, 2048: 20}}, [1024, 2048])
    found = state_growth(state)
    assert np.isnan(found.asymptotic_exponent)
    assert found.exponent == pytest.approx(1.0)


def test_json_is_plain():
    import json

    assert json.loads(json.dumps(history_state_size({"constant": 5}, [8]).to_json()))["total_elements"] == [5]


def test_a_state_read_back_is_the_one_written():
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=99, dtype="float16"
    )
    for state in (
        history_state_size(config, [8, 64]),
        history_state_size({"formula": "min(L, 10)"}, [4, 40]),
    ):
        again = HistoryState.from_json(json.loads(json.dumps(state.to_json())))
        assert again.to_json() == state.to_json()
        assert state_growth(again) == state_growth(state)
        assert again.bits_at([5, 500]).tolist() == state.bits_at([5, 500]).tolist()
    with pytest.raises(L2MError, match="no complete history state"):
        HistoryState.from_json({"model": "half"})


def test_the_precision_of_the_run_and_the_vocabulary_go_into_the_state():
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=99, dtype="float16"
    )
    stored, run = history_state_size(config, [8]), history_state_size(config, [8], dtype="float32")
    assert run.total.tolist() == stored.total.tolist()
    assert run.total_bits.tolist() == [2 * bits for bits in stored.total_bits]
    assert stored.vocabulary == 99
