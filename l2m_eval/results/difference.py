"""Is one model worse than another? The difference of a headline quantity on the same documents, with its interval.

Two models on the same documents err together, so documents are resampled once for both (`l2m_eval.statistics.paired`)
and the quantity is computed anew on every resample. Where a samples log is missing the two errors are added in
quadrature, which is wider than need be; where the documents differ there is no comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.estimators.retention import context_needed
from l2m_eval.measurements.context_use import log_probs_of
from l2m_eval.measurements.kl import sampled_kl
from l2m_eval.results.comparable import refuse_tokens_without_bytes, require_same_documents, same_tokenizer
from l2m_eval.results.headline import Quantity, named_quantity
from l2m_eval.results.run import Results, as_written
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.clusters import present_mean
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.interpolation import value_at
from l2m_eval.statistics.paired import paired_resamples

SCHEMA = "l2m-eval/comparison/1"
NOT_WORSE, WORSE, OPEN = "not worse", "worse", "inconclusive"
EXIT_CODES = {NOT_WORSE: 0, WORSE: 1, OPEN: 2}
ZERO = Estimate(0.0, 0.0, (0.0, 0.0))
PAIRED = 0x70616972  # in the seed of every paired difference
_UNKNOWN_TOKENIZERS = "whether the tokenizers are the same is not known: the results have no bytes of text"
_ROUNDING = 1e-12  # of a margin that is met exactly


@dataclass(frozen=True, eq=False)
class Statistic:
    """A quantity as a function of means over documents.

    Attributes:
        terms: Of each document, (documents, n); NaN where it has none.
        clusters: Label of each document.
        value: From means over documents, (..., n), to the quantity, (...).
    """

    terms: Array
    clusters: Sequence[Any]
    value: Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Comparison:
    """One model judged against another by one quantity.

    Attributes:
        first, second: The quantity of the model that is judged, and of the one it is judged against.
        difference: First minus second, in the quantity's unit.
        margin: By how much the first may be worse, in the same unit.
        paired: Whether documents were resampled for both at once.
        at: Where the quantity was taken for both, in words; empty where its name says it.
        notes: What a reader must know.
    """

    first: Quantity
    second: Quantity
    difference: Estimate
    margin: float
    paired: bool
    at: str = ""
    notes: tuple[str, ...] = ()

    @property
    def advantage(self) -> Estimate:
        """The difference with its sign such that more is better for the first."""
        if self.first.higher_is_better:
            return self.difference
        low, high = self.difference.interval
        return Estimate(-self.difference.value, self.difference.standard_error, (-high, -low))

    @property
    def status(self) -> str:
        """`NOT_WORSE`, `WORSE` or `OPEN`: by the 95 % interval against the margin."""
        low, high = self.advantage.interval
        allowed = -self.margin - _ROUNDING * max(1.0, abs(self.margin))
        if low >= allowed:
            return NOT_WORSE
        return WORSE if high < allowed else OPEN

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    @property
    def documents_needed(self) -> int | None:
        """About how many documents would decide if the difference stayed what it is; None where that is not known.

        The interval shrinks with the root of the number of documents. A difference of exactly the margin is never
        decided.
        """
        low, high = self.advantage.interval
        value, documents = self.advantage.value, self.first.documents
        apart = value + self.margin
        reach = value - low if apart > 0 else high - value
        if self.status != OPEN or documents is None or not math.isfinite(reach) or apart == 0 or reach <= 0:
            return None
        needed = documents * (reach / abs(apart)) ** 2
        return math.ceil(needed) if needed < 1e9 else None

    def to_json(self) -> dict[str, Any]:
        """Schema ``l2m-eval/comparison/1``; null for what is not known."""
        return {
            "schema": SCHEMA,
            "quantity": self.first.name,
            "unit": self.first.unit,
            "at": self.at,
            "higher_is_better": self.first.higher_is_better,
            "model": self.first.results.run.label,
            "reference": self.second.results.run.label,
            "values": [self.first.estimate.to_json(), self.second.estimate.to_json()],
            "difference": self.difference.to_json(),
            "margin": self.margin,
            "paired": self.paired,
            "documents": self.first.documents,
            "status": self.status,
            "exit_code": self.exit_code,
            "documents_needed": self.documents_needed,
            "notes": list(self.notes),
        }


def compare_quantity(
    first: Sequence[Results],
    second: Sequence[Results],
    name: str,
    *,
    margin: float = 0.0,
    higher_is_better: bool | None = None,
) -> Comparison:
    """Judge one model against another by a headline quantity.

    Args:
        first: Results of the model that is judged.
        second: Of the one it is judged against.
        name: As `l2m_eval.results.headline.named_quantity` takes it.
        margin: By how much the first may be worse, in the quantity's unit; not negative.
        higher_is_better: For a quantity whose direction the results do not say.

    Raises:
        L2MError: the quantity is missing or has no direction, other documents, tokenizers that differ where the bytes
            are not known, or a margin that is not a number.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise L2MError(
            f"margin: {margin:g} is not accepted; give by how much the model may be worse, 0 or more"
        )
    ours, theirs = named_quantity(first, name), named_quantity(second, name)
    ours, theirs, at = _at_common_length(ours, theirs, first, second, name)
    direction = ours.higher_is_better if higher_is_better is None else higher_is_better
    if direction is None:
        raise L2MError(
            f"quantity: neither more nor less of {ours.name!r} is better as such; say with --better which is meant"
        )
    ours, theirs = (replace(quantity, higher_is_better=direction) for quantity in (ours, theirs))
    difference, paired, notes = paired_estimate(ours, theirs, at)
    if _of_unknown_tokenizers(ours, theirs):
        notes = (*notes, _UNKNOWN_TOKENIZERS)
    unit = f"at {at:,.0f} bytes of text" if at is not None else ""
    return Comparison(ours, theirs, difference, margin, paired, unit, notes)


