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
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from l2m_eval.errors import L2MError
from l2m_eval.estimators.entropy import EntropyEstimator, entropy_estimator
from l2m_eval.estimators.jackknife import jackknife_error, jackknife_groups, student_t
from l2m_eval.estimators.marginal_counts import pair_marginals, token_counts, vocabulary_size
from l2m_eval.estimators.pair_counts import PairCounts, count_pairs, in_processes
from l2m_eval.estimators.shuffled_pairs import shuffled_pair_information
from l2m_eval.estimators.token_sequences import TokenSequences

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DISTANCES = tuple(2**i for i in range(13))  # 1 ... 4096, as published
MARGINALS = ("pairs", "global")
NULLS = ("shuffle", "none")
GROUPS = 32  # of documents: the error of the jackknife's error is 1/sqrt(2 * 31) = 13 percent
MOST_GROUPS = 1024  # a group is 10 bits of the packed pair, and a row of the marginal counts
NEAR = 1.25  # pair counts within this factor share a null, by interpolation
THINNED = 0.8  # share of the pairs at which the null is measured again, for how it changes with their number
FLOOR = 2.0  # standard deviations above zero from which a point counts as signal


@dataclass(frozen=True, eq=False)
class TwoPointCurve:
    """Two-point mutual information at each distance, in nats; arrays have shape (distances,).

    Attributes:
        distances: d, in tokens, ascending.
        mi: The estimate: `uncorrected` minus `null`.
        standard_error: Of `mi`: jackknife over groups of documents, and the error of the mean null. NaN where
            fewer than two groups have pairs.
        interval: 95 % intervals, shape (distances, 2), with Student's t for the number of groups.
        uncorrected: The estimate before the null is subtracted.
        null: Mean estimate on shuffled tokens; zero for null method "none".
        null_spread: Standard deviation between shuffles: what independent tokens still scatter by.
        floor: The noise floor: `mi` below it is not told from zero. Two standard deviations, of the error and
            the null's spread together.
        pairs: Number of pairs.
        documents, groups: Documents, and the groups of them left out in turn.
        estimator, marginals, null_method, shuffles, seed: The settings.
        replicates: `mi` without each group, shape (groups, distances).
    """

    distances: Ints
    mi: Floats
    standard_error: Floats
    interval: Floats
    uncorrected: Floats
    null: Floats
    null_spread: Floats
    floor: Floats
    pairs: Ints
    documents: int
    groups: int
    estimator: str
    marginals: str
    null_method: str
    shuffles: int
    seed: int
    replicates: Floats


