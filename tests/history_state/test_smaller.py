"""Smaller states: what is kept of a cache, how many bits that is, and that the cache itself stays as it is."""

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer, LinearAttentionLayer

from l2m_eval.errors import L2MError
from l2m_eval.history_state.smaller import FULL, Rounded, Window, way_named
from l2m_eval.history_state.smaller.rounded import round_rows

SEQUENCES, HEADS, TOKENS, WIDTH = 3, 2, 20, 8


def states(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[-1]))


@pytest.fixture
def attention():
    cache = DynamicCache()
    for layer in range(2):
        cache.update(states(SEQUENCES, HEADS, TOKENS, WIDTH), -states(SEQUENCES, HEADS, TOKENS, WIDTH), layer)
    return cache


@pytest.fixture
def hybrid():
    """A sliding-window layer that has seen 20 tokens and holds 7, and a linear-attention layer."""
    cache = DynamicCache()
    cache.layers = [DynamicSlidingWindowLayer(sliding_window=8), LinearAttentionLayer()]
    cache.layers[0].update(states(1, HEADS, TOKENS, WIDTH), states(1, HEADS, TOKENS, WIDTH))
    cache.layers[1].update_conv_state(states(1, 5, 4))
    cache.layers[1].update_recurrent_state(states(1, HEADS, 6, WIDTH))
    return cache


@pytest.mark.parametrize(
    "name", ["bits4", "bits16", "window1", "window256", "sinks4+window256", "context256"]
)
def test_a_way_has_the_name_that_it_is_asked_for_by(name):
    way = way_named("states", name)
    assert way.name == name
    assert f"{way.family}{way.amount}" == name


def test_no_sinks_are_a_plain_window():
    assert way_named("states", "sinks0+window08") == way_named("states", "window8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bit4", r"states: 'bit4' is no way to make a state smaller \(nearest: bits4\); accepted: bits4, "),
        ("windows256", r"nearest: window256"),
        ("sink4+window256", r"nearest: sinks4\+window256"),
        ("bits1", r"states: 'bits1' is out of range; 1 bits, where 2 to 16 are possible"),
        ("bits17", r"17 bits, where 2 to 16"),
        ("window0", r"0 tokens, where 1 to"),
        ("", r"is no way to make a state smaller"),
        (4, r"states: 4 is not accepted; give names such as bits4"),
    ],
)
def test_what_is_no_way_is_one_line_with_what_would_be_right(name, message):
    with pytest.raises(L2MError, match=message):
        way_named("states", name)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_rounding_is_to_the_nearest_of_the_levels_and_symmetric(bits):
    exact = states(4, 7, WIDTH)
    rounded = round_rows(exact, bits)
    scale = exact.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    # Half a level, and the float32 rounding of numbers up to the largest.
    assert ((rounded - exact).abs() <= scale / 2 + exact.abs().max() * 2**-22).all()
    assert torch.equal(round_rows(-exact, bits), -rounded)
    assert len(torch.unique(rounded[0, 0])) <= 2**bits - 1
    # The largest of a row is a level, so a row that is rounded already has the same scale.
    assert torch.allclose(round_rows(rounded, bits), rounded, rtol=2**-20, atol=0)


def test_a_row_of_zeros_stays_one():
    assert torch.equal(round_rows(torch.zeros(2, 3), 4), torch.zeros(2, 3))


def test_rows_are_what_one_head_keeps_of_one_token():
    """Making one token's numbers a thousand times larger changes nothing about the others."""
    exact = states(1, HEADS, TOKENS, WIDTH)
    louder = exact.clone()
    louder[0, 1, 5] *= 1000
    one, other = round_rows(exact, 4), round_rows(louder, 4)
    others = torch.ones(HEADS, TOKENS, dtype=torch.bool)
    others[1, 5] = False
    assert torch.equal(one[0][others], other[0][others])


