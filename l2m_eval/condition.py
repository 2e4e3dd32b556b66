"""The L²M check: does a history state grow fast enough for the mutual information of the data?

Chen et al. 2025 (arXiv 2503.04725), section 5: a model that captures bipartite mutual information I ~ A·L^β at
every length must have a history state that grows at least like L^β (Theorem 5.4), since what a state can pass on
is bounded by its size (Theorem 5.2). Arrays in, sentences and numbers out; no model is touched here.

`Verdict.to_json` writes the schema ``l2m-eval/check/1``:

``schema``
    The string above. Fields may be added within version 1; none changes its meaning.
``check``
    ``single-model`` (Theorem 5.4), ``series`` (Theorem 5.6), ``mi-capability`` (Definition 5.3) or ``error``.
``status``, ``exit_code``
    ``satisfied`` 0, ``violated`` 1, ``inconclusive`` 2, ``error`` 3.
``sentence``
    The verdict in words, with its numbers.
``numbers``
    Of ``single-model``: ``gamma``, ``beta``, ``beta_interval``, ``beta_of``, ``margin``, ``margin_error``,
    ``margin_interval``, ``growth`` (words), ``state_source``, ``saturation_length``, ``constant_part`` and
    ``slope_per_token`` (elements), ``horizon`` (``length``, ``interval``, ``until`` in tokens, ``never`` the fraction
    of resamples that never cross, ``assumption``) and, with a measured curve, ``utilisation`` (``lengths``,
    ``elements`` of the state after the left block, ``capacity`` in nats, ``values``, ``errors``).
    Of ``series``: ``delta``, ``delta_error``, ``beta``, ``beta_interval``, ``beta_of``, ``margin``,
    ``margin_interval``, ``members``.
    Of ``mi-capability``: ``unit``, ``lengths``, ``ratios``, ``errors``, ``trend``, ``trend_error``,
    ``trend_interval``, ``tolerance``, ``model``, ``reference``.
    A number that is infinite or unknown is null (a horizon's length is null when it is never reached).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from l2m_eval.errors import L2MError
from l2m_eval.estimators.intervals import resampled_error, resampled_interval
from l2m_eval.history_state.state import HistoryState, state_growth

Array = NDArray[np.float64]
Interval = tuple[float, float]

SCHEMA = "l2m-eval/check/1"
SATISFIED, VIOLATED, INCONCLUSIVE, ERROR = "satisfied", "violated", "inconclusive", "error"
EXIT_CODES = {SATISFIED: 0, VIOLATED: 1, INCONCLUSIVE: 2, ERROR: 3}
_NORMAL_95 = 1.959963984540054
# A crossing beyond this many tokens is reported as none. Far beyond any text: a fixed state of many bits against a
# law of small exponent is crossed late, and that is still not never.
_FARTHEST = 1e36
_PER_DECADE = 40
_MANY_CLUSTERS = 10**6


@dataclass(frozen=True, eq=False)
class ScalingLaw:
    """The law I(L) = amplitude · L^exponent of the data that a state is checked against.

    Has the fields of `l2m_eval.scaling.PowerLaw` that matter here; see `from_fit`.

    Attributes:
        amplitude: Nats at L = 1, L the *total* length.
        exponent: β.
        of: What was measured, with what: it is named wherever β is used.
        exponent_interval: 95 % interval of β; taken from `replicates` when None, and without both β is exact.
        amplitude_interval: 95 % interval of the amplitude.
        replicates: Amplitude and exponent of each bootstrap resample, shape (R, 2).
        ratio: Total length over the left block's: the state that has to carry the information is that after
            L / ratio tokens.
        error: Standard error of β; that of `replicates`, or of the interval's width, when None.
        clusters: Independent groups of documents behind the replicates; None for many. Few of them widen intervals.
    """

    amplitude: float
    exponent: float
    of: str
    exponent_interval: Interval | None = None
    amplitude_interval: Interval | None = None
    replicates: Array | None = None
    ratio: float = 2.0
    error: float | None = None
    clusters: int | None = None

    @classmethod
    def from_fit(cls, fit: Any, of: str, ratio: float = 2.0) -> ScalingLaw:
        """From a fitted `l2m_eval.scaling.PowerLaw` (anything with its fields)."""
        return cls(
            float(fit.amplitude),
            float(fit.exponent),
            of,
            tuple(fit.exponent_interval),
            tuple(fit.amplitude_interval),
            np.asarray(fit.replicates, float),
            ratio,
            float(fit.exponent_error),
            fit.clusters,
        )

    @property
    def bounds(self) -> Interval:
        """95 % interval of β; (β, β) where none is known, NaN where there are too few resamples to tell."""
        if self.exponent_interval is not None:
            return float(self.exponent_interval[0]), float(self.exponent_interval[1])
        if self.replicates is not None:
            return self.resampled(_finite_rows(self.replicates)[:, 1], self.exponent)
        return self.exponent, self.exponent

    def resampled(self, replicates: Array, estimate: float) -> Interval:
        """95 % interval of a quantity of the law from its value for each resample."""
        return resampled_interval(replicates, estimate, self.clusters or _MANY_CLUSTERS)

    @property
    def exponent_error(self) -> float:
        """Standard error of β; 0 where no uncertainty is known."""
        if self.error is not None:
            return self.error
        if self.replicates is not None:
            betas = _finite_rows(self.replicates)[:, 1]
            return float(np.std(betas, ddof=1)) if len(betas) > 1 else math.nan
        low, high = self.bounds
        return (high - low) / (2 * _NORMAL_95)

    def describe(self) -> str:
        """``L^0.76 (95 % interval 0.71 to 0.81; PG19, ...)``."""
        low, high = self.bounds
        known = self.exponent_interval is not None or self.replicates is not None
        interval = f"95 % interval {low:.2f} to {high:.2f}" if known else "no interval published"
        return f"L^{self.exponent:.2f} ({interval}; {self.of})"


# SCIENCE of the paper, section on bipartite mutual information: fits against the total length, published bare.
PUBLISHED: dict[str, ScalingLaw] = {
    "pg19-llama-3.1-405b-direct": ScalingLaw(
        2.27, 0.76, "PG19, Llama 3.1 405B FP8, direct estimator, arXiv 2503.04725"
    ),
    "pg19-llama-3.1-405b-vclub": ScalingLaw(3.26, 0.71, "PG19, Llama 3.1 405B FP8, vCLUB, arXiv 2503.04725"),
}


def published_law(name: str) -> ScalingLaw:
    """A published scaling law by its name in `PUBLISHED`.

    Raises:
        L2MError: no such name.
    """
    if name not in PUBLISHED:
        raise L2MError(f"reference: {name!r} is no published curve; give one of {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


@dataclass(frozen=True, eq=False)
class MutualInformationCurve:
    """A measured curve of bipartite mutual information.

    Attributes:
        model: Whose probabilities it was measured with.
        corpus: What it was measured on, named so that equal names mean the same documents.
        lengths: Total lengths in `unit`, shape (n,), increasing.
        values, errors: Nats and their standard errors, shape (n,).
        settings: What must agree for two curves to be compared: estimator, correction, split ratio, documents,
            seed, and the tokenizer where lengths are tokens.
        unit: ``"tokens"`` or ``"bytes"``.
        replicates: The curve of each bootstrap resample of documents, shape (R, n); of two curves the r-th rows must
            rest on the same documents.
        clusters: Independent groups of documents behind the replicates; None for many.
    """

    model: str
    corpus: str
    lengths: Array
    values: Array
    errors: Array
    settings: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "tokens"
    replicates: Array | None = None
    clusters: int | None = None


@dataclass(frozen=True)
class Horizon:
    """Where the law of the data reaches the most that a state can pass on.

    Attributes:
        length: Total length in tokens; inf where it never does (or beyond 10^36 tokens).
        interval: 95 % interval from the resamples, either end may be inf.
        until: Where a growing state overtakes the law again, in tokens; inf where it does not.
        never: Fraction of resamples whose curve never reaches it.
        assumption: What the capacity rests on.
    """

    length: float
    interval: Interval
    until: float
    never: float
    assumption: str


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check; `numbers` holds what the module's docstring lists for `check`."""

    status: str
    check: str
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 satisfied, 1 violated, 2 inconclusive, 3 error."""
        return EXIT_CODES[self.status]

    @classmethod
    def of_error(cls, error: Exception) -> Verdict:
        """The verdict that no check was possible."""
        return cls(ERROR, "error", str(error))

    @classmethod
    def from_json(cls, data: Any, where: str = "check") -> Verdict:
        """The verdict that `to_json` wrote; numbers that were infinite or unknown are None.

        Raises:
            L2MError: another schema, or a verdict that is not complete; `where` names the file.
        """
        if not isinstance(data, Mapping) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, Mapping) else data
            raise L2MError(f"{where}: the check has the schema {found!r}; this version reads {SCHEMA}")
        if data.get("status") not in EXIT_CODES:
            raise L2MError(f"{where}: {data.get('status')!r} is no verdict; expected {', '.join(EXIT_CODES)}")
        return cls(
            data["status"], str(data.get("check")), str(data.get("sentence")), dict(data.get("numbers") or {})
        )

    def to_json(self) -> dict[str, Any]:
        """Schema ``l2m-eval/check/1``, see the module's docstring; plain JSON types only."""
        return {
            "schema": SCHEMA,
            "check": self.check,
            "status": self.status,
            "exit_code": self.exit_code,
            "sentence": self.sentence,
            "numbers": _plain(dict(self.numbers)),
        }


