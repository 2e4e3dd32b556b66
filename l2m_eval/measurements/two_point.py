"""The two-point measurement: the corpus' tokens under the model's tokenizer, counted once, before any scoring.

No model is run. The first request that is planned on the main process tokenizes all documents to disk and
estimates the curve, so that whatever is wrong shows before other measurements of the same run have cost anything.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from l2m_eval.corpus.whole_documents import WholeDocuments, read_whole_documents
from l2m_eval.errors import L2MError
from l2m_eval.estimators.two_point.curve import (
    DISTANCES,
    TwoPointCurve,
    two_point_mutual_information,
)
from l2m_eval.estimators.two_point.estimation import PairEstimation
from l2m_eval.estimators.two_point.fit import (
    TwoPointFit,
    fit_power_law_above_floor,
    fit_power_law_with_offset,
    fit_power_law_with_offset_in_logarithms,
)
from l2m_eval.estimators.two_point.token_sequences import TokenSequences, write_token_sequences
from l2m_eval.scoring.windows import Window
from l2m_eval.settings import PairSettings, TwoPointSettings
from l2m_eval.statistics.arrays import Integers

if TYPE_CHECKING:
    from l2m_eval.scoring.encoder import Encoder
    from l2m_eval.scoring.scorer import Sums


@dataclass(eq=False)
class TwoPointMeasurement:
    """What the requests of one task share: the documents and, once a tokenizer is known, the curve.

    Attributes:
        settings: Of the task.
        seed: Of the choice of documents and of the shuffles.
        measured: Indices of the documents of this run, on all processes.
        curve: The estimate, on the main process, after the first request was planned.
        tokens: Tokens of each measured document, likewise.
    """

    settings: TwoPointSettings
    seed: int
    measured: tuple[int, ...] = ()
    curve: TwoPointCurve | None = None
    tokens: dict[int, int] = field(default_factory=dict)

    @cached_property
    def documents(self) -> WholeDocuments:
        return read_whole_documents(self.settings, self.seed)

    def estimate(self, encoder: Encoder) -> None:
        """Tokenize all measured documents and estimate the curve, once.

        Raises:
            L2MError: a distance longer than every document, or too little memory.
        """
        if self.curve is not None:
            return
        with tempfile.TemporaryDirectory(prefix="l2m-eval-tokens-") as folder:
            sequences = write_token_sequences(self._tokenized(encoder), Path(folder))
            self.tokens = dict(zip(self.measured, sequences.lengths.tolist(), strict=True))
            longest = int(sequences.lengths.max())
            distances = fitting_distances(self.settings, longest)
            if self.settings.distances is None and len(distances) < len(DISTANCES):
                encoder.note(f"distances up to {distances[-1]} fit the longest document ({longest} tokens)")
            clusters = [self.documents[i].source for i in self.measured]
            self.curve = two_point_curve(
                sequences, distances, clusters, self.settings, self.seed, progress=True
            )

    def _tokenized(self, encoder: Encoder) -> Iterator[Integers]:
        size = sum(self.documents[i].size for i in self.measured)
        with tqdm(total=size, desc="Tokenizing", unit="B", unit_scale=True, leave=False) as bar:
            for index in self.measured:
                document = self.documents[index]
                yield encoder.encode(self.documents.text(index), document.name)
                bar.update(document.size)


@dataclass(frozen=True, eq=False)
class TwoPointRequest:
    """One document of a two-point measurement."""

    measurement: TwoPointMeasurement
    index: int

    def __str__(self) -> str:
        return f"token pairs of {self.measurement.documents[self.index].name}"

    def plan(self, encoder: Encoder) -> TwoPointPlan:
        if encoder.rank == 0:
            self.measurement.estimate(encoder)
            return TwoPointPlan(self.measurement.tokens[self.index])
        # The main process counts the pairs of all documents; this one says how long its own are, for the samples log.
        documents = self.measurement.documents
        return TwoPointPlan(len(encoder.encode(documents.text(self.index), documents[self.index].name)))


@dataclass(frozen=True)
class TwoPointPlan:
    """Nothing to score; `tokens` of the document."""

    tokens: int

    @property
    def windows(self) -> list[Window]:
        return []

    def record(self, scores: list[Sums]) -> str:
        return json.dumps({"tokens": self.tokens})


def fitting_distances(settings: PairSettings, longest: int) -> tuple[int, ...]:
    """The distances as given, or the default ones that the longest document, in tokens, has pairs at.

    Raises:
        L2MError: a distance that was given, or the shortest default one, is longer than every document.
    """
    distances = settings.distances or tuple(d for d in DISTANCES if d < longest) or DISTANCES[:1]
    if distances[-1] >= longest:
        raise L2MError(
            f"distances: {distances[-1]} is too long; the longest document has {longest} tokens under this "
            "tokenizer; give shorter distances or longer documents"
        )
    return distances


def two_point_curve(
    sequences: TokenSequences,
    distances: Sequence[int],
    clusters: Sequence[int],
    settings: PairSettings,
    seed: int,
    *,
    progress: bool = False,
) -> TwoPointCurve:
    """`two_point_mutual_information` with a task's settings."""
    estimation = PairEstimation(
        estimator=settings.entropy_estimator,
        marginals=settings.pair_marginals,
        null=settings.null_correction,
        shuffles=settings.shuffles,
        groups=settings.jackknife_groups,
        seed=seed,
        memory_gb=settings.memory_gb,
        processes=settings.processes,
    )
    return two_point_mutual_information(
        sequences, distances, estimation, clusters=np.asarray(clusters), progress=progress
    )


def two_point_fits(curve: TwoPointCurve) -> tuple[TwoPointFit, TwoPointFit, TwoPointFit]:
    """The power law above the noise floor, the published fit with an offset, and that law by least squares."""
    return (
        fit_power_law_above_floor(curve),
        fit_power_law_with_offset_in_logarithms(curve),
        fit_power_law_with_offset(curve),
    )
