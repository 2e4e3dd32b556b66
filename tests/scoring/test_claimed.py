"""The context that a configuration claims, with the rotary scaling that stretches it."""

from types import SimpleNamespace

import pytest

from l2m_eval.scoring.claimed import claimed_by_configuration, claimed_context

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}


@pytest.mark.parametrize(
    ("configuration", "claims"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 1024, "n_ctx": 512}, 1024),
        ({"max_seq_len": 4096}, 4096),
        ({}, None),  # recurrent models name none
        ({"max_position_embeddings": None}, None),
        # Qwen's configurations name the length before the stretch, Llama 3.1's the one after it.
        ({"max_position_embeddings": 32768, "rope_scaling": YARN}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": YARN}, 131072),
        ({"max_position_embeddings": 131072, "rope_scaling": LLAMA3}, 131072),
        ({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear", "factor": 2}}, 4096),
        ({"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 2048),
        (
            {
                "max_position_embeddings": 131072,
                "model_type": "gemma3_text",
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
            131072,
        ),
    ],
)  # fmt: skip
def test_claims(configuration, claims):
    assert claimed_by_configuration(SimpleNamespace(**configuration)) == claims
    lm = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(**configuration)))
    assert claimed_context(lm) == claims


def test_a_model_without_a_configuration_claims_nothing():
    assert claimed_context(SimpleNamespace()) is None


def test_real_configurations():
    from transformers import Gemma3TextConfig, LlamaConfig, MambaConfig

    assert claimed_by_configuration(LlamaConfig(max_position_embeddings=8192)) == 8192
    assert claimed_by_configuration(Gemma3TextConfig()) == Gemma3TextConfig().max_position_embeddings
    assert claimed_by_configuration(MambaConfig()) is None