# --- one model (Theorems 5.2 and 5.4) ---------------------------------------------------------------------------


def check_model(
    state: HistoryState,
    law: ScalingLaw,
    *,
    vocabulary: int | None = None,
    nats_per_element: float | None = None,
    curve: MutualInformationCurve | None = None,
) -> Verdict:
    """Does this model's history state grow at least like the mutual information of the data?

    γ, the exponent of the state at the largest lengths (0 for one that saturates), is compared with the 95 %
    interval of β: satisfied at or above it, violated below it, inconclusive inside it.

    Args:
        state: History state of the model.
        law: Mutual information of the data. That of a weaker model understates the data's.
        vocabulary: Number of tokens M, for the bound of Theorem 5.2; that of the state when None, and without
            either the term log M, a dozen nats, is left out.
        nats_per_element: A calibrated constant C for the bound, instead of the precision of the elements.
        curve: Measured points, whose share of the capacity is reported.

    Raises:
        L2MError: a law or a constant that makes no sense.
    """
    _require_law(law)
    growth = state_growth(state)
    gamma = growth.asymptotic_exponent
    margin, interval = _margin(gamma, 0.0, law)
    status = _status(interval)
    numbers: dict[str, Any] = {
        "gamma": gamma,
        "beta": law.exponent,
        "beta_interval": law.bounds,
        "beta_of": law.of,
        "margin": margin,
        "margin_error": law.exponent_error,
        "margin_interval": interval,
        "growth": growth.sentence,
        "state_source": state.source,
        "saturation_length": growth.saturation_length,
        "constant_part": growth.constant_part,
        "slope_per_token": growth.slope_per_token,
    }
    data = f"the mutual information of the data, {law.describe()}"
    how = {
        SATISFIED: f", at least as fast as {data}",
        VIOLATED: f", while {data.replace(', L^', ' grows like L^', 1)}",
        INCONCLUSIVE: f"; whether that is fast enough for {data}, cannot be told",
    }[status]
    sentence = (
        f"{status.capitalize()}: the history state of {state.model} {growth.sentence}{how}: "
        f"γ - β = {_number_with_error(margin, law.exponent_error)}."
    )
    if math.isnan(gamma):
        sentence = (
            f"Inconclusive: of the history state of {state.model} {growth.sentence}, so that it cannot be compared "
            f"with the mutual information of the data, {law.describe()}."
        )
    vocabulary = vocabulary if vocabulary is not None else state.vocabulary
    reached = horizon(law, state, vocabulary=vocabulary, nats_per_element=nats_per_element)
    numbers["horizon"] = asdict(reached)
    sentence += " " + _horizon_sentence(reached)
    if curve is not None:
        capacity, used, errors = utilisation(
            curve, state, law.ratio, vocabulary=vocabulary, nats_per_element=nats_per_element
        )
        numbers["utilisation"] = {
            "lengths": curve.lengths,
            "elements": state.elements_at(np.maximum(curve.lengths / law.ratio, 1.0)),
            "capacity": capacity,
            "values": used,
            "errors": errors,
        }
    return Verdict(status, "single-model", sentence, numbers)


