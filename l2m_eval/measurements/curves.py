"""What is measured: curves with their fits, and how results files hold them.

Each curve is one class, whether it was just computed or read: ``to_json`` and ``from_json`` stand beside each other.
A curve that was read has no resamples and no terms of documents; those are in the samples log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_eval.condition.effective_context import EffectiveContext, effective_context
from l2m_eval.estimators.position import PositionBin, PositionCurve, PositionFit
from l2m_eval.estimators.two_point.curve import TwoPointCurve
from l2m_eval.estimators.two_point.fit import ABOVE_THE_FLOOR, IN_LOGARITHMS, TwoPointFit
from l2m_eval.measurements.saved_part import SavedPart
from l2m_eval.statistics.arrays import Array, Integers
from l2m_eval.statistics.clusters import MeanWithError
from l2m_eval.statistics.estimate import Estimate, as_float, finite_or_none
from l2m_eval.statistics.power_law import PowerLaw
from l2m_eval.statistics.shapes import SHAPES, Shape, ShapeFit, compare_shapes, fit_shapes

_SHAPES = {shape.name: shape for shape in SHAPES}
_SHAPES_SEED = 0x736861706573
_GROWTH_SEED = 0x67726F777468


def curve_name(estimator: str, ratio: int) -> str:
    """Name of a curve in metrics: the estimator, and the ratio where it is not the main text's 2."""
    return estimator if ratio == 2 else f"{estimator}_r{ratio}"


@dataclass(frozen=True, eq=False)
class Resampled:
    """What the resamples of a curve are drawn from.

    Attributes:
        terms: Per-document terms, (documents, points), nats.
        clusters: Label of each document.
        shared_error: Standard error of what all points have in common beyond the documents, nats.
        seed: Of the draws.
    """

    terms: Array
    clusters: Sequence[Any]
    shared_error: float
    seed: int

    def with_error(self) -> MeanWithError:
        """For fits to resamples, which weigh points by their errors."""
        return MeanWithError(self.terms, self.clusters, self.shared_error)


