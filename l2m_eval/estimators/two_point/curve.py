"""Two-point mutual information I(d) = I(W_t; W_{t+d}) of token sequences, from counts of token pairs.

    I(d) = H(first tokens) + H(second tokens) - H(pairs),

each entropy from counts (see `entropy`), the pairs within documents only. What the estimator leaves as bias is
measured on shuffled tokens and subtracted, and errors come from leaving out groups of documents.

Source: arXiv 2503.04725, which uses 2 H_1 - H_2(d) with Grassberger's estimator over all of a corpus.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from l2m_eval.errors import L2MError
from l2m_eval.estimators.two_point.estimation import DEFAULT, PairEstimation, check_integer
from l2m_eval.estimators.two_point.left_out import expected_pair_entropies, joint_entropies, leave_one_out
from l2m_eval.estimators.two_point.marginal_counts import pair_marginals, token_counts, vocabulary_size
from l2m_eval.estimators.two_point.null_measured import interpolated, measured_nulls, null_anchors
from l2m_eval.estimators.two_point.pair_counts import PairCounts, count_pairs
from l2m_eval.estimators.two_point.token_sequences import TokenSequences
from l2m_eval.statistics.arrays import Array, Integers
from l2m_eval.statistics.intervals import student_t
from l2m_eval.statistics.jackknife import jackknife_bias, jackknife_error, jackknife_groups, with_bias

DISTANCES = tuple(2**i for i in range(13))  # 1 ... 4096, as published
FLOOR = 2.0  # standard deviations above zero from which a point counts as signal


@dataclass(frozen=True, eq=False)
class TwoPointCurve:
    """Two-point mutual information at each distance, in nats; arrays have shape (distances,).

    Attributes:
        distances: d, in tokens, ascending.
        mi: The estimate: `uncorrected` minus `null`.
        standard_error: Of `mi`: jackknife over groups of documents, what that does not show, and `bias` where it is
            told from zero (`with_bias`). NaN where fewer than two groups have pairs.
        interval: 95 % intervals, shape (distances, 2), with Student's t for the number of groups.
        uncorrected: The estimate before the null is subtracted.
        null: Mean estimate on shuffled tokens; zero for null method "none".
        null_spread: Standard deviation between shuffles: what independent tokens still scatter by.
        floor: The noise floor: `mi` below it is indistinguishable from zero. Two standard deviations, of the error
            and the null's spread together.
        pairs: Number of pairs.
        documents, groups: Documents, and the groups of them left out in turn.
        estimator, marginals, null_method, shuffles, seed: The settings.
        replicates: `mi` without each group, shape (groups, distances).
        bias: What is left of the bias of `mi`, as the jackknife tells it: how `mi` still moves with the size of the
            sample. NaN where fewer than two groups have pairs.
        scatter: Standard error without the bias.
    """

    distances: Integers
    mi: Array
    standard_error: Array
    interval: Array
    uncorrected: Array
    null: Array
    null_spread: Array
    floor: Array
    pairs: Integers | Array
    documents: int
    groups: int
    estimator: str
    marginals: str
    null_method: str
    shuffles: int
    seed: int
    replicates: Array
    bias: Array
    scatter: Array

    @property
    def biased(self) -> NDArray[np.bool_]:
        """Where the error contains the bias, (distances,)."""
        return np.asarray(self.standard_error > self.scatter)

    @property
    def unseen_error(self) -> Array:
        """The part of `standard_error` that the spread of the replicates does not show, (distances,).

        That of the mean null, the parity term of Grassberger's estimator, and the bias where it is contained.
        """
        seen = jackknife_error(self.replicates)
        return np.sqrt(np.maximum(self.standard_error**2 - seen**2, 0.0))


def two_point_mutual_information(
    documents: TokenSequences | Iterable[ArrayLike],
    distances: Sequence[int] = DISTANCES,
    settings: PairEstimation = DEFAULT,
    *,
    clusters: ArrayLike | None = None,
    progress: bool = False,
) -> TwoPointCurve:
    """Estimate I(d) in nats at each distance.

    Args:
        documents: Integer arrays, one per document, or `TokenSequences` (in memory, or opened from disk for a
            corpus larger than memory).
        distances: d >= 1 in tokens.
        settings: How it is estimated.
        clusters: Shape (documents,), labels of documents that belong together (parts of one book): they are left
            out together. None: every document by itself.
        progress: Show a progress bar.

    *Errors* are those of a delete-a-group jackknife: a bootstrap would duplicate documents, and duplicates look
    like repeated pairs and lower the entropy of an undersampled sample. The (-1)^n of Grassberger's estimator
    changes with every pair left out; the jackknife is of the estimator without it, and its own scatter is added.

    *Bias.* Either null is right for one kind of text and leaves a bias in others. Since it falls with the size of the
    sample, leaving out groups shows it: (G - 1) (mean of replicates - estimate), which is the bias itself where that
    goes like 1/N, and about half of it where most pairs have been seen once. It is not subtracted (of natural text it
    goes like a lower power of N, and would be mistaken), but where it exceeds twice the scatter it is part of the
    error. The shifted null is right where nothing depends, so there the bias counts from the distance at which it is
    largest. Without a null the estimate is meant to be biased, and the error does not contain it.

    *The null* depends on the distance through the pair sample's size and frequencies alone. Where pair counts
    differ by less than a factor 1.25 it is measured at both ends and interpolated in the logarithm of the pair
    count: a bias that goes like N^-g, g <= 1, is then off by g^2 ln(1.25)^2 / 8 < 0.7 percent of itself at most,
    and long documents, where all pair counts are nearly equal, need two nulls instead of one per distance.
    A replicate's null follows from the frequencies of its own tokens (`null_expected`). What the shuffled null
    does not know is that successive pairs depend on each other: a text that repeats one token many times in a row has
    fewer independent pairs than it counts, and keeps a bias, which the shifted null takes away where the dependence
    at d itself is weak.

    Raises:
        L2MError: A token id that is not accepted, no pair at some distance, or too little memory.
    """
    sample = _grouped(documents, distances, settings, clusters)
    pairs = sample.pairs.sum(axis=1)  # (distances,)
    anchors = null_anchors(pairs) if settings.null != "none" else []
    work = (len(sample.distances) + len(anchors) * settings.shuffles) * int(sample.sequences.offsets[-1])
    with tqdm(total=work, unit=" pairs", unit_scale=True, disable=not progress) as bar:
        counted = _counted_pairs(sample, settings, bar.update)
        marginals = _marginal_entropies(sample, settings, anchors)
        measured = measured_nulls(sample.sequences, marginals.at_anchors, settings, bar.update)
    joint = np.array(
        [joint_entropies(settings.entropies, c, n) for c, n in zip(counted, sample.pairs, strict=True)]
    )
    used = marginals.pairs if settings.marginals == "pairs" else marginals.everything
    # Without a group the sample is smaller, its tokens have other frequencies, and its null differs. That would pass
    # for an error of the estimate, so each replicate has the null of its own sample.
    mean, spread = interpolated(measured, anchors, pairs)
    nulls = np.repeat(mean[:, None], joint.shape[1], axis=1)
    if settings.null != "none":
        expected = marginals.pairs - marginals.unconnected
        nulls += expected - expected[:, :1]
        nulls += used - marginals.pairs  # zero unless the marginals are global ones
    parity = np.sqrt([settings.entropies.parity_variance(c.counts, c.multiplicities) for c in counted])
    unseen = np.hypot(parity / pairs, spread / math.sqrt(settings.shuffles))
    return _with_errors(sample, settings, used - joint, nulls, spread, unseen)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Documents in groups.

    Attributes:
        group: Of each document, (documents,).
        pairs: Number of pairs of each group at each distance, (distances, groups).
        vocabulary: One above the largest token id.
    """

    sequences: TokenSequences
    distances: list[int]
    group: Integers
    pairs: Integers
    vocabulary: int