def state_capacity(
    state: HistoryState,
    lengths: ArrayLike,
    *,
    vocabulary: int | None = None,
    nats_per_element: float | None = None,
) -> Array:
    """The most mutual information that the state after so many tokens can pass on, in nats (Theorem 5.2).

    C·dim z + log M. An element stored in b bits holds at most b·ln 2 nats, which needs no fitted constant; a
    calibrated C may be given instead.

    Args:
        state: History state.
        lengths: Tokens in the state: the left block's length, not the total.
        vocabulary: M; without it the term log M, the last token itself, is left out.
        nats_per_element: C, in nats per element.

    Raises:
        L2MError: a constant or a vocabulary that is not positive.
    """
    if vocabulary is not None and not vocabulary >= 1:
        raise L2MError(f"vocabulary: {vocabulary!r} is no number of tokens; give a whole number from 1")
    if nats_per_element is not None and not (nats_per_element > 0 and math.isfinite(nats_per_element)):
        raise L2MError(
            f"nats_per_element: {nats_per_element!r} is no capacity; give a positive finite number"
        )
    last_token = math.log(vocabulary) if vocabulary is not None else 0.0
    if nats_per_element is None:
        return state.bits_at(lengths) * math.log(2) + last_token
    return state.elements_at(lengths) * nats_per_element + last_token


