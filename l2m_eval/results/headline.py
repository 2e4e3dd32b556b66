"""The headline numbers of results: what cards, tables, comparisons, checklists and leaderboards give.

`headline_quantities` lists those of one task of one run, `quantities_of` those of several results of one model, and
`named_quantity` finds one by the name that users write: ``direct_beta``, ``direct_mi@2048``, ``bits_per_byte``, or
any metric of the results table. ``beta`` and ``mi`` are short for those of the direct estimator, ``mi`` at the
longest length. ``effective_context`` is that of the bipartite curve, or ``effective_context@retention``, of
l2m_context_use, where there is no curve.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l2m_eval.errors import L2MError
from l2m_eval.measurements.curves import BipartiteCurve
from l2m_eval.results.comparable import corpus_in_words
from l2m_eval.results.run import Results
from l2m_eval.statistics.estimate import NORMAL_95, Estimate

# Which task measures a quantity, by how its name begins; the first that fits.
_TASKS = (
    ("context_needed", "l2m_context_use"),
    ("kept_", "l2m_state"),
    ("lost_", "l2m_state"),
    ("needed_", "l2m_state"),
    ("state_bits_", "l2m_state"),
    ("kept", "l2m_context_use"),
    ("information", "l2m_context_use"),
    ("bits_per_byte", "l2m_position_nll"),
    ("nll", "l2m_position_nll"),
    ("context_gain", "l2m_position_nll"),
    ("two_point", "l2m_two_point"),
    ("kl", "l2m_kl_process"),
    ("l2m_", "l2m_condition"),
    ("", "l2m_bipartite"),
)
RETENTION = (
    "@retention"  # of the effective context that l2m_context_use finds: another question, another name
)
_SHORT = {"beta": "direct_beta", "mi": "direct_mi", "amplitude": "direct_amplitude"}


@dataclass(frozen=True, eq=False)
class Quantity:
    """One number of a model with what is needed to judge it.

    Attributes:
        name: As users write it: a metric of the results table, without zeros before a length.
        title: In words, for people.
        estimate: Value, standard error and 95 % interval.
        unit: ``nats``, ``tokens``, ``bits per byte``, ``nats per token``; empty for a pure number.
        higher_is_better: None where neither direction is.
        results: Where it is from.
        settings: What the number depends on: estimator, length, ratio.
        at_least: Whether the value is a lower bound that was reached, not a measured end.
        headline: Whether it is among the numbers that cards and tables give; other metrics are found by name only.
    """

    name: str
    title: str
    estimate: Estimate
    unit: str
    higher_is_better: bool | None
    results: Results
    settings: Mapping[str, Any] = field(default_factory=dict)
    at_least: bool = False
    headline: bool = True

    @property
    def metric(self) -> str:
        """Its identifier on a card: that of the metric, whatever the longest length was."""
        kind, _, point = self.name.partition("@")
        share = f"_{100 * float(point):g}" if kind == "context_needed" else ""
        return (kind if kind.startswith("l2m_") else f"l2m_{kind}") + share

    @property
    def documents(self) -> int | None:
        """How many documents it rests on; None where the run does not say."""
        count = self.results.sample.get("documents")
        return int(count) if isinstance(count, (int, float)) and math.isfinite(count) else None

    @property
    def corpus(self) -> str:
        return corpus_in_words(self.results)


def headline_quantities(one: Results) -> list[Quantity]:
    """The headline numbers of one task of one run, also those that are not known (NaN)."""
    return [*_context(one), *_bipartite(one), *_two_point(one), *_losses(one), *_margin(one)]


def quantities_of(results: Sequence[Results]) -> list[Quantity]:
    """Every finite headline number once: where two tasks measured the same on one corpus, that of the later run."""
    found: dict[tuple[str, str], Quantity] = {}
    for one in sorted(results, key=_worth):
        for quantity in headline_quantities(one):
            if math.isfinite(quantity.estimate.value):
                found[quantity.corpus, quantity.name] = quantity
    return list(found.values())


def named_quantity(results: Sequence[Results], name: str) -> Quantity:
    """The number of this name, of the newest results that have it; infinite and unknown values are as they are.

    Raises:
        L2MError: not among these results: the nearest name, or the task that measures it; or on several corpora.
    """
    found: dict[str, Quantity] = {}
    for one in sorted(results, key=_worth):
        quantity = _of_name(one, name)
        if quantity is not None:
            found[quantity.corpus] = quantity
    if len(found) > 1:
        raise L2MError(
            f"quantity: {name!r} is measured on {' and on '.join(found)}; give the results of one of them"
        )
    if found:
        return next(iter(found.values()))
    raise L2MError(f"quantity: {missing(results, name)}")


def missing(results: Sequence[Results], name: str) -> str:
    """Why a name is not among these results: the nearest one, or the task that measures it."""
    known = list(dict.fromkeys(q.name for one in results for q in _all(one)))
    kind = _kind(_full_name(name))
    of = ", ".join(dict.fromkeys(one.run.label for one in results))
    kinds = {_kind(one) for one in known}
    if kind in kinds:
        points = ", ".join(one.partition("@")[2] for one in known if _kind(one) == kind)
        return f"{name!r} is not in the results of {of}, which have {kind} at {points}"
    near = difflib.get_close_matches(name, [*known, *_SHORT, *measurable()], n=1, cutoff=0.75)
    if near and near[0] not in measurable():
        return f"{name!r} is not in the results of {of}; did you mean {near[0]!r}?"
    if kind not in measurable() and not any(
        kind.startswith(one) for one in ("kept_", "lost_", "needed_", "state_bits_", "vclub", "direct_r")
    ):
        meant = f"did you mean {near[0]!r}?" if near else f"they have {', '.join(_shown(known))}"
        return f"no quantity is called {name!r}; {meant}"
    return f"{name!r} is not in the results of {of}; measure it with {task_that_measures(name)}"


def measurable() -> tuple[str, ...]:
    """Kinds of quantities that the tasks measure, without lengths."""
    return (
        "effective_context", "effective_context_reached", "context_needed", "kept", "information", "direct_beta",
        "direct_mi", "direct_amplitude", "vclub_beta", "vclub_mi", "bits_per_byte", "nll", "context_gain", "kl",
        "two_point_alpha", "two_point_mi", "l2m_margin", "l2m_horizon", "claimed_context", "documents",
    )  # fmt: skip


def task_that_measures(name: str) -> str:
    """The task, for messages: ``l2m_bipartite`` for ``direct_beta``."""
    return next(task for begins, task in _TASKS if _full_name(name).startswith(begins))


# --- parts ------------------------------------------------------------------------------------------------------


def _bipartite(one: Results) -> Iterator[Quantity]:
    for curve in one.bipartite:
        length = int(curve.lengths[-1])
        told = {"estimator": curve.name, "unit": "nats", "length_tokens": length, "ratio": curve.ratio}
        yield Quantity(
            f"{curve.name}_mi@{length}",
            f"Bipartite mutual information at L = {length} ({curve.name})",
            point_estimate(curve, len(curve.lengths) - 1),
            "nats",
            True,
            one,
            told,
        )
        yield Quantity(
            f"{curve.name}_beta",
            f"Exponent β of bipartite mutual information ({curve.name})",
            fitted_estimate(one, curve, "beta"),
            "",
            True,
            one,
            {"estimator": curve.name, "lengths_tokens": [int(n) for n in curve.lengths]},
        )


def _two_point(one: Results) -> Iterator[Quantity]:
    for curve in one.two_point:
        fit = curve.decay(str(one.settings.get("null_correction")))
        if fit is not None and not fit.reason:
            yield Quantity(
                f"{curve.name}_alpha",
                f"Decay α of two-point mutual information ({curve.name.replace('_', ' ')})",
                fit.exponent,
                "",
                None,
                one,
                {"form": fit.form},
            )


def _losses(one: Results) -> Iterator[Quantity]:
    if one.position is not None:
        told = {"positions": int(one.position.last[-1])}
        bits, gain = one.position.overall_bits_per_byte, one.position.context_gain
        yield Quantity("bits_per_byte", "Bits per byte", bits, "bits per byte", False, one, told)
        yield Quantity(
            "context_gain",
            "Loss that context gains (nats per token)",
            gain,
            "nats per token",
            True,
            one,
            told,
        )
    if one.kl is not None:
        yield Quantity(
            "kl",
            "Divergence from the process (nats per token)",
            one.kl.overall,
            "nats per token",
            False,
            one,
            {"positions": one.kl.bins[-1].last},
        )


def _margin(one: Results) -> Iterator[Quantity]:
    """How much faster the state grows than the law asks for, where a run of l2m_condition has said it."""
    if one.verdict is None or one.verdict.check != "single-model":
        return
    numbers = one.verdict.numbers
    estimate = Estimate.from_named_json(numbers, "margin")
    told = {"curve": one.settings.get("check_curve", "direct")}
    yield Quantity("l2m_margin", "Margin γ − β of the L²M condition", estimate, "", True, one, told)


def _context(one: Results) -> Iterator[Quantity]:
    """The context that a model claims and the one that it is shown to use, in tokens."""
    claimed = one.block.get("claimed_context")
    if isinstance(claimed, int) and claimed > 0:
        yield Quantity(
            "claimed_context", "Context that the model claims", Estimate(claimed), "tokens", None, one
        )
    measured = one.context_use is not None or any(curve.name == "direct" for curve in one.bipartite)
    effective = one.effective_context() if measured and not one.block.get("results") else None
    if effective is not None and not effective.reason:
        by = "" if one.context_use is None else RETENTION
        yield Quantity(
            f"effective_context{by}",
            f"Effective context: {'more context is shown to tell more' if by else 'information grows'} up to here",
            Estimate(effective.value, math.nan, (effective.value, effective.upper)),
            "tokens",
            True,
            one,
            {"longest_tokens": effective.longest, "growth_shown": effective.grows},
            at_least=effective.reached,
        )
    if one.context_use is not None:
        told = {"target_tokens": one.context_use.target, "longest_tokens": one.context_use.curve.contexts[-1]}
        for share, needed in one.context_use.curve.needed.items():
            yield Quantity(
                f"context_needed@{share:g}",
                f"Context needed to keep {100 * share:g} % of the information (tokens)",
                needed,
                "tokens",
                None,
                one,
                told,
            )


def point_estimate(curve: BipartiteCurve, index: int) -> Estimate:
    """I at one of a curve's lengths."""
    return Estimate.of_mean(
        float(curve.mi[index]), float(curve.standard_error[index]), curve.clusters_at(index)
    )


