"""What `performance.py --gpu` measures: models of 1 to 8 billion random weights."""

from __future__ import annotations

import sys
from typing import Any

from performance_models import (
    LENGTHS,
    bare_forward,
    bipartite_windows,
    compared,
    harness_lm,
    no_bar,
    random_texts,
)

GPU_MODELS = {
    # hidden, layers, heads, key-value heads, intermediate: of Llama 3.2 1B, 3B and Llama 3.1 8B
    "Llama 1B": ("llama", 2048, 16, 32, 8, 8192),
    "Llama 3B": ("llama", 3072, 28, 24, 8, 8192),
    "Llama 8B": ("llama", 4096, 32, 32, 8, 14336),
    "Mamba2 1.3B": ("mamba2", 2048, 48, 64, 1, 0),
    "Mamba2 2.7B": ("mamba2", 2560, 64, 80, 1, 0),
}
TINY_MODELS = {"tiny Llama": ("llama", 64, 2, 4, 2, 128), "tiny Mamba2": ("mamba2", 64, 2, 8, 1, 0)}


def on_device(name: str, dry: bool, documents: int, repetitions: int) -> dict[str, Any]:
    """Tokens per second as a share of the bare forward pass, peak memory and the longest context that fits."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Mamba2Config, Mamba2ForCausalLM

    from l2m_eval.scoring.answer import choose_scorer
    from l2m_eval.scoring.memory import peak_resident_bytes
    from l2m_eval.scoring.windows import Window

    device = "cpu" if dry else "cuda"
    family, hidden, layers, heads, groups, intermediate = {**GPU_MODELS, **TINY_MODELS}[name]
    vocabulary, longest = (4096, 512) if dry else (128_256, 2**18)
    common = {"vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers}
    if family == "llama":
        config: Any = LlamaConfig(
            **common, intermediate_size=intermediate, num_attention_heads=heads, num_key_value_heads=groups,
            max_position_embeddings=longest, rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        )  # fmt: skip
        kind: Any = LlamaForCausalLM
    else:
        config = Mamba2Config(
            **common, state_size=128, num_heads=heads, head_dim=2 * hidden // heads, n_groups=groups, expand=2
        )
        kind = Mamba2ForCausalLM
    torch.manual_seed(0)
    with torch.device(device):
        previous = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        model = kind(config).eval()
        torch.set_default_dtype(previous)
    lm = harness_lm(model, "auto", longest)
    lengths = tuple(length for length in LENGTHS if length <= longest)
    windows = bipartite_windows(random_texts(documents, max(lengths), vocabulary), lengths)
    scorer = choose_scorer(lm)
    fed = sum(answer.tokens for answer in scorer(windows, no_bar))  # and finds the size of batches
    budget = scorer._budget.tokens
    single = [w for w in windows if len(w) == len(windows[0])][:documents]
    found = compared(
        lambda: scorer(single, no_bar), lambda: bare_forward(lm, single, budget), repetitions, device
    )
    whole = compared(
        lambda: scorer(windows, no_bar), lambda: bare_forward(lm, windows, budget), repetitions, device
    )
    tokens = sum(map(len, single))
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "device": "CPU" if dry else torch.cuda.get_device_name(),
        "batch_tokens": budget,
        "tokens_per_second": tokens / found[0],
        "share_of_bare": found[2],
        "bipartite_share_of_bare": whole[2],
        "bipartite_tokens": fed / documents,
        "peak": peak_resident_bytes() if dry else torch.cuda.max_memory_allocated(),
    }
    fits, length = 0, max(lengths)
    while length <= longest:
        window = Window(single[0].context, random_texts(1, length, vocabulary)[0], (length,), "longest")
        try:
            scorer([window], no_bar)
        except Exception as error:  # out of memory, as one line or as the kernel's own error
            print(f"{name}: {length}: {error}", file=sys.stderr)
            break
        fits, length = length, 2 * length
    return {**result, "longest": fits}
