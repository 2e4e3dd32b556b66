"""Checkpoints whose weights are quantised are scored as what they are: by their own forward pass, in any batch."""

import importlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from models_and_windows import no_bar, windows_of_many_shapes

from l2m_eval.history_state import history_state_size
from l2m_eval.scoring.answer import choose_scorer

LENGTHS = [16, 64]


LIBRARIES = {
    "bitsandbytes8": "bitsandbytes",
    "nf4": "bitsandbytes",
    "torchao8": "torchao",
    "compressed8": "compressed_tensors",
}


@pytest.fixture(scope="module")
def quantised_weights():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        yield importlib.import_module("quantised_weights")


def test_every_kind_of_the_table_is_tested(quantised_weights):
    assert [kind.__name__ for kind in quantised_weights.KINDS] == list(LIBRARIES)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_quantised_checkpoint_is_scored_by_its_own_forward_pass(
    kind, quantised_weights, tokenizer_folder, tmp_path
):
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    if importlib.util.find_spec(LIBRARIES[kind]) is None:
        pytest.skip(f"{LIBRARIES[kind]} is not installed: it reads quantised weights (docs/backends.md)")
    torch.manual_seed(0)
    # Blocks of 64 numbers share a scale.
    plain = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
        )
    )
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(4)
    plain.save_pretrained(tmp_path / "plain")
    getattr(quantised_weights, kind)(tmp_path / "plain", tmp_path)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path)
    lm = HFLM(pretrained=str(tmp_path), device="cpu", batch_size=4, dtype="bfloat16")
    named = dict(lm.model.named_parameters())
    weights = named.get(
        "model.layers.0.mlp.up_proj.weight", named.get("model.layers.0.mlp.up_proj.weight_packed")
    )
    assert type(weights.data) is not torch.Tensor or not weights.is_floating_point()  # they stay quantised
    scorer = choose_scorer(lm)
    windows = windows_of_many_shapes(320)
    for window, scored in zip(windows, scorer(windows, no_bar), strict=True):
        ids = torch.from_numpy(np.concatenate([window.context, window.target]))
        with torch.no_grad():
            log_probs = lm.model(ids[None, :-1]).logits[0].float().log_softmax(-1)
        own = log_probs.gather(-1, ids[1:, None])[-len(window.target) :, 0].cumsum(0).numpy()
        ends = np.array(window.cuts) - 1
        # Tokens of a piece, each rounded once more in another batch.
        allowed = scorer.rounding * np.diff(window.cuts, prepend=0)
        assert (np.abs(scored.sums - np.diff(own[ends], prepend=0)) <= allowed).all()
    # Weights are no state: what the model keeps of its past is what the plain one keeps.
    ours, its = (history_state_size(one.config, LENGTHS).elements for one in (lm.model, plain))
    assert ours.tolist() == its.tolist()
