"""Every causal-LM family: what a model's own cache holds is what its configuration alone predicts."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tolerances import of_a_log_probability
from transformers import DynamicCache
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from l2m_eval.errors import L2MError
from l2m_eval.history_state import configuration, history_state_size, state_growth
from l2m_eval.history_state.cache import kept_in_modules, read_cache, read_modules, returned_state
from l2m_eval.history_state.forward import MODULE_STATES

# The window of the tiny models is 8 tokens, their convolutions are shorter: 40 is beyond everything.
LENGTHS = (1, 5, 16, 40)
MAIN = [
    "llama",
    "mistral",
    "gemma2",
    "gemma3_text",
    "gpt_oss",
    "deepseek_v3",
    "mamba",
    "mamba2",
    "falcon_mamba",
    "rwkv",
    "jamba",
    "qwen3_next",
    "lfm2",
    "falcon_h1",
    "minimax",
    "gpt2",
    "mixtral",
    "recurrent_gemma",
]
# Nothing reports their state: they have no cache.
UNREADABLE = {
    "openai-gpt": "returns no history state",
    "xlm": "declare the size yourself",
}
# Shapes do not tell which tokens go to which expert or adapter; XLNet mixes devices.
LIVE_ONLY = {"jetmoe", "xmod", "xlnet"}
# Their forward pass cannot start from input ids and a default configuration, or needs a package that is not there.
NOT_BUILT = {
    "blt",
    "dory",
    "dots3_note",
    "gemma3n",
    "gemma4_assistant",
    "gemma4_unified_assistant",
    "musicgen",
    "musicgen_melody",
    "qwen4_exp",
    "qwen4_exp_text",
}


BUDGET = configuration.OPERATION_BUDGET


@pytest.fixture(autouse=True)
def tiny_budget(monkeypatch):
    """Tiny models take a thousandth of a large model's operations, so that a loop over tokens shows sooner."""
    monkeypatch.setattr(configuration, "OPERATION_BUDGET", 8_000)


def measured(model, length):
    """Elements per kind after a plain forward pass, read from the cache directly."""
    with torch.no_grad():
        cache = DynamicCache(config=model.config) if model.config.model_type == "recurrent_gemma" else None
        given = (
            {} if cache is None else {"past_key_values": cache}
        )  # it fills a cache that it does not return
        output = model(input_ids=torch.full((1, length), 5), use_cache=True, **given)
    in_modules = {k: v for k, v in kept_in_modules(model).items() if k.endswith(MODULE_STATES)}
    sums = {}
    for tensor in (
        *read_cache(returned_state(output) if cache is None else cache, config=model.config),
        *read_modules(in_modules),
    ):
        sums[tensor.kind] = sums.get(tensor.kind, 0) + tensor.elements
    return sums


def check_family(tiny, family):
    try:
        config = tiny.tiny_config(family)
        model = tiny.tiny_model(family, config)
        with torch.no_grad():
            model(input_ids=torch.full((1, 4), 5))
    except Exception as error:
        if family in NOT_BUILT:
            pytest.skip(f"no tiny {family} can be built here: {error}")
        raise
    if family in UNREADABLE:
        for source in (model, config):
            with pytest.raises(L2MError, match=UNREADABLE[family]):
                history_state_size(source, LENGTHS)
        return
    if family in LIVE_ONLY:
        with pytest.raises(L2MError, match="load the model"):
            history_state_size(config, LENGTHS)
    else:
        predicted = history_state_size(config, LENGTHS)
        assert predicted.source == "configuration"
        for column, length in enumerate(LENGTHS):
            own = measured(model, length)
            assert dict(zip(predicted.kinds, predicted.elements[:, column].tolist(), strict=True)) == {
                kind: own.get(kind, 0) for kind in predicted.kinds
            }
            assert set(own) <= set(predicted.kinds)
    live = history_state_size(model, LENGTHS)
    assert live.source == "measured on the model's own cache"
    assert [sum(measured(model, n).values()) for n in LENGTHS] == live.total.tolist()
    assert (live.total > 0).all()
    assert state_growth(live).asymptotic_exponent in (0.0, 1.0)


@pytest.mark.parametrize("family", MAIN)
def test_configuration_alone_gives_what_the_cache_holds(tiny, family):
    check_family(tiny, family)


@pytest.mark.parametrize("family", sorted(UNREADABLE))
def test_state_that_cannot_be_read_is_refused_and_never_zero(tiny, family):
    check_family(tiny, family)


# Its shortest pass takes more operations than the tiny budget: hash routing over many experts.
OVER_THE_TINY_BUDGET = {"deepseek_v4"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - set(MAIN) - set(UNREADABLE))
)
def test_every_other_family_of_the_installed_transformers(tiny, family, monkeypatch):
    if family in OVER_THE_TINY_BUDGET:
        monkeypatch.setattr(configuration, "OPERATION_BUDGET", BUDGET)
    check_family(tiny, family)


@pytest.mark.parametrize(
    "family", ["llama", "gemma2", "mamba", "rwkv", "jamba", "lfm2", "falcon_h1", "deepseek_v3"]
)
def test_what_is_counted_is_all_that_the_past_leaves(tiny, family):
    """q(y | x) = q(y | x_l, z): a fresh copy of the model given only the cache continues as if it had read x."""
    model = tiny.tiny_model(family)
    fresh = copy.deepcopy(model)
    ids = torch.randint(3, 120, (1, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model(input_ids=ids, use_cache=True).logits[:, -1]
        state = model(input_ids=ids[:, :-1], use_cache=True)
        name = next(
            n for n in ("cache", "past_key_values", "cache_params", "state") if state.get(n) is not None
        )
        continued = fresh(input_ids=ids[:, -1:], use_cache=True, **{name: state[name]}).logits[:, -1]
    # The same sums in another order. A state that is not read whole moves the logits by a good part of them.
    rounding = of_a_log_probability(largest=float(whole.abs().max()), width=256)
    np.testing.assert_allclose(continued.numpy(), whole.numpy(), atol=rounding)