def two_point_mutual_information(
    documents: TokenSequences | Iterable[ArrayLike],
    distances: Sequence[int] = DISTANCES,
    *,
    estimator: str = "grassberger",
    marginals: str = "pairs",
    null: str = "shuffle",
    shuffles: int = 5,
    clusters: ArrayLike | None = None,
    groups: int = GROUPS,
    seed: int = 0,
    memory_gb: float = 4.0,
    processes: int = 1,
    progress: bool = False,
) -> TwoPointCurve:
    """Estimate I(d) in nats at each distance.

    Args:
        documents: Integer arrays, one per document, or `TokenSequences` (in memory, or opened from disk for a
            corpus larger than memory).
        distances: d >= 1 in tokens.
        estimator: Of the entropies: "grassberger", "plugin" or "miller_madow".
        marginals: "pairs": H of the pair sample's own first and second tokens. "global": 2 H_1 of all tokens, as
            published; wrong by the tokens near the edges when documents are short compared with d. Minus the null
            both are the same number, H(shuffled pairs) - H(pairs).
        null: "shuffle": subtract the estimate on shuffled tokens. "none": do not.
        shuffles: How many, at least 2.
        clusters: Shape (documents,), labels of documents that belong together (parts of one book): they are left
            out together. None: every document by itself.
        groups: Groups of documents for the jackknife, at least 2.
        seed: Of the shuffles and of ties between documents of the same length.
        memory_gb: Gigabytes to stay within, for all processes together, without what holds the tokens.
        processes: Processes that count. They are fresh interpreters, so a script needs the usual
            `if __name__ == "__main__":`.
        progress: Show a progress bar.

    *Errors* are those of a delete-a-group jackknife: a bootstrap would duplicate documents, and duplicates look
    like repeated pairs and lower the entropy of an undersampled sample. They are cautious where I is near zero:
    there the (-1)^n of Grassberger's estimator, which changes with every pair left out, adds up to 1 / sqrt(pairs).

    *The null* depends on the distance through the pair sample's size and frequencies alone. Where pair counts
    differ by less than a factor 1.25 it is measured at both ends and interpolated in the logarithm of the pair
    count: a bias that goes like N^-g, g <= 1, is then off by g^2 ln(1.25)^2 / 8 < 0.7 percent of itself at most,
    and long documents, where all pair counts are nearly equal, need two nulls instead of one per distance.
    Where a replicate lacks more pairs than another its null is larger: its own is subtracted. What the null does
    not know is that successive pairs depend on each other: a text that repeats one token many times in a row has
    fewer independent pairs than it counts, and keeps some bias.

    Raises:
        L2MError: A setting or token id that is not accepted, no pair at some distance, or too little memory.
    """
    entropies = entropy_estimator(estimator)
    _check_choice("marginals", marginals, MARGINALS)
    _check_choice("null", null, NULLS)
    _check_integer("shuffles", shuffles, 2)
    _check_integer("groups", groups, 2, MOST_GROUPS)
    _check_integer("processes", processes, 1)
    _check_integer("seed", seed, 0)
    if isinstance(memory_gb, (bool, str)) or not memory_gb > 0:
        raise L2MError(f"memory_gb: {memory_gb!r} is not accepted; give gigabytes above zero")
    sequences = (
        documents if isinstance(documents, TokenSequences) else TokenSequences.from_documents(documents)
    )
    ordered = _checked_distances(distances, int(sequences.lengths.max()))

    lengths = sequences.lengths
    group = jackknife_groups(lengths, groups, seed, clusters)
    pairs = _pairs_per_group(lengths, group, ordered)  # (distances, groups)
    anchors = _anchors(pairs.sum(axis=1)) if null == "shuffle" else []
    vocabulary = vocabulary_size(sequences)
    work = (len(ordered) + 2 * len(anchors) * shuffles) * int(sequences.offsets[-1])
    with tqdm(total=work, unit=" pairs", unit_scale=True, disable=not progress) as bar:
        counted = count_pairs(
            sequences,
            ordered,
            token_counts(sequences, np.zeros_like(group), vocabulary)[0],
            group=group,
            method=estimator,
            memory=int(memory_gb * 1e9),
            at_least=3 * 8 * vocabulary * (int(group.max()) + 1),  # the three arrays of marginal counts below
            processes=processes,
            advance=bar.update,
        )
        counts = token_counts(sequences, group, vocabulary)  # (groups, vocabulary)
        own, margins = [], []  # entropies (1 + groups,): of all documents, then without each group
        for i, (firsts, seconds) in enumerate(pair_marginals(sequences, group, counts, ordered)):
            own.append(_leave_one_out(entropies, firsts) + _leave_one_out(entropies, seconds))
            if i in anchors:
                margins.append((firsts.sum(axis=0), seconds.sum(axis=0)))
        shuffled = _shuffled(margins, estimator, shuffles, seed, processes, bar.update)
    own_marginal = np.array(own)  # (distances, 1 + groups)
    marginal = own_marginal if marginals == "pairs" else 2 * _leave_one_out(entropies, counts)
    joint = np.array([_joint_entropies(entropies, c, n) for c, n in zip(counted, pairs, strict=True)])

    # Without a group the sample is smaller and its null larger. Where groups differ in size (a long book) that
    # would pass for an error of the estimate, so each replicate has the null of its own size.
    estimates = marginal - joint  # (distances, 1 + groups)
    nulls, spread = _nulls_of_all_sizes(shuffled, anchors, pairs)
    if null == "shuffle":
        nulls += marginal - own_marginal  # zero unless the marginals are global ones
    corrected = estimates - nulls
    mi, replicates = corrected[:, 0], corrected[:, 1:].T
    standard_error = np.hypot(jackknife_error(replicates), spread / math.sqrt(shuffles))
    reach = student_t(len(replicates)) * standard_error
    return TwoPointCurve(
        distances=np.array(ordered),
        mi=mi,
        standard_error=standard_error,
        interval=np.stack((mi - reach, mi + reach), axis=-1),
        uncorrected=estimates[:, 0],
        null=nulls[:, 0],
        null_spread=spread,
        floor=FLOOR * np.hypot(standard_error, spread),
        pairs=pairs.sum(axis=1),
        documents=len(lengths),
        groups=len(replicates),
        estimator=estimator,
        marginals=marginals,
        null_method=null,
        shuffles=shuffles if null == "shuffle" else 0,
        seed=seed,
        replicates=replicates,
    )


def _leave_one_out(estimator: EntropyEstimator, counts: Ints) -> Floats:
    """Entropies of counts (groups, outcomes): of the groups together, then without each; shape (1 + groups,)."""
    total = counts.sum(axis=0)
    whole = estimator.contribution(total)
    change = np.zeros(len(counts))
    for i, count in enumerate(counts):
        seen = np.flatnonzero(count)
        change[i] = (estimator.contribution(total[seen] - count[seen]) - whole[seen]).sum()
    return _entropies(estimator, whole.sum(), change, counts.sum(axis=1))


