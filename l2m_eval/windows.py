"""Which token windows an estimate needs, nothing twice.

A window is a context and a target: the model reads ``context + target`` and the sums of the target's
log-probabilities between cuts are what the estimators use. Sums rather than single tokens, so that every
backend of the harness can serve them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """``context`` (with the prefix token first) is read, ``target`` is scored.

    Attributes:
        context: Token ids read but not scored, at least the prefix token.
        target: Token ids scored, at least one.
        cuts: Increasing positions in `target`, the last one its length; a score is one sum per piece between
            them, so ``len(cuts)`` numbers.
        label: What the window is, for messages: document and role.
    """

    context: Tokens
    target: Tokens
    cuts: tuple[int, ...]
    label: str

    def __len__(self) -> int:
        return len(self.context) + len(self.target)

    @property
    def key(self) -> tuple[bytes, bytes, tuple[int, ...]]:
        """Equal for windows that have the same scores."""
        return self.context.tobytes(), self.target.tobytes(), self.cuts


@dataclass(frozen=True)
class Tree:
    """A window that is read whole, and windows that begin as it does, of which only the rest must be read.

    Attributes:
        trunk: Read whole.
        branches: Windows whose context is the beginning of what the trunk reads, longest context first. A
            model that keeps its state reads the last context token and the target alone.
    """

    trunk: Window
    branches: tuple[Window, ...] = ()

    @property
    def shape(self) -> tuple[tuple[int, int], ...]:
        """Equal for trees that can be read side by side: lengths of contexts and targets, () without branches."""
        windows = (self.trunk, *self.branches) if self.branches else ()
        return tuple((len(window.context), len(window.target)) for window in windows)


def share_beginnings(windows: Sequence[Window], shortest: int) -> list[Tree]:
    """Windows as trees: each as a branch where its context, of `shortest` tokens or more, is read already.

    Args:
        windows: Longest first.
        shortest: Least length of a context worth sharing: for each branch the model is called once more.

    Returns:
        Trees in the order of their trunks; those with branches first, equal shapes together.
    """
    by_context: dict[bytes, list[int]] = {}
    for number, window in enumerate(windows):
        if len(window.context) >= shortest:
            by_context.setdefault(window.context.tobytes(), []).append(number)
    lengths = sorted({len(windows[numbers[0]].context) for numbers in by_context.values()}, reverse=True)
    placed: set[int] = set()
    trees = []
    for number, window in enumerate(windows):
        if number in placed:
            continue
        placed.add(number)
        branches: list[int] = []
        read = np.concatenate([window.context, window.target[:-1]]) if lengths else window.context
        for length in lengths:
            same = by_context.get(read[:length].tobytes(), []) if length <= len(read) else []
            branches += [other for other in same if other not in placed]
        placed.update(branches)
        trees.append(Tree(window, tuple(windows[other] for other in branches)))
    return sorted(trees, key=lambda tree: (not tree.branches, tree.shape if tree.branches else ()))


@dataclass(frozen=True)
class Cell:
    """One point of a bipartite curve: blocks of `left` and `total - left` tokens, ``total = ratio * left``."""

    ratio: int
    left: int
    total: int


def bipartite_cells(lengths: Sequence[int], ratios: Sequence[int]) -> tuple[Cell, ...]:
    """All points, by ratio and then by total length."""
    return tuple(Cell(ratio, total // ratio, total) for ratio in ratios for total in lengths)


def conditional_window(tokens: Tokens, cells: Sequence[Cell], prefix: int, label: str) -> Window:
    """The one window whose pieces give log q(y|x) of every cell: the document itself."""
    first = min(cell.left for cell in cells)
    last = max(cell.total for cell in cells)
    cuts = sorted({edge for cell in cells for edge in (cell.left, cell.total)} - {first})
    return Window(
        np.concatenate([[prefix], tokens[:first]]),
        tokens[first:last],
        tuple(cut - first for cut in cuts),
        f"{label}, log q(y|x)",
    )


def conditional_sums(window_sums: NDArray[np.float64], cells: Sequence[Cell]) -> list[float]:
    """log q(y|x) of each cell from the pieces of `conditional_window`."""
    first = min(cell.left for cell in cells)
    edges = sorted({edge for cell in cells for edge in (cell.left, cell.total)})
    cumulative = dict(zip(edges, np.concatenate([[0.0], np.cumsum(window_sums)]), strict=True))
    assert edges[0] == first
    return [float(cumulative[cell.total] - cumulative[cell.left]) for cell in cells]


def _right_block_cuts(cells: Sequence[Cell], left: int, first_tokens: int) -> tuple[int, ...]:
    """Where the right blocks that start at `left` end, and the end of their first tokens where wanted."""
    return tuple(sorted({cell.total - left for cell in cells if cell.left == left} | {first_tokens} - {0}))


def right_block_windows(
    context_tokens: Tokens | None,
    target_tokens: Tokens,
    cells: Sequence[Cell],
    prefix: int,
    label: str,
    first_tokens: int = 0,
) -> list[Window]:
    """Windows that score the right blocks of `target_tokens`, one for each split, longest total first to last.

    Args:
        context_tokens: Document whose left block is read before (vCLUB), or None for the marginal log q(y).
        target_tokens: Document whose right blocks are scored.
        cells: The cells.
        prefix: Id of the token every input starts with.
        label: For messages.
        first_tokens: When positive, the sum of this many first tokens is a piece of its own (n-gram
            correction).
    """
    windows = []
    for left in sorted({cell.left for cell in cells}):
        cuts = _right_block_cuts(cells, left, first_tokens)
        read = np.empty(0, np.int64) if context_tokens is None else context_tokens[:left]
        role = "log q(y)" if context_tokens is None else "log q(y'|x)"
        windows.append(
            Window(
                np.concatenate([[prefix], read]),
                target_tokens[left : left + cuts[-1]],
                cuts,
                f"{label}, {role}, split {left}",
            )
        )
    return windows


def right_block_sums(
    scores: Sequence[NDArray[np.float64]], cells: Sequence[Cell], first_tokens: int = 0
) -> tuple[list[float], list[float]]:
    """Sums over the right block of each cell, and over its first tokens, from `right_block_windows`."""
    whole: dict[tuple[int, int], float] = {}
    first: dict[int, float] = {}
    for left, sums in zip(sorted({cell.left for cell in cells}), scores, strict=True):
        cuts = _right_block_cuts(cells, left, first_tokens)
        cumulative = dict(zip(cuts, np.cumsum(sums).tolist(), strict=True))
        first[left] = cumulative[first_tokens or cuts[0]]
        whole.update({(left, left + cut): value for cut, value in cumulative.items()})
    return [whole[c.left, c.total] for c in cells], [first[c.left] for c in cells]
