"""What `performance.py` measures on the CPU: each function runs in a process of its own and returns numbers."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Sequence
from typing import Any

from performance_models import (
    BOOKS,
    LENGTHS,
    MODEL,
    MODELS,
    bare_forward,
    bipartite_windows,
    compared,
    harness_lm,
    lm_of_size,
    no_bar,
    published_windows,
    random_llama,
    random_texts,
    scored,
    seconds,
)


def published_procedure(size: str, documents: int, repetitions: int) -> dict[str, Any]:
    lm = lm_of_size(size)
    texts = random_texts(documents, max(LENGTHS), 4096)
    ours, theirs = bipartite_windows(texts), published_windows(texts)
    fed = sum(answer.tokens for answer in scored(lm, ours))
    found = compared(lambda: scored(lm, ours), lambda: scored(lm, theirs), repetitions)
    return {
        "ours": found[0] / documents,
        "theirs": found[1] / documents,
        "ratio": found[2],
        "tokens": fed / documents,
        "published_tokens": sum(map(len, theirs)) / documents,
    }


def equal_errors(documents: int) -> dict[str, Any]:
    """What one document's term spreads at the longest length, ours and published, and how well their ratio is known.

    Returns:
        By estimator: both standard deviations in nats on the same real documents, and the 95 % interval of the
        squared ratio from resampling pairs of partners.
    """
    import numpy as np

    from l2m_eval.scoring.encoder import Encoder
    from l2m_eval.scoring.windows import (
        bipartite_cells,
        conditional_sums,
        conditional_window,
        right_block_sums,
    )
    from l2m_eval.scoring.windows import right_block_windows as blocks

    lm = harness_lm(MODEL)
    encoder, cells = Encoder(lm), bipartite_cells(LENGTHS, (2,))
    files = sorted(BOOKS.glob("*.txt"))
    rng = np.random.default_rng(0)
    texts = []
    for number in range(documents):
        text = files[number % len(files)].read_text(encoding="utf-8")
        start = int(rng.integers(0, len(text) - 20_000))
        texts.append(encoder.encode(text[start : start + 20_000], "book")[: max(LENGTHS)])
    windows, rows = [], []
    for number, text in enumerate(texts):
        rows.append(
            [
                [conditional_window(text, cells, encoder.prefix, "x")],
                blocks(None, text, cells, encoder.prefix, "x"),
                blocks(text, texts[number ^ 1], cells, encoder.prefix, "x"),
            ]
        )
        windows += [window for kind in rows[-1] for window in kind]
    windows.sort(key=lambda window: -len(window))
    sums = {id(w): answer.sums for w, answer in zip(windows, scored(lm, windows), strict=True)}
    conditional = np.array([conditional_sums(sums[id(row[0][0])], cells) for row in rows])
    marginal, crossed = (
        np.array([right_block_sums([sums[id(w)] for w in row[kind]], cells)[0] for row in rows])
        for kind in (1, 2)
    )
    partner = marginal[[number ^ 1 for number in range(documents)]]
    terms = {
        "direct": (conditional - marginal, conditional - partner),
        "vclub": (conditional - crossed - (marginal - partner), conditional - crossed),
    }
    # Two documents that are each other's partners share terms: pairs are resampled, not documents.
    pairs = rng.integers(0, documents // 2, (2000, documents // 2))
    drawn = np.stack((2 * pairs, 2 * pairs + 1), axis=2).reshape(len(pairs), -1)  # (resamples, documents)
    found = {}
    for name, (ours, theirs) in terms.items():
        one, other = ours[:, -1], theirs[:, -1]  # at the longest length
        ratios = other[drawn].var(axis=1) / one[drawn].var(axis=1)
        low, high = np.quantile(ratios, (0.025, 0.975))
        found[name] = [float(v) for v in (one.std(ddof=1), other.std(ddof=1), low, high)]
    return found


def harness_path(size: str, documents: int, repetitions: int) -> dict[str, Any]:
    """The harness' own loglikelihood path, one request for each piece, against the per-token scorer."""
    from l2m_eval.scoring.portable import PortableScorer

    lm = lm_of_size(size, 4)
    windows = bipartite_windows(random_texts(documents, max(LENGTHS), 4096))
    portable = PortableScorer(lm)
    fed = sum(answer.tokens for answer in portable(windows, no_bar))
    found = compared(lambda: scored(lm, windows), lambda: portable(windows, no_bar), repetitions)
    return {"ours": found[0], "theirs": found[1], "ratio": found[2], "theirs_tokens": fed / documents}


def shared_prefixes(size: str, documents: int, repetitions: int) -> dict[str, Any]:
    """Shared prefixes computed once, against every window read whole."""
    from l2m_eval.scoring.huggingface import HuggingFaceScorer

    lm = lm_of_size(size)
    windows = bipartite_windows(random_texts(documents, max(LENGTHS), 4096))
    sharing, whole = HuggingFaceScorer(lm), HuggingFaceScorer(lm)
    whole._shares_prefixes = False
    one, other = sharing(windows, no_bar), whole(windows, no_bar)
    difference = max(float(abs(a.sums - b.sums).max()) for a, b in zip(one, other, strict=True))
    found = compared(lambda: sharing(windows, no_bar), lambda: whole(windows, no_bar), repetitions)
    tokens = [sum(answer.tokens for answer in answers) / documents for answers in (one, other)]
    return {
        "ours": found[0],
        "theirs": found[1],
        "ratio": found[2],
        "tokens": tokens,
        "difference": difference,
    }


