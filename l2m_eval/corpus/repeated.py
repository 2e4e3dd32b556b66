"""Documents that occur twice: the same text under two names would be its own partner, and be counted twice.

Identical documents are recognised by a digest while they are read. Nearly identical ones (another edition, a
file with a line changed) are looked for among the documents that were chosen, by the pieces of text they share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from l2m_eval.corpus.rows import Document, LeftOut

Sketch = NDArray[np.uint64]

PIECE = 32  # bytes of a piece of text: longer than any common phrase
SKETCH = 256  # pieces that stand for a document; the share of common pieces is then known to 0.03
SIMILAR = 0.5  # share of common pieces from which two documents are one
_PLACES_AT_ONCE = 2**22  # hashes take eight times the memory of the text
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, without structure: 2^64 over the golden ratio


def without_identical(documents: Iterable[Document], left_out: LeftOut) -> Iterator[Document]:
    """Each text once, under its first name."""
    seen: set[bytes] = set()
    for document in documents:
        digest = hashlib.blake2b(document.text.encode("utf-8"), digest_size=16).digest()
        if document.text and digest in seen:
            left_out.identical += 1
            continue
        seen.add(digest)
        yield document


def sketch(text: str) -> Sketch:
    """The smallest hashes of the text's pieces of `PIECE` bytes, (SKETCH,), ascending.

    Empty for text with fewer different pieces, which is too short or too repetitive to be distinguished from others.
    Source: A. Z. Broder, *On the resemblance and containment of documents* (1997).
    """
    data = np.frombuffer(text.encode("utf-8"), np.uint8)
    smallest = np.zeros(0, np.uint64)
    for start in range(0, len(data) - PIECE + 1, _PLACES_AT_ONCE):
        hashes = _hashes(data[start : start + _PLACES_AT_ONCE + PIECE - 1])
        smallest = np.union1d(smallest, _smallest(hashes))[:SKETCH]
    return smallest if len(smallest) == SKETCH else np.zeros(0, np.uint64)


def _hashes(data: NDArray[np.uint8]) -> Sketch:
    """A hash of the `PIECE` bytes from each place on, modulo 2^64."""
    hashes = data.astype(np.uint64) + np.uint64(1)
    factor, width = _FACTOR, 1
    while width < PIECE:  # of 2, 4, 8 ... bytes
        hashes = hashes[:-width] * factor + hashes[width:]
        factor, width = np.uint64(int(factor) ** 2 % 2**64), 2 * width
    hashes ^= hashes >> np.uint64(29)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(32)
    return hashes


def _smallest(hashes: Sketch) -> Sketch:
    """The `SKETCH` smallest different hashes, ascending, or all where there are fewer."""
    low = np.unique(hashes[hashes < np.uint64(min(2**64 - 1, 8 * SKETCH * 2**64 // len(hashes)))])
    return (low if len(low) >= SKETCH else np.unique(hashes))[:SKETCH]


def similar_to_earlier(sketches: Sequence[Sketch]) -> set[int]:
    """Indices of the documents that share `SIMILAR` of their pieces with one before them that is kept."""
    owners = np.repeat(np.arange(len(sketches)), [len(s) for s in sketches])
    if not len(owners):
        return set()
    values = np.concatenate(list(sketches))
    order = np.lexsort((owners, values))
    values, owners = values[order], owners[order]
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    first = np.repeat(owners[starts], np.diff(np.append(starts, len(values))))
    pairs, shared = np.unique(np.stack((owners, first), axis=1)[owners != first], axis=0, return_counts=True)
    dropped: set[int] = set()
    for (later, earlier), count in zip(
        pairs.tolist(), shared.tolist(), strict=True
    ):  # by the later one, ascending
        if count >= SKETCH // 4 and earlier not in dropped and later not in dropped:
            together = np.union1d(sketches[later], sketches[earlier])[:SKETCH]
            common = np.isin(together, sketches[later]) & np.isin(together, sketches[earlier])
            if common.mean() >= SIMILAR:
                dropped.add(later)
    return dropped
