"""Every mistake in a setting is one line that names it, the value and what would be right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2m_eval.errors import L2MError
from l2m_eval.settings import (
    BipartiteSettings,
    ContextUseSettings,
    StateSettings,
    TwoPointSettings,
    read_settings,
)


def test_the_defaults_are_those_of_the_documentation():
    settings = read_settings(BipartiteSettings, {})
    assert settings.wanted_lengths == (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    assert settings.documents == 200
    assert settings.ratios == (2,)
    assert settings.estimators == ("direct", "vclub")
    assert (settings.marginal, settings.correction, settings.control_variate) == ("paired", "none", True)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"documents": 0}, "documents: 0 is not accepted; give an integer from 1"),
        ({"documents": -5}, "documents: -5"),
        ({"documents": "many"}, "documents: 'many'"),
        ({"documents": True}, "documents: True"),
        ({"lengths": [4, 7]}, "lengths: 7 is not divisible by ratio 2"),
        (
            {"lengths": [4, 8, 16], "fit_from": 8},
            "2 of the lengths [4, 8, 16] lie from 8 to 16; a fit needs three",
        ),
        ({"fit_to": 10}, "2 of the lengths"),
        ({"fit_from": 0}, "fit_from"),
        ({"lengths": [8], "ratios": [2, 3]}, "multiples of 6, for example [12, 24, 48, 96]"),
        ({"lengths": []}, "lengths: [] is not accepted; give a non-empty list"),
        ({"lengths": [4, 4]}, "repeats a value"),
        ({"lengths": 10**30}, "lengths: 1000000000000000000000000000000 is not accepted"),
        ({"ratios": [1]}, "ratios: 1"),
        ({"estimators": ["vlub"]}, "'vlub' is not known (nearest: vclub)"),
        ({"marginal": "pared"}, "marginal: 'pared' is not known (nearest: paired)"),
        ({"correction": "bigram"}, "correction: 'bigram' is not known"),
        ({"control_variate": "maybe"}, "give true or false"),
        ({"document": 5}, "document: unknown setting (value 5); did you mean documents?"),
        ({"estimator": "direct"}, "did you mean estimators?"),
        ({"corpus": 5}, "corpus: 5 is not accepted"),
        ({"corpus": []}, "corpus: [] is not accepted"),
        ({"seed": -1}, "seed: -1"),
        ({"lengths": [2], "correction": "ngram"}, "leaves a right block of one token"),
        ({"resamples": 3}, "resamples: 3"),
    ],
)
def test_mistakes(metadata, says):
    with pytest.raises(L2MError) as error:
        read_settings(BipartiteSettings, metadata)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_model_arguments_in_the_metadata_are_left_alone():
    read_settings(
        BipartiteSettings, {"pretrained": "gpt2", "dtype": "float32", "max_length": 99, "parallelize": True}
    )


@pytest.mark.parametrize("groups", [1, 1025])
def test_a_jackknife_leaves_out_one_of_two_groups_or_more(groups):
    with pytest.raises(L2MError, match=f"jackknife_groups: {groups} is not accepted; .* from 2 to 1,024"):
        read_settings(TwoPointSettings, {"jackknife_groups": groups})
    assert read_settings(TwoPointSettings, {"jackknife_groups": 2}).jackknife_groups == 2


@pytest.mark.parametrize("lengths", ["4,8,16", [4, 8, 16], (16, 8, 4), "[4, 8, 16]"])
def test_lists_as_people_type_them(lengths):
    assert read_settings(BipartiteSettings, {"lengths": lengths}).lengths == (4, 8, 16)


def test_ratios_of_the_appendix_get_lengths_that_they_divide():
    settings = read_settings(BipartiteSettings, {"ratios": [2, 3, 4]})
    assert settings.wanted_lengths == (12, 24, 48, 96, 192, 384, 768, 1536)


def test_published_settings_take_partners_from_documents_of_their_own():
    assert not read_settings(BipartiteSettings, {}).independent_pairs
    assert read_settings(BipartiteSettings, {"marginal": "independent"}).independent_pairs
    assert read_settings(BipartiteSettings, {"control_variate": False}).independent_pairs
    direct = {"estimators": ["direct"], "control_variate": False}
    assert not read_settings(BipartiteSettings, direct).needs_partners


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*BipartiteSettings.__dataclass_fields__, "document", "x"]), values))
def test_any_metadata_is_settings_or_one_line(metadata):
    try:
        settings = read_settings(BipartiteSettings, metadata)
    except L2MError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(length % ratio == 0 for length in settings.wanted_lengths for ratio in settings.ratios)


@pytest.mark.parametrize(
    ("given", "read"),
    [("4:64", (4, 8, 16, 32, 64)), ("5:40", (8, 16, 32)), (" 16 : 16 ", (16,)), ("2:4", (2, 4))],
)
def test_a_range_is_its_powers_of_two(given, read):
    assert read_settings(BipartiteSettings, {"lengths": given}).lengths == read
    assert read_settings(ContextUseSettings, {"contexts": given}).contexts == (0, *read)


@pytest.mark.parametrize(
    "given",
    ["64:4", "5:7", "4:", ":8", "4:8:16", "a:b", "4:9999999999", "-4:8", "auto", "automatic", "4, many"],
)
def test_a_range_that_is_none_is_one_line(given):
    with pytest.raises(L2MError, match=r"^lengths: ") as error:
        read_settings(BipartiteSettings, {"lengths": given})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("context", [16, 100, 128, 2048, 131072])
def test_auto_is_the_powers_of_two_up_to_the_context_of_the_model(context):
    def read(kind, **given):
        return read_settings(kind, {"max_length": context, **given})

    told = {"lengths": f"4:{context}"}
    assert read(BipartiteSettings, lengths="auto").wanted_lengths == read(BipartiteSettings, **told).lengths
    uses = read(ContextUseSettings, contexts="auto")
    room = context - uses.wanted_target
    assert uses.wanted_target == min(256, context // 4)
    assert uses.longest <= context
    # Powers of two, and the longest that fits where the last power leaves more than a fifth of the room unread.
    assert set(uses.wanted_contexts) - {room} <= {0, *(2**k for k in range(4, 20))}
    assert uses.wanted_contexts[-1] > 0.8 * room


def test_auto_lengths_are_divided_by_every_ratio():
    settings = read_settings(BipartiteSettings, {"lengths": "auto", "ratios": [2, 3, 4], "max_length": 2048})
    assert settings.wanted_lengths == read_settings(BipartiteSettings, {"ratios": [2, 3, 4]}).wanted_lengths


def test_auto_lengths_of_states_begin_where_the_default_does():
    assert read_settings(StateSettings, {"lengths": "auto", "max_length": 1100}).wanted_lengths == (
        256,
        512,
        1024,
    )
    with pytest.raises(L2MError, match=r"^lengths: auto begins at 256, .* context of 128 tokens"):
        read_settings(StateSettings, {"lengths": "auto", "max_length": 128})


def test_auto_reads_the_configuration_of_the_model_and_what_is_given_counts_more(tiny_llama):
    def longest(**given):
        settings = read_settings(
            BipartiteSettings, {"lengths": "auto", "pretrained": str(tiny_llama), **given}
        )
        return settings.wanted_lengths[-1]

    assert longest() == 128
    assert longest(claimed_context=1024) == 1024
    assert longest(claimed_context=1024, max_length=64) == 64


@pytest.mark.parametrize("model", [{}, {"pretrained": "no/such/folder"}, {"model": "an-api-model"}])
def test_auto_without_a_known_context_is_one_line(model):
    with pytest.raises(
        L2MError, match=r"^contexts: auto needs the model's context.* give max_length"
    ) as error:
        read_settings(ContextUseSettings, {"contexts": "auto", **model})
    assert "\n" not in str(error.value)
