"""A stationary Gaussian process whose bipartite information is a power law exactly, at every length.

Values are real, so the process has densities and no vocabulary; it is a known answer for estimators and fits
and the kind of process that the sub-volume law was first illustrated with.

*Partial correlations.* A stationary Gaussian sequence of unit variance is given by its partial correlations
α_1, α_2, …: any numbers in (−1, 1) belong to exactly one such process (Ramsey 1974). The Durbin–Levinson
recursion turns them into the best linear predictors, whose error variance after t − 1 values is
v_t = Π_{j<t} (1 − α_j²). With g(j) = −½ ln(1 − α_j²), the information that two values share given the j − 1
between them, block entropies are

    H(n) = n · ½ ln(2πe) − G(n),   G(n) = Σ_{j<n} (n − j) g(j),

which is half the log-determinant of the covariance, and I(l; L) = G(L) − G(l) − G(L − l).

*Power law.* Ask for G(n) = a · (n − n^β). Then

    I(l; L) = a · [l^β + (L − l)^β − L^β],

homogeneous of degree β: I(l; r·l) = a · [1 + (r − 1)^β − r^β] · l^β without any correction. g is the second
difference of G, g(j) = a · [2j^β − (j + 1)^β − (j − 1)^β], which is positive since j^β is concave, so every a > 0 is
allowed. The loss is nll_t = ½ ln(2πe) − a · [1 − t^β + (t − 1)^β]: a is what the infinite past tells of a value.

*Two-point information.* I(d) = −½ ln(1 − r_d²) with the autocorrelation r_d. The bipartite law fixes α_j², not the
signs, and these decide r: with random signs r_d falls roughly like α_d ~ d^(β/2 − 1); all negative, much faster;
all positive, r_d tends to a positive constant (a random level that never changes, so that time averages of
one document do not converge). One bipartite curve therefore goes with very different two-point curves. Random signs
also keep the covariance well conditioned (below 1000 at L = 1024); with equal signs it reaches 10^12, and all that
is computed here goes through the partial correlations, never through a determinant.

Sources: F. L. Ramsey, *Characterization of the partial autocorrelation function*, Ann. Statist. 2 (1974);
J. Durbin, *The fitting of time-series models*, Rev. Inst. Int. Stat. 28 (1960). The choice of G is ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular

from l2m_eval.fields import choice, integer, number, setting
from l2m_eval.processes.base import ValueProcess, check_distance, check_split, table_size
from l2m_eval.statistics.arrays import Array

# Rows of the whitening matrix held at once.
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Gaussian(ValueProcess):
    """Stationary Gaussian values of unit variance; see the module for its formulas.

    Attributes:
        beta: Exponent of the bipartite law, between 0 and 1.
        amplitude: a, nats: what the infinite past tells of a value.
        signs: Of the partial correlations: ``random``, ``negative`` or ``positive``.
        sign_seed: Of random signs.
    """

    name: ClassVar[str] = "gaussian"
    beta: float = setting(0.75, number(0, 1))
    amplitude: float = setting(0.5, number(0, 20))
    signs: str = setting("random", choice("random", "negative", "positive"))
    sign_seed: int = setting(0, integer(0, 2**63 - 1))

    def information_per_lag(self, longest: int) -> Array:
        """g(j) for j = 1 … longest, (longest,), nats."""
        j = np.arange(1, longest + 1, dtype=np.float64)
        with np.errstate(divide="ignore"):
            before = np.expm1(self.beta * np.log1p(-1 / j))  # (1 − 1/j)^β − 1, which is −1 at j = 1
        after = np.expm1(self.beta * np.log1p(1 / j))
        return -self.amplitude * j**self.beta * (before + after)

    def partial_correlations(self, longest: int) -> Array:
        """α_j for j = 1 … longest, (longest,)."""
        size = np.sqrt(-np.expm1(-2 * self.information_per_lag(longest)))
        if self.signs == "random":
            return size * np.random.default_rng(self.sign_seed).choice([-1.0, 1.0], longest)
        return size if self.signs == "positive" else -size

    def autocorrelation(self, longest: int) -> Array:
        """r_0 … r_longest, (longest + 1,)."""
        return _autocorrelation(self, table_size(longest))[: longest + 1]

    def _whitening(self, length: int) -> Iterator[tuple[slice, Array, Array]]:
        """Rows of the matrix that turns values into prediction errors, some at a time.

        Yields the rows, the matrix (rows, columns up to the last row), ones on its diagonal, and the errors' standard
        deviations (rows,).
        """
        for start in range(0, length, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, length)
            if start == 0:
                alphas = self.partial_correlations(length)
                predictors, variance = _predictors(alphas), 1.0
            rows = np.zeros((stop - start, stop))
            deviations = np.empty(stop - start)
            for row in range(stop - start):
                t = start + row  # values before this one
                coefficients = next(predictors)
                rows[row, :t] = -coefficients[::-1]
                rows[row, t] = 1.0
                deviations[row] = math.sqrt(variance)
                variance *= 1 - alphas[t] ** 2
            yield slice(start, stop), rows, deviations

    def sample(self, documents: int, length: int, rng: np.random.Generator) -> Array:
        values = np.empty((length, documents))
        for rows, matrix, deviations in self._whitening(length):
            errors = deviations[:, None] * rng.standard_normal((len(deviations), documents))
            known = matrix[:, : rows.start] @ values[: rows.start]  # (rows, documents)
            values[rows] = solve_triangular(
                matrix[:, rows.start :], errors - known, lower=True, unit_diagonal=True
            )
        return np.ascontiguousarray(values.T)

    def log_probs(self, sequences: Array) -> Array:
        """Log-densities log p(w_t | w_<t), (documents, length), nats."""
        sequences = np.asarray(sequences, dtype=np.float64)
        result = np.empty(sequences.shape)
        for rows, matrix, deviations in self._whitening(sequences.shape[1]):
            errors = sequences[:, : rows.stop] @ matrix.T / deviations  # (documents, rows)
            result[:, rows] = -(errors**2) / 2 - np.log(deviations) - math.log(2 * math.pi) / 2
        return result

    def predictions(self, sequences: Array) -> tuple[Array, Array]:
        sequences = np.asarray(sequences, dtype=np.float64)
        means, spread = np.empty(sequences.shape), np.empty(sequences.shape[1])
        for rows, matrix, deviations in self._whitening(sequences.shape[1]):
            errors = sequences[:, : rows.stop] @ matrix.T  # (documents, rows)
            means[:, rows], spread[rows] = sequences[:, rows] - errors, deviations
        return means, spread

    def one(self, length: int, rng: np.random.Generator) -> Array:
        document: Array = self.mixing_matrix(length) @ rng.standard_normal(length)
        return document

    def mixing_matrix(self, length: int) -> Array:
        """M, lower triangular, (length, length): M @ independent standard normal values is a sample."""
        return _mixing_matrix(self, length)

    def next_value(self, prefix: Array) -> tuple[float, float]:
        """Mean and standard deviation of the value that follows `prefix`, (n,)."""
        *_, (_, matrix, deviations) = self._whitening(len(prefix) + 1)
        return -float(matrix[-1, :-1] @ prefix), float(deviations[-1])

    def mean_nll(self, length: int) -> Array:
        t = np.arange(1, length + 1, dtype=np.float64)
        saved = self.amplitude * (1 - t**self.beta + (t - 1) ** self.beta)
        return math.log(2 * math.pi * math.e) / 2 - saved

    def bipartite_mi(self, left_length: int, total_length: int) -> float:
        check_split(left_length, total_length)
        left, right = left_length**self.beta, (total_length - left_length) ** self.beta
        return float(self.amplitude * (left + right - total_length**self.beta))

    def two_point_mi(self, distance: int) -> float:
        check_distance(distance)
        return float(-np.log1p(-(self.autocorrelation(distance)[distance] ** 2)) / 2)

    def entropy_rate(self) -> float:
        return math.log(2 * math.pi * math.e) / 2 - self.amplitude


def _predictors(alphas: Array) -> Iterator[Array]:
    """Durbin–Levinson: coefficients of the best predictor from 0, 1, 2, … values, the latest value's first."""
    coefficients = np.empty(0)
    yield coefficients
    for alpha in alphas:
        coefficients = np.append(coefficients - alpha * coefficients[::-1], alpha)
        yield coefficients


@lru_cache(maxsize=4)
def _mixing_matrix(process: Gaussian, length: int) -> Array:
    whitening, spread = np.zeros((length, length)), np.empty(length)
    for rows, matrix, deviations in process._whitening(length):
        whitening[rows, : rows.stop], spread[rows] = matrix, deviations
    mixing: Array = solve_triangular(whitening, np.diag(spread), lower=True, unit_diagonal=True)
    mixing.flags.writeable = False
    return mixing


@lru_cache(maxsize=8)
def _autocorrelation(process: Gaussian, longest: int) -> Array:
    alphas = process.partial_correlations(longest)
    correlation = np.empty(longest + 1)
    correlation[0] = variance = 1.0
    for k, coefficients in enumerate(_predictors(alphas[:-1])):
        # α_{k+1} is what r_{k+1} adds to its prediction from r_k … r_1, in units of the error variance.
        correlation[k + 1] = alphas[k] * variance + coefficients @ correlation[k:0:-1]
        variance *= 1 - alphas[k] ** 2
    correlation.flags.writeable = False
    return correlation
