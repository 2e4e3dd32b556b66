"""A release checklist: what a model must reach, written down once, and what its results say to each point.

A policy is a YAML file, `examples/policy.yaml` is one with comments:

``reference``
    Results of the model that ``worse_than_reference_by`` compares with; relative to the policy's folder.
``requirements``
    From names to one of
    ``quantity`` with ``at_least`` or ``at_most``, a number or ``{share: 0.5, of: claimed_context}``;
    ``quantity`` with ``worse_than_reference_by``, the margin (and ``better: higher`` or ``lower``, where the results
    do not say it);
    ``check: condition``, the L²M check is satisfied;
    ``check: loss_never_rises``, from no bin of positions to the next, from the position ``from`` on (64: single
    tokens at the start are noise), with ``by``, what is overlooked, nats per token (0.05);
    ``check: weights``, the results are not older than the weights, or of the ``revision`` that is given.

A requirement is met where the whole 95 % interval meets it, missed where none of it does, and open in between.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from l2m_eval.errors import L2MError, shown
from l2m_eval.results.check import check_results, recorded_verdicts
from l2m_eval.results.difference import NOT_WORSE, WORSE, compare_quantity
from l2m_eval.results.headline import missing, named_quantity
from l2m_eval.results.run import Results
from l2m_eval.statistics.clusters import cluster_sums, linearised_error
from l2m_eval.statistics.estimate import Estimate

PASS, FAIL, OPEN = "pass", "fail", "inconclusive"
DOCUMENTS = "documents"  # a quantity of the run, not of the model
_CHECKS = {"condition": (), "loss_never_rises": ("by", "from"), "weights": ("revision",)}
_KEYS = (
    "quantity",
    "at_least",
    "at_most",
    "worse_than_reference_by",
    "better",
    "check",
    "by",
    "from",
    "revision",
)
_BOUNDS = ("at_least", "at_most", "worse_than_reference_by")
_OVERLOOKED = 0.05  # nats per token: a rise that nobody would hold back a release for
_START = 64
UNKNOWN = Estimate(math.nan)
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.pt", "*.pth")


@dataclass(frozen=True)
class Requirement:
    """One point of a policy; of the fields those that its kind has."""

    name: str
    quantity: str = ""
    at_least: Any = None
    at_most: Any = None
    worse_than_reference_by: float | None = None
    better: str | None = None
    check: str = ""
    by: float = _OVERLOOKED
    start: float = _START
    revision: str = ""


@dataclass(frozen=True)
class Policy:
    """Requirements in their order, and the reference's results ('' without)."""

    requirements: tuple[Requirement, ...]
    reference: str = ""

    @property
    def needs_reference(self) -> bool:
        return any(one.worse_than_reference_by is not None for one in self.requirements)


@dataclass(frozen=True)
class Outcome:
    """What the results say to a requirement.

    Attributes:
        name: Of the requirement.
        status: `PASS`, `FAIL` or `OPEN`.
        sentence: The number with its interval, and what was asked for.
        estimate: The number; NaN where the requirement is about none.
        unit: Of it.
    """

    name: str
    status: str
    sentence: str
    estimate: Estimate = UNKNOWN
    unit: str = ""


# --- the file ---------------------------------------------------------------------------------------------------


def read_policy(file: str | Path) -> Policy:
    """The policy in a file.

    Raises:
        L2MError: no such file, no YAML, or a requirement that is none; the nearest name is given.
    """
    path = Path(file)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise L2MError(f"policy: {str(file)!r} cannot be read ({error}); give a YAML file") from error
    except (yaml.YAMLError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}" if where is not None else ""
        raise L2MError(f"policy: {str(file)!r} is not valid YAML{at}") from error
    if not isinstance(data, Mapping) or not isinstance(data.get("requirements"), Mapping):
        raise L2MError(
            f"policy: {str(file)!r} has no requirements; give 'requirements:' with a name for each, see "
            "examples/policy.yaml"
        )
    _refuse_unknown(data, ("requirements", "reference"), "policy")
    found = tuple(_requirement(str(name), spec) for name, spec in data["requirements"].items())
    if not found:
        raise L2MError(f"policy: {str(file)!r} has no requirements; give one or more")
    reference = str(data.get("reference") or "")
    return Policy(found, str(path.parent / reference) if reference else "")


