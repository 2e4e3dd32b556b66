"""What a model can read and knows is found in its tables, and nothing beyond is ever looked up."""

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from tolerances import of_log_probabilities

from l2m_eval.errors import L2MError
from l2m_eval.scoring.answer import choose_scorer
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.huggingface import HuggingFaceScorer
from l2m_eval.scoring.limits import known_tokens, readable_tokens
from l2m_eval.scoring.windows import Window

SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
# Settings, and the tokens that can be read.
MODELS = {
    "gpt2": ({"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 24}, 24),
    "gpt_neo": ({"max_position_embeddings": 24, "attention_types": [[["global"], 1]], "num_layers": 1,
                 "num_heads": 4}, 24),
    "opt": ({"max_position_embeddings": 24, "ffn_dim": 32, "word_embed_proj_dim": 32}, 24),  # a table of 26
    "roberta": ({"max_position_embeddings": 24, "is_decoder": True, "pad_token_id": 1, "intermediate_size": 32}, 22),
    "bert": ({"max_position_embeddings": 24, "is_decoder": True, "intermediate_size": 32}, 24),
    "mpt": ({"d_model": 32, "n_heads": 4, "n_layers": 1, "max_seq_len": 24}, 24),
    "gptj": ({"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 24, "rotary_dim": 4}, 24),
    "llama": ({"max_position_embeddings": 24, "intermediate_size": 32}, None),  # frequencies go on
    "bloom": ({"n_layer": 1, "n_head": 4}, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def loaded(tokenizer):
    def load(family, **arguments):
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.for_model(family, **{**SMALL, **MODELS[family][0]})
        model = AutoModelForCausalLM.from_config(config).float().eval()
        return HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", batch_size=2, **arguments)

    return load


def window(read):
    """A window for which so many tokens are read: all but the last."""
    target = np.random.default_rng(0).integers(2, 320, read)
    return Window(np.zeros(1, np.int64), target, (read,), "a window")


@pytest.mark.parametrize("family", MODELS)
def test_the_longest_input_is_that_of_the_models_own_tables(family, loaded):
    lm, limit = loaded(family), MODELS[family][1]
    assert readable_tokens(lm) == limit
    if limit is None:
        return
    assert Encoder(lm).longest == limit
    [scored] = choose_scorer(lm)([window(limit)], lambda _tokens: None)
    assert np.isfinite(scored.sums).all()
    with pytest.raises((IndexError, RuntimeError)):  # what would come, on a GPU a fault of the process
        lm.model(torch.full((1, limit + 1), 2))
    with pytest.raises(
        L2MError, match=f"max_length: 100 is more than .* has {limit} positions; give at most"
    ):
        Encoder(loaded(family, max_length=100))


@pytest.mark.parametrize("prefix", [320, 10**6, -1])
def test_a_start_that_is_no_token_is_refused(loaded, prefix):
    lm = loaded("llama", prefix_token_id=prefix)
    with pytest.raises(
        L2MError, match=f"prefix_token_id: {prefix} is not a token of the model; .* from 0 to 319"
    ):
        Encoder(lm)


class Wrapped(torch.nn.Module):
    """Embeddings in a wrapper that has neither their size nor their weight, as PEFT's trained tokens."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, ids):
        return self.inner(ids)


@pytest.mark.parametrize("kind", ["wrapped", "without the methods"])
def test_a_model_that_only_resembles_the_base_class_is_scored(loaded, kind, plain_sums, monkeypatch):
    lm = loaded("llama")
    if kind == "wrapped":
        lm.model.model.embed_tokens = Wrapped(lm.model.model.embed_tokens)
    else:

        def missing():
            raise NotImplementedError

        monkeypatch.setattr(lm.model, "get_input_embeddings", missing)
        monkeypatch.setattr(lm.model, "get_output_embeddings", missing)
    assert known_tokens(lm) == 320
    assert Encoder(lm).prefix == 0
    scorer = choose_scorer(lm)
    assert isinstance(scorer, HuggingFaceScorer)
    [scored] = scorer([window(20)], lambda _tokens: None)
    assert scored.sums == pytest.approx(plain_sums(lm.model, window(20)), abs=of_log_probabilities(20))