def horizon(
    law: ScalingLaw,
    state: HistoryState,
    *,
    vocabulary: int | None = None,
    nats_per_element: float | None = None,
) -> Horizon:
    """The total length at which the law of the data reaches the capacity of the state.

    The state is that after L / ratio tokens. The first crossing is sought on a logarithmic grid that contains every
    length where the state changes its growth, for the law and for each of its resamples, then refined.

    Raises:
        L2MError: as `state_capacity`, or a law that makes no sense.
    """
    _require_law(law)

    def capacity(lengths: Array) -> Array:
        return state_capacity(
            state,
            np.maximum(lengths / law.ratio, 1.0),
            vocabulary=vocabulary,
            nats_per_element=nats_per_element,
        )

    corners = state.probe_lengths * law.ratio
    corners = corners[(corners >= 1) & (corners <= _FARTHEST)]
    grid = np.unique(np.concatenate([np.geomspace(1.0, _FARTHEST, 36 * _PER_DECADE + 1), corners]))
    length = float(_first_crossings(np.array([law.amplitude]), np.array([law.exponent]), capacity, grid)[0])
    later = grid[grid > length]
    with np.errstate(over="ignore"):
        overtaken = later[law.amplitude * later**law.exponent < capacity(later)]
    until = float(overtaken[0]) if len(overtaken) else math.inf
    if law.replicates is not None:
        rows = _finite_rows(law.replicates)
        crossings = _first_crossings(rows[:, 0], rows[:, 1], capacity, grid)
        low, high = law.resampled(np.log(crossings), math.log(length))
        interval = (math.exp(low), math.exp(high))
        never = float(np.isinf(crossings).mean()) if len(crossings) else math.nan
    elif law.exponent_interval is not None or law.amplitude_interval is not None:
        # Amplitude and exponent err in opposite directions; without resamples the corners are the safe statement.
        a, b = law.amplitude_interval or (law.amplitude, law.amplitude), law.bounds
        late, early = _first_crossings(np.array(a), np.array(b), capacity, grid)
        interval, never = (float(early), float(late)), float(math.isinf(length))
    else:
        interval, never = (length, length), float(math.isinf(length))
    if nats_per_element is None:
        assumption = "If every stored bit carries information about the past"
    else:
        assumption = f"With {nats_per_element:g} nats per element"
    return Horizon(length, interval, until, never, assumption)


def utilisation(
    curve: MutualInformationCurve,
    state: HistoryState,
    ratio: float = 2.0,
    *,
    vocabulary: int | None = None,
    nats_per_element: float | None = None,
) -> tuple[Array, Array, Array]:
    """Capacity in nats, I(L) / capacity, and its standard error, at each measured length; shapes (n,).

    Raises:
        L2MError: lengths that are not tokens, or as `state_capacity`.
    """
    if curve.unit != "tokens":
        raise L2MError(f"unit: {curve.unit!r}; a state is compared with lengths in tokens")
    split = np.maximum(np.asarray(curve.lengths, float) / ratio, 1.0)
    capacity = state_capacity(state, split, vocabulary=vocabulary, nats_per_element=nats_per_element)
    return capacity, curve.values / capacity, curve.errors / capacity