@dataclass(frozen=True, eq=False)
class _Marginals:
    """Entropies of single tokens: of all documents, then without each group.

    Attributes:
        pairs: H(first tokens) + H(second tokens) of the pairs, (distances, 1 + groups).
        everything: 2 H_1 of all tokens, (1 + groups,).
        unconnected: What H(pairs) would be without dependence, (distances, 1 + groups); empty without a null.
        at_anchors: Counts of first and of second tokens, each (vocabulary,), where the null is measured.
    """

    pairs: Array
    everything: Array
    unconnected: Array
    at_anchors: list[tuple[Integers, Integers]]


def _grouped(
    documents: TokenSequences | Iterable[ArrayLike],
    distances: Sequence[int],
    settings: PairEstimation,
    clusters: ArrayLike | None,
) -> _Sample:
    sequences = (
        documents if isinstance(documents, TokenSequences) else TokenSequences.from_documents(documents)
    )
    lengths = sequences.lengths
    ordered = _checked_distances(distances, int(lengths.max()))
    group = jackknife_groups(lengths, settings.groups, settings.seed, clusters)
    pairs = _pairs_per_group(lengths, group, ordered)
    return _Sample(sequences, ordered, group, pairs, vocabulary_size(sequences))


def _counted_pairs(
    sample: _Sample, settings: PairEstimation, advance: Callable[[int], object]
) -> list[PairCounts]:
    load = token_counts(sample.sequences, np.zeros_like(sample.group), sample.vocabulary)[0]
    return count_pairs(
        sample.sequences,
        sample.distances,
        load,
        group=sample.group,
        method=settings.estimator,
        memory=int(settings.memory_gb * 1e9),
        # the three arrays of counts in `_marginal_entropies`
        at_least=3 * 8 * sample.vocabulary * (int(sample.group.max()) + 1),
        processes=settings.processes,
        advance=advance,
    )


