"""The token windows that an estimate needs, each once.

A window is a context and a target: the model reads ``context + target`` and the sums of the target's
log-probabilities between cuts are what the estimators use. Sums rather than single tokens, so that every
backend of the harness can serve them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from l2m_eval.statistics.arrays import Array, Tokens

WindowKey = tuple[bytes, bytes, tuple[int, ...], str]


@dataclass(frozen=True)
class Window:
    """``context`` (with the prefix token first) is read, ``target`` is scored.

    Attributes:
        context: Token ids read but not scored, at least the prefix token.
        target: Token ids scored, at least one.
        cuts: Increasing positions in `target`, the last one its length; a score is one sum per piece between
            them, so ``len(cuts)`` numbers.
        label: What the window is, for messages: document and role.
        state: The way in which the state is made smaller that the last context token and the target are read
            behind, by name (`l2m_eval.history_state.smaller`), or ``full``. Scores of such a window have one more
            number at their end, the bits that are kept of the state. Empty: the window is read as it is.
    """

    context: Tokens
    target: Tokens
    cuts: tuple[int, ...]
    label: str
    state: str = ""

    def __len__(self) -> int:
        return len(self.context) + len(self.target)

    @property
    def key(self) -> WindowKey:
        """Equal for windows that have the same scores."""
        return self.context.tobytes(), self.target.tobytes(), self.cuts, self.state


@dataclass(frozen=True)
class Tree:
    """A window that is read whole, and windows that share a prefix with it, of which only the rest must be read.

    Attributes:
        trunk: Read whole.
        branches: Windows whose context is a prefix of what the trunk reads, longest context first. A
            model that keeps its state reads the last context token and the target alone.
        own_length: Whether the window may be read beside windows of its own length only, without padding.
        through_states: Whether trunk and branches are one context and target behind different states, of which the
            context is read once.
    """

    trunk: Window
    branches: tuple[Window, ...] = ()
    own_length: bool = False
    through_states: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that are fed: the trunk, and of each branch what the trunk has not read."""
        return len(self.trunk) + sum(len(branch.target) + 1 for branch in self.branches)

    @property
    def shape(self) -> tuple[tuple[int | str, int], ...]:
        """Equal for trees that can be read side by side: lengths of contexts and targets; () where any may."""
        if self.through_states:
            return tuple(
                (window.state or len(window.context), len(window.target))
                for window in (
                    Window(self.trunk.context, self.trunk.target, (), ""),
                    self.trunk,
                    *self.branches,
                )
            )
        if self.own_length:
            return ((0, len(self.trunk)),)
        windows = (self.trunk, *self.branches) if self.branches else ()
        return tuple((len(window.context), len(window.target)) for window in windows)


def reading_order(
    windows: Sequence[Window], fixed_up_to: int | None, shortest: int, shares_prefixes: Callable[[], bool]
) -> list[Tree]:
    """The trees as which a model that keeps its state reads windows.

    Args:
        windows: Longest first.
        fixed_up_to: Tokens up to which the length of what is read does not matter; None where it never does.
        shortest: Least length of a context worth sharing.
        shares_prefixes: Whether the model goes on from the state of a prefix; asked when it is first of use.
    """
    through = [window for window in windows if window.state]
    if through:
        rest = [window for window in windows if not window.state]
        return share_contexts(through) + (
            reading_order(rest, fixed_up_to, shortest, shares_prefixes) if rest else []
        )
    # The last target token is not read.
    long = [fixed_up_to is not None and len(window) - 1 > fixed_up_to for window in windows]
    alone = [Tree(window, own_length=True) for window, is_long in zip(windows, long, strict=True) if is_long]
    short = [window for window, is_long in zip(windows, long, strict=True) if not is_long]
    trees = share_prefixes(short, shortest)
    if any(tree.branches for tree in trees) and not shares_prefixes():
        trees = [Tree(window) for window in short]
    return alone + trees


def share_prefixes(windows: Sequence[Window], shortest: int) -> list[Tree]:
    """Group windows into trees: a window is a branch if its context, of `shortest` tokens or more, is read already.

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


def share_contexts(windows: Sequence[Window]) -> list[Tree]:
    """Windows that are read behind states: those of one context and target together, equal shapes side by side."""
    together: dict[tuple[bytes, bytes], list[Window]] = {}
    for window in windows:
        together.setdefault((window.context.tobytes(), window.target.tobytes()), []).append(window)
    trees = []
    for group in together.values():
        first, *others = sorted(group, key=lambda window: window.state)
        trees.append(Tree(first, tuple(others), through_states=True))
    return sorted(trees, key=lambda tree: (-len(tree.trunk), str(tree.shape)))


@dataclass(frozen=True)
class Cell:
    """One point of a bipartite curve: blocks of `left` and `total - left` tokens, ``total = ratio * left``."""

    ratio: int
    left: int
    total: int


def bipartite_cells(lengths: Sequence[int], ratios: Sequence[int]) -> tuple[Cell, ...]:
    """All points, by ratio and then by total length."""
    return tuple(Cell(ratio, total // ratio, total) for ratio in ratios for total in lengths)


def cells_read_together(cells: Sequence[Cell], fixed_up_to: int | None) -> list[tuple[Cell, ...]]:
    """Cells whose windows may be one: all, but for those too long for a model that reads each length differently.

    Args:
        cells: Points of a curve.
        fixed_up_to: Tokens, the prefix included, up to which the length of what is read does not matter; None
            where it never does (see `l2m_eval.scoring.rotary`).

    Returns:
        Groups of cells, each cell in one of them, in their order.
    """
    if fixed_up_to is None:
        return [tuple(cells)]
    short = tuple(cell for cell in cells if cell.total <= fixed_up_to)  # the last target token is not read
    return [*([short] if short else []), *((cell,) for cell in cells if cell not in short)]


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


def conditional_sums(window_sums: Array, cells: Sequence[Cell]) -> list[float]:
    """log q(y|x) of each cell from the pieces of `conditional_window`."""
    first = min(cell.left for cell in cells)
    edges = sorted({edge for cell in cells for edge in (cell.left, cell.total)})
    cumulative = dict(zip(edges, np.concatenate([[0.0], np.cumsum(window_sums)]), strict=True))
    assert edges[0] == first
    return [float(cumulative[cell.total] - cumulative[cell.left]) for cell in cells]


def _right_block_cuts(cells: Sequence[Cell], left: int, first_tokens: int) -> tuple[int, ...]:
    """Where the right blocks that start at `left` end, and the end of their first tokens where wanted."""
    return tuple(sorted({cell.total - left for cell in cells if cell.left == left} | {first_tokens} - {0}))


def window_behind_last(
    tokens: Tokens, block: tuple[int, int], context: int, prefix: int, label: str
) -> Window:
    """The window that scores a block of tokens when only the last `context` tokens before it are read.

    Args:
        tokens: Of the document.
        block: Where the block begins and ends.
        context: Tokens before it, at most as many as there are.
        prefix: Id of the token every input starts with.
        label: The document's, for messages.
    """
    start, end = block
    read = np.concatenate([[prefix], tokens[start - context : start]])
    return Window(read, tokens[start:end], (end - start,), f"{label}, log q(y | {context} tokens)")


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
    scores: Sequence[Array], cells: Sequence[Cell], first_tokens: int = 0
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