def _joint_entropies(estimator: EntropyEstimator, counted: PairCounts, pairs: Ints) -> Floats:
    """The same of pairs; pairs: (groups,) how many each group has."""
    whole = (counted.multiplicities * estimator.contribution(counted.counts)).sum()
    return _entropies(estimator, whole, counted.change_without, pairs)


def _entropies(estimator: EntropyEstimator, whole: float, change: Floats, samples: Ints) -> Floats:
    left = samples.sum() - samples
    return estimator.from_sum(np.append(whole, whole + change), np.append(samples.sum(), left))


def _shuffled(
    margins: Sequence[tuple[Ints, Ints]],
    estimator: str,
    shuffles: int,
    seed: int,
    processes: int,
    advance: Callable[[int], object],
) -> Floats:
    """Information of shuffled pairs at each anchor: all of them, and the share THINNED; (anchors, 2, shuffles)."""
    shape = (len(margins), 2, shuffles)
    streams = np.random.SeedSequence(seed).spawn(
        math.prod(shape)
    )  # one each: the same for any number of processes
    samples = ((margin, share) for margin in margins for share in (1.0, THINNED) for _ in range(shuffles))
    tasks = [(*margin, share, stream) for (margin, share), stream in zip(samples, streams, strict=True)]
    information = []
    for task, value in zip(tasks, in_processes(partial(_shuffle, estimator), tasks, processes), strict=True):
        information.append(value)
        advance(int(task[0].sum()))
    return np.array(information).reshape(shape)


def _shuffle(estimator: str, task: tuple[Ints, Ints, float, np.random.SeedSequence]) -> float:
    firsts, seconds, share, stream = task
    return shuffled_pair_information(firsts, seconds, estimator, np.random.default_rng(stream), share)


def _nulls_of_all_sizes(shuffled: Floats, anchors: Sequence[int], pairs: Ints) -> tuple[Floats, Floats]:
    """Mean null of all documents and without each group, (distances, 1 + groups), and its spread, (distances,)."""
    total = pairs.sum(axis=1)  # (distances,)
    if not len(anchors):
        return np.zeros((len(pairs), 1 + pairs.shape[1])), np.zeros(len(pairs))
    mean = shuffled.mean(axis=2)  # (anchors, 2)
    slope = (mean[:, 1] - mean[:, 0]) / math.log(THINNED)  # per unit of ln N
    spread = shuffled[:, 0].std(axis=1, ddof=1)
    size = np.log(total)
    mean, slope, spread = (np.interp(-size, -size[anchors], x) for x in (mean[:, 0], slope, spread))
    with np.errstate(divide="ignore", invalid="ignore"):
        less = np.log1p(-pairs / total[:, None])  # (distances, groups)
        without = mean[:, None] + slope[:, None] * less
    return np.column_stack((mean, without)), spread


def _pairs_per_group(lengths: Ints, group: Ints, distances: Sequence[int]) -> Ints:
    """Pairs of each group at each distance, shape (distances, groups): a document of n tokens has n - d."""
    return np.array(
        [np.bincount(group, weights=np.maximum(lengths - d, 0)).astype(np.int64) for d in distances]
    )


def _anchors(pairs: Ints) -> list[int]:
    """Indices of distances whose null is measured; the others lie between two of them that are near. See NEAR."""
    anchors, last = [0], len(pairs) - 1
    while anchors[-1] < last:
        here = anchors[-1]
        near = [i for i in range(here + 1, last + 1) if pairs[here] <= NEAR * pairs[i]]
        anchors.append(near[-1] if near else here + 1)
    return anchors


def _checked_distances(distances: Sequence[int], longest: int) -> list[int]:
    if not len(distances):
        raise L2MError("distances: there are none; give at least one")
    for distance in distances:
        _check_integer("distances", distance, 1)
        if distance >= longest:
            raise L2MError(f"distances: {distance} is too long; the longest document has {longest} tokens")
    if len(set(distances)) < len(distances):
        raise L2MError(f"distances: {list(distances)} repeats a value; give each once")
    return sorted(int(distance) for distance in distances)


def _check_choice(name: str, value: str, accepted: Sequence[str]) -> None:
    if value not in accepted:
        raise L2MError(f"{name}: {value!r} is not known; accepted: {', '.join(accepted)}")


def _check_integer(name: str, value: int, least: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise L2MError(f"{name}: {value!r} is not accepted; give an integer from {least}")
    if most is not None and value > most:
        raise L2MError(f"{name}: {value!r} is not accepted; give an integer from {least} to {most}")