@dataclass(frozen=True, eq=False)
class BipartiteCurve:
    """I(L) of one estimator at one ratio, nats, with its fit over the total length L; arrays have shape (n,).

    Attributes:
        estimator, ratio: Which estimator; total length over the left block's.
        lengths: Total lengths in tokens.
        mi, standard_error: Nats; the error is NaN with fewer than two clusters.
        clusters: Groups of documents that the errors rest on.
        fit: The power law through the points; without resamples where it was read.
        bytes: Mean bytes of text that the lengths cover; None where they are not known.
        blocks: Mean number of blocks of each length in a document; None where results do not say it, which have one.
        documents, clusters_each: Documents that each length is measured on, and groups of them; None where results do
            not say it, which have all documents at each length.
        mixture: λ of the mixed marginal at each length (`l2m_eval.estimators.mixture`);
            None of another marginal.
        exact, beta_exact: Of a known process, and the exponent of the same fit to it; None otherwise.
        drawn: What resamples are drawn from; None where the curve was read.
        stored_shapes: Rival shapes as they were read; None where there are none.
        stored_effective_context: The effective context as it was read; None where there is none.
    """

    estimator: str
    ratio: int
    lengths: Integers
    mi: Array
    standard_error: Array
    clusters: int
    fit: PowerLaw
    bytes: Array | None = None
    blocks: Array | None = None
    documents: Integers | None = None
    clusters_each: Integers | None = None
    mixture: Array | None = None
    exact: Array | None = None
    beta_exact: float | None = None
    drawn: Resampled | None = None
    stored_shapes: tuple[ShapeFit, ...] | None = None
    stored_effective_context: EffectiveContext | None = None

    @property
    def name(self) -> str:
        return curve_name(self.estimator, self.ratio)

    @property
    def beta(self) -> Estimate:
        return self.fit.exponent

    @property
    def amplitude(self) -> Estimate:
        return self.fit.amplitude

    def clusters_at(self, index: int) -> int:
        """Groups of documents behind the error of one length."""
        return self.clusters if self.clusters_each is None else int(self.clusters_each[index])

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Which lengths lie in the range of the fit, (n,)."""
        inside: NDArray[np.bool_] = (self.lengths >= self.fit.within[0]) & (
            self.lengths <= self.fit.within[1]
        )
        return inside

    @cached_property
    def shapes(self) -> tuple[ShapeFit, ...]:
        """The power law and its rivals, and which of them the documents reject.

        Empty with fewer than three points or without errors. Of a curve that was read without them they are fitted
        anew, and say nothing of resamples.
        """
        if self.stored_shapes is not None:
            return self.stored_shapes
        inside = self.fitted
        lengths, errors = self.lengths[inside], self.standard_error[inside]
        if len(lengths) < 3 or not (np.isfinite(errors) & (errors > 0)).all():
            return ()
        if self.drawn is None:
            return fit_shapes(lengths, self.mi[inside], errors)
        rng = np.random.default_rng([self.drawn.seed, _SHAPES_SEED, self.ratio])
        terms, clusters, shared = self.drawn.terms[:, inside], self.drawn.clusters, self.drawn.shared_error
        return compare_shapes(lengths, terms, np.asarray(clusters), errors, rng=rng, shared_error=shared)

    @cached_property
    def effective_context(self) -> EffectiveContext | None:
        """How far the curve grows, by tests on its documents; None of a curve that was read without it."""
        if self.stored_effective_context is not None or self.drawn is None:
            return self.stored_effective_context
        rng = np.random.default_rng([self.drawn.seed, _GROWTH_SEED, self.ratio])
        terms, clusters = self.drawn.terms, np.asarray(self.drawn.clusters)
        return effective_context(self.lengths.tolist(), terms, clusters, rng=rng)

    @property
    def effective_bytes(self) -> float | None:
        """Mean bytes of text in the effective context, by which models with different tokenizers are compared."""
        effective = self.effective_context
        if self.bytes is None or effective is None or effective.reason:
            return None
        at = np.flatnonzero(self.lengths == effective.value)
        return float(self.bytes[at[0]]) if len(at) else None

    def to_json(self) -> dict[str, Any]:
        effective = self.effective_context
        whole = self.exact is not None and bool(np.isfinite(self.exact).all())  # a curve with holes is none
        return {
            "name": self.name,
            "estimator": self.estimator,
            "ratio": self.ratio,
            "lengths": self.lengths.tolist(),
            "bytes": None if self.bytes is None else self.bytes.tolist(),
            "blocks": None if self.blocks is None else self.blocks.tolist(),
            "documents": None if self.documents is None else self.documents.tolist(),
            "clusters_each": None if self.clusters_each is None else self.clusters_each.tolist(),
            "mixture": None if self.mixture is None else self.mixture.tolist(),
            "mi": self.mi.tolist(),
            "standard_error": self.standard_error.tolist(),
            "clusters": self.clusters,
            **self.fit.amplitude.named_json("amplitude"),
            **self.fit.exponent.named_json("beta"),
            "fit": self.fit.method,
            "fit_range": finite_or_none(list(self.fit.within)),
            **self.fit.upper.named_json("beta_upper_half"),
            **self.fit.bend.named_json("beta_bend"),
            "not_positive": list(self.fit.not_positive),
            "effective_context": None
            if effective is None
            else {**effective.to_json(), "bytes": self.effective_bytes},
            "shapes": [_shape_json(fit) for fit in self.shapes],
            "exact": self.exact.tolist() if whole and self.exact is not None else None,
            "beta_exact": self.beta_exact if whole else None,
        }

    @classmethod
    def from_json(cls, saved: SavedPart) -> BipartiteCurve:
        """The curve that `to_json` wrote.

        Raises:
            L2MError: something is missing or of another shape.
        """
        saved.required("name")
        lengths, clusters = saved.whole_numbers("lengths"), saved.count("clusters")
        count = len(lengths)
        if count == 0:
            raise saved.error("has no lengths")
        beta_exact = saved.number("beta_exact")
        mi, errors = saved.array("mi", count), saved.array("standard_error", count)
        shapes = saved.optional_parts("shapes", "shape")
        effective = saved.mapping("effective_context")
        within = _range_from_json(saved)
        inside = (lengths >= within[0]) & (lengths <= within[1])
        return cls(
            estimator=str(saved.required("estimator")),
            ratio=int(saved.required("ratio")),
            lengths=lengths,
            mi=mi,
            standard_error=errors,
            clusters=clusters,
            fit=PowerLaw(
                saved.named_estimate("amplitude"),
                saved.named_estimate("beta"),
                saved.text("fit"),
                count,
                clusters,
                saved.integers("not_positive"),
                np.empty((0, 2)),
                within,
                saved.named_estimate("beta_upper_half"),
                saved.named_estimate("beta_bend"),
            ),
            bytes=saved.array_or_none("bytes", count),
            blocks=saved.array_or_none("blocks", count),
            documents=_counts(saved, "documents", count),
            clusters_each=_counts(saved, "clusters_each", count),
            mixture=saved.array_or_none("mixture", count),
            exact=saved.array_or_none("exact", count),
            beta_exact=None if math.isnan(beta_exact) else beta_exact,
            stored_shapes=tuple(
                _shape_from_json(one, _SHAPES[one.text("shape")], lengths[inside], mi[inside], errors[inside])
                for one in shapes
                if one.text("shape") in _SHAPES  # a later version may try more shapes
            )
            or None,
            stored_effective_context=EffectiveContext.from_json(effective) if effective else None,
        )


def _counts(saved: SavedPart, key: str, count: int) -> Integers | None:
    found = saved.array_or_none(key, count)
    return None if found is None else found.astype(np.int64)


def _range_from_json(saved: SavedPart) -> tuple[float, float]:
    """First and last length of a fit; all lengths where nothing is written."""
    ends = saved.array_or_none("fit_range", 2)
    if ends is None:
        return 0.0, math.inf
    low, high = ends.tolist()
    return (0.0 if math.isnan(low) else low), (math.inf if math.isnan(high) else high)


def _shape_json(fit: ShapeFit) -> dict[str, Any]:
    names = ("parameters", "misfit", "p_value", "best_share")
    numbers = finite_or_none({name: getattr(fit, name) for name in names})
    return {"shape": fit.shape, "formula": fit.formula, **numbers}


def _shape_from_json(
    saved: SavedPart, shape: Shape, lengths: Integers, values: Array, errors: Array
) -> ShapeFit:
    a, b = saved.array("parameters", 2).tolist()
    fitted = shape.evaluate(lengths.astype(float), np.array([[a, b]]))[0]
    residuals = (values - fitted) / errors
    numbers = (saved.number(name) for name in ("misfit", "best_share", "p_value"))
    return ShapeFit(shape.name, shape.formula, (a, b), fitted, residuals, *numbers)


@dataclass(frozen=True, eq=False)
class FittedTwoPointCurve(TwoPointCurve):
    """I(d) between tokens at distance d, with the forms fitted to it.

    Of a curve that was read the settings (`estimator` ... `seed`) are empty, those of the results say them, and
    `replicates` has no rows.

    Attributes:
        name: ``two_point`` of the text, ``two_point_generated`` of what the model writes.
        fits: The forms tried.
        exact: Of a known process, (distances,); None otherwise.
    """

    name: str = "two_point"
    fits: tuple[TwoPointFit, ...] = ()
    exact: Array | None = None

    @classmethod
    def of(
        cls, curve: TwoPointCurve, name: str, fits: tuple[TwoPointFit, ...], exact: Array | None = None
    ) -> FittedTwoPointCurve:
        values = {f.name: getattr(curve, f.name) for f in fields(TwoPointCurve)}
        return cls(**values, name=name, fits=fits, exact=exact)

    def decay(self, null_correction: str) -> TwoPointFit | None:
        """The fit that α is reported of; None where the results do not hold it.

        Args:
            null_correction: How the curve was corrected. Without a null no point is known to be above it, and the
                published form is reported; else the power law through the points above the floor.
        """
        form = IN_LOGARITHMS if null_correction == "none" else ABOVE_THE_FLOOR
        return next((fit for fit in self.fits if fit.form == form), None)

    def to_json(self) -> dict[str, Any]:
        arrays = (
            "distances", "mi", "standard_error", "interval", "uncorrected", "null", "null_spread", "floor", "bias",
            "pairs",
        )  # fmt: skip
        return {
            "name": self.name,
            **{key: finite_or_none(getattr(self, key).tolist()) for key in arrays},
            "documents": self.documents,
            "groups": self.groups,
            "exact": None if self.exact is None else self.exact.tolist(),
            "fits": [_two_point_fit_json(fit) for fit in self.fits],
        }

    @classmethod
    def from_json(cls, saved: SavedPart) -> FittedTwoPointCurve:
        """The curve that `to_json` wrote; what is missing is NaN.

        Raises:
            L2MError: something that is needed is missing or of another shape.
        """
        distances = saved.whole_numbers("distances")
        n = len(distances)
        intervals = saved.data.get("interval") or [[None, None]] * n
        return cls(
            distances=distances,
            mi=saved.array("mi", n),
            standard_error=saved.array("standard_error", n),
            interval=np.array([[as_float(low), as_float(high)] for low, high in intervals]).reshape(n, 2),
            uncorrected=saved.optional_array("uncorrected", n),
            null=saved.optional_array("null", n),
            null_spread=saved.optional_array("null_spread", n),
            floor=saved.optional_array("floor", n),
            pairs=saved.optional_array("pairs", n),
            documents=saved.count("documents"),
            groups=saved.count("groups"),
            estimator="",
            marginals="",
            null_method="",
            shuffles=0,
            seed=0,
            replicates=np.empty((0, n)),
            bias=saved.optional_array("bias", n),
            scatter=np.full(n, math.nan),
            name=str(saved.required("name")),
            fits=tuple(_two_point_fit_from_json(one) for one in saved.optional_parts("fits", "fit")),
            exact=saved.array_or_none("exact", n),
        )


def _two_point_fit_json(fit: TwoPointFit) -> dict[str, Any]:
    numbers = fit.exponent.named_json("alpha") | fit.amplitude.named_json("amplitude")
    numbers |= fit.offset.named_json("offset") | {"p_value": fit.p_value}
    return {
        "form": fit.form,
        **finite_or_none(numbers),
        "distances": list(fit.distances),
        "reason": fit.reason,
    }


def _two_point_fit_from_json(saved: SavedPart) -> TwoPointFit:
    return TwoPointFit(
        form=saved.text("form"),
        amplitude=saved.named_estimate("amplitude"),
        exponent=saved.named_estimate("alpha"),
        offset=saved.named_estimate("offset"),
        distances=saved.integers("distances"),
        reason=saved.text("reason"),
        p_value=saved.number("p_value"),
    )


@dataclass(frozen=True, eq=False)
class FittedPositionCurve(PositionCurve):
    """Loss by position, with the approach fitted to it.

    Of a curve that was read `cluster_sums` and `cluster_tokens` have no rows.

    Attributes:
        fit: None where none was tried.
        exact: Mean loss of a known process in each bin, (bins,); None otherwise.
    """

    fit: PositionFit | None = None
    exact: Array | None = None

    @classmethod
    def of(cls, curve: PositionCurve, fit: PositionFit, exact: Array | None = None) -> FittedPositionCurve:
        values = {f.name: getattr(curve, f.name) for f in fields(PositionCurve)}
        return cls(**values, fit=fit, exact=exact)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(b.name for b in self.bins)

    @property
    def first(self) -> Array:
        return np.array([b.first for b in self.bins], float)

    @property
    def last(self) -> Array:
        return np.array([b.last for b in self.bins], float)

    def to_json(self) -> dict[str, Any]:
        arrays = (
            "nll", "standard_error", "tokens", "bits_per_byte", "bits_per_byte_error", "bytes_per_token",
            "byte_position",
        )  # fmt: skip
        return {
            "bins": bins_json(self.bins),
            **{name: finite_or_none(getattr(self, name).tolist()) for name in arrays},
            "documents": self.documents,
            "clusters": self.clusters,
            "overall": self.overall.to_json(),
            "overall_bits_per_byte": self.overall_bits_per_byte.to_json(),
            "context_gain": self.context_gain.to_json(),
            "fit": None if self.fit is None else _position_fit_json(self.fit),
            "exact": None if self.exact is None else self.exact.tolist(),
        }

    @classmethod
    def from_json(cls, saved: SavedPart) -> FittedPositionCurve:
        """The curve that `to_json` wrote; what is missing is NaN.

        Raises:
            L2MError: something that is needed is missing or of another shape.
        """
        bins = bins_from_json(saved)
        n = len(bins)
        has_fit = saved.data.get("fit") is not None
        return cls(
            bins=bins,
            nll=saved.array("nll", n),
            standard_error=saved.array("standard_error", n),
            tokens=saved.optional_array("tokens", n),
            bits_per_byte=saved.optional_array("bits_per_byte", n),
            bits_per_byte_error=saved.optional_array("bits_per_byte_error", n),
            bytes_per_token=saved.optional_array("bytes_per_token", n),
            byte_position=saved.optional_array("byte_position", n),
            overall=saved.estimate("overall"),
            overall_bits_per_byte=saved.estimate("overall_bits_per_byte"),
            context_gain=saved.estimate("context_gain"),
            documents=saved.count("documents"),
            clusters=saved.count("clusters"),
            cluster_sums=np.empty((0, n)),
            cluster_tokens=np.empty((0, n)),
            fit=_position_fit_from_json(saved.part(saved.data["fit"], "fit")) if has_fit else None,
            exact=saved.array_or_none("exact", n),
        )


def bins_json(bins: Sequence[PositionBin]) -> list[dict[str, Any]]:
    return [{"name": b.name, "first": b.first, "last": b.last} for b in bins]


def bins_from_json(saved: SavedPart) -> tuple[PositionBin, ...]:
    return tuple(
        PositionBin(str(b.required("name")), int(b.required("first")), int(b.required("last")))
        for b in saved.parts("bins", "bin")
    )


def _position_fit_json(fit: PositionFit) -> dict[str, Any]:
    numbers = fit.entropy_rate.named_json("entropy_rate") | fit.amplitude.named_json("amplitude")
    numbers |= fit.exponent.named_json("exponent") | {"p_value": fit.p_value}
    return {**finite_or_none(numbers), "bins": list(fit.bins), "reason": fit.reason}


def _position_fit_from_json(saved: SavedPart) -> PositionFit:
    return PositionFit(
        entropy_rate=saved.named_estimate("entropy_rate"),
        amplitude=saved.named_estimate("amplitude"),
        exponent=saved.named_estimate("exponent"),
        bins=tuple(map(str, saved.data.get("bins") or ())),
        resamples=0,
        seed=0,
        reason=saved.text("reason"),
        p_value=saved.number("p_value"),
    )