def _first_crossings(
    amplitudes: Array, exponents: Array, capacity: Callable[[Array], Array], grid: Array
) -> Array:
    """First length at which A·L^β reaches the capacity, per curve (R,); inf where it does not on the grid."""
    log_grid = np.log(grid)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_a = np.log(np.maximum(amplitudes, 0.0))  # -inf for a curve that is nowhere positive
        log_capacity = np.log(capacity(grid))
        above = log_a[:, None] + exponents[:, None] * log_grid >= log_capacity  # (R, G)
    first = above.argmax(axis=1)
    crosses = above.any(axis=1)
    low = log_grid[np.maximum(first - 1, 0)]
    high = log_grid[first]
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            reached = log_a + exponents * middle >= np.log(capacity(np.exp(middle)))
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return np.where(crosses, np.exp(high), np.inf)


def _horizon_sentence(reached: Horizon) -> str:
    where = f"{reached.assumption}, the data's law"
    if math.isinf(reached.length):
        never = "never reaches the capacity of this state"
        if math.isinf(reached.interval[0]):
            return f"{where} {never}."
        return f"{where} {never}, but a resample in {1 / max(1 - reached.never, 1e-9):.0f} does."
    low, high = reached.interval
    between = "" if low == high else f" (95 % interval {_tokens(low)} to {_tokens(high)})"
    again = "" if math.isinf(reached.until) else f"; it is overtaken again at {_tokens(reached.until)}"
    return f"{where} reaches the capacity of this state at {_tokens(reached.length)} tokens{between}{again}."


def _tokens(length: float) -> str:
    if math.isinf(length):
        return "never"
    return f"{length:,.0f}" if length < 1e6 else f"{length:.1e}"


# --- a series of models (Theorem 5.6) ---------------------------------------------------------------------------


@dataclass(frozen=True)
class SeriesMember:
    """A model of a series: its name, the size of its state in elements, and the length it is meant for."""

    name: str
    state_size: float
    length: float


def check_series(members: Sequence[SeriesMember], law: ScalingLaw) -> Verdict:
    """Do the states of models meant for growing lengths grow at least like L^β?

    δ, the slope of log dim z(m_k) against log L_k with its standard error (Student's t for the scatter of more than
    two models about the line; two models define it exactly), is compared with β and its interval.

    Raises:
        L2MError: fewer than two lengths, or a size or length that is not positive.
    """
    _require_law(law)
    for m in members:
        if not (
            m.state_size > 0 and m.length > 0 and math.isfinite(m.state_size) and math.isfinite(m.length)
        ):
            raise L2MError(
                f"series: {m.name} has state size {m.state_size!r} and length {m.length!r}; give positive numbers"
            )
    if len({m.length for m in members}) < 2:
        raise L2MError(
            f"series: {len(members)} models at one length; give models meant for at least two lengths"
        )
    x = np.log([m.length for m in members])
    y = np.log([m.state_size for m in members])
    centred = x - x.mean()
    delta = float(centred @ y / (centred @ centred))
    spread, error = 0.0, 0.0
    if len(members) > 2:
        residual = y - y.mean() - delta * centred
        freedom = len(members) - 2
        error = float(np.sqrt(residual @ residual / freedom / (centred @ centred)))
        error = 0.0 if error < 1e-12 else error  # rounding about an exact power law
        spread = float(stats.t.ppf(0.975, freedom)) * error
    margin, interval = _margin(delta, spread, law)
    status = _status(interval)
    how = {SATISFIED: "at least like", VIOLATED: "more slowly than", INCONCLUSIVE: "indistinguishably from"}[
        status
    ]
    longest = max(members, key=lambda m: m.length)
    sentence = (
        f"{status.capitalize()}: the states of the {len(members)} models up to {longest.name} grow like "
        f"L^{delta:.2f}{f' ± {error:.2f}' if error else ''} with the length they are meant for, {how} the mutual "
        f"information of the data, {law.describe()}: δ - β = {margin:.2f} (95 % interval {interval[0]:.2f} to "
        f"{interval[1]:.2f})."
    )
    numbers = {
        "delta": delta,
        "delta_error": error,
        "beta": law.exponent,
        "beta_interval": law.bounds,
        "beta_of": law.of,
        "margin": margin,
        "margin_interval": interval,
        "members": [asdict(m) for m in members],
    }
    return Verdict(status, "series", sentence, numbers)


# --- MI-capability (Definition 5.3) -----------------------------------------------------------------------------


