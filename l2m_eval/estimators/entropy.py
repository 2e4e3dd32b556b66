"""Entropy of a discrete distribution from counts, in nats.

With counts n_k that sum to N, each estimator here has the form

    H = ln N - (1/N) * [ sum_k c(n_k) + c_0 ],

and differs from the others in the contribution c(n) of one outcome alone: n * G(n) for Grassberger (2003),
n * ln n for the plug-in, n * ln n - 1/2 (and c_0 = 1/2) for Miller-Madow. Because c depends on the count alone,
it is evaluated once per distinct count: the histogram "count -> number of outcomes" is all that an entropy
needs, however many outcomes there are.

Source: P. Grassberger, "Entropy estimates from insufficient samplings", arXiv physics/0307138 (2003).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array, Integers
from l2m_eval.statistics.jackknife import jackknife_bias, jackknife_error, jackknife_groups, with_bias


@dataclass(frozen=True)
class Entropy:
    """An entropy in nats, its standard error, and the number of samples behind it."""

    value: float
    standard_error: float
    samples: int
    method: str


def grassberger_g(counts: ArrayLike) -> Array:
    """Grassberger's replacement for ln n: G(n) = psi(n) + 1/2 (-1)^n [psi((n+1)/2) - psi(n/2)], for n >= 1."""
    n = np.asarray(counts, dtype=np.float64)
    sign = 1.0 - 2.0 * (n % 2)  # (-1)^n
    return np.asarray(digamma(n) + 0.5 * sign * (digamma((n + 1) / 2) - digamma(n / 2)))


def _digamma(counts: ArrayLike) -> Array:
    return np.asarray(digamma(np.asarray(counts, dtype=np.float64)))


def _log_count(counts: ArrayLike) -> Array:
    return np.log(np.asarray(counts, dtype=np.float64))


