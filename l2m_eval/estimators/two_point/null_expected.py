"""What the pair entropy of independent tokens would be, from their frequencies alone, without shuffling anything.

Independent first tokens a (n_a times) and second ones b (n_b times) meet n_ab times, nearly Poisson with mean
lambda = n_a n_b / N, so the sum that an entropy is made of has the expectation

    E sum c(n_ab) = sum_ab f(n_a n_b / N),   f(lambda) = E c(Poisson(lambda)) = lambda ln lambda + h(lambda).

Since the frequencies are given, n_ab is a little less scattered than that (hypergeometric): a token that is there
once meets nothing twice. E n(n - 1) is lambda^2 (1 - 1/n_a) (1 - 1/n_b) N / (N - 1) and not lambda^2, and to first
order in that difference (a Charlier expansion) each pair of tokens adds

    g(lambda) ((1 - 1/n_a) (1 - 1/n_b) N / (N - 1) - 1),   g(lambda) = lambda^2 / 2 f''(lambda),

altogether V / N nats where tokens are frequent: with a large vocabulary more than an error bar.

The first part of f is a sum over a and one over b; elsewhere lambda depends on ln n_a + ln n_b, so with both kinds
of tokens gathered on a grid of ln n the sums are convolutions. That costs milliseconds for any vocabulary and is
affordable once for every group of documents left out: an estimate and its null go up and down together with the
frequencies of the tokens in the sample, and an error bar that ignores this is too large. Shuffles remain the null
itself, with all that is not in these sums.
"""

from __future__ import annotations

import functools

import numpy as np
from scipy.signal import fftconvolve
from scipy.special import xlogy
from scipy.stats import poisson

from l2m_eval.estimators.entropy import EntropyEstimator
from l2m_eval.statistics.arrays import Array, Integers

STEP = 0.02  # of ln n; what is interpolated linearly is off by less than STEP^2 / 8 of itself
LARGEST = 1e4  # lambda from which h is what it tends to
SMALLEST = 1e-9  # lambda below which f is lambda * c(1)


def expected_pair_entropy(firsts: Integers, seconds: Integers, estimator: EntropyEstimator) -> float:
    """Entropy estimate, nats, that pairs of independent tokens have on average.

    firsts, seconds: (vocabulary,) how often each token is first, and second, of a pair; equal sums.
    """
    samples = int(firsts.sum())
    if samples == 0:
        return float("nan")
    log_samples = np.log(samples)
    contributions = xlogy(firsts, firsts).sum() + xlogy(seconds, seconds).sum() - samples * log_samples
    together = fftconvolve(_on_grid(firsts), _on_grid(seconds))  # by ln n_a + ln n_b
    log_mean = STEP * np.arange(len(together)) - log_samples
    beyond, curved = _beyond_logarithm(estimator, log_mean)
    contributions += float(together @ beyond)
    if samples > 1:
        twice = fftconvolve(_on_grid(firsts, twice=True), _on_grid(seconds, twice=True))
        contributions += float((twice * (samples / (samples - 1)) - together) @ curved)
    return float(estimator.from_sum(contributions, samples))


def _on_grid(counts: Integers, twice: bool = False) -> Array:
    """Number of tokens by ln n on a grid of STEP, each shared out between the two grid points around it.

    twice: each counts 1 - 1/n instead.
    """
    seen = counts[counts > 0]
    weights = 1 - 1 / seen if twice else np.ones(len(seen))
    place = np.log(seen) / STEP
    low = place.astype(np.int64)
    share = place - low
    size = int(low.max()) + 2
    return np.asarray(
        np.bincount(low, weights=weights * (1 - share), minlength=size)
        + np.bincount(low + 1, weights=weights * share, minlength=size)
    )


def _beyond_logarithm(estimator: EntropyEstimator, log_mean: Array) -> tuple[Array, Array]:
    """h(lambda) = E c(Poisson(lambda)) - lambda ln lambda, and g(lambda), at logarithms of lambda."""
    grid, beyond, curved = _table(estimator)
    mean = np.exp(log_mean)
    once, twice = estimator.contribution(np.array([1, 2]))
    rare = log_mean < grid[0]
    return (
        np.where(rare, mean * float(once) - xlogy(mean, mean), np.interp(log_mean, grid, beyond)),
        # g is lambda / 2 where lambda is large: the table holds what it is beside that.
        np.where(rare, mean**2 / 2 * float(twice - 2 * once), mean / 2 + np.interp(log_mean, grid, curved)),
    )


@functools.cache
def _table(estimator: EntropyEstimator) -> tuple[Array, Array, Array]:
    """Logarithms of lambda, h, and g - lambda / 2."""
    grid = np.arange(np.log(SMALLEST), np.log(LARGEST) + STEP, STEP)
    beyond, curved = np.empty(len(grid)), np.empty(len(grid))
    for i, mean in enumerate(np.exp(grid)):
        reach = 12 * np.sqrt(mean) + 30
        n = np.arange(max(0, int(mean - reach)), int(mean + reach) + 3)
        c, probability = estimator.contribution(n), poisson.pmf(n[:-2], mean)
        beyond[i] = probability @ c[:-2] - xlogy(mean, mean)
        curved[i] = mean**2 / 2 * (probability @ np.diff(c, 2)) - mean / 2
    return grid, beyond, curved