def _marginal_entropies(sample: _Sample, settings: PairEstimation, anchors: Sequence[int]) -> _Marginals:
    entropies = settings.entropies
    counts = token_counts(sample.sequences, sample.group, sample.vocabulary)  # (groups, vocabulary)
    own, unconnected, at_anchors = [], [], []
    for i, (firsts, seconds) in enumerate(
        pair_marginals(sample.sequences, sample.group, counts, sample.distances)
    ):
        own.append(leave_one_out(entropies, firsts) + leave_one_out(entropies, seconds))
        if settings.null != "none":
            unconnected.append(expected_pair_entropies(entropies, firsts, seconds))
        if i in anchors:
            at_anchors.append((firsts.sum(axis=0), seconds.sum(axis=0)))
    everything = 2 * leave_one_out(entropies, counts)
    return _Marginals(np.array(own), everything, np.array(unconnected), at_anchors)


def _with_errors(
    sample: _Sample, settings: PairEstimation, estimates: Array, nulls: Array, spread: Array, unseen: Array
) -> TwoPointCurve:
    """The curve from estimates and nulls (distances, 1 + groups), the nulls' spread, and the part of the error that
    leaving out groups does not show, (distances,)."""
    corrected = estimates - nulls
    mi, replicates = corrected[:, 0], corrected[:, 1:].T
    scatter = np.hypot(jackknife_error(replicates), unseen)
    bias = jackknife_bias(mi, replicates)
    if settings.null == "shift":
        bias = bias - np.max(bias, where=np.isfinite(bias), initial=-np.inf)
    standard_error = scatter if settings.null == "none" else with_bias(scatter, bias)
    reach = student_t(len(replicates)) * standard_error
    return TwoPointCurve(
        distances=np.array(sample.distances),
        mi=mi,
        standard_error=standard_error,
        interval=np.stack((mi - reach, mi + reach), axis=-1),
        uncorrected=estimates[:, 0],
        null=nulls[:, 0],
        null_spread=spread,
        floor=FLOOR * np.hypot(standard_error, spread),
        pairs=sample.pairs.sum(axis=1),
        documents=len(sample.group),
        groups=len(replicates),
        estimator=settings.estimator,
        marginals=settings.marginals,
        null_method=settings.null,
        shuffles=settings.shuffles if settings.null != "none" else 0,
        seed=settings.seed,
        replicates=replicates,
        bias=bias,
        scatter=scatter,
    )


def _pairs_per_group(lengths: Integers, group: Integers, distances: Sequence[int]) -> Integers:
    """Pairs of each group at each distance, shape (distances, groups): a document of n tokens has n - d."""
    return np.array(
        [np.bincount(group, weights=np.maximum(lengths - d, 0)).astype(np.int64) for d in distances]
    )


def _checked_distances(distances: Sequence[int], longest: int) -> list[int]:
    if not len(distances):
        raise L2MError("distances: there are none; give at least one")
    for distance in distances:
        check_integer("distances", distance, 1)
        if distance >= longest:
            raise L2MError(f"distances: {distance} is too long; the longest document has {longest} tokens")
    if len(set(distances)) < len(distances):
        raise L2MError(f"distances: {list(distances)} repeats a value; give each once")
    return sorted(int(distance) for distance in distances)