def check_mi_capability(
    curve: MutualInformationCurve, reference: MutualInformationCurve, *, tolerance: float = 0.05
) -> Verdict:
    """Does the mutual information that a model expresses keep up with a reference's as lengths grow?

    The trend is the slope of log(I / I_reference) against log L, weighted by the errors of the ratios. A model that
    keeps up has slope zero, which no interval can prove: it is satisfied when the 95 % interval lies above
    −`tolerance`, violated when it lies below, inconclusive when it contains it.

    Points of one curve rest on the same documents. With `replicates` of both curves the errors come from them and
    are right about that; without, points and curves are treated as independent.

    Args:
        curve: The model's.
        reference: A stronger model's, on the same corpus and settings. Where its lengths differ (bytes under another
            tokenizer) it is interpolated in log I against log L.
        tolerance: Difference of exponents that still counts as keeping up.

    Raises:
        L2MError: corpora, units or settings differ (the setting is named), fewer than two common lengths, or values
            that are not positive there.
    """
    if not (tolerance >= 0 and math.isfinite(tolerance)):
        raise L2MError(f"tolerance: {tolerance!r}; give a finite number from 0, for example 0.05")
    _require_comparable(curve, reference)
    lengths = np.asarray(curve.lengths, float)
    inside = (lengths >= reference.lengths[0]) & (lengths <= reference.lengths[-1])
    if inside.sum() < 2:
        raise L2MError(
            f"lengths: the curves share {int(inside.sum())} length(s); measure both at two or more common lengths"
        )
    lengths, values, errors = lengths[inside], curve.values[inside], curve.errors[inside]
    where = np.interp(np.log(lengths), np.log(reference.lengths), np.arange(len(reference.lengths)))
    ref_values, ref_errors = _interpolated(where, reference.values, reference.errors)
    if not ((values > 0).all() and (ref_values > 0).all()):
        bad = lengths[(values <= 0) | ~(ref_values > 0)][0]
        raise L2MError(
            f"values: the mutual information at L = {bad:g} is not positive in one of the curves, so that no "
            "ratio exists; measure more documents, or leave that length out"
        )
    x = np.log(lengths) - np.log(lengths).mean()
    ratios = values / ref_values
    relative = np.hypot(errors / values, ref_errors / ref_values)
    weights = 1 / relative**2 if (relative > 0).all() else np.ones(len(x))
    trend = _slope(x, np.log(ratios), weights)
    if curve.replicates is not None and reference.replicates is not None:
        sample = _replicate_ratios(curve.replicates[:, inside], reference.replicates, where)  # (R, n)
        slopes = np.array([_slope(x, row, weights) for row in np.log(sample)])
        count = curve.clusters or _MANY_CLUSTERS
        ratio_errors = np.array([resampled_error(column, count) for column in sample.T])
        trend_error, interval = resampled_error(slopes, count), resampled_interval(slopes, trend, count)
    else:
        ratio_errors = ratios * relative
        centred = x - np.average(x, weights=weights)
        trend_error = float(np.sqrt(((weights * centred * relative) ** 2).sum()) / (weights @ centred**2))
        interval = (trend - _NORMAL_95 * trend_error, trend + _NORMAL_95 * trend_error)
    status = _status((interval[0] + tolerance, interval[1] + tolerance))
    how = {
        SATISFIED: "keeps up with",
        VIOLATED: "falls behind",
        INCONCLUSIVE: "cannot be told to keep up with or fall behind",
    }[status]
    sentence = (
        f"{status.capitalize()}: the mutual information that {curve.model} expresses {how} that of "
        f"{reference.model} on {curve.corpus}: their ratio goes from {ratios[0]:.2f} ± {ratio_errors[0]:.2f} at "
        f"{lengths[0]:g} {curve.unit} to {ratios[-1]:.2f} ± {ratio_errors[-1]:.2f} at {lengths[-1]:g}, like "
        f"L^({trend:.3f} ± {trend_error:.3f}) (tolerance {tolerance:g})."
    )
    numbers = {
        "unit": curve.unit,
        "lengths": lengths,
        "ratios": ratios,
        "errors": ratio_errors,
        "trend": trend,
        "trend_error": trend_error,
        "trend_interval": interval,
        "tolerance": tolerance,
        "model": curve.model,
        "reference": reference.model,
    }
    return Verdict(status, "mi-capability", sentence, numbers)