def _requirement(name: str, spec: Any) -> Requirement:
    where = f"requirement {name!r}"
    if not isinstance(spec, Mapping):
        raise L2MError(f"{where}: {shown(spec)} is none; give quantity and at_least, or check")
    _refuse_unknown(spec, _KEYS, where)
    if "check" in spec:
        check = str(spec["check"])
        if check not in _CHECKS:
            raise L2MError(f"{where}: check {check!r} is not known; {_nearest(check, tuple(_CHECKS))}")
        _refuse_unknown(spec, ("check", *_CHECKS[check]), f"{where}, check {check}")
        by, start = (
            _amount(spec.get(k, default), k, where) for k, default in (("by", _OVERLOOKED), ("from", _START))
        )
        return Requirement(name, check=check, by=by, start=start, revision=str(spec.get("revision") or ""))
    _refuse_unknown(spec, ("quantity", "better", *_BOUNDS), where)
    bounds = [key for key in _BOUNDS if key in spec]
    if not isinstance(spec.get("quantity"), str) or len(bounds) != 1:
        raise L2MError(f"{where}: give a quantity with one of {', '.join(_BOUNDS)}, or a check")
    if spec.get("better") not in (None, "higher", "lower"):
        raise L2MError(f"{where}: better {shown(spec['better'])} is not accepted; give higher or lower")
    value = spec[bounds[0]]
    if bounds[0] == "worse_than_reference_by":
        value = _amount(value, bounds[0], where)
    elif isinstance(value, Mapping):
        _refuse_unknown(value, ("share", "of"), f"{where}, {bounds[0]}")
        share, of = value.get("share"), value.get("of")
        if not isinstance(of, str):
            raise L2MError(f"{where}: {bounds[0]} of what? give {{share: 0.5, of: claimed_context}}")
        value = {"share": _amount(share, "share", where), "of": of}
    elif not _is_number(value):
        raise L2MError(
            f"{where}: {bounds[0]} {shown(value)} is not a number; give one, or {{share: 0.5, of: claimed_context}}"
        )
    return Requirement(name, quantity=spec["quantity"], better=spec.get("better"), **{bounds[0]: value})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _amount(value: Any, key: str, where: str) -> float:
    if not _is_number(value) or value < 0:
        raise L2MError(f"{where}: {key} {shown(value)} is not accepted; give a number, 0 or more")
    return float(value)