def paired_estimate(
    ours: Quantity, theirs: Quantity, at_bytes: float | None = None
) -> tuple[Estimate, bool, tuple[str, ...]]:
    """Difference of a quantity of two models, whether it is paired, and notes about it.

    Args:
        ours, theirs: The same quantity, such as `named_quantity` finds.
        at_bytes: The length in bytes of I at one length, for models with different tokenizers.

    Raises:
        L2MError: other documents, or other settings.
    """
    same = require_same_documents(ours.results, theirs.results)
    require_same_settings(ours, theirs)
    if (ours.results.run.path, ours.results.task) == (theirs.results.run.path, theirs.results.task):
        return ZERO, True, ()
    a, b = (statistic_of(quantity, at_bytes) for quantity in (ours, theirs))
    if not same or a is None or b is None:
        return _unpaired(ours, theirs, at_bytes), False, (_why_not_paired(ours, theirs, a, b),)
    value = float(a.value(present_mean(a.terms)) - b.value(present_mean(b.terms)))
    if (
        value == 0
        and np.array_equal(a.terms, b.terms, equal_nan=True)
        and list(a.clusters) == list(b.clusters)
    ):
        return ZERO, True, ()  # a product of matrices need not round equal columns alike
    seed = np.random.default_rng([ours.results.seed or 0, PAIRED])
    pair = paired_resamples((a.terms, a.clusters), (b.terms, b.clusters), seed)
    if pair is None:
        note = "all documents are one group; an interval needs two groups of documents or more"
        return Estimate(value), True, (note,)
    replicates = a.value(pair.first) - b.value(pair.second)
    return Estimate.resampled(value, replicates, pair.clusters), True, ()


def require_same_settings(ours: Quantity, theirs: Quantity) -> None:
    """Refuse two numbers that mean different things.

    Raises:
        L2MError: naming the setting.
    """
    compared = (
        "marginal",
        "correction",
        "control_variate",
        "partners",
        "target",
        "fit",
        "fit_from",
        "fit_to",
    )
    for name in compared:
        a, b = (quantity.results.settings.get(name) for quantity in (ours, theirs))
        if a != b:
            raise L2MError(
                f"{name}: {a!r} for {ours.results.run.label}, {b!r} for {theirs.results.run.label}; "
                f"{ours.name} is compared between equal settings only"
            )
    lengths = [quantity.settings.get("lengths_tokens") for quantity in (ours, theirs)]
    if lengths[0] != lengths[1]:
        raise L2MError(
            f"lengths: {ours.name} is fitted to lengths {lengths[0]} for {ours.results.run.label} and {lengths[1]} "
            f"for {theirs.results.run.label}; measure both at the same lengths"
        )