def _require_comparable(curve: MutualInformationCurve, reference: MutualInformationCurve) -> None:
    pairs: list[tuple[str, Any, Any]] = [
        ("corpus", curve.corpus, reference.corpus),
        ("unit", curve.unit, reference.unit),
    ]
    for key in sorted({*curve.settings, *reference.settings}):
        if key == "tokenizer" and curve.unit == "bytes":
            continue  # that is what measuring in bytes is for
        pairs.append((key, curve.settings.get(key), reference.settings.get(key)))
    for name, ours, theirs in pairs:
        if ours != theirs:
            hint = "; or compare in bytes" if name == "tokenizer" else ""
            raise L2MError(
                f"{name}: {ours!r} for {curve.model}, {theirs!r} for the reference {reference.model}; measure both "
                f"with the same{hint}"
            )
    if curve.unit not in ("tokens", "bytes"):
        raise L2MError(f"unit: {curve.unit!r}; give tokens or bytes")
    if len(reference.lengths) == 0:
        raise L2MError("lengths: the reference curve is empty; measure both at two or more common lengths")


def _interpolated(where: Array, values: Array, errors: Array) -> tuple[Array, Array]:
    """Values and errors at fractional positions, log-linearly; errors as if neighbours erred together."""
    positions = np.arange(len(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        log_values = np.log(values)
    lower, upper = np.floor(where).astype(int), np.ceil(where).astype(int)
    share = where - lower
    mixed = np.exp(
        np.where(share == 0, log_values[lower], (1 - share) * log_values[lower] + share * log_values[upper])
    )
    relative = np.interp(where, positions, errors / values)
    return mixed, mixed * relative


def _replicate_ratios(ours: Array, theirs: Array, where: Array) -> Array:
    """Ratio of two resampled curves, row by row: (R, n); rows with a value that is not positive are left out."""
    if len(ours) != len(theirs):
        raise L2MError(
            f"replicates: {len(ours)} resamples against {len(theirs)} of the reference; resample both with one seed"
        )
    usable = (ours > 0).all(axis=1) & (theirs > 0).all(axis=1)
    if usable.sum() < 2:
        raise L2MError("replicates: fewer than two resamples are positive throughout; measure more documents")
    positions = np.arange(theirs.shape[1])
    reference = np.exp([np.interp(where, positions, row) for row in np.log(theirs[usable])])
    return np.asarray(ours[usable] / reference)


# --- shared -----------------------------------------------------------------------------------------------------


def _margin(exponent: float, spread: float, law: ScalingLaw) -> tuple[float, Interval]:
    """exponent - β and its 95 % interval, the two half-widths added in quadrature."""
    low, high = law.bounds
    margin = exponent - law.exponent
    down, up = math.hypot(spread, high - law.exponent), math.hypot(spread, law.exponent - low)
    return margin, (margin - down, margin + up)


def _status(interval: Interval) -> str:
    """Satisfied where a margin is at least zero, violated where it is below, inconclusive where it may be either."""
    if interval[0] >= -1e-12:
        return SATISFIED
    return VIOLATED if interval[1] < -1e-12 else INCONCLUSIVE


def _require_law(law: ScalingLaw) -> None:
    if not math.isfinite(law.exponent):
        raise L2MError(
            f"beta: {law.exponent!r} for {law.of}; give a law with a finite exponent (was the fit possible?)"
        )
    if not (law.amplitude > 0 and math.isfinite(law.amplitude)):
        raise L2MError(
            f"amplitude: {law.amplitude!r} for {law.of}; give a law with a positive finite amplitude"
        )
    if not law.ratio > 1:
        raise L2MError(
            f"ratio: {law.ratio!r}; give a total length over the left block's above 1, for example 2"
        )
    if law.replicates is not None and (law.replicates.ndim != 2 or law.replicates.shape[1] != 2):
        raise L2MError(
            f"replicates: shape {law.replicates.shape}; give amplitude and exponent per resample, (R, 2)"
        )


def _finite_rows(replicates: Array) -> Array:
    return np.asarray(replicates[np.isfinite(replicates).all(axis=1)], float)


def _slope(x: Array, y: Array, weights: Array) -> float:
    centred = x - np.average(x, weights=weights)
    return float((weights * centred) @ y / ((weights * centred) @ centred))


def _number_with_error(value: float, error: float) -> str:
    return f"{value:.2f}" if not error > 0 else f"{value:.2f} ± {error:.2f}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
