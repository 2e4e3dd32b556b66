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
from l2m_eval.estimators.independent_pairs import expected_pair_entropy
from l2m_eval.estimators.intervals import student_t
from l2m_eval.estimators.jackknife import jackknife_bias, jackknife_error, jackknife_groups
from l2m_eval.estimators.marginal_counts import pair_marginals, token_counts, vocabulary_size
from l2m_eval.estimators.pair_counts import PairCounts, count_pairs, in_processes, on_disk
from l2m_eval.estimators.shifted_pairs import shifted_pair_information
from l2m_eval.estimators.shuffled_pairs import shuffled_pair_information
from l2m_eval.estimators.token_sequences import TokenSequences

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DISTANCES = tuple(2**i for i in range(13))  # 1 ... 4096, as published
MARGINALS = ("pairs", "global")
NULLS = ("shuffle", "shift", "none")
GROUPS = 32  # of documents: the error of the jackknife's error is 1/sqrt(2 * 31) = 13 percent
MOST_GROUPS = 1024  # a group is 10 bits of the packed pair, and a row of the marginal counts
NEAR = 1.25  # pair counts within this factor share a null, by interpolation
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
        floor: The noise floor: `mi` below it is not told from zero. Two standard deviations, of the error and
            the null's spread together.
        pairs: Number of pairs.
        documents, groups: Documents, and the groups of them left out in turn.
        estimator, marginals, null_method, shuffles, seed: The settings.
        replicates: `mi` without each group, shape (groups, distances).
        bias: What is left of the bias of `mi`, as the jackknife tells it: how `mi` still moves with the size of the
            sample. NaN where fewer than two groups have pairs.
        scatter: Standard error without the bias.
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
    bias: Floats
    scatter: Floats

    @property
    def biased(self) -> NDArray[np.bool_]:
        """Where the error contains the bias, (distances,)."""
        return np.asarray(self.standard_error > self.scatter)

    @property
    def unseen_error(self) -> Floats:
        """The part of `standard_error` that the spread of the replicates does not show, (distances,).

        That of the mean null, the parity term of Grassberger's estimator, and the bias where it is contained.
        """
        seen = jackknife_error(self.replicates)
        return np.sqrt(np.maximum(self.standard_error**2 - seen**2, 0.0))


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
        null: What is subtracted. "shuffle": the estimate on shuffled tokens. "shift": that on pairs of the text with
            itself, shifted by a large part of its length: for sequences whose neighbours depend on each other so much
            that N pairs sample no better than far fewer would. "none": nothing.
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
    A replicate's null follows from the frequencies of its own tokens (`independent_pairs`). What the shuffled null
    does not know is that successive pairs depend on each other: a text that repeats one token many times in a row has
    fewer independent pairs than it counts, and keeps a bias, which the shifted null takes away where the dependence
    at d itself is weak.

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
    anchors = _anchors(pairs.sum(axis=1)) if null != "none" else []
    vocabulary = vocabulary_size(sequences)
    work = (len(ordered) + len(anchors) * shuffles) * int(sequences.offsets[-1])
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
        # Entropies (1 + groups,): of all documents, then without each group.
        own, unconnected, margins = [], [], []
        for i, (firsts, seconds) in enumerate(pair_marginals(sequences, group, counts, ordered)):
            own.append(_leave_one_out(entropies, firsts) + _leave_one_out(entropies, seconds))
            if null != "none":
                unconnected.append(_expected_pair_entropies(entropies, firsts, seconds))
            if i in anchors:
                margins.append((firsts.sum(axis=0), seconds.sum(axis=0)))
        measured = _measured_nulls(null, sequences, margins, estimator, shuffles, seed, processes, bar.update)
    own_marginal = np.array(own)  # (distances, 1 + groups)
    marginal = own_marginal if marginals == "pairs" else 2 * _leave_one_out(entropies, counts)
    joint = np.array([_joint_entropies(entropies, c, n) for c, n in zip(counted, pairs, strict=True)])

    # Without a group the sample is smaller, its tokens have other frequencies, and its null differs. That would pass
    # for an error of the estimate, so each replicate has the null of its own sample.
    estimates = marginal - joint  # (distances, 1 + groups)
    mean, spread = _interpolated(measured, anchors, pairs.sum(axis=1))
    nulls = np.repeat(mean[:, None], estimates.shape[1], axis=1)
    if null != "none":
        expected = own_marginal - np.array(unconnected)
        nulls += expected - expected[:, :1]
        nulls += marginal - own_marginal  # zero unless the marginals are global ones
    corrected = estimates - nulls
    mi, replicates = corrected[:, 0], corrected[:, 1:].T
    parity = np.sqrt([entropies.parity_variance(c.counts, c.multiplicities) for c in counted])
    unseen = np.hypot(parity / pairs.sum(axis=1), spread / math.sqrt(shuffles))
    scatter = np.hypot(jackknife_error(replicates), unseen)
    bias = jackknife_bias(mi, replicates)
    if null == "shift":
        bias = bias - np.max(bias, where=np.isfinite(bias), initial=-np.inf)
    standard_error = scatter if null == "none" else with_bias(scatter, bias)
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
        shuffles=shuffles if null != "none" else 0,
        seed=seed,
        replicates=replicates,
        bias=bias,
        scatter=scatter,
    )


