"""What `performance.py` measures of smaller states: the passes that they cost, and the memory that they take."""

from __future__ import annotations

import gc
import resource
from typing import Any

from performance_models import compared, harness_lm, lm_of_size, no_bar, random_llama, random_texts, scored

STATES = ("bits8", "bits4", "bits3", "sinks4+window256", "sinks4+window64", "sinks4+window16")


def smaller_states(size: str, documents: int, repetitions: int) -> dict[str, Any]:
    """Processor time of all states of 1,024 tokens, x and y half each, against that of the whole texts alone."""
    import numpy as np

    from l2m_eval.scoring.windows import Window

    lm = lm_of_size(size)
    texts = [(np.append(0, text[:512]), text[512:]) for text in random_texts(documents, 1024, 4096)]
    whole = [Window(x, y, (len(y),), f"{n}") for n, (x, y) in enumerate(texts)]
    through = [
        Window(x, y, (len(y),), f"{n}", state)
        for n, (x, y) in enumerate(texts)
        for state in ("full", *STATES)
    ]
    ours, theirs, ratio = compared(lambda: scored(lm, through), lambda: scored(lm, whole), repetitions)
    return {
        "ours": ours,
        "theirs": theirs,
        "passes": 1 / ratio,
        "most": 1 + len(STATES) * 512 / 1024,
        "tokens": sum(answer.tokens for answer in scored(lm, through)) / documents,
    }


def memory_of_states(count: int) -> dict[str, Any]:
    """Peak of the process above what it holds before scoring, for so many states of a text of 8,192 tokens."""
    import numpy as np

    from l2m_eval.scoring.huggingface import HuggingFaceScorer
    from l2m_eval.scoring.memory import peak_resident_bytes
    from l2m_eval.scoring.windows import Window

    lm = harness_lm(random_llama(256, 16, 4096, 8200), 1, 8200)
    tokens = np.random.default_rng(0).integers(3, 4096, 8192)
    windows = [
        Window(tokens[:8128], tokens[8128:], (64,), "one long text", f"bits{bits}")
        for bits in range(16, 16 - count, -1)
    ]
    scorer = HuggingFaceScorer(lm)
    scorer(
        [Window(tokens[:24], tokens[24:32], (8,), "short", "bits4")], no_bar
    )  # what is asked once of a model
    gc.collect()
    with open("/proc/self/statm") as statm:
        before = int(statm.read().split()[1]) * resource.getpagesize()
    answers = scorer(windows, no_bar)
    state = 32 / 8 * 2 * 16 * 2 * 64 * 8127
    return {"peak": peak_resident_bytes() - before, "state": state, "states": len(answers)}
