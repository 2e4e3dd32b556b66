"""dim z(L) of a model that is not loaded, from its configuration alone.

The configuration is built on ``torch.device("meta")``, where tensors have shapes and no contents: the forward pass
fills a real cache object with tensors of the right size without weights, memory or arithmetic.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from l2m_eval.errors import L2MError, cause
from l2m_eval.history_state.alike import AlikeLayers, alike_layers
from l2m_eval.history_state.cache import StateTensor
from l2m_eval.history_state.forward import DECLARE, OutOfReach, Pass, Run, forward
from l2m_eval.history_state.released import (
    cache_bits,
    check_layers,
    decoder_part,
    dtype_of,
    load_configuration,
    most_positions,
    name_of,
    quiet,
    vocabulary_of,
    windows_named,
)
from l2m_eval.history_state.state import (
    ATTENTION,
    COMPRESSED_LATENT,
    CONFIGURATION,
    CONVOLUTION,
    INDEX,
    RECURRENT,
    SLIDING_WINDOW,
    HistoryState,
)
from l2m_eval.history_state.survey import assembled, check_lengths, per_layer, survey

# Operations of one forward pass without arithmetic, after which it is given up: a few seconds. Only models that
# loop over tokens in Python (Mamba, RWKV and xLSTM without their kernels) ever come near it.
OPERATION_BUDGET = 60_000
# Of one layer of each kind, where the others are built alike: fewer, since a short text shows as much.
FEWER_LAYERS, FARTHEST_CHECK = 6, 4096
_KEYS_AND_VALUES = (ATTENTION, SLIDING_WINDOW, COMPRESSED_LATENT, INDEX)


class _ShapesOnly(TorchDispatchMode):
    """Answers the few questions about values that tensors without contents are asked, and counts operations.

    Values decide how a forward pass is computed (whether a mask is needed, which experts are used), never how
    large its state is, so that any answer will do: zero, false, nowhere.
    """

    def __init__(self, budget: int) -> None:
        super().__init__()
        self.left = budget

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left < 0:
            raise OutOfReach
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return False if args[0].dtype is torch.bool else 0.0 if args[0].is_floating_point() else 0
        if func is torch.ops.aten.nonzero.default and args[0].is_meta:
            return torch.empty((0, args[0].ndim), dtype=torch.long, device="meta")
        return func(*args, **(kwargs or {}))


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
        source: A configuration object, its settings, a folder with a ``config.json`` or a GGUF file, such a file,
            or a hub id.
        lengths: Numbers of tokens.
        trust_remote_code: Allow an architecture whose code comes with the configuration.
        name: What to call it.
        dtype: In which the model runs (``bfloat16``), where that is not what its configuration says.

    Raises:
        L2MError: no such configuration, an architecture that is not known or is not a causal language model, or one
            whose state is kept where it cannot be read.
    """
    asked = check_lengths(lengths)
    config, notes = load_configuration(source, trust_remote_code)
    check_layers(config)
    if isinstance(getattr(torch, dtype or "none", None), torch.dtype):
        config = copy.deepcopy(config)
        config.dtype = getattr(torch, dtype)
    name = name or (str(source) if isinstance(source, (str, Path)) else name_of(config))
    limit = most_positions(config)
    found, how = survey(
        on_meta(config, name, trust_remote_code), asked, windows_named(config), name, limit=limit
    )
    return assembled(
        found,
        asked,
        name=name,
        source=CONFIGURATION,
        notes=(*notes, *how, *_what_is_said(config, asked[-1])),
        vocabulary=vocabulary_of(config),
        context=limit,
    )


def _what_is_said(config: Any, longest: int) -> Iterator[str]:
    """Notes for the reader on what the configuration says of the context and the precision."""
    limit, bits = most_positions(config), cache_bits(config)
    if limit and longest > limit:
        yield f"the model is configured for {limit:,} tokens"
    if bits is not None:
        yield f"the configuration declares a cache of {bits} bits for each element of keys and values"
    elif dtype_of(config) is None:
        yield "the configuration names no dtype: 16 bits per element assumed"
    if decoder_part(config) is not config:
        yield "the state of text is counted; an image counts as the tokens that it becomes"