def with_bias(scatter: Floats, bias: Floats) -> Floats:
    """The standard error that contains a bias where this is told from zero: above `FLOOR` times the scatter."""
    return np.where(np.abs(bias) > FLOOR * scatter, np.hypot(scatter, bias), scatter)


def _leave_one_out(estimator: EntropyEstimator, counts: Ints) -> Floats:
    """Entropies of counts (groups, outcomes): of the groups together, then without each; shape (1 + groups,)."""
    total = counts.sum(axis=0)
    smooth = estimator.without_parity.contribution
    change = np.zeros(len(counts))
    for i, count in enumerate(counts):
        seen = np.flatnonzero(count)
        change[i] = (smooth(total[seen] - count[seen]) - smooth(total[seen])).sum()
    return _entropies(estimator, total, np.ones_like(total), change, counts.sum(axis=1))


def _joint_entropies(estimator: EntropyEstimator, counted: PairCounts, pairs: Ints) -> Floats:
    """The same of pairs; pairs: (groups,) how many each group has."""
    return _entropies(estimator, counted.counts, counted.multiplicities, counted.change_without, pairs)


def _entropies(
    estimator: EntropyEstimator, counts: Ints, multiplicities: Ints, change: Floats, samples: Ints
) -> Floats:
    """The entropy, and what it would be without each group by the change of the estimator without its parity."""
    total, left, smooth = samples.sum(), samples.sum() - samples, estimator.without_parity
    entropy = estimator.from_sum((multiplicities * estimator.contribution(counts)).sum(), total)
    whole = (multiplicities * smooth.contribution(counts)).sum()
    without = smooth.from_sum(whole + change, left) - smooth.from_sum(whole, total)
    return np.append(entropy, entropy + without)


def _measured_nulls(
    null: str,
    sequences: TokenSequences,
    margins: Sequence[tuple[Ints, Ints]],
    estimator: str,
    shuffles: int,
    seed: int,
    processes: int,
    advance: Callable[[int], object],
) -> Floats:
    """Information of unconnected pairs at each anchor, (anchors, shuffles); margins: token counts of its pairs."""
    # One stream each, so that numbers do not depend on the number of processes.
    streams = np.random.SeedSequence(seed).spawn(len(margins) * shuffles)
    samples = [margin for margin in margins for _ in range(shuffles)]
    tasks = list(zip(samples, streams, strict=True))
    information = []
    with on_disk(sequences, processes > 1 and null == "shift") as shared:
        one = partial(_shuffle, estimator) if null == "shuffle" else partial(_shift, estimator, shared)
        for (margin, _), value in zip(tasks, in_processes(one, tasks, processes), strict=True):
            information.append(value)
            advance(int(margin[0].sum()))
    return np.array(information).reshape(len(margins), shuffles)


def _shuffle(estimator: str, task: tuple[tuple[Ints, Ints], np.random.SeedSequence]) -> float:
    (firsts, seconds), stream = task
    return shuffled_pair_information(firsts, seconds, estimator, np.random.default_rng(stream))


def _shift(
    estimator: str, sequences: TokenSequences, task: tuple[tuple[Ints, Ints], np.random.SeedSequence]
) -> float:
    (firsts, _), stream = task
    size, rng = int(firsts.sum()), np.random.default_rng(stream)
    return shifted_pair_information(sequences, size, len(firsts), estimator, rng)


def _interpolated(measured: Floats, anchors: Sequence[int], pairs: Ints) -> tuple[Floats, Floats]:
    """Mean null at every distance and its spread between shuffles, both (distances,)."""
    if not len(anchors):
        return np.zeros(len(pairs)), np.zeros(len(pairs))
    size = np.log(pairs)
    mean, spread = (
        np.interp(-size, -size[anchors], values) for values in (measured.mean(1), measured.std(1, ddof=1))
    )
    return mean, spread


def _expected_pair_entropies(estimator: EntropyEstimator, firsts: Ints, seconds: Ints) -> Floats:
    """What the pairs' entropy would be without dependence: of all documents, then without each group."""
    smooth = estimator.without_parity
    all_firsts, all_seconds = firsts.sum(axis=0), seconds.sum(axis=0)
    without = [
        expected_pair_entropy(all_firsts - first, all_seconds - second, smooth)
        for first, second in zip(firsts, seconds, strict=True)
    ]
    return np.array([expected_pair_entropy(all_firsts, all_seconds, smooth), *without])


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