def end_to_end(task: str, size: str, documents: int, repetitions: int) -> dict[str, Any]:
    """The task in the harness' `evaluate`, from text to metrics, against the bare forward passes of its windows."""
    import logging

    from lm_eval import evaluator
    from lm_eval.tasks import TaskManager, get_task_dict

    from l2m_eval.scoring.answer import choose_scorer
    from l2m_eval.scoring.huggingface import HuggingFaceScorer

    logging.disable(logging.WARNING)
    lm = lm_of_size(size)
    if not MODEL.is_dir():
        raise SystemExit("no shared material")
    from transformers import AutoTokenizer

    lm.tokenizer = AutoTokenizer.from_pretrained(MODEL)
    seen: list[Any] = []
    scored = HuggingFaceScorer.__call__

    def recorded(scorer: HuggingFaceScorer, windows: Sequence[Any], *arguments: Any) -> Any:
        seen[:] = windows
        return scored(scorer, windows, *arguments)

    metadata = {"corpus": f"{BOOKS}/*.txt", "documents": documents}
    manager = TaskManager(metadata=metadata)

    def run() -> None:
        evaluator.evaluate(lm=lm, task_dict=get_task_dict([task], manager), bootstrap_iters=0)

    setattr(HuggingFaceScorer, "__call__", recorded)  # noqa: B010  mypy forbids to assign a method
    run()
    setattr(HuggingFaceScorer, "__call__", scored)  # noqa: B010
    budget = choose_scorer(lm)._budget.tokens  # type: ignore[attr-defined]
    found = compared(run, lambda: bare_forward(lm, seen, budget), repetitions)
    return {
        "ours": found[0],
        "theirs": found[1],
        "ratio": found[2],
        "tokens": sum(map(len, seen)) / documents,
    }


def padding(documents: int) -> dict[str, Any]:
    from l2m_eval.scoring.huggingface import SHARED_TOKENS, next_batch
    from l2m_eval.scoring.memory import CPU_TOKENS
    from l2m_eval.scoring.windows import share_prefixes

    trees = share_prefixes(bipartite_windows(random_texts(documents, max(LENGTHS), 4096)), SHARED_TOKENS)
    padded = tokens = 0
    while trees:
        batch = next_batch(trees, CPU_TOKENS)
        for column in [[tree.trunk for tree in batch], *zip(*(tree.branches for tree in batch), strict=True)]:
            padded += len(column) * len(column[0])
            tokens += sum(map(len, column))
        trees = trees[len(batch) :]
    return {"share": 1 - tokens / padded}


def batch_sizes(size: str, documents: int, repetitions: int) -> dict[str, Any]:
    """Seconds of the bare forward passes by tokens of a batch."""
    lm = lm_of_size(size)
    windows = bipartite_windows(random_texts(documents, max(LENGTHS), 4096))
    found: dict[int, list[float]] = {budget: [] for budget in (2049, 4098, 8192, 16384, 32768)}
    for _ in range(repetitions):
        for budget, times in found.items():
            times.append(seconds(lambda budget=budget: bare_forward(lm, windows, budget, body_alone=True)))
    return {str(budget): statistics.median(times) for budget, times in found.items()}


def memory_of(way: str, family: str, length: int, vocabulary: int) -> dict[str, Any]:
    """Peak of the process above what it holds before scoring, for one window of a model with a large head."""
    import numpy as np
    import torch

    from l2m_eval.scoring.huggingface import HuggingFaceScorer
    from l2m_eval.scoring.memory import peak_resident_bytes
    from l2m_eval.scoring.portable import PortableScorer
    from l2m_eval.scoring.windows import Window

    torch.manual_seed(0)
    if family == "llama":
        model = random_llama(64, 2, vocabulary, length)
    else:
        from transformers import Gemma3ForCausalLM, Gemma3TextConfig

        config = Gemma3TextConfig(
            vocab_size=vocabulary, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=32, max_position_embeddings=length, final_logit_softcapping=30.0,
        )  # fmt: skip
        model = Gemma3ForCausalLM(config).eval()
    lm = harness_lm(model, 1, length)
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, vocabulary, length)
    window = Window(np.zeros(1, np.int64), tokens, (length,), "one long window")
    scorer = HuggingFaceScorer(lm) if way == "ours" else PortableScorer(lm)
    gc.collect()
    hidden = 4 * length * 64
    with open("/proc/self/statm") as statm:
        before = int(statm.read().split()[1]) * resource.getpagesize()
    start = time.perf_counter()
    [answer] = scorer([window], no_bar)
    return {
        "peak": peak_resident_bytes() - before - hidden,
        "whole": peak_resident_bytes(),
        "seconds": time.perf_counter() - start,
        "nats": float(-answer.sums[0] / length),
    }


def scaling(size: str, repetitions: int) -> dict[str, Any]:
    """Seconds and tokens of both procedures against the longest length, and against documents."""
    lm = (
        lm_of_size("28 million")
        if size == "28 million"
        else harness_lm(random_llama(*MODELS[size]), "auto", 4096)
    )

    def point(documents: int, longest: int) -> list[float]:
        lengths = tuple(2**k for k in range(2, longest.bit_length()))
        texts = random_texts(documents, longest, 4096)
        ours, theirs = bipartite_windows(texts, lengths), published_windows(texts, lengths)
        our, their, _ = compared(lambda: scored(lm, ours), lambda: scored(lm, theirs), repetitions)
        return [our, their]

    return {
        "lengths": {str(longest): point(2, longest) for longest in (128, 256, 512, 1024, 2048, 4096)},
        "documents": {str(documents): point(documents, 512) for documents in (2, 4, 8, 16, 32)},
    }


def counting() -> dict[str, Any]:
    from two_point_counting import measure_speed

    return dict(measure_speed(10**6, 32_000, 3))


def startup() -> dict[str, Any]:
    from startup import measure_start

    return dict(measure_start(40))
