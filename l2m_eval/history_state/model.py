"""dim z(L) of a loaded Hugging Face model: what its own cache holds after forward passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from l2m_eval.errors import L2MError, cause
from l2m_eval.history_state.configuration import on_meta, refuse_encoder_decoder
from l2m_eval.history_state.forward import OutOfReach, Pass, Run, forward
from l2m_eval.history_state.released import most_positions, name_of, vocabulary_of, windows_named
from l2m_eval.history_state.state import MEASURED, HistoryState
from l2m_eval.history_state.survey import assembled, check_lengths, per_layer, sizes_of, survey

# A loaded model computes its state at this many of the lengths asked for, none longer than this many tokens; the
# rest follows from its configuration, if that agrees.
LIVE_PASSES, LONGEST_LIVE = 3, 4096


def state_of_model(
    model: Any, lengths: Sequence[int], *, make_cache: Callable[[], Any] | None = None, name: str = ""
) -> HistoryState:
    """History state of a loaded Hugging Face model, read from its own cache after forward passes.

    The model computes at a few of the lengths; where the state counted from its configuration alone is the same
    there, it gives the other lengths, which costs nothing. Otherwise the model computes at all of them.

    Args:
        model: A causal language model of transformers, on any device, quantised or not.
        lengths: Numbers of tokens.
        make_cache: Gives the empty cache to fill (a quantised or offloaded one, say); the model's own by default.
        name: What to call it; its configured name by default.

    Raises:
        L2MError: no state is returned, or it is kept where it cannot be read.
    """
    lengths = check_lengths(lengths)
    config = model.config
    name = name or name_of(config)
    if getattr(config, "is_encoder_decoder", False):
        refuse_encoder_decoder(name)
    limit = most_positions(config)
    about: Any = {"name": name, "source": MEASURED, "vocabulary": vocabulary_of(config), "context": limit}
    run = _live(model, make_cache, name)
    short = [n for n in lengths if n <= min(limit or LONGEST_LIVE, LONGEST_LIVE)] or [1]
    tried = sorted({short[0], short[len(short) // 2], short[-1]})[:LIVE_PASSES]
    measured = {n: per_layer(run(n).tensors) for n in tried}
    where = f"measured at {_listed(tried)} tokens"
    try:
        twin = on_meta(config, name, architecture=type(model))
        agrees = all(sizes_of(per_layer(twin(n).tensors)) == sizes_of(measured[n]) for n in tried)
        if agrees:
            found, notes = survey(twin, lengths, windows_named(config), name, limit=limit)
    except (L2MError, OutOfReach):
        agrees = False
    if agrees:
        # The model's own precision, whatever its configuration says: the one that was measured.
        stored = {
            key: (bits / max(elements, 1), dtype)
            for key, (elements, bits, dtype) in measured[tried[-1]].items()
        }
        found = {
            n: {
                key: (e, round(e * stored[key][0]), stored[key][1]) if key in stored else (e, bits, dtype)
                for key, (e, bits, dtype) in layers.items()
            }
            for n, layers in found.items()
        }
        others = len(set(lengths) - set(tried))
        if others:
            where += "; the other lengths from its configuration, which gives the same at these"
        return assembled(found, lengths, notes=(*notes, where), **about)
    beyond = [n for n in lengths if limit and n > limit]
    if beyond:
        raise L2MError(
            f"lengths: {beyond[0]} tokens is more than the {limit} positions of {name}, and its configuration "
            "alone does not give its state; give lengths up to that"
        )
    found, notes = survey(run, lengths, (), name, far=False)
    where = f"measured at {_listed(sorted(found))} tokens; its configuration alone does not give the same"
    return assembled(found, lengths, notes=(*notes, where), **about)


def _live(model: Any, make_cache: Callable[[], Any] | None, name: str) -> Run:
    def run(length: int) -> Pass:
        device = model.get_input_embeddings().weight.device
        was_training = model.training
        model.eval()  # training mode with gradient checkpointing returns no cache
        try:
            return forward(model, length, device, name, make_cache)
        except (L2MError, OutOfReach):
            raise
        except Exception as error:
            raise L2MError(f"model: {name} cannot run {length} tokens: {cause(error)}") from error
        finally:
            model.train(was_training)

    return run


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"{n:,}" for n in numbers)