def test_the_bits_are_those_of_integers_and_scales(attention):
    numbers = 2 * 2 * SEQUENCES * HEADS * TOKENS * WIDTH  # keys and values of two layers
    assert FULL.of(attention).bits == 32 * numbers
    assert Rounded(4).of(attention).bits == 4 * numbers + 32 * numbers // WIDTH
    half = DynamicCache()
    half.update(states(1, HEADS, TOKENS, WIDTH).bfloat16(), states(1, HEADS, TOKENS, WIDTH).bfloat16(), 0)
    assert Rounded(8).of(half).bits == (8 + 16 / WIDTH) * 2 * HEADS * TOKENS * WIDTH


def test_a_hybrid_is_rounded_layer_by_layer_as_what_it_is(hybrid):
    window, conv, recurrent = 2 * HEADS * 7 * WIDTH, 5 * 4, HEADS * 6 * WIDTH
    scales = window // WIDTH + 4 + HEADS * 6  # of a convolution one for each token it keeps
    assert Rounded(3).of(hybrid).bits == 3 * (window + conv + recurrent) + 32 * scales
    rounded = Rounded(3).of(hybrid).cache.layers[1]
    assert torch.equal(rounded.conv_states[0], round_rows(hybrid.layers[1].conv_states[0], 3, 1))
    assert torch.equal(rounded.recurrent_states[0], round_rows(hybrid.layers[1].recurrent_states[0], 3))


@pytest.mark.parametrize("name", ["full", "bits2", "window3", "sinks2+window3"])
def test_the_cache_itself_stays_as_it_is(hybrid, name):
    way = FULL if name == "full" else way_named("states", name)
    before = [
        hybrid.layers[0].keys.clone(),
        hybrid.layers[1].conv_states[0].clone(),
        hybrid.layers[1].recurrent_states[0].clone(),
    ]
    smaller = way.of(hybrid).cache
    smaller.layers[0].update(states(1, HEADS, 2, WIDTH), states(1, HEADS, 2, WIDTH))
    smaller.layers[1].update_conv_state(states(1, 5, 2))
    smaller.layers[1].update_recurrent_state(states(1, HEADS, 6, WIDTH) + 1)
    assert torch.equal(hybrid.layers[0].keys, before[0])
    assert hybrid.layers[0].get_seq_length() == TOKENS
    assert torch.equal(hybrid.layers[1].conv_states[0], before[1])
    assert torch.equal(hybrid.layers[1].recurrent_states[0], before[2])


def test_a_window_keeps_the_entries_of_the_last_tokens_and_of_the_first(attention):
    smaller = Window(5, sinks=3).of(attention)
    layer, whole = smaller.cache.layers[1], attention.layers[1]
    # The fifth token in view is read behind the state.
    assert torch.equal(layer.keys[..., :3, :], whole.keys[..., :3, :])
    assert torch.equal(layer.values[..., 3:, :], whole.values[..., -4:, :])
    assert smaller.bits == 32 * 2 * 2 * SEQUENCES * HEADS * 7 * WIDTH
    # The next query is token 21 still, and the newest entry stands right before it.
    assert smaller.cache.get_seq_length() == TOKENS
    assert layer.get_mask_sizes(2) == (9, TOKENS - 7)
    layer.update(states(SEQUENCES, HEADS, 2, WIDTH), states(SEQUENCES, HEADS, 2, WIDTH))
    assert layer.get_seq_length() == TOKENS + 2


def test_a_window_as_long_as_what_was_read_drops_nothing(attention):
    smaller = Window(TOKENS + 1).of(attention)
    assert smaller.bits == FULL.of(attention).bits
    assert torch.equal(smaller.cache.layers[0].keys, attention.layers[0].keys)


def test_a_layer_with_a_window_of_its_own_keeps_its_last_tokens_and_a_recurrent_one_all(hybrid):
    smaller = Window(4, sinks=2).of(hybrid).cache
    assert torch.equal(smaller.layers[0].keys, hybrid.layers[0].keys[..., -3:, :])
    assert smaller.layers[0].get_mask_sizes(1) == (4, TOKENS - 3)
    assert torch.equal(smaller.layers[1].recurrent_states[0], hybrid.layers[1].recurrent_states[0])


def test_a_layer_of_an_unknown_kind_is_refused(attention):
    class Other(type(attention.layers[0])):
        pass

    attention.layers[1].__class__ = Other
    with pytest.raises(TypeError, match="Other is a layer of a kind that cannot be changed here"):
        FULL.of(attention)
