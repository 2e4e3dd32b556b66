"""Sequences of tokens whose two-point information is known."""

import numpy as np


def zipf(vocabulary: int) -> np.ndarray:
    p = 1 / np.arange(1, vocabulary + 1)
    return p / p.sum()


def stepping_chain(rng, documents, length, vocabulary, step):
    """Markov chain that goes to the next token (cyclically) with probability `step` and else anywhere, uniformly.

    Unlike a chain that stays where it is, it does not repeat the same pair several times in a row.
    """
    place = np.arange(length)
    anew = rng.random((documents, length)) >= step
    anew[:, 0] = True
    last = np.maximum.accumulate(np.where(anew, place, 0), axis=1)
    fresh = rng.integers(0, vocabulary, size=(documents, length))
    return (np.take_along_axis(fresh, last, axis=1) + place - last) % vocabulary


def stepping_information(vocabulary, step, distances):
    """Its exact I(d): after d steps it has been nowhere else with probability step^d."""
    kept = step ** np.asarray(distances, dtype=float)
    there, elsewhere = kept + (1 - kept) / vocabulary, (1 - kept) / vocabulary
    return there * np.log(there * vocabulary) + (vocabulary - 1) * elsewhere * np.log(elsewhere * vocabulary)


def mixing_santa_fe(rng, documents, length, facts, beta, c):
    """Facts with bits that flip now and then: two-point information falls like d^(beta - 2)."""
    p = np.arange(1, facts + 1) ** (-1 / beta)
    p /= p.sum()
    sequences = []
    for _ in range(documents):
        fact = rng.choice(facts, size=length, p=p)
        order = np.argsort(fact, kind="stable")  # visits of each fact, in time
        gap = np.maximum(np.diff(order, prepend=0), 1)  # not used where a fact begins
        flips = rng.random(length) < (1 - (1 - 2 * c * p[fact[order]]) ** gap) / 2
        begins = np.diff(fact[order], prepend=-1) != 0
        flips[begins] = rng.random(begins.sum()) < 0.5
        bits = np.empty(length, dtype=int)
        bits[order] = np.cumsum(flips) % 2
        sequences.append(2 * fact + bits)
    return sequences, p


def mixing_santa_fe_information(p, c, distances):
    q = (1 + (1 - 2 * c * p[:, None]) ** np.asarray(distances)) / 2  # (facts, distances)
    h = -(q * np.log(q) + (1 - q) * np.log(np.maximum(1 - q, 1e-300)))
    return (p[:, None] ** 2 * (np.log(2) - h)).sum(axis=0)
