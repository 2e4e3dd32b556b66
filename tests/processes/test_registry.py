"""Processes by name: defaults, strings from a command line, and mistakes in one line."""

import numpy as np
import pytest

from l2m_eval.errors import L2MError
from l2m_eval.processes import PROCESSES, SantaFe, TokenProcess, make_process


def test_settings_may_be_strings():
    assert make_process("santa_fe", beta="0.6", facts="128", flip_rate="0") == SantaFe(0.6, 128, 0.0)
    assert make_process("santa_fe").settings == {"beta": 0.75, "facts": 4096, "flip_rate": 0.1}


@pytest.mark.parametrize("name", list(PROCESSES))
def test_every_process_is_made_from_defaults_and_from_its_own_settings(name):
    process = make_process(name)
    assert process.name == name
    assert make_process(name, **process.settings) == process


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        (
            "santafe",
            {},
            "process: 'santafe' is not known (nearest: santa_fe, santa_fe_recall); accepted: santa_fe",
        ),
        ("", {}, "process: '' is not known"),
        (5, {}, "process: 5 is not known"),
        (["santa_fe"], {}, "process: ['santa_fe'] is not known"),
        (
            "santa_fe",
            {"betta": 0.5},
            "betta: unknown setting of process santa_fe (value 0.5) (nearest: beta)",
        ),
        ("santa_fe", {"beta": 1}, "beta: 1 is not accepted; give a number above 0 and below 1"),
        ("santa_fe", {"beta": "0"}, "beta: '0' is not accepted"),
        ("santa_fe", {"beta": "steep"}, "beta: 'steep'"),
        ("santa_fe", {"beta": float("nan")}, "beta: nan"),
        ("santa_fe", {"beta": True}, "beta: True"),
        ("santa_fe", {"beta": None}, "beta: None"),
        ("santa_fe", {"facts": 4.5}, "facts: 4.5 is not accepted; give an integer from 1"),
        ("santa_fe", {"facts": 0}, "facts: 0"),
        ("santa_fe", {"flip_rate": -0.1}, "flip_rate: -0.1 is not accepted; give a number from 0 to 0.5"),
    ],
)
def test_mistakes_are_one_line(name, settings, says):
    with pytest.raises(L2MError) as error:
        make_process(name, **settings)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("left", "total"), [(0, 4), (4, 4), (5, 4), (-1, 4)])
def test_a_split_needs_two_blocks(left, total):
    with pytest.raises(L2MError, match=f"left_length: {left} is not accepted"):
        make_process("santa_fe", facts=8).bipartite_mi(left, total)


@pytest.mark.parametrize("name", list(PROCESSES))
def test_a_pair_needs_a_distance(name):
    with pytest.raises(L2MError, match="distance: 0 is not accepted; give an integer from 1"):
        make_process(name).two_point_mi(0)


def splits(*lengths, ratio=2):
    return [(length // ratio, length) for length in lengths]


def test_a_curve_that_leaves_the_law_behind_is_remarked_on():
    process = SantaFe(facts=64)
    holds_to = process.law_holds_to()
    assert process.remarks(splits(4, 2 * holds_to)) == ()
    (remark,) = process.remarks(splits(4, 4 * holds_to))
    assert f"the law holds to blocks of {holds_to} tokens (L = {2 * holds_to} at ratio 2)" in remark
    assert "give more facts or shorter lengths" in remark


def test_splits_where_a_fresh_start_is_no_marginal_are_remarked_on():
    tree = PROCESSES["tree"]()
    assert tree.remarks(splits(4, 8, 256)) == ()
    (remark,) = tree.remarks(splits(6, 12, 64, ratio=3))
    assert "at L = 6, 12, 64 the estimate is not of the mutual information" in remark
    (remark,) = make_process("santa_fe_recall").remarks([(2, 4), (3, 6)])
    assert "no exact value at L = 6" in remark
    assert make_process("markov").remarks(splits(4, 4096)) == ()


@pytest.mark.parametrize("name", [name for name in PROCESSES if issubclass(PROCESSES[name], TokenProcess)])
def test_a_block_further_on_is_distributed_as_the_first_at_multiples_of_its_step(name):
    """By the loss of reading it afresh: of the same 4,000 documents, within five errors of the paired difference."""
    process, length = make_process(name), 8
    step = process.block_step(length)
    tokens = process.sample(4000, 4 * step + length, np.random.default_rng(2))
    first = process.log_probs(tokens[:, :length])
    for start in (step, 3 * step):
        further = process.log_probs(tokens[:, start : start + length])
        # Of the whole block, and of its right half from what its left half tells.
        for part in (slice(None), slice(length // 2, None)):
            change = (further - first)[:, part].sum(axis=1)
            assert abs(change.mean()) < 5 * change.std(ddof=1) / np.sqrt(len(change))