def statistic_of(quantity: Quantity, at_bytes: float | None = None) -> Statistic | None:
    """A quantity as a function of its documents' terms; None without a samples log, or where there is none."""
    one, (kind, _, point) = quantity.results, quantity.name.partition("@")
    curve = next((c for c in one.bipartite if kind in {f"{c.name}_{n}" for n in _OF_CURVES}), None)
    if curve is not None:
        drawn = one.resamples_of(curve.name)
        if drawn is None:
            return None
        terms, clusters = drawn.terms, drawn.clusters
        if kind.endswith("_mi") and at_bytes is not None:
            assert curve.bytes is not None
            at, x = np.array([at_bytes]), curve.bytes
            return Statistic(terms, clusters, lambda means: value_at(at, x, means)[..., 0])
        if kind.endswith("_mi"):
            index = curve.lengths.tolist().index(int(point))
            return Statistic(terms, clusters, lambda means: means[..., index])
        which, measured = 1 if kind.endswith("_beta") else 0, drawn.with_error()

        def of_fit(means: Array) -> Array:
            found = curve.fit.again(curve.lengths, *measured.split(means))[which]
            return np.asarray(found if means.ndim > 1 else found[0])

        return Statistic(measured.columns, clusters, of_fit)
    return _of_contexts(one, kind, point) if one.context_use is not None else records_statistic(one, kind)


def records_statistic(one: Results, kind: str) -> Statistic | None:
    """A mean or a ratio of means over the records of a run: ``nll``, ``bits_per_byte``, ``context_gain``, ``kl``.

    None without a samples log, and for anything else.
    """
    measured = one.position is not None or one.kl is not None
    if one.documents is None or kind not in _OF_RECORDS or not measured:
        return None
    terms_of, value = _OF_RECORDS[kind]
    with as_written(one.documents.path):
        rows = np.array([terms_of(record) for record in one.documents.records], float)
        return Statistic(rows, [doc["source"] for doc in one.documents.docs], value)


def _of_contexts(one: Results, kind: str, point: str) -> Statistic | None:
    """``information@k``, ``kept@k`` or ``context_needed@SHARE`` of l2m_context_use."""
    if (
        one.documents is None
        or one.context_use is None
        or kind not in ("information", "kept", "context_needed")
    ):
        return None
    contexts = one.context_use.curve.contexts
    with as_written(one.documents.path):
        log_probs = log_probs_of(one.documents.records)
        clusters = [doc["source"] for doc in one.documents.docs]
    gained = log_probs - log_probs[:, :1]
    if kind != "information":  # a share of what the longest context gives is of the documents that have it
        gained[np.isnan(gained[:, -1])] = np.nan
    if kind == "context_needed":
        share = float(point)
        return Statistic(gained, clusters, lambda means: _needed(contexts, means, share))
    index = contexts.index(int(point))
    if kind == "information":
        return Statistic(gained, clusters, lambda means: means[..., index])
    return Statistic(gained, clusters, lambda means: np.asarray(means[..., index] / means[..., -1]))


def _needed(contexts: tuple[int, ...], means: Array, share: float) -> Array:
    found = context_needed(contexts, means, share)
    return found if means.ndim > 1 else np.asarray(found[0])


# --- parts ------------------------------------------------------------------------------------------------------


def _at_common_length(
    ours: Quantity, theirs: Quantity, first: Sequence[Results], second: Sequence[Results], name: str
) -> tuple[Quantity, Quantity, float | None]:
    """I at one length: at the longest that both have, or in bytes where tokenizers differ."""
    if not _is_information(ours):
        return ours, theirs, None
    curve = ours.name.partition("@")[0].removesuffix("_mi")
    a, b = ours.results.curve(curve), theirs.results.curve(curve)
    tokenizers = same_tokenizer(ours.results, theirs.results, curve)
    labels = f"{ours.results.run.label} and {theirs.results.run.label}"
    if tokenizers is False:
        if "@" in name:
            raise L2MError(
                f"quantity: {labels} have different tokenizers, so that {name} covers other text in each; give "
                f"{name.partition('@')[0]!r}, which is compared at equal bytes"
            )
        refuse_tokens_without_bytes(ours.results, theirs.results, curve)
        assert a.bytes is not None
        assert b.bytes is not None
        return ours, theirs, float(min(a.bytes[-1], b.bytes[-1]))
    if "@" in name:
        return ours, theirs, None
    common = np.intersect1d(a.lengths, b.lengths)
    if not len(common):
        raise L2MError(f"lengths: {labels} have no length in common; measure both at the same lengths")
    full = f"{curve}_mi@{int(common[-1])}"
    return named_quantity(first, full), named_quantity(second, full), None


