"""Writes docs/history_state.md: the history state of every causal-LM family of the installed transformers.

    python benchmarks/history_state_table.py [family ...]

Each family is counted from its default configuration alone (a full-size model without weights), and a tiny random
model of the same family is run on the CPU to see that its own cache agrees with its configuration. Takes minutes.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "history_state.md"
LENGTHS = (1, 32, 128)  # growth is probed far beyond, as far as the family goes
TINY_LENGTHS = (1, 16, 40)

# In terms of the configuration, from the papers of the architectures; the tests hold these against models.
CLOSED_FORMS = {
    "llama": "2 · layers · kv_heads · head_dim · L",
    "mixtral": "2 · layers · kv_heads · head_dim · L",
    "qwen3": "2 · layers · kv_heads · head_dim · L",
    "mistral": "2 · layers · kv_heads · head_dim · min(L, W − 1)",
    "gemma2": "2 · kv_heads · head_dim · (full layers · L + window layers · min(L, W − 1))",
    "gemma3_text": "2 · kv_heads · head_dim · (full layers · L + window layers · min(L, W − 1))",
    "gpt_oss": "2 · kv_heads · head_dim · (full layers · L + window layers · min(L, W − 1))",
    "cohere2": "2 · kv_heads · head_dim · (full layers · L + window layers · min(L, W − 1))",
    "deepseek_v3": "layers · (kv_lora_rank + qk_rope_head_dim) · L",
    "mamba": "layers · inner · (state_size + conv_kernel)",
    "falcon_mamba": "layers · inner · (state_size + conv_kernel)",
    "mamba2": "layers · (inner · state_size + (inner + 2 · n_groups · state_size) · conv_kernel)",
    "rwkv": "layers · (2 · hidden + 3 · attention_hidden)",
    "jamba": "2 · kv_heads · head_dim · attention layers · L + Mamba layers · inner · (d_state + d_conv)",
    "qwen3_next": "2 · kv_heads · head_dim · full layers · L + linear layers · "
    "((2 · keys + values) · conv_kernel + values · key_head_dim)",
    "lfm2": "2 · kv_heads · head_dim · full layers · L + conv layers · hidden · conv_L_cache",
    "falcon_h1": "layers · (2 · kv_heads · head_dim · L "
    "+ inner · d_state + (inner + 2 · n_groups · d_state) · d_conv)",
    "minimax": "2 · kv_heads · head_dim · full layers · L + linear layers · heads · head_dim²",
}

INTRODUCTION = """# History states of the model families

*Written by `benchmarks/history_state_table.py` with transformers {version}; do not edit.*

dim z(L) is the number of elements that a model keeps of L tokens (one sequence): keys and values, compressed
latents, recurrent and convolution states. It decides which growth of mutual information a model can hold: L^β needs a
state that grows at least like L^β (arXiv 2503.04725, Theorem 5.4), and published values of β lie between 0 and 1.

- **growth**: *linear* (γ = 1, attention or a hybrid with some), *saturates* (γ = 0 beyond a window), *constant*
  (γ = 0).
- **dim z(L) of the default configuration**: at large L. The sizes of your model may differ: measure them
  (`history_state_size` takes a loaded model, a `config.json` or a formula).
- **how known**: *configuration* means counted from the default configuration without weights; *cache* means that a
  tiny random model of the family was run as well, and its cache agrees with what its configuration predicts.
- The state is what the model's own cache keeps. Some older families mask a window but keep everything in the cache
  (GPT-Neo); their state is counted as it is kept.

"""


def tiny_models() -> ModuleType:
    path = ROOT / "tests" / "history_state" / "tiny_models.py"
    spec = importlib.util.spec_from_file_location("tiny_models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(family: str, tiny: ModuleType) -> tuple[str, str]:
    """Growth class and table row of one family."""
    from l2m_eval.errors import L2MError
    from l2m_eval.history_state import history_state_size, state_growth

    agreed, tiny_state = cache_agrees(family, tiny)
    try:
        state, of = history_state_size(default_configuration(family), LENGTHS), ""
    except Exception as error:
        refusal = error if isinstance(error, L2MError) else None
        if tiny_state is None:
            reason = str(refusal or error).split("\n")[0].split(";")[0].removeprefix("model: ")
            return "unknown", f"| `{family}` | not known | | | {reason[:150]} |"
        state, of = tiny_state, " (tiny model)"
    growth = state_growth(state)
    if growth.asymptotic_exponent == 1:
        name = "linear"
    elif growth.saturation_length == 1:
        name = "constant"
    else:
        name = f"saturates at {growth.saturation_length:,} tokens"
    size = f"{growth.slope_per_token:,.10g} · L" if growth.slope_per_token else ""
    if growth.constant_part or not size:
        size = f"{growth.constant_part:,.10g}" + (f" + {size}" if size else "")
    source = "cache" if of else "configuration, cache" if agreed else "configuration"
    kinds = ", ".join(state.kinds)
    form = f"; {CLOSED_FORMS[family]}" if family in CLOSED_FORMS else ""
    return name.split()[0], f"| `{family}` | {name} | {kinds} | {size}{of}{form} | {source} |"


def default_configuration(family: str) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[family]()
    for part in (config, config.get_text_config(decoder=True)):
        if hasattr(part, "is_decoder"):
            part.is_decoder = True
    config.is_encoder_decoder = False  # the decoder of an encoder–decoder alone is a causal model
    return config


def cache_agrees(family: str, tiny: ModuleType) -> tuple[bool, Any]:
    """Whether a tiny model's cache and its configuration give the same, and the state of the tiny model."""
    from l2m_eval.history_state import history_state_size

    try:
        model = tiny.tiny_model(family)
        live = history_state_size(model, TINY_LENGTHS)
    except Exception:
        return False, None
    try:
        predicted = history_state_size(tiny.tiny_config(family), TINY_LENGTHS)
    except Exception:
        return False, live
    return predicted.elements.tolist() == live.elements.tolist(), live


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    tiny = tiny_models()
    families = sys.argv[1:] or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    rows, counts = [], dict.fromkeys(("linear", "saturates", "constant", "unknown"), 0)
    for family in families:
        growth, line = row(family, tiny)
        counts[growth] += 1
        rows.append(line)
        print(line, flush=True)
    if sys.argv[1:]:
        return
    summary = (
        f"{len(families)} families: {counts['linear']} linear, {counts['saturates']} saturate, "
        f"{counts['constant']} constant, {counts['unknown']} not known.\n\n"
    )
    head = "| family | growth | kinds of state | dim z(L), elements | how known |\n| --- | --- | --- | --- | --- |\n"
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(
        INTRODUCTION.format(version=transformers.__version__) + summary + head + "\n".join(rows) + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
