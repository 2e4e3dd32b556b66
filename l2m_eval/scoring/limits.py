"""How many tokens a model in this process can read at once, and how many it knows.

Both are found in its tables rather than in its configuration. Beyond a table of learned positions, or with an id
beyond the embeddings, a CPU raises an IndexError and a GPU faults for the whole process.
"""

from __future__ import annotations

import contextlib
from typing import Any

from l2m_eval.errors import L2MError


def readable_tokens(lm: Any) -> int | None:
    """The most tokens that the model of a harness LM can read at once; None where no table is known that limits it.

    Raises:
        L2MError: more were asked for with `max_length`.
    """
    if not hasattr(lm, "_l2m_readable_tokens"):
        lm._l2m_readable_tokens = _readable_tokens(lm)
    limit: int | None = lm._l2m_readable_tokens
    given = getattr(lm, "_max_length", None)
    if limit is not None and isinstance(given, int) and given > limit:
        raise L2MError(
            f"max_length: {given} is more than the model can read, which has {limit} positions; give at most {limit}"
        )
    return limit


def known_tokens(lm: Any) -> int | None:
    """How many tokens the model of a harness LM knows; None where nothing of it says so."""
    if not hasattr(lm, "_l2m_known_tokens"):
        lm._l2m_known_tokens = _known_tokens(lm)
    known: int | None = lm._l2m_known_tokens
    return known


def embedding_rows(model: Any) -> int | None:
    """Tokens that a model embeds; None where it does not show its embeddings, as some remote code does not."""
    try:
        table = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None
    # Wrappers around the table (PEFT's trained tokens) keep it under one of these names.
    inner = [getattr(table, name, None) for name in ("original_module", "base_layer")]
    for candidate in (table, *inner):
        rows = getattr(candidate, "num_embeddings", None)
        if rows is None:
            rows = next(iter(getattr(getattr(candidate, "weight", None), "shape", ())), None)
        if isinstance(rows, int):
            return rows
    return None


def _known_tokens(lm: Any) -> int | None:
    model = getattr(lm, "model", None)
    if not callable(getattr(model, "modules", None)):
        size = getattr(getattr(lm, "_config", None), "vocab_size", None)
        return size if isinstance(size, int) else None
    rows = embedding_rows(model)
    if rows is None and hasattr(lm, "_model_call"):
        import torch

        with torch.no_grad():
            rows = int(lm._model_call(torch.zeros((1, 2), dtype=torch.long, device=lm.device)).shape[-1])
    return rows


def _readable_tokens(lm: Any) -> int | None:
    model: Any = getattr(lm, "model", None)
    if not callable(getattr(model, "modules", None)) or not hasattr(lm, "_model_call"):
        return None
    limits = []
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "model_type", None) == "mpt":  # its biases are made for so many
            limits.append(int(config.max_seq_len))
        sines: Any = getattr(module, "embed_positions", None)  # GPT-J and CodeGen: a table of sines
        if getattr(sines, "ndim", None) == 2:
            limits.append(int(sines.shape[0]))
    with contextlib.suppress(Exception):  # whatever such a model does; reading the text will say it
        limits += _learned_positions(lm, model)
    return min(limits, default=None)


def _learned_positions(lm: Any, model: Any) -> list[int]:
    """Tokens that each table of learned positions has room for.

    Such a table is one of which n consecutive rows are looked up for n equal tokens, wherever the first of them is:
    OPT begins at the third, RoBERTa behind its padding token.
    """
    short, long = _rows_looked_up(lm, model, 3), _rows_looked_up(lm, model, 5)
    found = []
    for (size, first, count), (size_long, first_long, count_long) in zip(short, long, strict=True):
        if (size, first) == (size_long, first_long) and count_long - count == 2 and count >= 3:
            found.append(size - first - (count - 3))  # a trained prompt takes positions too
    return found


def _rows_looked_up(lm: Any, model: Any, tokens: int) -> list[tuple[int, int, int]]:
    """Size of the table, first row and number of rows of every lookup while so many tokens are read."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Lookups(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.embedding.default:
                rows = args[1].unique()
                count = len(rows) if len(rows) and int(rows[-1] - rows[0]) == len(rows) - 1 else 0
                found.append((int(args[0].shape[0]), int(rows[0]) if count else 0, count))
            return func(*args, **(kwargs or {}))

    config = getattr(model, "config", None)
    padding = getattr(config, "pad_token_id", None)
    token = 1 if padding == 0 else 0  # padding has no position of its own
    ids = torch.full((1, tokens), token, dtype=torch.long, device=lm.device)
    with torch.no_grad(), Lookups():
        lm._model_call(ids)
    return found