def _of_unknown_tokenizers(ours: Quantity, theirs: Quantity) -> bool:
    """Whether lengths in tokens are compared that may cover other text in each."""
    if ours.results.run.label == theirs.results.run.label or not _is_information(ours):
        return False
    curve = ours.name.partition("@")[0].removesuffix("_mi")
    return same_tokenizer(ours.results, theirs.results, curve) is None


def _is_information(quantity: Quantity) -> bool:
    kind, at, _ = quantity.name.partition("@")
    return bool(at) and any(kind == f"{curve.name}_mi" for curve in quantity.results.bipartite)


def _unpaired(ours: Quantity, theirs: Quantity, at_bytes: float | None) -> Estimate:
    """Two separate estimates: half-widths of their intervals added in quadrature, each end for itself."""
    a, b = (_in_bytes(quantity, at_bytes) for quantity in (ours, theirs))
    value = a.value - b.value
    low = math.hypot(a.value - a.interval[0], b.interval[1] - b.value)
    high = math.hypot(a.interval[1] - a.value, b.value - b.interval[0])
    return Estimate(value, math.hypot(a.standard_error, b.standard_error), (value - low, value + high))


def _in_bytes(quantity: Quantity, at_bytes: float | None) -> Estimate:
    if at_bytes is None:
        return quantity.estimate
    curve = quantity.results.curve(quantity.name.partition("@")[0].removesuffix("_mi"))
    assert curve.bytes is not None
    x, at = curve.bytes, np.array([at_bytes])
    value = float(value_at(at, x, curve.mi)[0])
    error = float(np.interp(np.log(at_bytes), np.log(x), curve.standard_error))
    return Estimate.of_mean(value, error, curve.clusters_at(int(np.abs(x - at_bytes).argmin())))


def _why_not_paired(ours: Quantity, theirs: Quantity, a: Statistic | None, b: Statistic | None) -> str:
    without = [q.results.run.label for q in (ours, theirs) if q.results.documents is None]
    if without:
        return (
            f"not paired: {' and '.join(dict.fromkeys(without))} without a samples log (--log_samples); the "
            "two errors are added"
        )
    return f"not paired: {ours.name} is not a function of each document's terms; the two intervals are added"


def _loss_and(size: Callable[[Mapping[str, Any]], float], unit: float) -> Callable[[Mapping[str, Any]], Any]:
    return lambda record: (-float(np.sum(record["sums"])) / unit, size(record))


def _halves(record: Mapping[str, Any]) -> tuple[float, ...]:
    """Loss and tokens of the first half of the bins, and of the last bin."""
    ends = np.asarray(record["ends"])
    sizes, losses = np.diff(ends, prepend=0), -np.asarray(record["sums"], float)
    first = max(len(ends) // 2, 1)
    return losses[:first].sum(), sizes[:first].sum(), losses[-1], sizes[-1]


def _kl_terms(record: Mapping[str, Any]) -> tuple[float]:
    return (float(sampled_kl(record["log_p"], record["log_q"]).sum()) / float(record["length"]),)


def _ratio(means: Array) -> Array:
    return np.asarray(means[..., 0] / means[..., 1])


_OF_CURVES = ("mi", "beta", "amplitude")
# From a document's record to its terms, and from means of terms to the quantity.
_OF_RECORDS: dict[str, tuple[Callable[[Mapping[str, Any]], Any], Callable[[Array], Array]]] = {
    "bits_per_byte": (_loss_and(lambda record: float(np.sum(record["bytes"])), math.log(2)), _ratio),
    "nll": (_loss_and(lambda record: float(record["ends"][-1]), 1.0), _ratio),
    "context_gain": (
        _halves,
        lambda means: np.asarray(means[..., 0] / means[..., 1] - means[..., 2] / means[..., 3]),
    ),
    "kl": (_kl_terms, lambda means: np.asarray(means[..., 0])),
}
