"""The L²M check on saved harness results: which law, which state, which curves are compared.

`l2m_eval.condition` has the checks themselves, on numbers. Here results become those numbers: `law_of`,
`curve_of`, `state_of`, and `check_results`, which is what ``l2m-eval check`` and a notebook call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from l2m_eval.condition.capability import check_mi_capability
from l2m_eval.condition.law import PUBLISHED, MutualInformationCurve, ScalingLaw, published_law
from l2m_eval.condition.measured import KeptPoint, MeasuredState, NeededState
from l2m_eval.condition.series import SeriesMember, check_series
from l2m_eval.condition.state_check import check_model
from l2m_eval.condition.verdict import ERROR, Verdict
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState
from l2m_eval.history_state.smaller import FULL, way_named
from l2m_eval.results.comparable import (
    corpus_in_words,
    distinct_curves,
    refuse_tokens_without_bytes,
    require_same_documents,
    same_tokenizer,
)
from l2m_eval.results.load import latest, load_results
from l2m_eval.results.run import Results
from l2m_eval.statistics.paired import paired_resamples

Reference = ScalingLaw | Results

# Settings that decide what a curve means or which documents it rests on; two curves are compared where they agree.
_COMPARED = ("marginal", "correction", "control_variate", "partners")
_HOW_TO_STATE = (
    "name it with --state: a model's folder or config.json, a hub id, a formula or a file that declares one"
)


@dataclass(frozen=True)
class Check:
    """A verdict with what it is about: whose results, which curve, and the reference's name ('' without one).

    `use` says how much of its context the model uses; '' where its documents are not known.
    """

    verdict: Verdict
    model: str
    results: str
    curve: str
    reference: str
    use: str = ""

    def to_json(self) -> dict[str, Any]:
        """The verdict's schema with these fields beside it."""
        about = {
            "model": self.model,
            "results": self.results,
            "curve": self.curve,
            "reference": self.reference,
            "use": self.use,
        }
        return {**self.verdict.to_json(), **about}


# --- the law ----------------------------------------------------------------------------------------------------


def law_of(results: Results, curve: str = "direct") -> ScalingLaw:
    """The fitted law I = A·L^β of a curve, with its resamples if the documents' records are available.

    Raises:
        L2MError: no such curve, or one that no law could be fitted to.
    """
    saved = results.curve(curve)
    documents = results.sample.get("documents")
    of = f"{corpus_in_words(results)}, measured with {results.run.label}, {curve}"
    if documents:
        of += f", {documents} documents"
    if not (np.isfinite(saved.beta.value) and saved.amplitude.value > 0):
        raise L2MError(
            f"curve: no law could be fitted to {curve} of {results.run.place} (points that are not positive: "
            f"{', '.join(map(str, saved.fit.not_positive)) or 'none'}; {len(saved.lengths)} length(s)); measure more "
            "documents, or give another --reference"
        )
    error = saved.beta.standard_error
    drawn = results.resampled_curve(curve)
    if drawn is not None and drawn.clusters < 2:
        drawn = None
    return ScalingLaw(
        saved.amplitude.value,
        saved.beta.value,
        of,
        exponent_interval=saved.beta.interval,
        amplitude_interval=saved.amplitude.interval,
        replicates=None if drawn is None else drawn.fit.replicates,
        ratio=float(saved.ratio),
        error=error if np.isfinite(error) else None,
        clusters=None if drawn is None else drawn.clusters,
    )


# --- the state --------------------------------------------------------------------------------------------------


