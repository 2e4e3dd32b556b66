"""Configurations as models are released with them: files and hub ids in, configurations of transformers out.

A released file may name an architecture that transformers calls otherwise, lack the name, or be another file than
the one meant; each such case is either understood, with a note for the reader, or refused in one sentence that says
what to do.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from l2m_eval.errors import L2MError, cause, shown
from l2m_eval.history_state.forward import DECLARE

ACCEPTED = "give a folder with a config.json, such a file, a GGUF file, or a hub id"
# Far more than any model has: a configuration of a line can ask for a thousand million, one object each.
MOST_LAYERS = 10_000
# Released under a name of their own, with the attention layers of another model: that one's state.
SAME_STATE_AS = {"mimo": "qwen2", "kimi_k2": "deepseek_v3"}
# Settings that the state's size follows from; where a file lacks one, the architecture's default is assumed.
_SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "state_size",
    "conv_kernel", "sliding_window", "kv_lora_rank", "qk_rope_head_dim", "max_position_embeddings",
)  # fmt: skip
_WINDOW_FIELDS = ("sliding_window", "attention_chunk_size", "attention_window_size", "window_size")
_POSITION_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions")


def load_configuration(source: Any, trust_remote_code: bool = False) -> tuple[Any, tuple[str, ...]]:
    """The configuration of a model, and notes on what was assumed to read it.

    Args:
        source: A configuration object, its settings, a folder with a ``config.json`` or a GGUF file, such a file,
            or a hub id.
        trust_remote_code: Allow a configuration whose code comes with it.

    Raises:
        L2MError: no such file, another kind of file, or an architecture that is not known.
    """
    if isinstance(source, Mapping):
        return _from_settings(
            dict(source), f"settings of type {source.get('model_type')!r}", None, trust_remote_code
        )
    if not isinstance(source, (str, Path)):
        return source, ()
    try:
        path = Path(source).expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long for one, a NUL, a user that there is not
        raise L2MError(f"model: {shown(str(source))} is not a path: {cause(error)}; {ACCEPTED}") from error
    if folder and not (path / "config.json").is_file():
        path = _file_in(path)
    elif folder:
        path = path / "config.json"
    elif not file:
        return _from_hub(str(source), trust_remote_code)
    if path.suffix == ".gguf":
        from l2m_eval.history_state.gguf import gguf_configuration

        return gguf_configuration(path)
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise L2MError(
            f"model: {str(source)!r} is not a JSON configuration: {cause(error)}; {ACCEPTED}"
        ) from error
    location = path.parent if path.name == "config.json" else path
    return _from_settings(settings, repr(str(source)), location, trust_remote_code)


def refusal_of_settings(settings: Any) -> str | None:
    """Why settings without a ``model_type`` are no configuration, in words; None where nothing else is recognised."""
    if not isinstance(settings, Mapping):
        return None
    if "peft_type" in settings or "base_model_name_or_path" in settings:
        base = settings.get("base_model_name_or_path")
        named = f" {base!r}" if base else ""
        return f"configures an adapter, which adds no state; name its base model{named} instead"
    if "tokenizer_class" in settings or "added_tokens_decoder" in settings:
        return "configures a tokenizer; give the config.json beside it"
    if {"dim", "n_layers"} <= set(settings):
        return (
            "is the params.json of an original checkpoint, which transformers does not read; give the config.json of "
            f"the version for transformers, or {DECLARE}"
        )
    return None


def _file_in(folder: Path) -> Path:
    """The GGUF file of a folder without a configuration; the first part where it is in several."""
    parts = sorted(folder.glob("*.gguf"))
    models = [p for p in parts if not re.search(r"-\d{5}-of-\d{5}$", p.stem) or "-00001-of-" in p.stem]
    if len(models) == 1:
        return models[0]
    if models:
        names = ", ".join(p.name for p in models[:5])
        raise L2MError(
            f"model: the folder {str(folder)!r} has several GGUF files ({names}); name one of them"
        )
    what = "has no config.json"
    if (folder / "adapter_config.json").is_file():
        what += " (an adapter: name its base model)"
    elif (folder / "params.json").is_file():
        what += " (its params.json is of an original checkpoint, which transformers does not read)"
    raise L2MError(f"model: the folder {str(folder)!r} {what}; {ACCEPTED}")


def _from_hub(name: str, trust_remote_code: bool) -> tuple[Any, tuple[str, ...]]:
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or name.endswith((".json", ".gguf")):
        raise L2MError(f"model: {name!r} does not exist; {ACCEPTED}")
    if ":" in name:
        raise L2MError(
            f"model: {name!r} is not a hub id (a name with a colon is one of Ollama's, whose models are GGUF files); "
            f"{ACCEPTED}"
        )
    return _read(name, repr(name), trust_remote_code, {}), ()


def _from_settings(
    settings: Any, what: str, location: Path | None, trust_remote_code: bool
) -> tuple[Any, tuple[str, ...]]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if isinstance(settings, dict) and "ssm_cfg" in settings and "model_type" not in settings:
        settings, location = _state_space_original(settings, what), None
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        reason = refusal_of_settings(settings)
        raise L2MError(
            f"model: {what} {reason}"
            if reason
            else f"model: {what} has no model_type, so it is not a model configuration; {ACCEPTED}"
        )
    notes: tuple[str, ...] = ()
    own, alike = settings["model_type"], _known_type(settings)
    if own not in CONFIG_MAPPING and alike and not trust_remote_code:
        notes += (f"{own} is counted as {alike}, whose layers keep the same state",)
        ours = {
            k: v for k, v in settings.items() if k not in ("auto_map", "model_type", "quantization_config")
        }
        kept = {k: settings[k] for k in ("quantization_config",) if k in settings}
        settings, location = {**ours, **kept, "model_type": alike}, None
    try:
        config = _read(location, what, trust_remote_code, settings)
    except L2MError as error:
        # A newer transformers checks names of kernels, from which no size follows.
        field = re.search(r"Validation error for field '(\w+)'", str(error))
        if field is None or not isinstance(settings.get(field[1]), str) or not field[1].endswith("_kernel"):
            raise
        left = {key: value for key, value in settings.items() if key not in (field[1], "auto_map")}
        config, more = _from_settings(left, what, None, trust_remote_code)
        what_is_left = f"{field[1]} = {settings[field[1]]!r} is left out"
        return config, (f"{what_is_left}: transformers refuses it, and no size follows from it", *more)
    missing = _assumed(config, settings)
    if missing:
        notes += (
            f"the configuration leaves out sizes, for which the defaults are assumed: {', '.join(missing)}",
        )
    return config, notes


def _read(
    location: Path | str | None, what: str, trust_remote_code: bool, settings: Mapping[str, Any]
) -> Any:
    from transformers import AutoConfig

    try:
        with quiet():
            if location is None:
                return AutoConfig.for_model(**settings)
            return AutoConfig.from_pretrained(str(location), trust_remote_code=trust_remote_code)
    except Exception as error:
        raise _refused(error, what, str(settings.get("model_type", ""))) from error


def _refused(error: Exception, what: str, model_type: str) -> L2MError:
    """Why a configuration cannot be read, as one sentence that says what to do."""
    import transformers

    text = " ".join(str(error).split())
    named = f" ({model_type})" if model_type else ""
    if "trust_remote_code" in text or "custom code" in text:
        return L2MError(
            f"model: the architecture of {what}{named} comes as code beside the configuration; allow it with "
            f"--trust-remote-code on the model's folder or hub id, or {DECLARE}"
        )
    if (
        "does not recognize this architecture" in text
        or "Unrecognized model" in text
        or "model identifier" in text
    ):
        return L2MError(
            f"model: transformers {transformers.__version__} does not know the architecture of {what}{named}; "
            f"upgrade transformers, or {DECLARE}"
        )
    if len(text) > 400:
        text = text[:400].rsplit(" ", 1)[0] + " …"
    return L2MError(
        f"model: the configuration of {what} cannot be read: {text.rstrip('.') or type(error).__name__}; {ACCEPTED}"
    )


def _known_type(settings: Mapping[str, Any]) -> str | None:
    """The model type of transformers that has this configuration's layers, by its name or its class's name."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if settings["model_type"] in SAME_STATE_AS:
        return SAME_STATE_AS[settings["model_type"]]
    if settings.get("auto_map"):
        return None  # code of its own may bear a known name and do otherwise
    named = settings.get("architectures") or [None]
    owners = [key for key, value in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if value == named[0]]
    return owners[0] if owners else None