# --- one forward pass without arithmetic ------------------------------------------------------------------------


def on_meta(config: Any, name: str, trust_remote_code: bool = False, architecture: Any = None) -> Run:
    """A function that runs the configured architecture at a length, without weights or arithmetic.

    `architecture` is the class of a loaded model; without it the configuration says which class.

    Raises:
        L2MError: the architecture cannot be built or run so, or is not a causal language model.
    """
    if getattr(config, "model_type", "") == "recurrent_gemma":
        return _recurrent_gemma(config)
    if hasattr(architecture, "_from_config"):
        part, build = config, architecture
    else:
        part, build = _architecture_of(config, name)
    # Grouped expert products have shapes for bfloat16 only; a few old models mix types and need float32. Either
    # way what comes out in the model's own type is counted in the configured one.
    errors = []
    for dtype in (torch.bfloat16, torch.float32):
        for attention in ("eager", None):
            try:
                run = _MetaRun(_built(part, dtype, attention, trust_remote_code, build), dtype, config, name)
                run.check_layers_alike()
                return _refusing(run, name)
            except L2MError:
                raise
            except Exception as error:
                errors.append(error)
    raise L2MError(
        f"model: the architecture {name_of(config)!r} cannot be run from its configuration: "
        f"{cause(errors[0])}; load the model, or {DECLARE}"
    )


def built_on_meta(config: Any, name: str, trust_remote_code: bool = False) -> Any:
    """The configured model without weights, whose parameters have shapes alone.

    Raises:
        L2MError: the architecture cannot be built, or is not a causal language model.
    """
    part, build = _architecture_of(config, name)
    try:
        return _built(part, torch.bfloat16, None, trust_remote_code, build)
    except Exception as error:  # whatever a configuration that does not fit its architecture brings about
        raise L2MError(
            f"model: the architecture {name_of(config)!r} cannot be built from its configuration: {cause(error)}"
        ) from error


def _recurrent_gemma(config: Any) -> Run:
    """The closed form of RecurrentGemma, which loops over tokens: running it past its window would take minutes.

    A recurrent layer keeps its state and the last inputs of its convolution, an attention layer the keys and values
    of its window but for one token (De et al. 2024, arXiv 2402.19427, and the cache of transformers).
    """
    stored = dtype_of(config)
    width, dtype = (16, "16 bits") if stored is None else (stored.itemsize * 8, str(stored).split(".")[1])
    channels, per_token = config.lru_width, 2 * config.num_key_value_heads * config.head_dim
    inputs = channels * (config.conv1d_width - 1)
    blocks = [config.layers_block_type[i] for i in range(config.num_hidden_layers)]

    def run(length: int) -> Pass:
        window = per_token * min(length, config.attention_window_size - 1)
        tensors: list[StateTensor] = []
        for layer, block in enumerate(blocks):
            if "recurrent" in block or "linear" in block:
                tensors.append(StateTensor(layer, RECURRENT, channels, channels * 32, "float32", channels))
                tensors.append(StateTensor(layer, CONVOLUTION, inputs, inputs * width, dtype, inputs))
            else:
                tensors.append(StateTensor(layer, SLIDING_WINDOW, window, window * width, dtype, window))
        return Pass(tuple(tensors), (config.attention_window_size,))

    return run


def _architecture_of(config: Any, name: str) -> tuple[Any, Any]:
    """The part of a configuration to build, and the automatic class that builds it as a language model."""
    import transformers
    from transformers.models.auto import modeling_auto

    if getattr(config, "is_encoder_decoder", False):
        refuse_encoder_decoder(name)
    model_type, text = getattr(config, "model_type", ""), decoder_part(config)
    if text is not config and text.model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return text, transformers.AutoModelForCausalLM  # what looks at images is not built
    if model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or getattr(config, "auto_map", None):
        return config, transformers.AutoModelForCausalLM
    if model_type in getattr(modeling_auto, "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", {}):
        return config, transformers.AutoModelForImageTextToText
    raise L2MError(
        f"model: {name} ({model_type}) is not a language model that continues a text, so it has no history state; "
        f"{'give' if model_type else 'name'} the configuration of one"
    )