def state_of(
    results: Results, curve: str = "direct", *, given: str = "", trust_remote_code: bool = False
) -> HistoryState:
    """The history state of the measured model.

    Args:
        results: Of a run; one of `l2m_condition` carries the state that was read from the model itself.
        curve: Whose lengths are asked for.
        given: What the user named instead, see `l2m_eval.history_state.named`.
        trust_remote_code: For configurations.

    Raises:
        L2MError: the model named in the results is out of reach, or has no configuration.
    """
    from l2m_eval.history_state.named import named_history_state

    saved = results.curve(curve)
    lengths = [max(1, int(length // saved.ratio)) for length in saved.lengths]
    if given:
        return named_history_state(given, lengths, trust_remote_code=trust_remote_code)
    run, stored = results.run, results.block.get("state")
    if stored is not None:
        return replace(HistoryState.from_json(stored), model=run.label)
    source = run.model_args.get("pretrained")
    if not source:
        raise L2MError(
            f"state: the results of {run.label} ({run.backend}) name no pretrained model to count it from; "
            + _HOW_TO_STATE
        )
    path = str(source)
    if run.model_args.get("subfolder"):
        path = f"{path}/{run.model_args['subfolder']}"
    try:
        return named_history_state(
            path, lengths, trust_remote_code=trust_remote_code, label=run.label, dtype=run.dtype
        )
    except L2MError as error:
        raise L2MError(
            f"state: that of {run.label} cannot be read from the model named in its results ({error}); "
            f"{_HOW_TO_STATE}"
        ) from error


def measured_state(results: Results) -> MeasuredState | None:
    """What results of `l2m_state` say for the check; None where no state was changed in them.

    Raises:
        L2MError: a way that this version does not know.
    """
    curve = results.state
    if curve is None or not np.isfinite(curve.bits).all():
        return None
    of = f"{corpus_in_words(results)} with {curve.documents} document{'s' if curve.documents > 1 else ''}"
    points = [
        KeptPoint(FULL.name, length, float(mi), float(error), float(bits))
        for length, mi, error, bits in zip(
            curve.lengths, curve.mi, curve.standard_error, curve.bits, strict=True
        )
    ]
    for way in curve.ways:
        # Its error is at most that of both numbers together.
        errors = np.hypot(curve.standard_error, way.found.lost_error)
        points += [
            KeptPoint(way.name, *values)
            for values in zip(
                curve.lengths,
                (curve.mi - way.found.lost).tolist(),
                errors.tolist(),
                way.bits.tolist(),
                strict=True,
            )
        ]
    drops = {way.family: way_named("states", way.name).drops for way in curve.ways}
    families = tuple(
        NeededState(
            family, drops[family], needed.amounts, needed.sizes, needed.densities, needed.size_exponent
        )
        for family, needed in curve.needed.items()
        if any(np.isfinite(size.value) for size in needed.sizes)
    )
    return MeasuredState(of, curve.keep, curve.lengths, curve.bits, families, tuple(points))


def measured_state_for(results: Results, candidates: Sequence[Results]) -> MeasuredState | None:
    """Of results of `l2m_state` those with the same model, on the same text if there are any, the newest of them."""
    own = [one for one in candidates if one.state is not None and one.run.label == results.run.label]
    same_text = [one for one in own if corpus_in_words(one) == corpus_in_words(results)]
    newest = sorted(same_text or own, key=lambda one: one.run.date.timestamp() if one.run.date else 0.0)
    return next((found for one in reversed(newest) if (found := measured_state(one)) is not None), None)


# --- curves against a reference ---------------------------------------------------------------------------------


def curve_of(results: Results, curve: str, *, unit: str = "tokens") -> MutualInformationCurve:
    """A measured curve with what must agree for it to be compared with another.

    Raises:
        L2MError: no such curve, or lengths in bytes that were not kept.
    """
    saved = results.curve(curve)
    lengths = saved.lengths if unit == "tokens" else saved.bytes
    if lengths is None:
        raise L2MError(
            f"unit: the results of {results.run.label} do not say how many bytes the lengths cover; measure "
            "again, or give unit tokens"
        )
    settings = {
        "estimator": saved.estimator,
        "ratio": saved.ratio,
        **{name: results.settings.get(name) for name in _COMPARED},
    }
    return MutualInformationCurve(
        results.run.label,
        corpus_in_words(results),
        lengths.astype(float),
        saved.mi,
        saved.standard_error,
        settings,
        unit,
        clusters=saved.clusters or None,
    )


def compare_with(ours: Results, theirs: Results, curve: str = "direct", *, unit: str = "auto") -> Verdict:
    """MI-capability (Definition 5.3) of one model against a stronger one on the same documents.

    Lengths are matched in tokens where the tokenizers cut the text alike, in bytes where they do not. Where both
    runs have their samples logs, documents are resampled for both at once, so that what the documents share cancels.

    Raises:
        L2MError: other documents or settings, as `check_mi_capability`.
    """
    same = require_same_documents(ours, theirs)
    refuse_tokens_without_bytes(ours, theirs, curve)
    if unit == "auto":
        unit = "bytes" if same_tokenizer(ours, theirs, curve) is False else "tokens"
    elif unit == "tokens" and same_tokenizer(ours, theirs, curve) is False:
        raise L2MError(
            f"unit: {ours.run.label} and {theirs.run.label} have different tokenizers, whose lengths in tokens do "
            "not compare; give unit bytes"
        )
    a, b = (curve_of(results, curve, unit=unit) for results in (ours, theirs))
    if same:
        a, b = _drawn_together(ours, theirs, curve, a, b)
    return check_mi_capability(a, b)


def _drawn_together(
    ours: Results, theirs: Results, curve: str, a: MutualInformationCurve, b: MutualInformationCurve
) -> tuple[MutualInformationCurve, MutualInformationCurve]:
    """Both curves with the same resamples of documents, where the documents' records are there."""
    b = replace(b, corpus=a.corpus)  # the documents are the same ones, whatever the paths to them were called
    terms = [results.bipartite_terms(curve) for results in (ours, theirs)]
    if terms[0] is None or terms[1] is None:
        return a, b
    pair = paired_resamples(terms[0], terms[1], np.random.default_rng([ours.seed or 0, 0x726174696F]))
    if (
        pair is None
    ):  # no two documents are independent of each other in both runs: nothing is known of errors
        unknown = np.full_like(a.errors, np.nan), np.full_like(b.errors, np.nan)
        return replace(a, errors=unknown[0]), replace(b, errors=unknown[1])
    clusters = pair.clusters
    return (
        replace(a, replicates=pair.first, clusters=clusters),
        replace(b, replicates=pair.second, clusters=clusters),
    )


# --- the whole --------------------------------------------------------------------------------------------------


def reference_named(name: str, candidates: Sequence[Results] = (), curve: str = "direct") -> Reference:
    """A published law by its name, a model among the loaded results by its label, or results at a path.

    Raises:
        L2MError: nothing of the kind, or several.
    """
    if name in PUBLISHED:
        return published_law(name)
    labelled = [one for one in candidates if one.run.label == name]
    if not labelled:
        try:
            labelled = [one for one in load_results(name) if one.bipartite]
        except L2MError as error:
            if "there is no" not in str(error):
                raise
            labels = ", ".join(sorted({one.run.label for one in candidates}))
            raise L2MError(
                f"reference: {name!r} is not a published law ({', '.join(PUBLISHED)}), none of the models checked "
                f"({labels}), and no results file or folder"
            ) from error
    return _the_one_with(labelled, curve, f"reference: {name!r}")


def results_to_check(name: str, curve: str = "direct") -> Results:
    """The one task of the results at a path that has this bipartite curve.

    Raises:
        L2MError: none, or several.
    """
    return _the_one_with(load_results(name), curve, f"results: {name!r}")


def measured_state_named(name: str) -> MeasuredState:
    """What the one result of `l2m_state` at a path says for the check.

    Raises:
        L2MError: none, several, or one that changed no state.
    """
    found = [one for one in latest(load_results(name, documents=False)) if one.state is not None]
    if len(found) != 1:
        files = ", ".join(repr(str(one.run.path)) for one in found[:3])
        which = f"; give one of {files}" if found else "; give results of l2m_state"
        raise L2MError(f"state_results: {name!r} names {len(found)} results of l2m_state{which}")
    measured = measured_state(found[0])
    if measured is None:
        raise L2MError(
            f"state_results: {name!r} has shorter contexts alone, which say nothing of states; give results of "
            "l2m_state with states such as bits4 or window256"
        )
    return measured


def _the_one_with(found: Sequence[Results], curve: str, where: str) -> Results:
    with_curve = [one for one in distinct_curves(found) if any(c.name == curve for c in one.bipartite)]
    if len(with_curve) > 1:
        files = ", ".join(f"{str(one.run.path)!r} ({one.task})" for one in with_curve[:3])
        raise L2MError(f"{where} names {len(with_curve)} results with a curve {curve}; give one of {files}")
    if not with_curve:
        raise L2MError(f"{where} has no bipartite curve {curve}; give results of l2m_bipartite")
    return with_curve[0]


def check_results(
    results: Results,
    *,
    state: HistoryState | None = None,
    reference: Reference | None = None,
    curve: str = "direct",
    nats_per_element: float | None = None,
    unit: str = "auto",
    trust_remote_code: bool = False,
    only: str = "",
    own_state: HistoryState | None = None,
    measured: MeasuredState | None = None,
) -> tuple[Check, ...]:
    """Check one model's results: its state against the law, and its curve against a reference's.

    Args:
        results: Of a bipartite or condition task.
        state: Of the model; by default read from the results, or counted from the model that they name.
        reference: Whose law the state is judged by, and whose curve the model's is compared with. By default the
            model's own law; or, where a run has recorded its verdict and nothing else is asked for, that verdict.
        curve: Which estimator's.
        nats_per_element: A calibrated constant for the bound instead of the stored precision.
        unit: In which lengths of two curves are matched: ``tokens``, ``bytes``, or ``auto``.
        trust_remote_code: For configurations.
        only: ``state`` or ``capability`` for one of the two.
        own_state: The model's own, where it was counted already.
        measured: What smaller states of the model keep, see `measured_state`. A verdict that a run recorded by the
            law of a reference is not made anew for it.

    Returns:
        The verdict on the state (Theorem 5.4), and with a reference's results that on MI-capability.

    Raises:
        L2MError: what is missing, in one line.
    """
    path = str(results.run.path) if results.run.path.name else ""
    about = {"model": results.run.label, "results": path, "curve": curve}
    if reference is None and state is None and nats_per_element is None and only != "capability":
        recorded = recorded_verdicts(results, curve)
        if recorded and (measured is None or results.block.get("reference")):
            named = str(results.block.get("reference") or "")
            return tuple(Check(verdict, **about, reference=named) for verdict in recorded)
    law = reference if isinstance(reference, ScalingLaw) else law_of(reference or results, curve)
    named = law.of if isinstance(reference, ScalingLaw) else reference.run.label if reference else ""
    checks = []
    if only != "capability":
        state = state or own_state or state_of(results, curve, trust_remote_code=trust_remote_code)
        if state.model != results.run.label:
            state = replace(state, model=f"{results.run.label} ({state.model})")
        own = curve_of(results, curve)
        if own.settings["ratio"] != law.ratio:
            raise L2MError(
                f"curve: {curve} has ratio {own.settings['ratio']}, the law of {law.of} has {law.ratio:g}; give the "
                "curve of that ratio, or another reference"
            )
        verdict = check_model(state, law, nats_per_element=nats_per_element, curve=own, measured=measured)
        checks.append(Check(verdict, **about, reference=named, use=results.use_sentence(curve)))
    if only != "state" and isinstance(reference, Results) and not _same_run(results, reference):
        checks.append(Check(compare_with(results, reference, curve, unit=unit), **about, reference=named))
    return tuple(checks)


def _same_run(ours: Results, theirs: Results) -> bool:
    """Whether these are one measurement, also where its file was read twice: no model falls behind itself."""
    a, b = ((one.run.path.resolve(), one.task) for one in (ours, theirs))
    return ours is theirs or (bool(ours.run.path.name) and a == b)


def recorded_verdicts(results: Results, curve: str) -> tuple[Verdict, ...]:
    """What a condition run found on this curve: on the state, and on MI-capability where it had a reference."""
    verdict, capability = results.verdict, results.block.get("capability")
    if verdict is None or verdict.status == ERROR or curve != results.settings.get("check_curve", "direct"):
        return ()
    if capability is None:
        return (verdict,)
    return verdict, Verdict.from_json(capability, str(results.run.path))


def check_model_series(
    states: Mapping[str, HistoryState], lengths: Sequence[int], law: ScalingLaw, curve: str = "direct"
) -> Check:
    """Theorem 5.6 over models, each with the length it is meant for; the state is that after the left block.

    Raises:
        L2MError: as many lengths as models are needed, two of them different.
    """
    if len(states) != len(lengths):
        raise L2MError(
            f"series: {len(lengths)} length(s) for {len(states)} model(s); give one for each, in their order"
        )
    members = [
        SeriesMember(name, float(state.elements_at(max(1.0, length / law.ratio))), float(length))
        for (name, state), length in zip(states.items(), lengths, strict=True)
    ]
    return Check(check_series(members, law), ", ".join(states), "", curve, law.of)