def fitted_estimate(one: Results | None, curve: BipartiteCurve, parameter: str) -> Estimate:
    """``beta`` or ``amplitude`` of a curve, its standard error from the table of metrics where the curve has none."""
    estimate: Estimate = getattr(curve, parameter)
    if math.isnan(estimate.standard_error) and one is not None:
        error = one.errors.get(f"{curve.name}_{parameter}", math.nan)
        return Estimate(estimate.value, error, estimate.interval)
    return estimate


def _worth(one: Results) -> tuple[bool, float]:
    """The later run counts, but a check that took its curves from other results only repeats them."""
    return not one.block.get("results"), one.run.date.timestamp() if one.run.date else -math.inf


def _all(one: Results) -> Iterator[Quantity]:
    """Headline numbers, the points of the curves, and every metric of the results table."""
    seen: set[str] = set()
    for quantity in (*headline_quantities(one), *_points(one), *_table(one)):
        if quantity.name not in seen:
            seen.add(quantity.name)
            yield quantity


def _points(one: Results) -> Iterator[Quantity]:
    for curve in one.bipartite:
        for index, length in enumerate(curve.lengths.tolist()):
            told = {"estimator": curve.name, "length_tokens": length, "ratio": curve.ratio}
            yield Quantity(
                f"{curve.name}_mi@{length}",
                f"I at L = {length} ({curve.name})",
                point_estimate(curve, index),
                "nats",
                True,
                one,
                told,
                headline=False,
            )