def refuse_encoder_decoder(name: str) -> NoReturn:
    """Say why a model that reads a source text beside its own has no size after L tokens alone.

    Raises:
        L2MError: always.
    """
    raise L2MError(
        f"model: {name} is an encoder–decoder: what it keeps of the source (the encoder's output, cross-attention) "
        f"depends on the source's length and is not counted; {DECLARE}"
    )


def _refusing(run: Run, name: str) -> Run:
    """A configuration may hold what only shows at some lengths, a window of no tokens for one."""

    def refusing(length: int) -> Pass:
        try:
            return run(length)
        except (L2MError, OutOfReach):
            raise
        except Exception as error:
            raise L2MError(
                f"model: {name} cannot run {length:,} tokens as it is configured: {cause(error)}; give lengths "
                "that the model accepts, or mend the configuration"
            ) from error

    return refusing


def _built(
    config: Any, dtype: torch.dtype, attention: str | None, trust_remote_code: bool, architecture: Any
) -> Any:
    config = copy.deepcopy(config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # of the weights, which are not built
    options: dict[str, Any] = {"dtype": dtype}
    if attention is not None:
        options["attn_implementation"] = attention
    with torch.device("meta"), quiet():
        if hasattr(architecture, "_from_config"):
            return architecture._from_config(config, **options).eval()
        return architecture.from_config(config, trust_remote_code=trust_remote_code, **options).eval()


class _MetaRun:
    """Forward passes of one model on the meta device, sizes in the precision that its configuration names."""

    def __init__(self, model: Any, dtype: torch.dtype, config: Any, name: str) -> None:
        self.model, self.name = model, name
        self.built_in = str(dtype).removeprefix("torch.")
        stored = dtype_of(config)
        self.width = 16 if stored is None else stored.itemsize * 8
        self.stored = "16 bits" if stored is None else str(stored).removeprefix("torch.")
        self.cache_bits = cache_bits(config)
        self.alike: AlikeLayers | None = alike_layers(model)

    def check_layers_alike(self) -> None:
        """Compare one layer of each kind with all layers in one pass; all are run from then on where they differ."""
        if self.alike is None:
            self.all_layers(2)
            return
        for length in (FARTHEST_CHECK, 2):
            try:
                one = per_layer(self(length).tensors)
                every = per_layer(self.all_layers(length).tensors)
            except Exception:
                if length == 2:
                    self.alike = None
                    self.all_layers(2)
                continue
            if one != every:
                self.alike = None
            return

    def __call__(self, length: int) -> Pass:
        if self.alike is None:
            return self.all_layers(length)
        with self.alike.one_of_each():
            seen = self._pass(length, OPERATION_BUDGET // FEWER_LAYERS)
        return Pass(self.alike.completed(seen.tensors), seen.windows)

    def all_layers(self, length: int) -> Pass:
        """One pass in which every layer computes."""
        return self._pass(length, OPERATION_BUDGET)

    def _pass(self, length: int, budget: int) -> Pass:
        with _ShapesOnly(budget), _without_autocast(), quiet():
            seen = forward(self.model, length, "meta", self.name)
        return Pass(tuple(self._as_stored(t) for t in seen.tensors), seen.windows)

    def _as_stored(self, tensor: StateTensor) -> StateTensor:
        if tensor.dtype != self.built_in:
            return tensor
        if self.cache_bits is not None and tensor.kind in _KEYS_AND_VALUES:
            return replace(tensor, bits=tensor.elements * self.cache_bits, dtype=f"{self.cache_bits} bits")
        return replace(tensor, bits=tensor.elements * self.width, dtype=self.stored)


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
