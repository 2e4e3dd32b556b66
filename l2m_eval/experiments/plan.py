"""An experiment's plan: which models are trained on which processes; presets or own files, in YAML, checked once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml

from l2m_eval.errors import L2MError, cause
from l2m_eval.fields import choice, increasing, integer, number, readers, setting
from l2m_eval.processes import PROCESSES, Process, TokenProcess, ValueProcess, make_process

KINDS = ("transformer", "mamba", "mamba2")
T = TypeVar("T")


@dataclass(frozen=True)
class ModelPlan:
    """An architecture of Hugging Face transformers, by size.

    Attributes:
        name: What it is called in tables and figures.
        kind: ``transformer`` (Llama), ``mamba``, ``mamba2``.
        width: Of the residual stream.
        layers: Number of them.
        heads: Of attention, or of Mamba2; they divide width (of Mamba2: width times expand).
        state: N of Mamba and Mamba2: elements per channel that the recurrence keeps. Attention has none of its own.
        expand: Channels of Mamba and Mamba2 per width.
        chunk: Tokens that Mamba2 takes at once; lengths are padded to multiples of it.
        longest: Lengths above it are not trained. Mamba without its kernels takes one token at a time, and its time
            grows like the square of the length.
    """

    name: str
    kind: str = setting("transformer", choice(*KINDS))
    width: int = setting(64, integer(1))
    layers: int = setting(1, integer(1))
    heads: int = setting(2, integer(1))
    state: int = setting(16, integer(1))
    expand: int = setting(1, integer(1))
    chunk: int = setting(64, integer(1))
    longest: int = setting(2**26, integer(2))

    def __post_init__(self) -> None:
        channels = self.width * (self.expand if self.kind == "mamba2" else 1)
        if self.kind != "mamba" and channels % self.heads:
            raise L2MError(
                f"heads: {self.heads} is not accepted for model {self.name}; give a divisor of {channels}"
            )


@dataclass(frozen=True)
class TrainingPlan:
    """How a model is trained. Every sequence is new: nothing is seen twice, so there is no overfitting.

    Attributes:
        steps: Of the optimiser.
        batch: Sequences in a step.
        learning_rate: Highest, AdamW; warmed up over a tenth of the steps (at most 100), cosine to zero.
        weight_decay: AdamW's.
        saves: Checkpoints that a run which was cut off can resume from.
    """

    steps: int = setting(1200, integer(1))
    batch: int = setting(32, integer(1))
    learning_rate: float = setting(5e-3, number(0, 10))
    weight_decay: float = setting(0.01, number(0, 1, low_included=True))
    saves: int = setting(4, integer(1))


@dataclass(frozen=True)
class EvaluationPlan:
    """The documents on which the divergence is measured.

    Attributes:
        documents: Fresh documents of the longest length; shorter lengths are measured on their prefixes.
        batch: Documents at once.
        most_cells: Up to this many cells of documents × positions × vocabulary, the divergence is taken over
            the full vocabulary; above, by the tokens that came.
    """

    documents: int = setting(256, integer(2))
    batch: int = setting(32, integer(1))
    most_cells: int = setting(2**28, integer(0, 2**50))


@dataclass(frozen=True)
class Variant:
    """One process and the models trained on it, at each length.

    Attributes:
        name: ``tokens``, ``gaussian`` or any other.
        process: What is learnt; tokens through a language model's head, values through a Gaussian one.
        lengths: Tokens of the training sequences: a model of its own for each length.
        models, training, evaluation: What is trained, how, and on what it is measured.
        seed: Of weights and data.
    """

    name: str
    process: Process
    lengths: tuple[int, ...]
    models: tuple[ModelPlan, ...]
    training: TrainingPlan
    evaluation: EvaluationPlan
    seed: int


@dataclass(frozen=True)
class _VariantSettings:
    lengths: tuple[int, ...] = setting((64, 128, 256), increasing(integer(2)))
    seed: int = setting(0, integer(0, 2**31 - 1))


def presets() -> tuple[str, ...]:
    """Names of the presets that ship with the package."""
    folder = resources.files("l2m_eval.experiments") / "presets"
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def read_plan(name_or_file: str) -> tuple[Variant, ...]:
    """The variants of a preset, or of a YAML file of one's own.

    Raises:
        L2MError: no such preset or file, or a setting that is not accepted; the line says which.
    """
    if name_or_file.endswith((".yaml", ".yml")):
        try:
            text = Path(name_or_file).read_text(encoding="utf-8")
        except OSError as error:
            raise L2MError(f"config: {name_or_file} cannot be read ({error.strerror})") from error
    elif name_or_file in presets():
        text = (resources.files("l2m_eval.experiments") / "presets" / f"{name_or_file}.yaml").read_text(
            "utf-8"
        )
    else:
        raise L2MError(
            f"scale: {name_or_file!r} is not known; accepted: {', '.join(presets())}, or --config FILE.yaml"
        )
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise L2MError(f"config: {name_or_file} is not YAML ({cause(error)})") from error
    variants = _mapping("variants", _mapping("config", content).get("variants"))
    return tuple(_variant(str(name), _mapping(f"variants.{name}", value)) for name, value in variants.items())


def _variant(name: str, content: Mapping[str, Any]) -> Variant:
    known = ("process", "lengths", "models", "training", "evaluation", "seed")
    _refuse_unknown(f"variants.{name}", content, known)
    process_settings = dict(_mapping(f"variants.{name}.process", content.get("process")))
    process = make_process(process_settings.pop("name", None), **process_settings)
    if not isinstance(process, (TokenProcess, ValueProcess)):
        raise L2MError(f"process: {process.name!r} is not accepted; accepted: {', '.join(PROCESSES)}")
    models = _mapping(f"variants.{name}.models", content.get("models"))
    own = {key: content[key] for key in ("lengths", "seed") if key in content}
    general = _read(_VariantSettings, f"variants.{name}", own)
    return Variant(
        name,
        process,
        general.lengths,
        tuple(
            _read(ModelPlan, f"models.{model}", _mapping(f"models.{model}", value), name=str(model))
            for model, value in models.items()
        ),
        _read(TrainingPlan, "training", _mapping("training", content.get("training", {}))),
        _read(EvaluationPlan, "evaluation", _mapping("evaluation", content.get("evaluation", {}))),
        general.seed,
    )


def _read(kind: type[T], where: str, content: Mapping[str, Any], **given: Any) -> T:
    read = readers(kind)
    _refuse_unknown(where, content, tuple(read))
    return kind(**given, **{key: read[key](key, value) for key, value in content.items()})


def _mapping(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or (not value and where.startswith(("variants", "config"))):
        raise L2MError(f"{where}: {value!r} is not accepted; give a mapping of settings")
    return value


def _refuse_unknown(where: str, content: Mapping[str, Any], accepted: tuple[str, ...]) -> None:
    for key in content:
        if key not in accepted:
            near = difflib.get_close_matches(str(key), accepted, n=1)
            raise L2MError(
                f"{where}.{key}: unknown setting{f' (nearest: {near[0]})' if near else ''}; accepted: "
                f"{', '.join(accepted)}"
            )