def _table(one: Results) -> Iterator[Quantity]:
    for metric, value in one.metrics.items():
        error = one.errors.get(metric, math.nan)
        # The table has no interval; that of a normal distribution is what its standard error says.
        if one.context_use is not None and metric == "effective_context":
            continue
        ends = (value - NORMAL_95 * error, value + NORMAL_95 * error)
        estimate = Estimate(value, error, ends)
        if one.state is not None:  # whose errors are of means over groups of documents, however few
            estimate = Estimate.of_mean(value, error, one.state.clusters)
        name = _plain(metric)
        yield Quantity(name, name, estimate, "", one.directions.get(metric), one, headline=False)


def _of_name(one: Results, name: str) -> Quantity | None:
    full = _full_name(name)
    quantities = list(_all(one))
    exact = next((q for q in quantities if q.name == full), None)
    if exact is not None or "@" in full:
        return exact
    at_points = [q for q in quantities if _kind(q.name) == full and q.headline]
    return at_points[-1] if at_points else None


def _full_name(name: str) -> str:
    kind, at, point = _plain(name).partition("@")
    return _SHORT.get(kind, kind) + at + point


def _plain(metric: str) -> str:
    """Without the zeros that sort lengths: ``direct_mi@0064`` is ``direct_mi@64``."""
    kind, at, point = metric.partition("@")
    return kind + at + (str(int(point)) if point.isdecimal() else point)


def _kind(name: str) -> str:
    return name.partition("@")[0]


def _shown(names: Sequence[str]) -> list[str]:
    kinds = list(dict.fromkeys(_kind(name) for name in names if not _kind(name).endswith("_exact")))
    return kinds[:12]
