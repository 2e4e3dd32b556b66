"""One task of one run, typed: who was measured, how, and the curves with their documents.

`l2m_eval.results.load` finds these in the files of the harness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from l2m_eval.condition.effective_context import EffectiveContext, claimed_and_used
from l2m_eval.condition.verdict import Verdict
from l2m_eval.errors import L2MError
from l2m_eval.fields import readers
from l2m_eval.measurements.bipartite import bipartite_curves
from l2m_eval.measurements.context_use import ContextUse
from l2m_eval.measurements.curves import BipartiteCurve, FittedPositionCurve, FittedTwoPointCurve, Resampled
from l2m_eval.measurements.kl import KLCurve
from l2m_eval.measurements.smaller_state import StateCurve
from l2m_eval.settings import TASK_KINDS, BipartiteSettings, TaskKind, read_settings
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.shapes import ShapeFit

BIPARTITE, TWO_POINT, POSITION, CONDITION, KL = "bipartite", "two_point", "position_nll", "condition", "kl"
CONTEXT_USE, STATE = "context_use", "state"


def model_label(model: str) -> str:
    """A short name of a model: the last part of a path, a hub id as it is."""
    local = model.startswith(("/", ".", "~", "\\")) or model.count("/") > 1
    return model.rstrip("/\\").replace("\\", "/").rpartition("/")[2] if local else model


@dataclass(frozen=True, eq=False)
class Run:
    """One run of the harness: who was measured, when, and with what.

    Attributes:
        path: The results file.
        backend: The harness' name of the model class: ``hf``, ``vllm``, ``local-completions`` ...
        model: What was measured: the pretrained path or id, or the backend's name where there is none.
        model_args: As given.
        date: When it started, UTC; None where the file does not say.
        seconds: Wall-clock of the whole run, NaN where the file does not say.
        parameters, dtype, revision, max_length: Of the model; None or empty where unknown.
        chat_template, system_instruction: As the harness recorded them; our tasks measure plain text.
        harness: Version of lm-eval.
        config: The file's ``config``, as it is: batch size, device, limit, seeds.
    """

    path: Path
    backend: str
    model: str
    model_args: Mapping[str, Any]
    date: datetime | None
    seconds: float
    parameters: int | None
    dtype: str
    revision: str
    max_length: int | None
    chat_template: str | None
    system_instruction: str | None
    harness: str
    config: Mapping[str, Any]
    special_tokens: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def unsaved(cls, model: str) -> Run:
        """The run of a model that is being measured: nothing is written yet."""
        return cls(Path(), "", model, {}, None, math.nan, None, "", "", None, None, None, "", {})

    @property
    def label(self) -> str:
        """A short name: the last part of a path, a hub id as it is."""
        return model_label(self.model)

    @property
    def place(self) -> str:
        """Where the results are, for a message: the quoted path, or this run where nothing is written yet."""
        return repr(str(self.path)) if self.path.name else "this run"

    def __str__(self) -> str:
        return f"{self.label} ({self.backend})"


@dataclass(frozen=True, eq=False)
class DocumentRecords:
    """The documents of a run and what the model answered for each, from the samples log.

    Attributes:
        path: The samples log.
        docs: Where each document is from, with ``index``; sorted by it.
        records: The sums that everything is computed from, in the same order.
    """

    path: Path
    docs: tuple[Mapping[str, Any], ...]
    records: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.docs)

    @cached_property
    def identity(self) -> tuple[tuple[Any, Any, Any], ...]:
        """Equal for runs over the same documents, wherever their files lay: name, place and hash of each."""
        return tuple((doc.get("document"), doc.get("offset"), doc.get("sha256")) for doc in self.docs)


@dataclass(frozen=True, eq=False)
class Results:
    """One task of one run.

    Attributes:
        run: Who was measured, when, with what.
        task: Name of the task.
        kind: `BIPARTITE`, `TWO_POINT`, `POSITION`, `CONDITION`, `KL`, `CONTEXT_USE` or `STATE`.
        schema: As written, for example ``l2m-eval/bipartite/1``.
        settings: As used, with ``seed`` and ``corpus``.
        sample: ``documents``, ``documents_requested``, ``source_documents`` ...
        versions: Of the packages used.
        warnings: What the run warned about.
        metrics, errors: The results table: values and standard errors by metric name, NaN where unknown.
        directions: Whether more is better of each metric, None where neither is; empty in older files.
        bipartite, two_point, position, kl, context_use, state, verdict: What the kind has; empty or None otherwise.
        task_hash: Equal for equal documents; empty without ``--log_samples``.
        documents: The records of each document, where the samples log lies beside the results file.
        block: The whole block as written, for what has no field here.
    """

    run: Run
    task: str
    kind: str
    schema: str
    settings: Mapping[str, Any]
    sample: Mapping[str, Any]
    versions: Mapping[str, str]
    warnings: tuple[str, ...]
    metrics: Mapping[str, float]
    errors: Mapping[str, float]
    directions: Mapping[str, bool | None] = field(default_factory=dict)
    bipartite: tuple[BipartiteCurve, ...] = ()
    two_point: tuple[FittedTwoPointCurve, ...] = ()
    position: FittedPositionCurve | None = None
    kl: KLCurve | None = None
    context_use: ContextUse | None = None
    state: StateCurve | None = None
    verdict: Verdict | None = None
    task_hash: str = ""
    documents: DocumentRecords | None = None
    block: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def task_kind(self) -> TaskKind:
        """Which kind of task measured this."""
        kinds = [kind for kind in TASK_KINDS if kind.curves == self.kind]
        names = {curve.name for curve in self.two_point}
        # Of tasks with the same schema the later ones have a curve of their own name, beside those of the first.
        return next((kind for kind in reversed(kinds[1:]) if kind.name in names), kinds[0])

    @property
    def seed(self) -> int | None:
        """The sample's seed."""
        seed = self.settings.get("seed")
        return seed if isinstance(seed, int) and seed >= 0 else None

    @property
    def corpus(self) -> str:
        """What was measured on, as given."""
        given = self.settings.get("corpus") or ()
        return given if isinstance(given, str) else ", ".join(map(str, given))

    def __str__(self) -> str:
        return f"{self.task} of {self.run.label} ({self.run.path.name})"

    def curve(self, name: str) -> BipartiteCurve:
        """The bipartite curve of this name.

        Raises:
            L2MError: there is none; the ones that are there are named.
        """
        for curve in self.bipartite:
            if curve.name == name:
                return curve
        there = ", ".join(curve.name for curve in self.bipartite)
        if not there:
            raise L2MError(
                f"results: {self.run.place} holds no bipartite curve ({self.task} measures something else); "
                "give results of l2m_bipartite or l2m_condition"
            )
        raise L2MError(f"curve: {name!r} is not in {self.run.place}; it has {there}")

    @cached_property
    def _recomputed(self) -> tuple[BipartiteCurve, ...] | None:
        if self.documents is None or not self.bipartite:
            return None
        known = readers(BipartiteSettings)
        with as_written(self.documents.path):
            settings = read_settings(
                BipartiteSettings, {k: v for k, v in self.settings.items() if k in known}
            )
            docs, records = self.documents.docs, self.documents.records
            return tuple(bipartite_curves(records, docs, settings, self.seed or 0))

    def recomputed_curves(self) -> tuple[BipartiteCurve, ...] | None:
        """The bipartite curves computed anew from the documents' records, with their resamples; None without them.

        They are those of the run to the last digit: the same terms, seed and resamples.
        """
        return self._recomputed

    def resampled_curve(self, name: str) -> BipartiteCurve | None:
        """The curve with its resamples: as measured, or computed anew; None without the documents' records."""
        curve = self.curve(name)
        if curve.drawn is not None:
            return curve
        return next((one for one in self.recomputed_curves() or () if one.name == name), None)

    def shapes(self, name: str) -> tuple[ShapeFit, ...]:
        """Rival shapes of a curve as the run compared them.

        Results of before they were kept: compared now, as the run would have; without the documents' records fitted
        alone.
        """
        curve = self.curve(name)
        return curve.shapes if curve.stored_shapes else (self.resampled_curve(name) or curve).shapes

    def effective_context(self, name: str = "direct") -> EffectiveContext | None:
        """How far a curve grows; of results of before it was measured computed now, None without documents' records.

        Of a measurement of context use it is that of its own curve, whatever the name.
        """
        if self.context_use is not None:
            return self.context_use.effective
        curve = self.curve(name)
        return curve.effective_context or getattr(self.resampled_curve(name), "effective_context", None)

    @property
    def claimed_context(self) -> int | None:
        """Tokens that the model is said to read; None where the run did not say it."""
        claimed = self.block.get("claimed_context")
        return claimed if isinstance(claimed, int) and claimed > 0 else None

    def use_sentence(self, name: str = "direct") -> str:
        """How much of its context the model uses, beside what it claims; empty where it is not known."""
        effective = self.effective_context(name)
        return "" if effective is None else claimed_and_used(self.run.label, effective, self.claimed_context)

    def bipartite_terms(self, name: str) -> tuple[Array, list[Any]] | None:
        """Each document's term of a curve, (documents, n), and the documents' clusters; None without records."""
        drawn = self.resamples_of(name)
        return None if drawn is None else (drawn.terms, list(drawn.clusters))

    def resamples_of(self, name: str) -> Resampled | None:
        """What the resamples of a curve are drawn from; None without the documents' records."""
        curve = self.resampled_curve(name)
        return None if curve is None else curve.drawn


@contextmanager
def as_written(file: Path) -> Iterator[None]:
    """Turn any error while reading into one line: the file does not have the form that the tasks write."""
    try:
        yield
    except L2MError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError) as error:
        raise L2MError(
            f"results: {str(file)!r} does not have the form that the tasks write ({type(error).__name__}: {error}); "
            "measure again"
        ) from error
