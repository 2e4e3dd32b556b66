"""States through libraries: transformers' quantised caches, and presses of kvpress; each where it is installed."""

import importlib.util
import sys

import pytest
import torch
from transformers import DynamicCache

from l2m_eval.errors import L2MError
from l2m_eval.history_state.smaller import FULL, Rounded, require_libraries, way_named

SEQUENCES, HEADS, TOKENS, WIDTH = 3, 2, 16, 64
INSTALLED = {"quanto4": "optimum", "hqq4": "hqq", "kvpress:knorm:0.5": "kvpress"}


def need(name):
    if importlib.util.find_spec(INSTALLED[name]) is None:
        pytest.skip(f"{INSTALLED[name]} is not installed (an extra)")


@pytest.fixture
def cache():
    numbers = torch.Generator().manual_seed(0)
    found = DynamicCache()
    for layer in range(2):
        keys, values = torch.randn(2, SEQUENCES, HEADS, TOKENS, WIDTH, generator=numbers)
        found.update(keys, values, layer)
    return found


@pytest.mark.parametrize(("library", "packed"), [("quanto", {4: 4, 2: 2}), ("hqq", {8: 8, 4: 4, 2: 2})])
def test_a_quantised_cache_keeps_packed_integers_scales_and_offsets(cache, library, packed):
    """Groups of 64 numbers: half a level of the group's range is the largest error of rounding to the nearest."""
    need(f"{library}4")
    numbers = 2 * 2 * SEQUENCES * HEADS * TOKENS * WIDTH
    errors = {}
    for bits, stored in packed.items():
        smaller = way_named("states", f"{library}{bits}").of(cache)
        assert smaller.bits == stored * numbers + 2 * 32 * numbers // 64  # a scale and an offset in float32
        keys, whole = smaller.cache.layers[0].keys, cache.layers[0].keys
        assert keys.shape == whole.shape
        assert keys.dtype == whole.dtype
        errors[bits] = float((keys - whole).abs().mean())
        assert smaller.cache.get_seq_length() == TOKENS
    # Each bit halves the distance of levels; minima and maxima of 64 normal numbers are 4.8 apart on average.
    assert errors[4] < 4.8 / 15 / 4 * 1.5
    assert 2.5 < errors[2] / errors[4] < 8
    assert errors[4] < float((Rounded(3).of(cache).cache.layers[0].keys - cache.layers[0].keys).abs().mean())


@pytest.mark.parametrize("name", ["quanto4", "hqq4"])
def test_each_sequence_is_quantised_alone(cache, name):
    need(name)
    together = way_named("states", name).of(cache).cache.layers[1].values
    for row in range(SEQUENCES):
        alone = DynamicCache()
        for layer in range(2):
            whole = cache.layers[layer]
            alone.update(whole.keys[row : row + 1], whole.values[row : row + 1], layer)
        found = way_named("states", name).of(alone).cache.layers[1].values
        assert torch.equal(found[0], together[row])
    assert torch.equal(FULL.of(cache).cache.layers[1].values, cache.layers[1].values)


def test_numbers_that_make_no_whole_groups_are_one_line():
    need("quanto4")
    odd = DynamicCache()
    odd.update(torch.zeros(1, 1, 3, 8), torch.zeros(1, 1, 3, 8), 0)
    with pytest.raises(L2MError, match="quanto4 keeps numbers in groups of 64, and a layer holds 24"):
        way_named("states", "quanto4").of(odd)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quanto3", r"states: 'quanto3' is out of range; quanto has 2, 4 bits"),
        ("hqq5", r"hqq has 1, 2, 3, 4, 8 bits"),
        ("kvpress:snapkv", r"is no way to make a state smaller \(nearest: kvpress:snapkv:0.5\)"),
        ("kvpress:snapkv:1", r"nearest: kvpress:snapkv:0.5"),
        ("kvpres:snapkv:0.5", r"nearest: kvpress:snapkv:0.5"),
    ],
)
def test_what_a_library_does_not_have_is_one_line(name, message):
    with pytest.raises(L2MError, match=message):
        way_named("states", name)


@pytest.mark.parametrize("name", list(INSTALLED))
def test_a_library_that_is_missing_is_named_with_the_extra_that_installs_it(name, monkeypatch):
    for module in ("optimum", "optimum.quanto", "hqq", "kvpress"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    way = way_named("states", name)
    extra = way.family.partition(":")[0]
    with pytest.raises(L2MError, match=rf"states: {name} needs .*pip install 'l2m-eval\[{extra}\]'"):
        require_libraries([FULL, way])


def test_the_newer_transformers_is_said_to_be_in_the_way_of_kvpress(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    # By its name: in the company of other tests an older transformers is not the module that was imported above.
    monkeypatch.setattr("transformers.__version__", "5.24.0")
    with pytest.raises(
        L2MError, match=r"kvpress 0.5.5 needs transformers below 5.3, and 5.24.0 is installed"
    ):
        require_libraries([way_named("states", "kvpress:knorm:0.5")])


@pytest.mark.parametrize("ratio", ["0", "0.5", "0.50", "0.25"])
def test_a_press_is_named_by_its_ratio_and_counts_what_it_leaves(ratio):
    way = way_named("states", f"kvpress:streaming_llm:{ratio}")
    assert way.name == f"kvpress:streaming_llm:{float(ratio):g}"
    assert way.amount == round(100 * (1 - float(ratio)))
    assert way.family == "kvpress:streaming_llm"
    assert way_named("states", way.name) == way


def test_an_unknown_press_is_one_line_with_the_nearest():
    need("kvpress:knorm:0.5")
    with pytest.raises(L2MError, match=r"no press 'knrm' that scores entries \(nearest: knorm\)"):
        require_libraries([way_named("states", "kvpress:knrm:0.5")])
