"""Windows hold what the estimates need, each token where it belongs, nothing twice."""

import numpy as np
import pytest

from l2m_eval.scoring.windows import (
    Window,
    bipartite_cells,
    cells_read_together,
    conditional_sums,
    conditional_window,
    right_block_sums,
    right_block_windows,
    share_prefixes,
)
from l2m_eval.settings import DEFAULT_LENGTHS

PREFIX = -7


def score(window):
    """A stand-in for a model: the log-probability of a token is a function of it and of what was read."""
    ids = np.concatenate([window.context, window.target])
    values = [
        -np.log1p(abs(int(ids[t])) + 0.01 * ids[:t].sum() % 5) for t in range(len(window.context), len(ids))
    ]
    return np.add.reduceat(values, [0, *window.cuts[:-1]])


def by_hand(context, target):
    ids = [PREFIX, *context, *target]
    start = 1 + len(context)
    return sum(-np.log1p(abs(int(ids[t])) + 0.01 * sum(ids[:t]) % 5) for t in range(start, len(ids)))


@pytest.mark.parametrize("ratios", [(2,), (2, 3), (3, 4), (2, 3, 4)])
def test_sums_from_windows_are_those_of_the_blocks(ratios):
    rng = np.random.default_rng(0)
    x, y = rng.integers(1, 50, 48), rng.integers(1, 50, 48)
    cells = bipartite_cells((12, 24, 48), ratios)
    conditional = conditional_sums(score(conditional_window(x, cells, PREFIX, "x")), cells)
    marginal, first = right_block_sums(
        [score(w) for w in right_block_windows(None, x, cells, PREFIX, "x", 2)], cells, 2
    )
    crossed, _ = right_block_sums([score(w) for w in right_block_windows(x, y, cells, PREFIX, "x")], cells)
    for number, cell in enumerate(cells):
        left, total = cell.left, cell.total
        assert conditional[number] == pytest.approx(by_hand(x[:left], x[left:total]))
        assert marginal[number] == pytest.approx(by_hand([], x[left:total]))
        assert first[number] == pytest.approx(by_hand([], x[left : left + 2]))
        assert crossed[number] == pytest.approx(by_hand(x[:left], y[left:total]))


def test_a_window_ends_where_the_longest_point_does():
    """What follows in the document is neither read nor scored."""
    x = np.arange(100)
    cells = bipartite_cells((8, 16), (2, 4))
    assert [(c.ratio, c.left, c.total) for c in cells] == [(2, 4, 8), (2, 8, 16), (4, 2, 8), (4, 4, 16)]
    found = conditional_window(x, cells, PREFIX, "x")
    assert (found.context.tolist(), found.target.tolist()) == ([PREFIX, 0, 1], list(range(2, 16)))
    assert found.cuts[-1] == len(found.target)
    assert found.label == "x, log q(y|x)"


def test_right_blocks_are_named_by_what_is_read_before_them():
    x = np.arange(16)
    cells = bipartite_cells((8, 16), (2,))
    marginal = right_block_windows(None, x, cells, PREFIX, "x")
    crossed = right_block_windows(x, x[::-1], cells, PREFIX, "x and y")
    assert [w.label for w in marginal] == ["x, log q(y), split 4", "x, log q(y), split 8"]
    assert [w.label for w in crossed] == ["x and y, log q(y'|x), split 4", "x and y, log q(y'|x), split 8"]
    assert {part.dtype for w in (*marginal, *crossed) for part in (w.context, w.target)} == {
        np.dtype(np.int64)
    }


def test_sums_of_other_windows_than_those_asked_for_are_never_taken_for_them():
    x = np.arange(48)
    cells = bipartite_cells((12, 24, 48), (2, 3))
    conditional = score(conditional_window(x, cells, PREFIX, "x"))
    marginal = [score(w) for w in right_block_windows(None, x, cells, PREFIX, "x")]
    for wrong in (conditional[:-1], np.append(conditional, -1.0)):
        with pytest.raises(ValueError, match="argument 2 is"):
            conditional_sums(wrong, cells)
    for wrong in (marginal[:-1], [*marginal, marginal[-1]], [marginal[0][:-1], *marginal[1:]]):
        with pytest.raises(ValueError, match="argument 2 is"):
            right_block_sums(wrong, cells)


def test_cells_are_read_together_where_the_length_does_not_matter():
    cells = bipartite_cells((8, 16, 32, 64), (2, 4))
    assert cells_read_together(cells, None) == [cells]
    groups = cells_read_together(cells, 16)
    assert [{cell.total for cell in group} for group in groups] == [{8, 16}, {32}, {64}, {32}, {64}]
    assert sorted(groups[0] + groups[1] + groups[2] + groups[3] + groups[4], key=cells.index) == list(cells)
    assert cells_read_together(cells, 7) == [(cell,) for cell in cells]


