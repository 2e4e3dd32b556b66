"""Many token sequences end to end in one array, in memory or on disk: what counting over a corpus reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Integers

TOKENS_FILE = "tokens.u32"  # little-endian uint32, documents one after another
OFFSETS_FILE = "offsets.npy"  # (documents + 1,) int64: where each starts, and the end of the last
LARGEST_ID = 2**24 - 1  # counts per token id are dense arrays; vocabularies in use stay below 2^18


@dataclass(frozen=True, eq=False)
class TokenSequences:
    """Documents as one array of token ids.

    Attributes:
        tokens: Shape (tokens,), uint32; a memory map when the sequences were opened from disk.
        offsets: Shape (documents + 1,), int64; document i is tokens[offsets[i] : offsets[i + 1]].
        path: The file of the tokens, or None in memory.
    """

    tokens: NDArray[np.uint32]
    offsets: Integers
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.tokens.ndim != 1 or self.tokens.dtype.kind != "u" or self.tokens.dtype.itemsize != 4:
            raise L2MError(
                f"tokens: {self.tokens.dtype} of {self.tokens.ndim} dimensions; give one array of uint32"
            )
        ends = (int(self.offsets[0]), int(self.offsets[-1])) if len(self.offsets) > 1 else ()
        if ends != (0, len(self.tokens)) or (np.diff(self.offsets) < 0).any():
            raise L2MError(f"offsets: not ascending from 0 to {len(self.tokens):,}, the number of tokens")

    def __reduce__(self) -> tuple[Any, ...]:
        # what is on disk travels to another process as its name
        if self.path is None:
            return TokenSequences, (self.tokens, self.offsets)
        return TokenSequences.open, (self.path.parent,)

    @property
    def lengths(self) -> Integers:
        """Tokens per document, shape (documents,)."""
        return np.diff(self.offsets)

    def read(self, start: int, stop: int) -> NDArray[np.uint32]:
        """The tokens from start to stop; from disk they are read, not mapped, so that memory stays bounded."""
        if self.path is None:
            return self.tokens[start:stop]
        return np.fromfile(self.path, dtype="<u4", count=max(stop - start, 0), offset=4 * start)

    @classmethod
    def from_documents(cls, documents: Iterable[ArrayLike]) -> TokenSequences:
        """Put documents (integer arrays of one dimension) end to end in memory; L2MError for anything else."""
        arrays = [checked_token_ids(document) for document in documents]
        if not arrays:
            raise L2MError("documents: there are none; give at least one array of token ids")
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        return cls(np.concatenate(arrays), np.concatenate(([0], np.cumsum(lengths))))

    @classmethod
    def open(cls, folder: str | Path) -> TokenSequences:
        """Open what `write_token_sequences` wrote, without reading the tokens."""
        path, offsets_path = Path(folder) / TOKENS_FILE, Path(folder) / OFFSETS_FILE
        if not path.is_file() or not offsets_path.is_file():
            raise L2MError(
                f"token sequences: {folder} lacks {TOKENS_FILE} or {OFFSETS_FILE}; write them first"
            )
        offsets = np.load(offsets_path)
        if 4 * int(offsets[-1]) != path.stat().st_size:
            stored = path.stat().st_size // 4
            raise L2MError(f"token sequences: {path} holds {stored:,} tokens, its offsets {offsets[-1]:,}")
        empty = np.zeros(0, dtype=np.uint32)  # an empty file cannot be mapped
        tokens = np.memmap(path, dtype="<u4", mode="r") if offsets[-1] else empty
        return cls(tokens, offsets, path)


def write_token_sequences(documents: Iterable[ArrayLike], folder: str | Path) -> TokenSequences:
    """Write documents to a folder one by one, so that they never are in memory together, and open them."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    offsets = [0]
    with open(Path(folder) / TOKENS_FILE, "wb") as file:
        for document in documents:
            ids = checked_token_ids(document)
            ids.astype("<u4", copy=False).tofile(file)
            offsets.append(offsets[-1] + len(ids))
    if len(offsets) == 1:
        raise L2MError("documents: there are none; give at least one array of token ids")
    np.save(Path(folder) / OFFSETS_FILE, np.array(offsets, dtype=np.int64))
    return TokenSequences.open(folder)


def checked_token_ids(document: ArrayLike) -> NDArray[np.uint32]:
    """One document as uint32; L2MError for fractional, negative or enormous ids and for other shapes."""
    ids = np.asarray(document)
    if ids.size == 0:
        return np.zeros(0, dtype=np.uint32)
    if ids.ndim != 1:
        raise L2MError(
            f"documents: one of them has {ids.ndim} dimensions; give one array of ids per document"
        )
    if ids.dtype.kind not in "iu":
        raise L2MError(f"token ids: {ids.dtype} is not accepted; give integers from 0 to {LARGEST_ID:,}")
    wrong = ids.min() if ids.min() < 0 else ids.max()
    if not 0 <= wrong <= LARGEST_ID:
        raise L2MError(f"token ids: {wrong} is not accepted; give integers from 0 to {LARGEST_ID:,}")
    return ids.astype(np.uint32, copy=False)