def _refuse_unknown(given: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise L2MError(f"{where}: {shown(key)} is not known; {_nearest(str(key), known)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(known)}"


# --- what the results say ---------------------------------------------------------------------------------------


def judge(
    policy: Policy, results: Sequence[Results], reference: Sequence[Results] = ()
) -> tuple[Outcome, ...]:
    """What the results of one model say to each requirement, in their order.

    Raises:
        L2MError: what a requirement asks for was not measured: the task that measures it; or cannot be compared.
    """
    asked = [one for one in policy.requirements if one.quantity]
    absent = []
    for one in asked:
        names = [one.quantity]
        names += [bound["of"] for bound in (one.at_least, one.at_most) if isinstance(bound, Mapping)]
        absent += [
            f"requirement {one.name!r}: {missing(results, name)}" for name in names if not _has(results, name)
        ]
    losses = any(one.position is not None for one in results)
    if not losses and any(one.check == "loss_never_rises" for one in policy.requirements):
        absent.append("check loss_never_rises: no loss by position here; measure it with l2m_position_nll")
    if absent:
        raise L2MError("; ".join(dict.fromkeys(absent)))
    return tuple(_outcome(one, results, reference) for one in policy.requirements)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 where all are met, 1 where one is missed, 2 where one is open."""
    found = {one.status for one in outcomes}
    return 1 if FAIL in found else 2 if OPEN in found else 0


def _has(results: Sequence[Results], name: str) -> bool:
    if name == DOCUMENTS:
        return True
    try:
        named_quantity(results, name)
    except L2MError as error:
        if "is measured on" in str(error):
            raise
        return False
    return True


def _outcome(one: Requirement, results: Sequence[Results], reference: Sequence[Results]) -> Outcome:
    if one.check == "condition":
        return _condition(one, results)
    if one.check == "loss_never_rises":
        return _loss_never_rises(one, results)
    if one.check == "weights":
        return _weights(one, results)
    try:
        if one.worse_than_reference_by is not None:
            return _against_reference(one, results, reference)
        return _bounded(one, results)
    except L2MError as error:
        raise L2MError(f"requirement {one.name!r}: {error}") from error


def _bounded(one: Requirement, results: Sequence[Results]) -> Outcome:
    name, estimate, unit = _number(results, one.quantity)
    low, high = estimate.interval
    bound, of = one.at_least if one.at_least is not None else one.at_most, ""
    if isinstance(bound, Mapping):
        of_name, whole, _ = _number(results, bound["of"])
        of = f" ({bound['share']:g} of {of_name}, {whole.value:,.6g})"
        bound = bound["share"] * whole.value
    if one.at_least is not None:
        status = PASS if low >= bound else FAIL if high < bound else OPEN
        asked = "at least"
    else:
        status = PASS if high <= bound else FAIL if low > bound else OPEN
        asked = "at most"
    told = f"{name} {_in_words(estimate)}{f' {unit}' if unit else ''}; asked for: {asked} {bound:,.6g}{of}"
    if status == OPEN and math.isnan(low):
        told += "; its error is not known"
    elif status == OPEN:
        told += "; measure more documents" + (", or greater lengths" if math.isinf(high) else "")
    return Outcome(one.name, status, told, estimate, unit)


def _number(results: Sequence[Results], name: str) -> tuple[str, Estimate, str]:
    """A number with the interval that it is judged by; counts and claims are exact."""
    if name == DOCUMENTS:
        counts = [r.sample.get("documents") for r in results]
        fewest = min((float(c) for c in counts if isinstance(c, (int, float))), default=math.nan)
        return name, Estimate(fewest, 0.0, (fewest, fewest)), ""
    quantity = named_quantity(results, name)
    estimate = quantity.estimate
    if quantity.name == "claimed_context":
        estimate = Estimate(estimate.value, 0.0, (estimate.value, estimate.value))
    return quantity.name, estimate, quantity.unit


def _in_words(estimate: Estimate) -> str:
    low, high = estimate.interval
    if low == high:
        return f"{estimate.value:,.6g}"
    if math.isinf(high):
        return f"{estimate.value:,.6g} (from {low:,.6g} on)"
    return f"{estimate.value:,.4g} (95 % interval {low:,.4g} to {high:,.4g})"


def _against_reference(one: Requirement, results: Sequence[Results], reference: Sequence[Results]) -> Outcome:
    if not reference:
        raise L2MError("reference: none given; give --reference RESULTS, or 'reference:' in the policy")
    higher = None if one.better is None else one.better == "higher"
    assert one.worse_than_reference_by is not None
    found = compare_quantity(
        results, reference, one.quantity, margin=one.worse_than_reference_by, higher_is_better=higher
    )
    told = (
        f"{found.first.name} minus that of {found.second.results.run.label}: {_in_words(found.difference)}"
        f"{f' {found.first.unit}' if found.first.unit else ''}; asked for: not worse by more than {found.margin:g}"
    )
    if found.documents_needed is not None:
        told += f"; about {found.documents_needed:,} documents would tell"
    status = {NOT_WORSE: PASS, WORSE: FAIL}.get(found.status, OPEN)
    return Outcome(one.name, status, told, found.difference, found.first.unit)


def _condition(one: Requirement, results: Sequence[Results]) -> Outcome:
    """The recorded verdict on the state; computed now where there is none and the state can be had."""
    for measured in sorted(results, key=_date, reverse=True):
        curve = measured.settings.get("check_curve", "direct")
        recorded = recorded_verdicts(measured, curve)
        if recorded:
            verdict = recorded[0]
            break
    else:
        measured = next((r for r in results if any(c.name == "direct" for c in r.bipartite)), results[0])
        try:
            verdict = check_results(measured, only="state")[0].verdict
        except L2MError as error:
            raise L2MError(
                f"requirement {one.name!r}: no verdict is in these results ({error}); measure it with l2m_condition"
            ) from error
    status = {"satisfied": PASS, "violated": FAIL}.get(verdict.status, OPEN)
    return Outcome(one.name, status, verdict.sentence, Estimate.from_named_json(verdict.numbers, "margin"))


def _loss_never_rises(one: Requirement, results: Sequence[Results]) -> Outcome:
    """From each bin of positions to the next, on the same documents; 95 % for all steps together (Bonferroni)."""
    measured = max((r for r in results if r.position is not None), key=_date)
    if measured.documents is None:
        return Outcome(
            one.name, OPEN, "no samples log (--log_samples), so that the steps' errors are not known"
        )
    curve = measured.position
    assert curve is not None
    records, docs = measured.documents.records, measured.documents.docs
    sizes = np.array([b.last - b.first + 1 for b in curve.bins], float)
    losses = -np.array([record["sums"] for record in records], float) / sizes  # (documents, bins)
    later = [i for i, b in enumerate(curve.bins) if b.first >= one.start]
    if len(later) < 2:
        return Outcome(
            one.name, OPEN, f"fewer than two bins from position {one.start:g} on; measure greater lengths"
        )
    steps = np.diff(losses[:, later], axis=1)
    rise = steps.mean(axis=0)
    totals, counts = cluster_sums(steps, [doc["source"] for doc in docs])
    error = linearised_error((totals - counts[:, None] * rise) / len(steps))
    groups = len(counts)
    reach = float(stats.t.ppf(1 - 0.025 / len(rise), groups - 1)) if groups > 1 else math.nan
    low, high = rise - reach * error, rise + reach * error
    worst = int(np.argmax(low if (low > one.by).any() else high)) if groups > 1 else int(np.argmax(rise))
    status = FAIL if (low > one.by).any() else PASS if (high <= one.by).all() else OPEN
    estimate = Estimate(float(rise[worst]), float(error[worst]), (float(low[worst]), float(high[worst])))
    names = [f"{curve.bins[i].first:,}-{curve.bins[i].last:,}" for i in later]
    told = (
        f"from positions {names[worst]} to {names[worst + 1]} the loss changes by "
        f"{_in_words(estimate)} nats per token, the step of {len(rise)} that is nearest to a rise; "
        f"asked for: at most {one.by:g}"
    )
    return Outcome(one.name, status, told, estimate, "nats per token")


def _weights(one: Requirement, results: Sequence[Results]) -> Outcome:
    """Whether the results are of these weights: of a revision, or not older than the files."""
    oldest = min(results, key=_date)
    if one.revision:
        told = {r: str(r.run.config.get("model_sha") or r.run.revision or "") for r in results}
        other = [
            f"{r.task}: {sha or 'none recorded'}"
            for r, sha in told.items()
            if not sha.startswith(one.revision)
        ]
        status = FAIL if other else PASS
        found = f"revision {one.revision}" if not other else "; ".join(other)
        return Outcome(one.name, status, f"measured: {found}; asked for: {one.revision}")
    folder = Path(str(oldest.run.model_args.get("pretrained") or ""))
    files = [file for pattern in _WEIGHTS for file in folder.glob(pattern)] if folder.is_dir() else []
    if not files or oldest.run.date is None:
        why = "the results have no date" if files else f"the weights of {oldest.run.label} are not at hand"
        return Outcome(one.name, OPEN, f"{why}; give revision: with what should have been measured")
    changed = datetime.fromtimestamp(max(file.stat().st_mtime for file in files), timezone.utc)
    status = PASS if changed <= oldest.run.date else FAIL
    return Outcome(
        one.name,
        status,
        f"measured {oldest.run.date:%Y-%m-%d %H:%M}, weights written {changed:%Y-%m-%d %H:%M} UTC",
    )


def _date(results: Results) -> float:
    return results.run.date.timestamp() if results.run.date else -math.inf