@dataclass(frozen=True)
class EntropyEstimator:
    """What distinguishes an estimator: its replacement for ln n, and a constant per outcome seen."""

    name: str
    log_count: Callable[[ArrayLike], Array]
    per_outcome: float

    @property
    def without_parity(self) -> EntropyEstimator:
        """The estimator for differences between nearly equal samples: Grassberger's without its (-1)^n.

        G(n) is psi(n) and a term whose sign is that of (-1)^n. When a group of documents is left out, about half of
        all counts change from even to odd or back, and the terms of all of them with it: however small the group, the
        sum scatters as if it were of another sample altogether. A jackknife multiplies that by the number of groups.
        `parity_variance` accounts for the term instead.
        """
        return SMOOTH if self.log_count is grassberger_g else self

    def parity_variance(self, counts: Integers, multiplicities: Integers) -> float:
        """Variance of the sum of c(n) that comes from counts being even or odd by chance.

        With e(n) = n (G(n) - psi(n)), about +-1/2, and counts that are Poisson given their sum N, it is
        sum e^2 - (sum n e)^2 / N. The second term takes out what the fixed number of samples leaves no room for:
        in a sample of outcomes that were all seen once nothing is by chance. Beyond a few counts the n e of even
        and odd counts cancel, and are left out.
        """
        if self.without_parity is self:
            return 0.0
        odd = self.contribution(counts) - SMOOTH.contribution(counts)
        few = counts <= FEW
        bound = float((multiplicities * odd * counts)[few].sum()) ** 2 / float(
            (multiplicities * counts).sum()
        )
        return max(float((multiplicities * odd**2).sum()) - bound, 0.0)

    def contribution(self, counts: Integers) -> Array:
        """c(n) for each count; c(0) = 0, so that an outcome that is taken away contributes nothing."""
        if counts.size == 0 or counts.max() < TABLE:
            return _contribution_table(self)[counts]
        values = _contribution_table(self)[np.minimum(counts, TABLE - 1)]
        large = counts >= TABLE
        values[large] = self._formula(counts[large])
        return values

    def _formula(self, counts: Integers) -> Array:
        n = counts.astype(np.float64)
        c = n * self.log_count(np.maximum(n, 1.0)) - self.per_outcome
        return np.where(n > 0, c, 0.0)

    def from_sum(self, contributions: ArrayLike, samples: ArrayLike) -> Array:
        """The entropy, given the sum of c(n_k) and N; elementwise. NaN without samples."""
        total = np.asarray(samples, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            h = np.log(total) - (np.asarray(contributions, dtype=np.float64) + self.per_outcome) / total
        return np.where(total > 0, h, np.nan)


GROUPS = 32  # of documents left out in turn: the error is then known to 1/sqrt(2 * 31) = 13 percent
FEW = 8  # counts up to which a sample's even and odd ones are unequally many
TABLE = 2**16  # counts below this are looked up: nearly all of them are small


@functools.cache
def _contribution_table(estimator: EntropyEstimator) -> Array:
    return estimator._formula(np.arange(TABLE))


SMOOTH = EntropyEstimator("digamma", _digamma, 0.0)  # Grassberger's (1988) estimator, without the parity term
ESTIMATORS = {
    "grassberger": EntropyEstimator("grassberger", grassberger_g, 0.0),
    "plugin": EntropyEstimator("plugin", _log_count, 0.0),
    "miller_madow": EntropyEstimator("miller_madow", _log_count, 0.5),
}


def entropy_estimator(method: str) -> EntropyEstimator:
    """The estimator of that name; L2MError for a name that is not known."""
    try:
        return ESTIMATORS[method]
    except (KeyError, TypeError):
        accepted = ", ".join(ESTIMATORS)
        raise L2MError(f"entropy method: {method!r} is not known; accepted: {accepted}") from None


def entropy(
    counts: ArrayLike, method: str = "grassberger", *, multiplicities: ArrayLike | None = None
) -> Entropy:
    """Entropy in nats of the distribution that was sampled.

    counts: (K,) how often each outcome was seen; any shape, integers >= 0, zeros are ignored.
    multiplicities: same shape, how many outcomes have that count (default: one each); the efficient form
    when there are many outcomes and few distinct counts.
    method: "grassberger" (default), "plugin" or "miller_madow".

    The standard error is that of the mean of ln N - ln n_k (ln n replaced by G(n) for Grassberger) over the N
    samples, taken as independent; NaN with a single sample. Tokens of one document are not independent:
    resample documents where that matters.

    Raises L2MError for an unknown method, negative or fractional counts, or no sample at all.
    """
    estimator = entropy_estimator(method)
    n, k = _distinct_counts(counts, multiplicities)
    samples = int((n * k).sum())
    if samples == 0:
        raise L2MError("counts: no sample in them; give at least one count above zero")

    value = float(estimator.from_sum((k * estimator.contribution(n)).sum(), samples))
    weights = n * k / samples  # share of the samples that carry this count
    log_n = estimator.log_count(n)
    variance = float((weights * (log_n - (weights * log_n).sum()) ** 2).sum())
    standard_error = math.sqrt(variance / (samples - 1)) if samples > 1 else math.nan
    return Entropy(value, standard_error, samples, method)


def grassberger_entropy(counts: ArrayLike, *, multiplicities: ArrayLike | None = None) -> Entropy:
    """H = ln N - (1/N) sum n_k G(n_k), Grassberger (2003): small bias down to few samples per outcome."""
    return entropy(counts, "grassberger", multiplicities=multiplicities)


def plugin_entropy(counts: ArrayLike, *, multiplicities: ArrayLike | None = None) -> Entropy:
    """H = -sum (n_k/N) ln(n_k/N), the entropy of the frequencies: biased low by about (K - 1) / 2N."""
    return entropy(counts, "plugin", multiplicities=multiplicities)


def miller_madow_entropy(counts: ArrayLike, *, multiplicities: ArrayLike | None = None) -> Entropy:
    """The plug-in plus (K - 1) / 2N, K the outcomes seen: the bias to first order removed (Miller 1955)."""
    return entropy(counts, "miller_madow", multiplicities=multiplicities)


def ngram_entropy(
    token_sequences: Iterable[ArrayLike],
    n: int = 2,
    *,
    method: str = "grassberger",
    groups: int = GROUPS,
    seed: int = 0,
) -> Entropy:
    """Block entropy H_n in nats of n successive tokens.

    token_sequences: integer arrays, one per document; n-grams are counted within each and never across the
    boundary between two, so a document shorter than n contributes nothing. The first-token correction of
    arXiv 2503.04725 takes n = 2 and Grassberger's estimator.
    groups, seed: Groups of documents that are left out in turn, and the seed of how they are dealt.

    The standard error is that of a jackknife over documents, and contains the bias that leaving them out shows
    where this is told from zero: of most corpora, most n-grams have been seen once, and H_n still grows with the
    sample. NaN with fewer than two documents.

    Raises L2MError when no sequence has n tokens, and for ids that are negative or not integers.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise L2MError(f"n: {n!r} is not accepted; give the n-gram length as an integer from 1")
    estimator = entropy_estimator(method)
    sequences = [_token_ids(sequence) for sequence in token_sequences]
    names, origins = _ngrams(sequences, int(n))
    left_out = np.unique(origins)  # documents that have n-grams at all
    lengths = np.array([len(sequences[i]) for i in left_out])
    group_of = np.zeros(len(sequences), dtype=np.int64)
    group_of[left_out] = jackknife_groups(lengths, groups, seed)
    size = int(group_of.max()) + 1

    # Runs of equal (n-gram, group): what each group adds to the count of each n-gram.
    cells = np.sort(names * size + group_of[origins])
    starts = np.flatnonzero(np.append(True, cells[1:] != cells[:-1]))
    inside, cells = np.diff(np.append(starts, len(cells))), cells[starts]
    firsts = np.flatnonzero(np.append(True, np.diff(cells // size) != 0))
    counts = np.add.reduceat(inside, firsts)
    totals = np.repeat(counts, np.diff(np.append(firsts, len(cells))))

    samples = int(counts.sum())
    value = float(estimator.from_sum(estimator.contribution(counts).sum(), samples))
    smooth = estimator.without_parity
    whole = smooth.contribution(counts).sum()
    change = smooth.contribution(totals - inside) - smooth.contribution(totals)
    without = smooth.from_sum(
        whole + np.bincount(cells % size, weights=change, minlength=size),
        samples - np.bincount(cells % size, weights=inside, minlength=size),
    )
    replicates = value + without - float(smooth.from_sum(whole, samples))
    parity = math.sqrt(estimator.parity_variance(*np.unique(counts, return_counts=True))) / samples
    scatter = np.hypot(jackknife_error(replicates), parity)
    error = with_bias(scatter, jackknife_bias(np.float64(value), replicates))
    return Entropy(value, float(error), samples, method)


def ngram_counts(token_sequences: Iterable[ArrayLike], n: int) -> Integers:
    """How often each n-gram that occurs was seen, in no meaningful order; see `ngram_entropy`."""
    return _run_lengths(_ngrams([_token_ids(sequence) for sequence in token_sequences], n)[0])


def _ngrams(sequences: list[Integers], n: int) -> tuple[Integers, Integers]:
    """A number for each n-gram, the same where the n-gram is, and the index of its sequence."""
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    if not np.any(lengths >= n):
        longest = int(lengths.max(initial=0))
        raise L2MError(f"n: {n} is longer than every sequence; the longest has {longest} tokens")

    tokens = np.concatenate(sequences)
    # room[t]: tokens from t to the end of its sequence, t included; an n-gram starts at t if room[t] >= n
    room = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(tokens))
    origins = np.repeat(np.arange(len(sequences)), lengths)
    # Names 0 ... V-1, so that two of them fit one int64.
    names: Integers = np.unique(tokens, return_inverse=True)[1]
    gram: Integers = names
    for length in range(2, n + 1):
        starts = room[: len(tokens) - length + 1] >= length
        packed = gram[: len(starts)] * (int(names.max()) + 1) + names[length - 1 :]
        if length == n:
            return packed[starts], origins[: len(starts)][starts]
        gram = np.unique(packed, return_inverse=True)[1]  # renamed, so that the next token fits as well
    return gram, origins


def _run_lengths(keys: Integers) -> Integers:
    """The counts alone: sorting and measuring runs needs neither the keys nor where they were."""
    ordered = np.sort(keys, axis=None)
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))
    return np.diff(ends, prepend=0)


def _distinct_counts(counts: ArrayLike, multiplicities: ArrayLike | None) -> tuple[Integers, Integers]:
    n = _non_negative_integers("counts", counts)
    if multiplicities is None:
        return np.unique(n[n > 0], return_counts=True)
    k = _non_negative_integers("multiplicities", multiplicities)
    if k.shape != n.shape:
        raise L2MError(f"multiplicities: {len(k)} of them for {len(n)} counts; give one per count")
    seen = (n > 0) & (k > 0)
    return n[seen], k[seen]


def _non_negative_integers(name: str, values: ArrayLike) -> Integers:
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise L2MError(f"{name}: {array.dtype} is not accepted; give an array of integers >= 0")
    if array.dtype.kind == "i" and array.min() < 0:
        raise L2MError(f"{name}: {array.min()} is not accepted; give integers >= 0")
    return array.reshape(-1).astype(np.int64, copy=False)


def _token_ids(sequence: ArrayLike) -> Integers:
    ids = _non_negative_integers("token ids", sequence)
    if np.ndim(sequence) > 1:
        raise L2MError(f"token ids: an array of {np.ndim(sequence)} dimensions; give one array per document")
    return ids
