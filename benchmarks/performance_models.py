"""Models and windows that `performance.py` measures with, and how two ways of scoring are timed."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("L2M_SHARED", REPOSITORY.parent / "shared"))
MODEL, BOOKS = SHARED / "models" / "books-llama-5m", SHARED / "corpora" / "books"
LENGTHS = tuple(2**k for k in range(2, 12))  # 4 ... 2048, the default


# Models and windows


def random_llama(
    hidden: int, layers: int, vocabulary: int = 4096, longest: int = 4096, **settings: Any
) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=hidden * 11 // 4, num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64), num_key_value_heads=max(1, hidden // 128),
        max_position_embeddings=longest, bos_token_id=0, eos_token_id=1, **settings,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def harness_lm(model: Any, batch_size: int | str = "auto", longest: int | None = None) -> Any:
    """The harness' own LM around a model, with any tokenizer: windows are token ids here."""
    from lm_eval.models.huggingface import HFLM

    if isinstance(model, Path):
        return HFLM(pretrained=str(model), device="cpu", dtype="float32", batch_size=batch_size)
    return HFLM(pretrained=model, tokenizer=any_tokenizer(), batch_size=batch_size, max_length=longest)


def any_tokenizer() -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def random_texts(documents: int, length: int, vocabulary: int) -> list[Any]:
    import numpy as np

    return list(np.random.default_rng(0).integers(3, vocabulary, (documents, length)))


def bipartite_windows(texts: Sequence[Any], lengths: Sequence[int] = LENGTHS) -> list[Any]:
    """What both estimators need of each document, its partner beside it, longest first."""
    from l2m_eval.scoring.windows import bipartite_cells, conditional_window, right_block_windows

    cells = bipartite_cells(lengths, (2,))
    windows = []
    for number, text in enumerate(texts):
        partner = texts[number ^ 1]
        windows += [
            conditional_window(text, cells, 0, "x"),
            *right_block_windows(None, text, cells, 0, "x"),
            *right_block_windows(text, partner, cells, 0, "x"),
        ]
    return sorted(windows, key=lambda window: -len(window))


def published_windows(texts: Sequence[Any], lengths: Sequence[int] = LENGTHS) -> list[Any]:
    """The published procedure: at every split the whole rest of the document is scored anew."""
    import numpy as np

    from l2m_eval.scoring.windows import Window

    prefix, longest = np.zeros(1, np.int64), max(lengths)
    windows = []
    for number, text in enumerate(texts):
        partner = texts[number ^ 1]
        windows.append(Window(prefix, text[:longest], (longest,), "log q(x, y)"))
        for split in (length // 2 for length in lengths):
            crossed = np.concatenate([text[:split], partner[split:longest]])
            windows.append(Window(prefix, crossed, (longest,), "log q(x, y')"))
            windows.append(Window(prefix, partner[split:longest], (longest - split,), "log q(y')"))
    return sorted(windows, key=lambda window: -len(window))


def batches(windows: Sequence[Any], budget: int) -> list[Sequence[Any]]:
    from l2m_eval.scoring.huggingface import next_batch
    from l2m_eval.scoring.windows import Tree

    trees, found = [Tree(window) for window in windows], []
    while trees:
        found.append([tree.trunk for tree in next_batch(trees, budget)])
        trees = trees[len(found[-1]) :]
    return found


def bare_forward(lm: Any, windows: Sequence[Any], budget: int, body_alone: bool = False) -> None:
    """Nothing but the model's forward passes over the windows, in the same batches."""
    import numpy as np
    import torch

    run = getattr(lm.model, lm.model.base_model_prefix) if body_alone else lm.model
    with torch.no_grad():
        for batch in batches(windows, budget):
            ids = np.zeros((len(batch), len(batch[0]) - 1), np.int64)
            for row, window in zip(ids, batch, strict=True):
                read = np.concatenate([window.context, window.target[:-1]])
                row[: len(read)] = read
            run(input_ids=torch.from_numpy(ids).to(lm.device), use_cache=False)


def no_bar(_tokens: int) -> None:
    pass


def scored(lm: Any, windows: Sequence[Any]) -> list[Any]:
    from l2m_eval.scoring.answer import choose_scorer

    return choose_scorer(lm)(windows, no_bar)


# Measuring


def seconds(work: Callable[[], Any], device: str = "cpu") -> float:
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def compared(
    ours: Callable[[], Any], theirs: Callable[[], Any], repetitions: int, device: str = "cpu"
) -> list[float]:
    """Medians: seconds of ours, of theirs, and of the ratio theirs / ours of each repetition."""
    ours(), theirs()  # warm
    pairs = [(seconds(ours, device), seconds(theirs, device)) for _ in range(repetitions)]
    ratio = statistics.median(their / our for our, their in pairs)
    return [*(statistics.median(times) for times in zip(*pairs, strict=True)), ratio]


MODELS = {"5.5 million": (256, 6), "28 million": (512, 8)}


def lm_of_size(size: str, batch_size: int | str = "auto") -> Any:
    if size == "5.5 million" and MODEL.is_dir():
        return harness_lm(MODEL, batch_size)
    return harness_lm(random_llama(*MODELS[size]), batch_size, 4096)