def test_a_document_costs_8207_tokens_with_the_default_settings():
    """SCIENCE.md §6: the windows that direct and vCLUB need, against 40,983 of the published procedure."""
    x = np.arange(2048)
    cells = bipartite_cells(DEFAULT_LENGTHS, (2,))
    windows = [
        conditional_window(x, cells, 0, "x"),
        *right_block_windows(None, x, cells, 0, "x"),
        *right_block_windows(x, x[::-1], cells, 0, "x"),
    ]
    assert sum(map(len, windows)) == 8207
    published = (2048 + 1) + sum((2048 + 1) + (2048 - cell.left + 1) for cell in cells)
    assert published > 4.5 * 8207


def test_ratios_that_share_a_split_share_a_window():
    cells = bipartite_cells((12, 24), (2, 4))  # splits 6, 12 and 3, 6
    windows = right_block_windows(None, np.arange(24), cells, 0, "x")
    assert [len(w.target) for w in windows] == [9, 18, 12]
    assert windows[1].cuts == (6, 18)


def window(context, target):
    return Window(np.array(context), np.array(target), (len(target),), "x")


def test_a_window_whose_context_is_read_already_becomes_a_branch():
    long = window([0], [1, 2, 3, 4, 5])
    other = window([0, 1, 2, 3], [9])
    apart = window([0, 1, 2, 7], [9])
    trees = share_prefixes([long, other, apart], shortest=2)
    assert [(t.trunk, t.branches) for t in trees] == [(long, (other,)), (apart, ())]


def test_a_trunk_does_not_read_its_last_target_token():
    long, other = window([0], [1, 2, 3]), window([0, 1, 2, 3], [9])
    assert not any(t.branches for t in share_prefixes([long, other], shortest=2))
    assert any(t.branches for t in share_prefixes([window([0], [1, 2, 3, 4]), other], shortest=2))


def test_short_contexts_are_not_worth_a_call_of_their_own():
    long, other = window([0], [1, 2, 3, 4, 5]), window([0, 1, 2], [9])
    assert not any(t.branches for t in share_prefixes([long, other], shortest=4))
    assert any(t.branches for t in share_prefixes([long, other], shortest=3))  # three tokens are just enough


def test_a_window_is_read_once_also_where_contexts_are_longer_than_the_trunk():
    other = window([9, 9, 9, 9, 9, 9], [1])
    trunk = window([0], [1, 2, 3, 4])
    branch = window([0, 1, 2, 3], [7])  # its context is all that the trunk reads
    trees = share_prefixes([other, trunk, branch], shortest=2)
    assert [(t.trunk, t.branches) for t in trees] == [(trunk, (branch,)), (other, ())]


def test_trees_of_equal_shape_stand_together_before_windows_on_their_own():
    trunks = [
        window([context] * read, [context] * (6 - read)) for context, read in ((4, 1), (1, 1), (2, 2), (3, 1))
    ]
    branches = [window([context] * 3, [9]) for context in (1, 2, 3)]
    trees = share_prefixes([*trunks, *branches], shortest=2)
    assert [int(t.trunk.context[0]) for t in trees] == [1, 3, 2, 4]
    assert [t.shape for t in trees] == [((1, 5), (3, 1)), ((1, 5), (3, 1)), ((2, 4), (3, 1)), ()]


def test_every_window_is_in_one_tree_and_branches_come_longest_context_first():
    rng = np.random.default_rng(0)
    x, y = rng.integers(1, 50, 48), rng.integers(1, 50, 48)
    cells = bipartite_cells((12, 24, 48), (2, 3))
    windows = [
        conditional_window(x, cells, 0, "x"),
        *right_block_windows(None, x, cells, 0, "x"),
        *right_block_windows(x, y, cells, 0, "x"),
    ]
    windows.sort(key=lambda w: -len(w))
    trees = share_prefixes(windows, shortest=3)
    placed = [w for t in trees for w in (t.trunk, *t.branches)]
    assert sorted(map(id, placed)) == sorted(map(id, windows))
    for tree in trees:
        lengths = [len(branch.context) for branch in tree.branches]
        assert lengths == sorted(lengths, reverse=True)
        read = np.concatenate([tree.trunk.context, tree.trunk.target[:-1]])
        for branch in tree.branches:
            assert np.array_equal(branch.context, read[: len(branch.context)])
    assert sum(map(len, (t.branches for t in trees))) == len({cell.left for cell in cells})