def _state_space_original(settings: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Settings of transformers for a configuration of the original state-space repository (``ssm_cfg``)."""
    inner = settings.get("ssm_cfg") or {}
    width, layers = settings.get("d_model"), settings.get("n_layer")
    if settings.get("attn_layer_idx"):
        raise L2MError(
            f"model: {what} mixes attention into a state-space original (attn_layer_idx), which transformers does "
            f"not build; {DECLARE}"
        )
    if not (isinstance(inner, Mapping) and isinstance(width, int) and isinstance(layers, int)):
        raise L2MError(f"model: {what} has an ssm_cfg but no whole numbers d_model and n_layer; {ACCEPTED}")
    second = inner.get("layer", "Mamba1") == "Mamba2"
    expand, heads = inner.get("expand", 2), inner.get("headdim", 64)
    shared = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "vocab_size": settings.get("vocab_size", 50277),
        "state_size": inner.get("d_state", 128 if second else 16),
        "conv_kernel": inner.get("d_conv", 4),
        "expand": expand,
    }
    if not second:
        return {"model_type": "mamba", **shared}
    return {
        "model_type": "mamba2",
        **shared,
        "head_dim": heads,
        "num_heads": expand * width // heads,
        "n_groups": inner.get("ngroups", 1),
    }


def _assumed(config: Any, settings: Mapping[str, Any]) -> list[str]:
    """Sizes that the file does not give and that are not derived from others, with the values assumed."""
    decoder = decoder_part(config)
    given = settings
    for name in ("text_config", "language_config", "llm_config"):
        if decoder is not config and isinstance(settings.get(name), Mapping):
            given = {**given, **settings[name]}
    names = getattr(type(decoder), "attribute_map", {}) or {}
    missing = []
    for field in _SIZES:
        spellings = {field, names.get(field, field)} | {old for old, new in names.items() if new == field}
        default = getattr(
            type(decoder), names.get(field, field), None
        )  # a class attribute where there is a default
        if isinstance(default, int) and not isinstance(default, bool) and not spellings & set(given):
            value = getattr(decoder, field, None)
            if value == default:
                missing.append(f"{field} = {value:,}")
    return missing


# --- what a configuration says ----------------------------------------------------------------------------------


def decoder_part(config: Any) -> Any:
    """The part of a configuration that describes the decoder of text."""
    from l2m_eval.history_state.cache import decoder_of

    return decoder_of(config)


def name_of(config: Any) -> str:
    """What a configuration calls itself."""
    return getattr(config, "_name_or_path", "") or getattr(config, "model_type", "") or type(config).__name__


def dtype_of(config: Any) -> Any:
    """The floating-point type that a configuration says the model runs in; None where it says none."""
    import torch

    for part in (config, getattr(config, "text_config", None)):
        # Asking a newer configuration for the old name logs advice about it.
        value = getattr(part, "dtype" if hasattr(part, "dtype") else "torch_dtype", None)
        value = getattr(torch, value, None) if isinstance(value, str) else value
        if isinstance(value, torch.dtype) and value.is_floating_point:
            return value
    return None


def cache_bits(config: Any) -> int | None:
    """Bits in which a configuration declares that keys and values are kept; None where it declares nothing."""
    scheme = getattr(config, "quantization_config", None)
    scheme = scheme if isinstance(scheme, Mapping) else getattr(scheme, "__dict__", {})
    declared = scheme.get("kv_cache_scheme")
    if not isinstance(declared, Mapping):
        declared = getattr(declared, "__dict__", {})
    bits = declared.get("num_bits")
    if isinstance(bits, int) and 0 < bits <= 32:
        return bits
    named = re.search(r"(?:FP|INT|NVFP)(\d+)", str(scheme.get("kv_cache_quant_algo") or "").upper())
    return int(named.group(1)) if named else None


def windows_named(config: Any) -> tuple[int, ...]:
    """Sliding windows and chunks that a configuration names, in tokens."""
    values = _values(config, _WINDOW_FIELDS)
    flat = [w for v in values for w in (v if isinstance(v, (list, tuple)) else [v])]
    return tuple(w for w in flat if isinstance(w, int) and not isinstance(w, bool) and w > 0)


def most_positions(config: Any) -> int | None:
    """The context that a model accepts, in tokens; None where its configuration does not say."""
    return next((v for v in _values(config, _POSITION_FIELDS) if isinstance(v, int) and v > 0), None)


def vocabulary_of(config: Any) -> int | None:
    """Number of tokens in a model's vocabulary."""
    value = getattr(decoder_part(config), "vocab_size", None)
    return value if isinstance(value, int) and value > 0 else None


def check_layers(config: Any) -> None:
    """Refuse numbers of layers that no machine builds.

    Raises:
        L2MError: more than `MOST_LAYERS`.
    """
    for asked in _values(config, ("num_hidden_layers",)):
        if isinstance(asked, int) and asked > MOST_LAYERS:
            raise L2MError(
                f"num_hidden_layers: {shown(asked)} cannot be built; give a configuration of up to "
                f"{MOST_LAYERS:,} layers"
            )


def _values(config: Any, fields: tuple[str, ...]) -> list[Any]:
    from l2m_eval.history_state.cache import settings_of

    return [value for field in fields for value in settings_of(decoder_part(config), field)]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
