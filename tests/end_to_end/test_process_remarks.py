"""A run on a known process says where the process' law, or its exactness, ends."""

import numpy as np
import pytest
from lm_eval.api.registry import get_model


@pytest.mark.parametrize(
    ("process", "lengths", "says"),
    [
        ("santa_fe,facts=16", [8, 512], "16 facts are too few for the length: the law holds to blocks of"),
        ("tree,symbols=2", [8, 12], "at L = 12 the estimate is not of the mutual information"),
    ],
)
def test_where_the_law_ends_is_a_warning_in_the_results(evaluate, process, lengths, says):
    model = get_model("l2m-oracle").create_from_arg_string(f"process={process}", {})
    name, _, setting = process.partition(",")
    key, _, value = setting.partition("=")
    run = evaluate(
        model,
        "l2m_bipartite_process",
        process=name,
        documents=4,
        lengths=lengths,
        resamples=100,
        **{key: value},
    )
    (warning,) = [text for text in run.block["warnings"] if text.startswith(name)]
    assert says in warning
    assert "\n" not in warning


def test_points_without_an_exact_value_are_measured_all_the_same(evaluate):
    model = get_model("l2m-oracle").create_from_arg_string("process=hidden_markov,states=4", {})
    run = evaluate(
        model,
        "l2m_bipartite_process",
        process="hidden_markov",
        documents=4,
        lengths=[8, 64],
        resamples=100,
    )
    curve = run.block["curves"][0]
    assert np.isfinite(curve["mi"]).all()
    assert curve["exact"] is None
    assert run.metrics["direct_mi_exact@0008"] > 0
    assert np.isnan(run.metrics["direct_mi_exact@0064"])
    (warning,) = [text for text in run.block["warnings"] if "no exact value" in text]
    assert "direct: no exact value at L = 64" in warning


def test_a_curve_inside_the_law_has_no_remark(evaluate):
    model = get_model("l2m-oracle").create_from_arg_string("process=santa_fe,facts=512", {})
    run = evaluate(
        model,
        "l2m_bipartite_process",
        process="santa_fe",
        facts=512,
        documents=4,
        lengths=[8, 64],
        resamples=100,
    )
    assert not [text for text in run.block["warnings"] if "law" in text]
