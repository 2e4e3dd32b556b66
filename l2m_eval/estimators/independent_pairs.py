"""What the pair entropy of independent tokens would be, from their frequencies alone, without shuffling anything.

Independent first tokens a (n_a times) and second ones b (n_b times) meet n_ab times, nearly Poisson with mean
lambda = n_a n_b / N, so the sum that an entropy is made of has the expectation

    E sum c(n_ab) = sum_ab f(n_a n_b / N),   f(lambda) = E c(Poisson(lambda)) = lambda ln lambda + h(lambda).

The first part is a sum over a and one over b; in the second lambda depends on ln n_a + ln n_b, so with both kinds of
tokens gathered on a grid of ln n it is a convolution. That costs milliseconds for any vocabulary, which makes it
affordable once for every group of documents left out: an estimate and its null go up and down together with the
frequencies of the tokens in the sample, and an error bar that ignores this is too large. Shuffles remain the null
itself, with all that is not Poisson.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.special import xlogy
from scipy.stats import poisson

from l2m_eval.estimators.entropy import EntropyEstimator

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

STEP = 0.02  # of ln n; what is interpolated linearly is off by less than STEP^2 / 8 of itself
LARGEST = 1e4  # lambda from which h is what it tends to
SMALLEST = 1e-9  # lambda below which f is lambda * c(1)


def expected_pair_entropy(firsts: Ints, seconds: Ints, estimator: EntropyEstimator) -> float:
    """Entropy estimate, nats, that pairs of independent tokens have on average.

    firsts, seconds: (vocabulary,) how often each token is first, and second, of a pair; equal sums.
    """
    samples = int(firsts.sum())
    if samples == 0:
        return float("nan")
    log_samples = np.log(samples)
    contributions = xlogy(firsts, firsts).sum() + xlogy(seconds, seconds).sum() - samples * log_samples
    a, b = _on_grid(firsts), _on_grid(seconds)
    together = fftconvolve(a, b)  # by ln n_a + ln n_b
    log_mean = STEP * np.arange(len(together)) - log_samples
    contributions += float(together @ _beyond_logarithm(estimator, log_mean))
    return float(estimator.from_sum(contributions, samples))


def _on_grid(counts: Ints) -> Floats:
    """Number of tokens by ln n on a grid of STEP, each shared out between the two grid points around it."""
    place = np.log(counts[counts > 0]) / STEP
    low = place.astype(np.int64)
    share = place - low
    size = int(low.max()) + 2
    return np.asarray(
        np.bincount(low, weights=1 - share, minlength=size)
        + np.bincount(low + 1, weights=share, minlength=size)
    )


def _beyond_logarithm(estimator: EntropyEstimator, log_mean: Floats) -> Floats:
    """h(lambda) = E c(Poisson(lambda)) - lambda ln lambda, at logarithms of lambda."""
    grid, table = _table(estimator)
    mean = np.exp(log_mean)
    rare = mean * float(estimator.contribution(np.array([1]))[0]) - xlogy(mean, mean)
    return np.where(log_mean < grid[0], rare, np.interp(log_mean, grid, table))


@functools.cache
def _table(estimator: EntropyEstimator) -> tuple[Floats, Floats]:
    grid = np.arange(np.log(SMALLEST), np.log(LARGEST) + STEP, STEP)
    values = np.empty(len(grid))
    for i, mean in enumerate(np.exp(grid)):
        reach = 12 * np.sqrt(mean) + 30
        n = np.arange(max(0, int(mean - reach)), int(mean + reach) + 1)
        values[i] = poisson.pmf(n, mean) @ estimator.contribution(n) - xlogy(mean, mean)
    return grid, values
