"""The null, measured at a few distances in as many processes as counting uses, and interpolated to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from l2m_eval.estimators.two_point.estimation import PairEstimation
from l2m_eval.estimators.two_point.null_shifted import shifted_pair_information
from l2m_eval.estimators.two_point.null_shuffled import shuffled_pair_information
from l2m_eval.estimators.two_point.pair_counts import in_processes, on_disk
from l2m_eval.estimators.two_point.token_sequences import TokenSequences
from l2m_eval.statistics.arrays import Array, Integers

NEAR = 1.25  # pair counts within this factor share a null, by interpolation


def null_anchors(pairs: Integers) -> list[int]:
    """Indices of distances whose null is measured; the others lie between two of them that are near. See NEAR."""
    anchors, last = [0], len(pairs) - 1
    while anchors[-1] < last:
        here = anchors[-1]
        near = [i for i in range(here + 1, last + 1) if pairs[here] <= NEAR * pairs[i]]
        anchors.append(near[-1] if near else here + 1)
    return anchors


def measured_nulls(
    sequences: TokenSequences,
    margins: Sequence[tuple[Integers, Integers]],
    settings: PairEstimation,
    advance: Callable[[int], object],
) -> Array:
    """Information of unconnected pairs at each anchor, (anchors, shuffles); margins: token counts of its pairs."""
    # One stream each, so that numbers do not depend on the number of processes.
    streams = np.random.SeedSequence(settings.seed).spawn(len(margins) * settings.shuffles)
    samples = [margin for margin in margins for _ in range(settings.shuffles)]
    tasks = list(zip(samples, streams, strict=True))
    shifted, processes = settings.null == "shift", settings.processes
    information = []
    with on_disk(sequences, processes > 1 and shifted) as shared:
        one = (
            partial(_shift, settings.estimator, shared) if shifted else partial(_shuffle, settings.estimator)
        )
        for (margin, _), value in zip(tasks, in_processes(one, tasks, processes), strict=True):
            information.append(value)
            advance(int(margin[0].sum()))
    return np.array(information).reshape(len(margins), settings.shuffles)


def _shuffle(estimator: str, task: tuple[tuple[Integers, Integers], np.random.SeedSequence]) -> float:
    (firsts, seconds), stream = task
    return shuffled_pair_information(firsts, seconds, estimator, np.random.default_rng(stream))


def _shift(
    estimator: str, sequences: TokenSequences, task: tuple[tuple[Integers, Integers], np.random.SeedSequence]
) -> float:
    (firsts, _), stream = task
    size, rng = int(firsts.sum()), np.random.default_rng(stream)
    return shifted_pair_information(sequences, size, len(firsts), estimator, rng)


def interpolated(measured: Array, anchors: Sequence[int], pairs: Integers) -> tuple[Array, Array]:
    """Mean null at every distance and its spread between shuffles, both (distances,)."""
    if not len(anchors):
        return np.zeros(len(pairs)), np.zeros(len(pairs))
    size = np.log(pairs)
    mean, spread = (
        np.interp(-size, -size[anchors], values) for values in (measured.mean(1), measured.std(1, ddof=1))
    )
    return mean, spread
