"""Settings of the tasks: read once from YAML and ``--metadata``, checked, and frozen.

Every field of a settings class carries the function that reads it (`metadata["read"]`), so that each value
is checked in one place and every mistake is one line that names the setting, the value and what is accepted.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from l2m_eval.errors import L2MError, shown
from l2m_eval.estimators.entropy import ESTIMATORS as ENTROPY_ESTIMATORS
from l2m_eval.estimators.two_point import MARGINALS as PAIR_MARGINALS
from l2m_eval.estimators.two_point import MOST_GROUPS, NULLS

logger = logging.getLogger(__name__)
T = TypeVar("T")
Reader = Callable[[str, Any], Any]

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,40}")  # Python reads no more than some thousand digits
LARGEST_LENGTH = 2**26  # tokens; above it the setting is a typing error rather than a wish
DEFAULT_POSITIONS = 8192
DEFAULT_KL_POSITIONS = 2048
DEFAULT_LENGTHS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
ESTIMATORS = ("direct", "vclub")
MARGINALS = ("paired", "independent")
CORRECTIONS = ("none", "ngram")
PROCESS = "process"  # the corpus that is sampled from a known process
CORRECTED_TOKENS = 2  # n of the published n-gram correction
FITS = ("auto", "loglog", "wls")


def setting(default: Any, read: Reader) -> Any:
    """A dataclass field with its default and its reader."""
    return field(default=default, metadata={"read": read})


def integer(low: int, high: int = LARGEST_LENGTH) -> Reader:
    def read(name: str, value: Any) -> int:
        number = value
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
            number = int(value)
        if isinstance(value, float) and value.is_integer():
            number = int(value)
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise L2MError(
                f"{name}: {shown(value)} is not accepted; give an integer from {low:,} to {high:,}"
            )
        return number

    return read


def choice(*accepted: str) -> Reader:
    def read(name: str, value: Any) -> str:
        if value is None and "none" in accepted:
            return "none"  # YAML writes none as null
        if value not in accepted:
            near = difflib.get_close_matches(value[:100], accepted, n=1) if isinstance(value, str) else []
            hint = f" (nearest: {near[0]})" if near else ""
            raise L2MError(f"{name}: {shown(value)} is not known{hint}; accepted: {', '.join(accepted)}")
        return str(value)

    return read


def flag(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise L2MError(f"{name}: {shown(value)} is not accepted; give true or false")
    return value


def several(read_one: Reader) -> Reader:
    """A non-empty list without repetitions; a single value and ``"a,b"`` are accepted as lists."""

    def read(name: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.strip("[]").split(",") if part.strip()]
        elif isinstance(value, (int, float)):
            value = [value]
        if not isinstance(value, Sequence) or len(value) == 0:
            raise L2MError(f"{name}: {shown(value)} is not accepted; give a non-empty list")
        items = [read_one(name, item) for item in value]
        if len(set(items)) < len(items):
            raise L2MError(f"{name}: {shown(list(value))} repeats a value; give each once")
        return tuple(items)

    return read


def increasing(read_one: Reader) -> Reader:
    read_list = several(read_one)
    return lambda name, value: tuple(sorted(read_list(name, value)))


def optional(read_one: Reader) -> Reader:
    return lambda name, value: None if value is None else read_one(name, value)


def positive(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise L2MError(f"{name}: {shown(value)} is not accepted; give a number above zero")
    return number


def text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise L2MError(f"{name}: {shown(value)} is not accepted; give a non-empty string")
    return value


def corpus_source(name: str, value: Any) -> tuple[str, ...]:
    """One corpus name, glob or ``hub:owner/name``, or a list of files and globs."""
    if isinstance(value, str) and value:
        return (value,)
    if isinstance(value, Sequence) and value and all(isinstance(item, str) and item for item in value):
        return tuple(value)
    raise L2MError(
        f"{name}: {shown(value)} is not accepted; give pg19, wikipedia, process, hub:OWNER/NAME, or files of your "
        'own as a path, a glob or a list of them, for example --metadata \'{"corpus": "books/*.txt"}\''
    )


@dataclass(frozen=True)
class CorpusSettings:
    """Which documents are measured. Shared by every task; defaults and units in ``tasks/README.md``."""

    corpus: tuple[str, ...] = setting(("pg19",), corpus_source)
    column: str = setting("text", text)
    subset: str | None = setting(None, optional(text))
    split: str = setting("test", text)
    documents: int = setting(200, integer(1))
    chunk_bytes: int | None = setting(None, optional(integer(1, 2**34)))
    partners: int = setting(1, integer(1, 1000))
    process: str = setting("santa_fe", text)
    process_settings: tuple[tuple[str, Any], ...] = ()  # collected by `read_settings` for corpus process
    seed: int | None = setting(None, optional(integer(0, 2**63 - 1)))

    @property
    def longest(self) -> int:
        """Tokens that a chunk of the corpus must have."""
        raise NotImplementedError


@dataclass(frozen=True)
class BipartiteSettings(CorpusSettings):
    """Settings of the bipartite tasks (SCIENCE: I(l; L) at total lengths L, split at l = L / ratio)."""

    lengths: tuple[int, ...] | None = setting(None, optional(increasing(integer(2))))
    ratios: tuple[int, ...] = setting((2,), increasing(integer(2, 4096)))
    estimators: tuple[str, ...] = setting(ESTIMATORS, several(choice(*ESTIMATORS)))
    marginal: str = setting("paired", choice(*MARGINALS))
    correction: str = setting("none", choice(*CORRECTIONS))
    control_variate: bool = setting(True, flag)
    fit: str = setting("auto", choice(*FITS))
    resamples: int = setting(1000, integer(100, 1_000_000))

    def __post_init__(self) -> None:
        for length in self.lengths or ():
            for ratio in self.ratios:
                if length % ratio:
                    step = math.lcm(*self.ratios)
                    raise L2MError(
                        f"lengths: {length} is not divisible by ratio {ratio}; for ratios {shown(list(self.ratios))} "
                        f"give multiples of {shown(step)}, for example {shown([step * 2**k for k in range(1, 5)])}"
                    )

        if self.needs_partners and self.documents < 2:
            raise L2MError(
                f"documents: {self.documents} is too few; vCLUB and independent marginals need two or more "
                "(one document alone: estimators direct, marginal paired)"
            )
        if not self.wanted_lengths:
            step = math.lcm(*self.ratios)
            raise L2MError(
                f"ratios: {shown(list(self.ratios))} divide no default length (up to {DEFAULT_LENGTHS[-1]}); give "
                f"lengths that are multiples of {shown(step)}"
            )
        shortest = min(self.wanted_lengths)
        if self.correction == "ngram" and shortest - shortest // self.ratios[0] < CORRECTED_TOKENS:
            raise L2MError(
                f"lengths: {shortest} leaves a right block of one token; correction ngram needs "
                f"{CORRECTED_TOKENS} or more"
            )

    @property
    def wanted_lengths(self) -> tuple[int, ...]:
        """The lengths as given, or the default powers of two times what the ratios need to divide them."""
        if self.lengths is not None:
            return self.lengths
        if self.ratios == (2,):
            return DEFAULT_LENGTHS
        step = math.lcm(*self.ratios)
        longest = DEFAULT_LENGTHS[-1]
        return tuple(step * 2**k for k in range(longest.bit_length()) if 4 <= step * 2**k <= longest)

    @property
    def longest(self) -> int:
        return self.wanted_lengths[-1]

    @property
    def independent_pairs(self) -> bool:
        """Whether partners must be documents that are not measured themselves, as in the published procedure.

        Where every partner is itself measured, the mean of log q(y_j) over partners is the mean of log q(y_i)
        over documents: the independent marginal and the paired one would be the same number. The published
        estimates therefore take their partners from documents of their own.
        """
        return self.needs_partners and (self.marginal == "independent" or not self.control_variate)

    @property
    def pairing(self) -> str:
        """How partners are chosen, as `l2m_eval.corpora.draw_sample` names it."""
        if not self.needs_partners:
            return "none"
        return "separate" if self.independent_pairs else "mutual"

    @property
    def needs_partners(self) -> bool:
        return "vclub" in self.estimators or self.marginal == "independent"


def _state(name: str, value: Any) -> Any:
    """A statement as a mapping, or a name as ``l2m-eval check --state`` takes it; checked where it is used."""
    if isinstance(value, Mapping) and value:
        return dict(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # key=value on the command line reads a constant formula as a number
    return text(name, value)


@dataclass(frozen=True)
class ConditionSettings(BipartiteSettings):
    """Settings of the condition tasks: those of the bipartite measurement, and of the check.

    Attributes:
        results: Saved results that the curves are taken from, instead of measuring.
        reference: A published law, or results of a stronger model, by which the state is judged.
        state: History state instead of the model's own.
        check_curve: The curve whose law is used.
        nats_per_element: A calibrated constant for the bound, instead of the stored precision.
    """

    OF_THE_CHECK: ClassVar[tuple[str, ...]] = (
        "results",
        "reference",
        "state",
        "check_curve",
        "nats_per_element",
    )

    results: str | None = setting(None, optional(text))
    reference: str | None = setting(None, optional(text))
    state: Mapping[str, Any] | str | None = setting(None, optional(_state))
    check_curve: str = setting("direct", text)
    nats_per_element: float | None = setting(None, optional(positive))

    def __post_init__(self) -> None:
        super().__post_init__()
        estimator = self.check_curve.partition("_")[0]
        if self.results is None and estimator not in self.estimators:
            raise L2MError(
                f"check_curve: {self.check_curve!r} is not measured; the estimators are {list(self.estimators)}"
            )


@dataclass(frozen=True)
class PositionSettings(CorpusSettings):
    """Settings of the per-position tasks: the loss of the first `length` tokens of each document."""

    length: int | None = setting(None, optional(integer(1)))
    curve: str = setting("bins", choice("bins", "full"))
    fit_from: int = setting(4, integer(1))
    resamples: int = setting(1000, integer(100, 1_000_000))

    @property
    def longest(self) -> int:
        return self.length or DEFAULT_POSITIONS


@dataclass(frozen=True)
class PairSettings(CorpusSettings):
    """How two-point information is estimated from token pairs. Shared by the text's own and the model's."""

    distances: tuple[int, ...] | None = setting(None, optional(increasing(integer(1))))
    entropy_estimator: str = setting("grassberger", choice(*ENTROPY_ESTIMATORS))
    null_correction: str = setting("shuffle", choice(*NULLS))
    shuffles: int = setting(5, integer(2, 10_000))
    pair_marginals: str = setting("pairs", choice(*PAIR_MARGINALS))
    jackknife_groups: int = setting(32, integer(2, MOST_GROUPS))
    memory_gb: float = setting(4.0, positive)
    processes: int = setting(1, integer(1, 4096))
    length: int = setting(8192, integer(2))

    @property
    def longest(self) -> int:
        return self.length


@dataclass(frozen=True)
class TwoPointSettings(PairSettings):
    """Settings of the two-point tasks: whole documents, since no model reads them.

    Attributes:
        documents: At most so many source documents.
        length: Tokens of each sampled document of a known process.
        chunk_bytes: When set, chunks of this size as the other tasks choose them, instead of whole documents.
    """

    documents: int = setting(10_000, integer(1, 2**31))


@dataclass(frozen=True)
class GeneratedSettings(PairSettings):
    """Settings of ``l2m_two_point_generated``: `documents` samples of `length` tokens, and as much of the corpus."""

    documents: int = setting(64, integer(2))
    length: int = setting(1024, integer(2))

    def __post_init__(self) -> None:
        for distance in self.distances or ():
            if distance >= self.length:
                raise L2MError(
                    f"distances: {distance} is too long for texts of {self.length} tokens; give shorter ones, or "
                    "a larger length"
                )


@dataclass(frozen=True)
class KLSettings(CorpusSettings):
    """Settings of the divergence from a known process, over the first `length` tokens of each document."""

    length: int | None = setting(None, optional(integer(1)))

    def __post_init__(self) -> None:
        if self.corpus != (PROCESS,):
            raise L2MError(
                f"corpus: {self.corpus[0]!r} is not accepted; the truth is known of a process alone: "
                "give corpus process"
            )

    @property
    def longest(self) -> int:
        return self.length or DEFAULT_KL_POSITIONS


# By the name of the task's class, as YAML has it.
TASK_SETTINGS: dict[str, type[CorpusSettings]] = {
    "BipartiteTask": BipartiteSettings,
    "ConditionTask": ConditionSettings,
    "PositionTask": PositionSettings,
    "TwoPointTask": TwoPointSettings,
    "GeneratedTask": GeneratedSettings,
    "KLTask": KLSettings,
}


# Keys that the harness itself puts beside ours in a task's metadata.
_HARNESS_KEYS = {"version", "config_source", "config", "_metadata", "batch_size", "max_batch_size", "device"}


def _all_settings() -> set[str]:
    return {
        f.name for kind in TASK_SETTINGS.values() for f in dataclasses.fields(kind) if "read" in f.metadata
    }


def read_settings(kind: type[T], metadata: Mapping[str, Any]) -> T:
    """Settings of class `kind` from a task's metadata (YAML, ``--metadata`` and model arguments merged).

    The harness merges the model's arguments into the metadata, so a key that is not a setting is an error
    only where it resembles one: a slip of the pen that would otherwise run with the default unnoticed.

    Raises:
        L2MError: a value of the wrong type or range, or a misspelt setting.
    """
    fields = {f.name: f for f in dataclasses.fields(kind) if "read" in f.metadata}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in metadata.items():
        if key in fields:
            if value is None and fields[key].default is not None and not key.endswith("correction"):
                continue
            values[key] = fields[key].metadata["read"](key, value)
        elif key not in _HARNESS_KEYS:
            near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.84)
            if near and key in _all_settings():  # of another task: both may be measured in one run
                logger.warning("l2m-eval: %s is not a setting of this task, which has %s", key, near[0])
            elif near:
                raise L2MError(f"{key}: unknown setting (value {shown(value)}); did you mean {near[0]}?")
    if values.get("corpus") == (PROCESS,):
        from l2m_eval.processes import PROCESSES

        process = PROCESSES.get(values.get("process", "santa_fe"))
        accepted = {f.name for f in dataclasses.fields(process)} if process else set()  # type: ignore[arg-type]
        values["process_settings"] = tuple((key, metadata[key]) for key in sorted(accepted & set(metadata)))
    return kind(**values)
