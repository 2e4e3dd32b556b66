"""What `performance.py` measures of a released model with 262,144 words: time and memory of its head."""

from __future__ import annotations

import gc
import os
import resource
import statistics
from pathlib import Path
from typing import Any

from performance_models import REPOSITORY, no_bar, seconds

# From examples/fetch_models.py (`make models`).
GEMMA = Path(os.environ.get("L2M_MODELS") or REPOSITORY / "models") / "gemma-3-270m"
WAYS = ("here", "harness", "harness, softmax in float32")


def scorer_of(way: str, dtype: str, tokens: int) -> tuple[Any, Any]:
    """A scorer of Gemma, and one window of random tokens for it, as long as given.

    The harness' ways are one request of its `_loglikelihood_tokens` for the whole window, as its
    `loglikelihood_rolling` makes it: full logits, and their log-softmax beside them.
    """
    import numpy as np
    from lm_eval.models.huggingface import HFLM

    from l2m_eval.scoring.huggingface import HuggingFaceScorer
    from l2m_eval.scoring.portable import PortableScorer
    from l2m_eval.scoring.windows import Window

    softmax = {"softmax_dtype": "float32"} if way == WAYS[2] else {}
    lm = HFLM(pretrained=str(GEMMA), device="cpu", dtype=dtype, batch_size=1, max_length=tokens, **softmax)
    target = np.random.default_rng(0).integers(1000, 200_000, tokens)
    window = Window(np.array([lm.prefix_token_id]), target, (tokens,), "one window")
    scorer = HuggingFaceScorer(lm) if way == WAYS[0] else PortableScorer(lm)
    # Weights are read from their file when they are first used; what is asked once of a model is done here, too.
    scorer([Window(window.context, target[:8], (8,), "short")], no_bar)
    return scorer, window


def time_of_large_head(dtype: str, tokens: int, repetitions: int) -> dict[str, Any]:
    """Processor time of one window, all ways in turn, and of the model below its head: medians.

    The ratios are medians over repetitions of the harness' time to ours.
    """
    import torch

    made = {way: scorer_of(way, dtype, tokens) for way in WAYS}
    ours, window = made[WAYS[0]]

    def body() -> None:
        with torch.no_grad():
            ours.run_body(torch.from_numpy(window.target[None]))

    work = {way: lambda scorer=scorer: scorer([window], no_bar) for way, (scorer, _) in made.items()}
    taken = [{way: seconds(one) for way, one in {**work, "body": body}.items()} for _ in range(repetitions)]
    return {
        "seconds": {way: statistics.median(times[way] for times in taken) for way in (*WAYS, "body")},
        "ratios": {
            way: statistics.median(times[way] / times[WAYS[0]] for times in taken) for way in WAYS[1:]
        },
    }


def memory_of_large_head(way: str, dtype: str, tokens: int) -> dict[str, Any]:
    """Peak of the process above what it holds before the window is scored, and the log-probability found."""
    from l2m_eval.scoring.memory import peak_resident_bytes

    scorer, window = scorer_of(way, dtype, tokens)
    gc.collect()
    with open("/proc/self/statm") as statm:
        before = int(statm.read().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    [answer] = scorer([window], no_bar)
    return {"peak": peak_resident_bytes() - before, "nats": float(-answer.sums[0] / tokens)}
