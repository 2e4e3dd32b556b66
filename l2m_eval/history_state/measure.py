"""dim z(L) of a Hugging Face model, loaded or as a configuration alone.

A configuration is built on ``torch.device("meta")``, where tensors have shapes and no contents: the forward pass
fills a real cache object with tensors of the right size without weights, memory or arithmetic.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from l2m_eval.errors import L2MError, shown
from l2m_eval.history_state.cache import (
    StateTensor,
    kept_in_modules,
    read_cache,
    returned_state,
    settings_of,
    windows_of,
)
from l2m_eval.history_state.state import (
    CONFIGURATION,
    KINDS,
    MEASURED,
    Counts,
    HistoryState,
    LayerState,
    saturation,
)

# Operations of one forward pass without arithmetic, after which it is given up: a few seconds. Only models that
# loop over tokens in Python (Mamba, RWKV and xLSTM without their kernels) ever come near it.
OPERATION_BUDGET = 60_000
# Lengths at which such models are looked at instead, all far beyond any convolution.
SHORT_LENGTHS = (8, 16, 32)
# Far more than any model has: a configuration of a line can ask for a thousand million, one object each.
MOST_LAYERS = 10_000
# A loaded model computes its state at this many of the lengths asked for, none longer than this many tokens; the
# rest follows from its configuration, if that agrees.
LIVE_PASSES, LONGEST_LIVE = 3, 4096
_WINDOW_FIELDS = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")
_POSITION_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions")

Run = Callable[[int], tuple[tuple[StateTensor, ...], tuple[int, ...]]]
PerLayer = dict[tuple[int | None, str], tuple[int, int, str]]  # (layer, kind): elements, bits, dtype


class _OutOfReach(Exception):
    """A forward pass without arithmetic that takes too many operations."""


class _ShapesOnly(TorchDispatchMode):
    """Answers the few questions about values that tensors without contents are asked, and counts operations.

    Values decide how a forward pass is computed (whether a mask is needed, which experts are used), never how
    large its state is, so that any answer will do: zero, false, nowhere.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        if self.operations > OPERATION_BUDGET:
            raise _OutOfReach
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return False if args[0].dtype is torch.bool else 0.0 if args[0].is_floating_point() else 0
        if func is torch.ops.aten.nonzero.default and args[0].is_meta:
            return torch.empty((0, args[0].ndim), dtype=torch.long, device="meta")
        return func(*args, **(kwargs or {}))


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
    name = name or _name_of(config)
    limit = _most_positions(config)
    run = _live(model, make_cache, name)
    short = [n for n in lengths if n <= min(limit or LONGEST_LIVE, LONGEST_LIVE)] or [1]
    tried = sorted({short[0], short[len(short) // 2], short[-1]})[:LIVE_PASSES]
    measured = {n: _per_layer(run(n)[0]) for n in tried}
    where = f"measured at {_listed(tried)} tokens"
    try:
        twin = _on_meta(config, name, architecture=type(model))
        agrees = all(_sizes(_per_layer(twin(n)[0])) == _sizes(measured[n]) for n in tried)
        if agrees:
            found, notes = _survey(twin, lengths, _windows(config), name)
    except (L2MError, _OutOfReach):
        agrees = False
    if agrees:
        # The model's own precision, whatever its configuration says: the one that was measured.
        stored = {
            key: (bits / max(elements, 1), dtype)
            for key, (elements, bits, dtype) in measured[tried[-1]].items()
        }
        found = {
            n: {key: (e, round(e * stored[key][0]), stored[key][1]) for key, (e, _, _) in layers.items()}
            for n, layers in found.items()
        }
        others = len(set(lengths) - set(tried))
        if others:
            where += "; the other lengths from its configuration, which gives the same at these"
        return _assembled(name, MEASURED, lengths, found, (*notes, where), config)
    beyond = [n for n in lengths if limit and n > limit]
    if beyond:
        raise L2MError(
            f"lengths: {beyond[0]} tokens is more than the {limit} positions of {name}, and its configuration "
            "alone does not give its state; give lengths up to that"
        )
    found, notes = _survey(run, lengths, (), name, far=False)
    where = f"measured at {_listed(sorted(found))} tokens; its configuration alone does not give the same"
    return _assembled(name, MEASURED, lengths, found, (*notes, where), config)


def state_of_configuration(
    source: Any,
    lengths: Sequence[int],
    *,
    trust_remote_code: bool = False,
    name: str = "",
    dtype: str = "",
) -> HistoryState:
    """History state of a model that is not loaded, from its configuration.

    Args:
        source: A configuration object, a folder with a ``config.json``, such a file, or a hub id.
        lengths: Numbers of tokens.
        trust_remote_code: Allow an architecture whose code comes with the configuration.
        name: What to call it.
        dtype: In which the model runs (``bfloat16``), where that is not what its configuration says.

    Raises:
        L2MError: no such configuration, an architecture that is not known or is no causal language model, or one
            whose state is kept where it cannot be read.
    """
    lengths = check_lengths(lengths)
    config = _load_config(source, trust_remote_code)
    for asked in settings_of(config, "num_hidden_layers"):
        if isinstance(asked, int) and asked > MOST_LAYERS:
            raise L2MError(
                f"num_hidden_layers: {shown(asked)} cannot be built; give a configuration of up to "
                f"{MOST_LAYERS:,} layers"
            )
    if isinstance(getattr(torch, dtype or "none", None), torch.dtype):
        config = copy.deepcopy(config)
        config.dtype = getattr(torch, dtype)
    name = name or (str(source) if isinstance(source, (str, Path)) else _name_of(config))
    run = _on_meta(config, name, trust_remote_code)
    found, notes = _survey(run, lengths, _windows(config), name)
    limit = _most_positions(config)
    if limit and lengths[-1] > limit:
        notes += (f"the model is configured for {limit:,} tokens",)
    if _dtype_of(config) is None:
        notes += ("the configuration names no dtype: 16 bits per element assumed",)
    return _assembled(name, CONFIGURATION, lengths, found, notes, config)


def check_lengths(lengths: Sequence[int]) -> tuple[int, ...]:
    """The lengths, increasing, each once.

    Raises:
        L2MError: none, or one that is not a positive whole number below 2^40.
    """
    values = np.atleast_1d(np.asarray(lengths)).ravel().tolist()
    for value in values:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not 0 < value <= 2**40:
            raise L2MError(f"lengths: {value!r} is not a number of tokens; give whole numbers from 1 to 2^40")
    if not values:
        raise L2MError("lengths: none given; give at least one number of tokens, for example 1024")
    return tuple(sorted({int(value) for value in values}))


# --- one forward pass -------------------------------------------------------------------------------------------


def _live(model: Any, make_cache: Callable[[], Any] | None, name: str) -> Run:
    def run(length: int) -> tuple[tuple[StateTensor, ...], tuple[int, ...]]:
        device = model.get_input_embeddings().weight.device
        was_training = model.training
        model.eval()  # training mode with gradient checkpointing returns no cache
        try:
            return _forward(model, length, device, make_cache, name)
        except (L2MError, _OutOfReach):
            raise
        except Exception as error:
            raise L2MError(f"model: {name} cannot run {length} tokens: {_first_line(error)}") from error
        finally:
            model.train(was_training)

    return run


def _forward(
    model: Any, length: int, device: Any, make_cache: Callable[[], Any] | None, name: str
) -> tuple[tuple[StateTensor, ...], tuple[int, ...]]:
    accepted = inspect.signature(model.forward).parameters
    ids = torch.full((1, length), _plain_token(model.config), dtype=torch.long, device=device)  # (1, L)
    extra: dict[str, Any] = {}
    if "logits_to_keep" in accepted:
        extra["logits_to_keep"] = 1  # the logits of all positions would be far larger than the state
    if make_cache is not None:
        field = next(
            (n for n in ("cache", "past_key_values", "cache_params") if n in accepted), "past_key_values"
        )
        extra[field] = make_cache()
    before = kept_in_modules(model)
    with torch.no_grad():
        output = model(input_ids=ids, use_cache=True, **extra)
    hidden = [key for key, value in kept_in_modules(model).items() if before.get(key) is not value]
    if hidden:
        raise L2MError(
            f"model: {name} keeps state inside its modules ({hidden[0]}), where it cannot be counted; state the size "
            "yourself: a formula, a table or a constant"
        )
    cache = returned_state(output)
    tensors = read_cache(cache, config=model.config) if cache is not None else ()
    if not tensors:
        raise L2MError(
            f"model: {name} returns no history state from a forward pass with use_cache=True (an encoder, or a model "
            "without a cache); state the size yourself: a formula, a table or a constant"
        )
    return tensors, windows_of(cache)


def _plain_token(config: Any) -> int:
    """A token id that means nothing particular (padding and image tokens change what a model does)."""
    special: set[int] = set()
    for part in (config, getattr(config, "text_config", None)):
        fields = vars(part).items() if part is not None else ()
        special |= {v for k, v in fields if k.endswith(("token_id", "token_index")) and isinstance(v, int)}
    return next(token for token in range(3, len(special) + 4) if token not in special)


def _on_meta(config: Any, name: str, trust_remote_code: bool = False, architecture: Any = None) -> Run:
    """A function that runs the configured architecture at a length, without weights or arithmetic.

    `architecture` is the class of a loaded model; without it the configuration says which class.
    """
    stored = _dtype_of(config)
    width = 16 if stored is None else stored.itemsize * 8
    dtype_name = "16 bits" if stored is None else str(stored).removeprefix("torch.")
    # Grouped expert products have shapes for bfloat16 only; a few old models mix types and need float32. Either
    # way what comes out in the model's own type is counted in the configured one.
    errors = []
    for dtype in (torch.bfloat16, torch.float32):
        for attention in ("eager", None):
            try:
                model = _built_on_meta(config, dtype, attention, trust_remote_code, architecture)
                run = _meta_run(model, dtype, width, dtype_name, name)
                run(2)
                return _refusing(run, name)
            except L2MError:
                raise
            except Exception as error:
                errors.append(error)
    raise L2MError(
        f"model: the architecture {_name_of(config)!r} cannot be run from its configuration: "
        f"{_first_line(errors[0])}; load the model, or state the size yourself: a formula, a table or a constant"
    )


def _refusing(run: Run, name: str) -> Run:
    """A configuration may hold what only shows at some lengths, a window of no tokens for one."""

    def refusing(length: int) -> tuple[tuple[StateTensor, ...], tuple[int, ...]]:
        try:
            return run(length)
        except (L2MError, _OutOfReach):
            raise
        except Exception as error:
            raise L2MError(
                f"model: {name} cannot run {length} tokens as it is configured: {_first_line(error)}"
            ) from error

    return refusing


def _built_on_meta(
    config: Any, dtype: torch.dtype, attention: str | None, trust_remote_code: bool, architecture: Any
) -> Any:
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # of the weights, which are not built; the cache does not depend on it
    options = {} if attention is None else {"attn_implementation": attention}
    with torch.device("meta"), _quiet():
        if hasattr(architecture, "_from_config"):
            model = architecture._from_config(config, dtype=dtype, **options)
        else:
            model = AutoModelForCausalLM.from_config(
                config, dtype=dtype, trust_remote_code=trust_remote_code, **options
            )
    return model.eval()


def _meta_run(model: Any, dtype: torch.dtype, width: int, dtype_name: str, name: str) -> Run:
    own = str(dtype).removeprefix("torch.")

    def run(length: int) -> tuple[tuple[StateTensor, ...], tuple[int, ...]]:
        with _ShapesOnly(), _without_autocast(), _quiet():
            tensors, windows = _forward(model, length, "meta", None, name)
        counted = tuple(
            StateTensor(t.layer, t.kind, t.elements, t.elements * width, dtype_name) if t.dtype == own else t
            for t in tensors
        )
        return counted, windows

    return run


# --- sizes at many lengths --------------------------------------------------------------------------------------


def _survey(
    run: Run, lengths: tuple[int, ...], windows: tuple[int, ...], name: str, *, far: bool = True
) -> tuple[dict[int, PerLayer], tuple[str, ...]]:
    """Sizes at the lengths asked for, and at those that show where the state stops growing or does not.

    Three lengths far beyond every window tell how it grows in the end. Lengths out of reach (see
    `OPERATION_BUDGET`) continue the straight line through the last three that are not.
    """
    tensors, of_cache = run(1)
    found = {1: _per_layer(tensors)}
    widest = max((*windows, *of_cache, 1))
    beyond = 2 ** int(np.ceil(np.log2(max(4096, 2 * widest))))
    ends = (beyond, 2 * beyond, 4 * beyond) if far else ()
    wanted = sorted({2, *lengths, *ends})
    failure: Exception | None = None
    if far and len(lengths) > 3:
        try:
            if _by_corners(run, found, lengths, ends):
                return found, ()
        except _OutOfReach as error:
            failure, wanted = error, _within_reach(lengths, widest)
        except Exception:  # more tokens than the model has positions for; the long way finds out which
            failure = None
    for length in wanted:
        if length in found:
            continue
        try:
            found[length] = _per_layer(run(length)[0])
        except _OutOfReach as error:
            if failure is not None:
                break
            failure = error
            for short in (n for n in _within_reach(lengths, widest) if n < length and n not in found):
                with contextlib.suppress(_OutOfReach):
                    found[short] = _per_layer(run(short)[0])
            break
        except Exception as error:
            failure = error
            break
    missing = [n for n in lengths if n not in found]
    if missing and not isinstance(failure, _OutOfReach):
        if isinstance(failure, L2MError):
            raise failure
        raise L2MError(
            f"lengths: {name} cannot run {missing[0]} tokens: {_first_line(failure)}; give shorter lengths"
        )
    notes: tuple[str, ...] = ()
    if missing:
        last = max(found)
        if last <= widest and widest > 1:
            raise L2MError(
                f"lengths: {name} can be looked at up to {last} tokens only, not beyond its window of {widest}; "
                "load the model, or state the size yourself: a formula, a table or a constant"
            )
        notes = (f"lengths above {last} tokens continue the straight line found up to there",)
        _continue(found, missing, name)
    for length in _kinks(found):
        if length not in found:
            with contextlib.suppress(_OutOfReach):
                found[length] = _per_layer(run(length)[0])
    return found, notes


def _within_reach(lengths: tuple[int, ...], widest: int) -> list[int]:
    """Lengths for a model that loops over tokens: a few short ones, and some beyond its window if it has one."""
    around = {2 * widest, 3 * widest, 4 * widest} if widest > 1 else set()
    return sorted({2, *SHORT_LENGTHS, *(n for n in lengths if n <= SHORT_LENGTHS[-1]), *around})


def _by_corners(
    run: Run, found: dict[int, PerLayer], lengths: tuple[int, ...], ends: tuple[int, ...]
) -> bool:
    """Fill in `found` at all lengths from few passes, if every layer's size is straight between its corners.

    The corners are the first tokens, the places where layers saturate, and the far ends; the middle and the
    largest length asked for are computed as a check. False, with what was computed kept, where it is not so.
    """
    for n in (*ends[:1], 2, *ends[1:]):  # the farthest step first: it fails soon where it fails
        found[n] = _per_layer(run(n)[0])
    for n in _kinks(found):
        if n not in found:
            found[n] = _per_layer(run(n)[0])
    known, tables = _tables(found)
    checks = {lengths[len(lengths) // 2], lengths[-1]} - set(found)
    straight: dict[int, PerLayer] = {}
    for n in set(lengths) - set(found):
        straight[n] = {}
        for key, (sizes, bits, dtype) in tables.items():
            size = float(np.interp(n, known, sizes))
            if not size.is_integer():
                return False
            straight[n][key] = (int(size), round(float(np.interp(n, known, bits))), dtype)
    for n in checks:
        computed = _per_layer(run(n)[0])
        if _sizes(computed) != _sizes(straight[n]):
            found[n] = computed
            return False
    found.update(straight)
    return True


def _continue(found: dict[int, PerLayer], missing: list[int], name: str) -> None:
    a, b, c = sorted(found)[-3:]
    line = {}
    for key, (elements, bits, dtype) in found[c].items():
        at_a, at_b = found[a].get(key, (0, 0, ""))[0], found[b].get(key, (0, 0, ""))[0]
        if (elements - at_b) * (b - a) != (at_b - at_a) * (c - b):
            raise L2MError(
                f"lengths: {name} can be looked at up to {c} tokens only, where its state grows along no straight "
                f"line; give lengths up to {c}, or load the model"
            )
        line[key] = ((elements - at_b) / (c - b), elements, bits / max(elements, 1), dtype)
    for n in missing:
        found[n] = {
            key: (size := round(elements + slope * (n - c)), round(size * width), dtype)
            for key, (slope, elements, width, dtype) in line.items()
        }


def _kinks(found: dict[int, PerLayer]) -> list[int]:
    lengths, layers = _tables(found)
    ends = {saturation(lengths, sizes) for sizes, _, _ in layers.values()}
    return sorted(n for n in ends if n is not None)


def _tables(
    found: dict[int, PerLayer],
) -> tuple[Counts, dict[tuple[int | None, str], tuple[Counts, Counts, str]]]:
    """Known lengths (p,), and per layer and kind the elements (p,), the bits (p,) and the dtype."""
    lengths = sorted(found)
    keys = sorted(
        {key for layers in found.values() for key in layers},
        key=lambda key: (-1 if key[0] is None else key[0], KINDS.index(key[1])),
    )
    tables = {}
    for key in keys:
        rows = [found[n].get(key, (0, 0, "")) for n in lengths]
        tables[key] = (
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            next(row[2] for row in reversed(rows) if row[2]),
        )
    return np.array(lengths, np.int64), tables


def _assembled(
    name: str,
    source: str,
    asked: tuple[int, ...],
    found: dict[int, PerLayer],
    notes: tuple[str, ...],
    config: Any,
) -> HistoryState:
    known, tables = _tables(found)
    kinds = tuple(kind for kind in KINDS if any(key[1] == kind for key in tables))
    zero = np.zeros(len(known), np.int64)
    elements = np.stack([sum((t[0] for key, t in tables.items() if key[1] == kind), zero) for kind in kinds])
    bits = np.stack([sum((t[1] for key, t in tables.items() if key[1] == kind), zero) for kind in kinds])
    places = np.searchsorted(known, asked)
    layers = []
    for (layer, kind), (sizes, _, dtype) in tables.items():
        end = saturation(known, sizes)
        grows = end is None
        per_token = (
            (sizes[-1] - sizes[-2]) / (known[-1] - known[-2]) if grows else 0.0 if end == 1 else sizes[0]
        )
        layers.append(
            LayerState(layer, kind, float(per_token), None if grows else int(sizes[-1]), end, dtype)
        )
    return HistoryState(
        model=name,
        source=source,
        lengths=np.array(asked, np.int64),
        kinds=kinds,
        elements=elements[:, places],
        bits=bits[:, places],
        probe_lengths=known,
        probe_elements=elements,
        probe_bits=bits,
        layers=tuple(layers),
        notes=notes,
        vocabulary=_vocabulary(config),
    )


def _per_layer(tensors: tuple[StateTensor, ...]) -> PerLayer:
    sums: PerLayer = {}
    for t in tensors:
        elements, bits, _ = sums.get((t.layer, t.kind), (0, 0, ""))
        sums[t.layer, t.kind] = (elements + t.elements, bits + t.bits, t.dtype)
    return sums


def _sizes(layers: PerLayer) -> dict[tuple[int | None, str], int]:
    return {key: elements for key, (elements, _, _) in layers.items()}


# --- configurations ---------------------------------------------------------------------------------------------


def _load_config(source: Any, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    if not isinstance(source, (str, Path)):
        return source
    accepted = "give a folder with a config.json, such a file, or a hub id"
    try:
        path = Path(source).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long for one, a NUL, a user that there is not
        raise L2MError(f"model: {str(source)!r} is no path: {_first_line(error)}; {accepted}") from error
    if path.is_dir() and not (path / "config.json").is_file():
        adapter = " (an adapter: name its base model)" if (path / "adapter_config.json").is_file() else ""
        raise L2MError(f"model: the folder {str(source)!r} has no config.json{adapter}; {accepted}")
    if path.is_file() or path.is_dir():
        file = path / "config.json" if path.is_dir() else path
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise L2MError(
                f"model: {str(source)!r} is not a JSON configuration: {_first_line(error)}; {accepted}"
            ) from error
        if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
            raise L2MError(
                f"model: {str(source)!r} has no model_type, so it is no model configuration; {accepted}"
            )
        path = file.parent if file.name == "config.json" else file
    elif str(source).count("/") > 1 or str(source).startswith((".", "/", "~")):
        raise L2MError(f"model: {str(source)!r} does not exist; {accepted}")
    location = str(path) if path.exists() else str(source)
    try:
        with _quiet():
            return AutoConfig.from_pretrained(location, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise L2MError(
            f"model: the configuration of {str(source)!r} cannot be read: {_first_line(error)}; {accepted}"
        ) from error


def _name_of(config: Any) -> str:
    return getattr(config, "_name_or_path", "") or getattr(config, "model_type", "") or type(config).__name__


def _dtype_of(config: Any) -> torch.dtype | None:
    for part in (config, getattr(config, "text_config", None)):
        # Asking a newer configuration for the old name logs advice about it.
        value = getattr(part, "dtype" if hasattr(part, "dtype") else "torch_dtype", None)
        value = getattr(torch, value, None) if isinstance(value, str) else value
        if isinstance(value, torch.dtype) and value.is_floating_point:
            return value
    return None


def _decoder(config: Any) -> Any:
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def _windows(config: Any) -> tuple[int, ...]:
    values = [value for field in _WINDOW_FIELDS for value in settings_of(_decoder(config), field)]
    flat = [w for v in values for w in (v if isinstance(v, (list, tuple)) else [v])]
    return tuple(w for w in flat if isinstance(w, int) and not isinstance(w, bool) and w > 0)


def _most_positions(config: Any) -> int | None:
    values = [value for field in _POSITION_FIELDS for value in settings_of(_decoder(config), field)]
    return next((v for v in values if isinstance(v, int) and v > 0), None)


def _vocabulary(config: Any) -> int | None:
    value = getattr(_decoder(config), "vocab_size", None)
    return value if isinstance(value, int) and value > 0 else None


def _first_line(error: BaseException | None) -> str:
    text = str(error).strip().split("\n")[0] if error is not None else ""
    return (text or type(error).__name__)[:200]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"{n:,}" for n in numbers)


@contextlib.contextmanager
def _without_autocast() -> Iterator[None]:
    """With nothing in place of ``torch.autocast("meta", ...)``, which torch refuses to make.

    transformers 4 switches automatic types off around rotary positions on whatever device they are computed.
    """
    autocast: Any = torch.autocast

    def nothing_on_meta(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return contextlib.nullcontext() if device_type == "meta" else autocast(device_type, *args, **kwargs)

    torch.autocast = nothing_on_meta  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        torch.autocast = autocast  # type: ignore[misc]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that transformers logs about settings which do not matter here, and the hub's retries."""
    import logging

    from transformers.utils import logging as advice

    level, hub = advice.get_verbosity(), logging.getLogger("huggingface_hub")
    level_of_hub = hub.level
    advice.set_verbosity_error()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        advice.set_verbosity(level)
        hub.setLevel(level_of_hub)
