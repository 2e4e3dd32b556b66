"""Settings of the tasks: read once from YAML and ``--metadata``, checked, and frozen.

Every field of a settings class carries its reader, see `l2m_eval.fields`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from l2m_eval.errors import L2MError, shown
from l2m_eval.estimators.entropy import ESTIMATORS as ENTROPY_ESTIMATORS
from l2m_eval.estimators.two_point.estimation import MARGINALS as PAIR_MARGINALS
from l2m_eval.estimators.two_point.estimation import MOST_GROUPS, NULLS
from l2m_eval.fields import (
    AUTO,
    LARGEST_LENGTH,
    choice,
    flag,
    increasing,
    integer,
    optional,
    per_length,
    positive,
    readers,
    setting,
    several,
    share,
    text,
    token_counts,
)
from l2m_eval.history_state.smaller import Way, way_named
from l2m_eval.processes import PROCESSES

T = TypeVar("T")

DEFAULT_SEED = 1234  # the harness' own
DEFAULT_POSITIONS = 8192
DEFAULT_KL_POSITIONS = 2048
DEFAULT_LENGTHS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
ESTIMATORS = ("direct", "vclub")
MARGINALS = ("paired", "independent", "mixture")
CORRECTIONS = ("none", "ngram")
SHORT_DOCUMENTS = ("drop", "keep")
FEWEST_TOKENS = 64  # of a short document that is measured; a line of text may have unusually long ones
PROCESS = "process"  # the corpus that is sampled from a known process
CORRECTED_TOKENS = 2  # n of the published n-gram correction
DEFAULT_CONTEXTS = (0, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
DEFAULT_TARGET = 256
DEFAULT_STATE_LENGTHS = (256, 1024, 4096)
DEFAULT_STATES = (
    "bits8", "bits4", "bits3", "bits2", "sinks4+window256", "sinks4+window64", "sinks4+window16",
)  # fmt: skip
FITS = ("weighted", "loglog", "auto", "wls")
IN_TOKENS = ("lengths", "contexts")  # the settings that may be `AUTO`
_MODEL_CONTEXT = ("max_length", "max_model_len")  # names of it among a model's arguments


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


def powers_of_two(first: int, last: int, step: int = 1) -> tuple[int, ...]:
    """The powers of two times `step` from the first to the last number of tokens."""
    return tuple(step * 2**k for k in range(LARGEST_LENGTH.bit_length()) if first <= step * 2**k <= last)


def contexts_that_fit(contexts: Sequence[int], room: int) -> tuple[int, ...]:
    """The contexts of up to `room` tokens; where longer ones are left out, `room` itself is the last.

    Unless one that fits is nearly as long: the last power of two may leave half of the room unread.
    """
    fitting = tuple(k for k in contexts if k <= room)
    nearly = len(fitting) == len(contexts) or fitting[-1] * 5 > room * 4
    return fitting if nearly else (*fitting, room)


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
    memory: int | None = setting(None, optional(integer(1)))  # of the predictor of a process: l2m-oracle's
    seed: int | None = setting(None, optional(integer(0, 2**63 - 1)))
    model_context: int | None = None  # found by `read_settings` where lengths or contexts are `AUTO`

    @property
    def longest(self) -> int:
        """Tokens that a chunk of the corpus has."""
        raise NotImplementedError

    @property
    def shorter(self) -> tuple[int, ...]:
        """Tokens that a chunk may have instead, from most to fewest, where the corpus has too few long documents."""
        return ()


@dataclass(frozen=True)
class BipartiteSettings(CorpusSettings):
    """Settings of the bipartite tasks (SCIENCE: I(l; L) at total lengths L, split at l = L / ratio)."""

    lengths: tuple[int, ...] | str | None = setting(None, optional(token_counts(2)))
    ratios: tuple[int, ...] = setting((2,), increasing(integer(2, 4096)))
    estimators: tuple[str, ...] = setting(ESTIMATORS, several(choice(*ESTIMATORS)))
    marginal: str = setting("paired", choice(*MARGINALS))
    correction: str = setting("none", choice(*CORRECTIONS))
    blocks: str | int | Mapping[int, int] = setting("auto", per_length(integer(1), "auto"))
    control_variate: bool = setting(True, flag)
    fit: str = setting("weighted", choice(*FITS))
    fit_from: int | None = setting(None, optional(integer(1)))
    fit_to: int | None = setting(None, optional(integer(1)))
    resamples: int = setting(1000, integer(100, 1_000_000))
    claimed_context: int | None = setting(None, optional(integer(1)))
    short_documents: str = setting("drop", choice(*SHORT_DOCUMENTS))

    def __post_init__(self) -> None:
        self._refuse_short_range()
        for length in self.lengths if isinstance(self.lengths, tuple) else ():
            for ratio in self.ratios:
                if length % ratio:
                    step = math.lcm(*self.ratios)
                    raise L2MError(
                        f"lengths: {length} is not divisible by ratio {ratio}; for ratios {shown(list(self.ratios))} "
                        f"give multiples of {shown(step)}, for example {shown([step * 2**k for k in range(1, 5)])}"
                    )

        if self.needs_partners and self.documents < 2:
            raise L2MError(
                f"documents: {self.documents} is too few; vCLUB and independent or mixed marginals need two or more "
                "(one document alone: estimators direct, marginal paired)"
            )
        if not self.wanted_lengths:
            step = math.lcm(*self.ratios)
            raise L2MError(
                f"ratios: {shown(list(self.ratios))} divide no default length (up to {self._longest_power}); give "
                f"lengths that are multiples of {shown(step)}"
            )
        shortest = min(self.wanted_lengths)
        if self.correction == "ngram" and shortest - shortest // self.ratios[0] < CORRECTED_TOKENS:
            raise L2MError(
                f"lengths: {shortest} leaves a right block of one token; correction ngram needs "
                f"{CORRECTED_TOKENS} or more"
            )
        if isinstance(self.blocks, Mapping):
            self._check_blocks(self.blocks)
        if self.marginal == "mixture":
            self._check_mixture()

    def _check_mixture(self) -> None:
        if self.correction != "none":
            raise L2MError(
                f"correction: {self.correction} is not accepted with marginal mixture, which mends the first tokens "
                "itself; give correction none, or marginal paired"
            )
        if not self.control_variate:
            raise L2MError(
                "control_variate: false is not accepted with marginal mixture, whose contexts are those of documents "
                "that are measured themselves; give control_variate true, or marginal paired"
            )

    def _check_blocks(self, table: Mapping[int, int]) -> None:
        for length, number in table.items():
            if length not in self.wanted_lengths:
                raise L2MError(
                    f"blocks: {length} is not measured; give numbers of blocks of {shown(list(self.wanted_lengths))}"
                )
            room = _room(self.longest, length)
            if number > room:
                raise L2MError(
                    f"blocks: {number:,} of {length:,} tokens do not fit a chunk of {self.longest:,} apart from each "
                    f"other, at most {room:,} do; give fewer"
                )

    @property
    def block_numbers(self) -> dict[int, int]:
        """How many blocks of each length a chunk of the longest length serves."""
        return self.blocks_within(self.longest)

    def blocks_within(self, tokens: int) -> dict[int, int]:
        """How many blocks of each length a chunk of so many tokens serves.

        By default Neyman's allocation: as many as ∝ spread / √cost. A block of L tokens costs about L, and the spread
        of its term grows about like L^0.2 (measured: docs/blocks.md), so ∝ (N / L)^0.3 in a chunk of N tokens. The
        factor makes it 1.6 times the tokens for N = 2,048. Long blocks cost most and gain least: more than one
        there is of lengths up to N / 8, in long chunks up to 256 or N / 64.

        A number is that of each length which has so much room; lengths that a table does not name have one.
        """
        lengths = [length for length in self.wanted_lengths if length <= tokens]
        if isinstance(self.blocks, Mapping):
            return {length: min(_room(tokens, length), self.blocks.get(length, 1)) for length in lengths}
        if isinstance(self.blocks, int):
            return {length: min(_room(tokens, length), self.blocks) for length in lengths}
        longest = min(tokens / 8, max(256, tokens / 64))
        return {
            length: round(2.2 * (tokens / length) ** 0.3) if length <= longest else 1 for length in lengths
        }

    def _refuse_short_range(self) -> None:
        """A fit in a range needs three lengths in it."""
        if self.fit_from is None and self.fit_to is None:
            return
        first, last = self.fit_from or 1, self.fit_to or self.wanted_lengths[-1]
        inside = [length for length in self.wanted_lengths if first <= length <= last]
        if len(inside) < 3:
            raise L2MError(
                f"fit_from, fit_to: {len(inside)} of the lengths {shown(list(self.wanted_lengths))} lie from {first} "
                f"to {last}; a fit needs three, give a wider range or more lengths"
            )

    @property
    def wanted_lengths(self) -> tuple[int, ...]:
        """The lengths as given, or powers of two times what the ratios need to divide them."""
        if isinstance(self.lengths, tuple):
            return self.lengths
        return powers_of_two(DEFAULT_LENGTHS[0], self._longest_power, math.lcm(*self.ratios))

    @property
    def _longest_power(self) -> int:
        """Where the lengths end that are not given."""
        return DEFAULT_LENGTHS[-1] if self.lengths is None else self.model_context or 0

    @property
    def lengths_asked(self) -> bool:
        """Whether the lengths were given one by one or as a range: one that does not fit is then an error."""
        return isinstance(self.lengths, tuple)

    @property
    def longest(self) -> int:
        return self.wanted_lengths[-1]

    @property
    def shorter(self) -> tuple[int, ...]:
        return _shorter(self.wanted_lengths) if self.short_documents == "keep" else ()

    @property
    def tokens_read(self) -> int:
        """Tokens that a model reads at most for each document, where it reads every window from its beginning."""
        numbers, total = self.block_numbers, 0
        crossed = "vclub" in self.estimators or self.marginal == "mixture"
        own = self.marginal != "independent" or ("vclub" in self.estimators and self.control_variate)
        for place in range(max(numbers.values())):
            lengths = [length for length, number in numbers.items() if number > place]
            total += 1 + max(lengths)
            for length in lengths:
                for ratio in self.ratios:
                    right = 1 + length - length // ratio
                    total += right if own else 0
                    total += self.partners * (1 + length) if crossed else 0
                    total += self.partners * right if self.marginal == "independent" else 0
        return total

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
        """How partners are chosen, as `l2m_eval.corpus.chunks.draw_sample` names it."""
        if not self.needs_partners:
            return "none"
        return "separate" if self.independent_pairs else "mutual"

    @property
    def needs_partners(self) -> bool:
        return "vclub" in self.estimators or self.marginal in ("independent", "mixture")


def _room(tokens: int, length: int) -> int:
    """Blocks of one length that a chunk surely has room for, each at the start of a sentence."""
    return (tokens + length) // (2 * length)


def _shorter(totals: Sequence[int]) -> tuple[int, ...]:
    """What short documents may be measured at, from most to fewest tokens."""
    return tuple(total for total in reversed(totals[:-1]) if total >= FEWEST_TOKENS)


def _way(name: str, value: Any) -> str:
    """Name of a way to make a state smaller, as it is written in results."""
    return way_named(name, value).name


def _state(name: str, value: Any) -> Any:
    """A declared state: a mapping, or a name as ``l2m-eval check --state`` takes it; checked where it is used."""
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
        state_results: Saved results of `l2m_state` with the same model: what it needs is said beside what it has, and
            the horizon is calibrated by them.
    """

    OF_THE_CHECK: ClassVar[tuple[str, ...]] = (
        "results",
        "reference",
        "state",
        "check_curve",
        "nats_per_element",
        "state_results",
    )

    results: str | None = setting(None, optional(text))
    reference: str | None = setting(None, optional(text))
    state: Mapping[str, Any] | str | None = setting(None, optional(_state))
    check_curve: str = setting("direct", text)
    nats_per_element: float | None = setting(None, optional(positive))
    state_results: str | None = setting(None, optional(text))

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
class ContextUseSettings(CorpusSettings):
    """Settings of the context-use tasks: what the last tokens before a fixed block of text tell about it.

    Attributes:
        contexts: Numbers of tokens read before the block; 0, with which they are compared, is always among them.
        target: Tokens of the block.
        shares: Shares of the information whose context is wanted.
        claimed_context: The context that the model is said to have, where its configuration does not say it.
    """

    contexts: tuple[int, ...] | str | None = setting(None, optional(token_counts(0)))
    target: int | None = setting(None, optional(integer(1)))
    shares: tuple[float, ...] = setting((0.9, 0.95, 0.99), increasing(share))
    resamples: int = setting(1000, integer(100, 1_000_000))
    claimed_context: int | None = setting(None, optional(integer(1)))
    short_documents: str = setting("drop", choice(*SHORT_DOCUMENTS))

    def __post_init__(self) -> None:
        if isinstance(self.contexts, tuple):
            if self.contexts[-1] == 0:
                raise L2MError("contexts: [0] is not accepted; give at least one context of 1 token or more")
            object.__setattr__(self, "contexts", tuple(sorted({0, *self.contexts})))

    @property
    def wanted_contexts(self) -> tuple[int, ...]:
        """The contexts as given, or powers of two: up to the model's context, or the default ones."""
        if isinstance(self.contexts, tuple):
            return self.contexts
        if self.contexts is None or self.model_context is None:
            return DEFAULT_CONTEXTS
        powers = powers_of_two(DEFAULT_CONTEXTS[1], LARGEST_LENGTH)
        return contexts_that_fit((0, *powers), max(self.model_context - self.wanted_target, 1))

    @property
    def contexts_asked(self) -> bool:
        """Whether the contexts were given one by one or as a range: one that does not fit is then an error."""
        return isinstance(self.contexts, tuple)

    @property
    def wanted_target(self) -> int:
        """The target as given, or the default one."""
        return self.target or self.target_within(self.model_context or LARGEST_LENGTH)

    @staticmethod
    def target_within(context: int) -> int:
        """The default target beside a model's context, of which it is at most a quarter."""
        return min(DEFAULT_TARGET, max(1, context // 4))

    @property
    def longest(self) -> int:
        return self.wanted_contexts[-1] + self.wanted_target

    @property
    def shorter(self) -> tuple[int, ...]:
        totals = [context + self.wanted_target for context in self.wanted_contexts[1:]]
        return _shorter(totals) if self.short_documents == "keep" else ()

    @property
    def tokens_read(self) -> int:
        """Tokens that a model reads for each document: behind its prefix each context, and the target."""
        return sum(1 + context + self.wanted_target for context in self.wanted_contexts)


@dataclass(frozen=True)
class StateSettings(CorpusSettings):
    """Settings of the state tasks: what a smaller state keeps of the information between two equal blocks.

    Attributes:
        lengths: Total lengths L; x and y are L / 2 tokens each.
        states: Ways to make the state between them smaller, by name: `l2m_eval.history_state.smaller`.
        keep: Share of the information whose smallest state is wanted.
    """

    lengths: tuple[int, ...] | str | None = setting(None, optional(token_counts(2)))
    states: tuple[str, ...] = setting(DEFAULT_STATES, several(_way))
    keep: float = setting(0.95, share)
    documents: int = setting(32, integer(1))
    resamples: int = setting(1000, integer(100, 1_000_000))

    def __post_init__(self) -> None:
        if not self.wanted_lengths:
            raise L2MError(
                f"lengths: auto begins at {DEFAULT_STATE_LENGTHS[0]}, which is over the model's context of "
                f"{self.model_context} tokens; give shorter lengths"
            )
        for length in self.wanted_lengths:
            if length % 2:
                raise L2MError(
                    f"lengths: {length} has no two halves; give even lengths, {length + 1} for example"
                )

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that `states` names."""
        return tuple(way_named("states", name) for name in self.states)

    @property
    def wanted_lengths(self) -> tuple[int, ...]:
        """The lengths as given, or the default ones, or powers of two up to the model's context."""
        if isinstance(self.lengths, tuple):
            return self.lengths
        if self.lengths is None:
            return DEFAULT_STATE_LENGTHS
        return powers_of_two(DEFAULT_STATE_LENGTHS[0], self.model_context or 0)

    @property
    def lengths_asked(self) -> bool:
        """Whether the lengths were given one by one or as a range: one that does not fit is then an error."""
        return isinstance(self.lengths, tuple)

    @property
    def longest(self) -> int:
        return self.wanted_lengths[-1]


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
                f"corpus: {self.corpus[0]!r} is not accepted; exact values are known only for a "
                "process; give corpus process"
            )

    @property
    def longest(self) -> int:
        return self.length or DEFAULT_KL_POSITIONS


@dataclass(frozen=True)
class TaskKind:
    """One kind of task: the only place that says which settings, which class and which results belong together.

    Attributes:
        name: Of the kind.
        task: Name of its class in `l2m_eval.tasks`, as the YAML has it.
        settings: What it can be told.
        curves: The KIND of the schema ``l2m-eval/KIND/VERSION`` of its results.
        version: The newest version of that schema, which is written.
    """

    name: str
    task: str
    settings: type[CorpusSettings]
    curves: str
    version: int = 1

    @property
    def schema(self) -> str:
        return f"l2m-eval/{self.curves}/{self.version}"


TASK_KINDS = (
    TaskKind("bipartite", "BipartiteTask", BipartiteSettings, "bipartite"),
    TaskKind("condition", "ConditionTask", ConditionSettings, "condition"),
    TaskKind("position_nll", "PositionTask", PositionSettings, "position_nll"),
    TaskKind("context_use", "ContextUseTask", ContextUseSettings, "context_use"),
    TaskKind("state", "StateTask", StateSettings, "state"),
    TaskKind("two_point", "TwoPointTask", TwoPointSettings, "two_point"),
    TaskKind("two_point_generated", "GeneratedTask", GeneratedSettings, "two_point"),
    TaskKind("kl", "KLTask", KLSettings, "kl"),
)


def task_kind(*classes: str) -> TaskKind:
    """The kind of a task by the names of its class and that class' bases, dotted or not; the first one known.

    Raises:
        L2MError: none of them is a task of ours.
    """
    kinds = {kind.task: kind for kind in TASK_KINDS}
    for name in classes:
        if name.rpartition(".")[2] in kinds:
            return kinds[name.rpartition(".")[2]]
    raise L2MError(f"class: {shown(classes[0])} is not a task of l2m-eval; give one of {', '.join(kinds)}")


# Keys that the harness itself puts beside ours in a task's metadata.
_HARNESS_KEYS = {"version", "config_source", "config", "_metadata", "batch_size", "max_batch_size", "device"}


def _all_settings() -> set[str]:
    return {name for kind in TASK_KINDS for name in readers(kind.settings)}


def unread_settings(classes: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, str | None]:
    """The settings in a run's metadata that none of its tasks has, each with a setting of theirs that resembles it.

    Args:
        classes: Of the run's tasks, by name.
        metadata: What the whole run is told; a name that is no setting of any task may be for the tasks of others.
    """
    read = {name for one in classes for name in readers(task_kind(one).settings)}
    unread = (key for key in metadata if key in _all_settings() - read)
    return {key: next(iter(_near(key, read)), None) for key in unread}


def _near(key: Any, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(str(key), sorted(names), n=1, cutoff=0.84)


def read_settings(kind: type[T], metadata: Mapping[str, Any]) -> T:
    """Settings of class `kind` from a task's metadata: those of its YAML and of ``--metadata``.

    All tasks of a run are told the same metadata, so a key that is not a setting is an error only where it
    resembles one and is no setting of another task: a slip of the pen that would otherwise run with the default
    unnoticed.

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
        elif key not in _HARNESS_KEYS | _all_settings():
            for near in _near(key, fields):
                raise L2MError(f"{key}: unknown setting (value {shown(value)}); did you mean {near}?")
    if values.get("corpus") == (PROCESS,):
        process = PROCESSES.get(values.get("process", "santa_fe"))
        accepted = {f.name for f in dataclasses.fields(process)} if process else set()  # type: ignore[arg-type]
        values["process_settings"] = tuple((key, metadata[key]) for key in sorted(accepted & set(metadata)))
    for name in IN_TOKENS:
        if values.get(name) == AUTO:
            values["model_context"] = _context_before_loading(name, metadata, values.get("claimed_context"))
    return kind(**values)


def _context_before_loading(name: str, metadata: Mapping[str, Any], claimed: int | None) -> int:
    """The model's context, on which the length of chunks depends: of its arguments, as claimed, as configured.

    Raises:
        L2MError: nothing says it.
    """
    given = next((metadata[key] for key in _MODEL_CONTEXT if metadata.get(key) is not None), claimed)
    if given is not None:
        return int(integer(1)("max_length", given))
    model = next((metadata[key] for key in ("pretrained", "model") if metadata.get(key)), None)
    configured = _configured_context(model) if isinstance(model, str) else None
    if configured is None:
        raise L2MError(
            f"{name}: auto needs the model's context, which no configuration says before the model is loaded; give "
            "max_length in --model_args, claimed_context in --metadata, or a range such as 4:8192"
        )
    return configured


@functools.lru_cache(maxsize=16)
def _configured_context(model: str) -> int | None:
    """The context in a model's configuration; None where that cannot be read or names none."""
    from l2m_eval.history_state.released import load_configuration, most_positions

    try:
        configuration, _ = load_configuration(model)
    except L2MError:
        return None
    return most_positions(configuration)
