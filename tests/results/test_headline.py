"""Headline numbers: those of the results, each once, found by the names that users write."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from planted_runs import EXAMPLES, planted, write_bipartite, write_position

from l2m_eval.errors import L2MError
from l2m_eval.results.headline import headline_quantities, named_quantity, quantities_of
from l2m_eval.results.load import load_results


@pytest.fixture
def results(tmp_path):
    write_bipartite(tmp_path, "m", planted(0.4), claimed_context=4096)
    write_position(tmp_path / "losses", "m", 3.0)
    return load_results(tmp_path)


def test_the_numbers_are_those_of_the_curves_with_unit_and_direction(results):
    found = {q.name: q for q in quantities_of(results)}
    curve = next(one for one in results if one.bipartite).curve("direct")
    assert set(found) == {
        "claimed_context",
        "direct_mi@128",
        "direct_beta",
        "effective_context",
        "bits_per_byte",
        "context_gain",
    }
    assert found["direct_mi@128"].estimate.value == curve.mi[-1]
    assert found["direct_beta"].estimate.interval == curve.beta.interval
    assert found["claimed_context"].estimate.value == 4096
    told = {name: (q.unit, q.higher_is_better, q.documents) for name, q in found.items()}
    assert told["direct_mi@128"] == ("nats", True, 40)
    assert told["bits_per_byte"] == ("bits per byte", False, 20)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("mi", "direct_mi@128"),
        ("beta", "direct_beta"),
        ("mi@0016", "direct_mi@16"),
        ("direct_mi@16", "direct_mi@16"),
        ("bits_per_byte", "bits_per_byte"),
    ],
)
def test_a_number_is_found_by_its_short_and_its_whole_name(results, written, found):
    assert named_quantity(results, written).name == found


def test_any_metric_of_the_table_is_a_quantity_with_the_direction_that_the_file_says(tmp_path):
    file = write_bipartite(tmp_path, "m", planted(0.4))
    data = json.loads(file.read_text())
    data["results"]["l2m_bipartite_text"] |= {
        "kept_bits4@04096,none": 0.97,
        "kept_bits4@04096_stderr,none": 0.01,
    }
    data["higher_is_better"] = {"l2m_bipartite_text": {"kept_bits4@04096": True}}
    file.write_text(json.dumps(data))
    found = named_quantity(load_results(tmp_path), "kept_bits4@4096")
    assert (found.estimate.value, found.estimate.standard_error, found.higher_is_better) == (0.97, 0.01, True)
    assert found.estimate.interval[0] == pytest.approx(0.97 - 1.96 * 0.01, abs=1e-5)  # 1.96 has two decimals


def test_the_effective_context_is_that_of_the_curves_documents_also_of_older_results():
    """docs/effective_context.md: the Llama grows to the end; 64 tokens are shown of the one with a window of 64."""
    llama, swa = (
        named_quantity(load_results(EXAMPLES / "results" / name), "effective_context")
        for name in ("books-llama-5m", "books-swa64-5m")
    )
    assert (llama.estimate.value, llama.estimate.interval, llama.at_least) == (2048, (2048, math.inf), True)
    assert (swa.estimate.value, swa.at_least, swa.unit) == (64, False, "tokens")


def test_a_check_that_repeats_a_curve_does_not_count_beside_the_measurement():
    results = load_results(
        [EXAMPLES / "results" / "books-llama-5m", EXAMPLES / "results" / "check" / "books-llama-5m"]
    )
    assert not named_quantity(results, "beta").results.block.get("results")
    names = [q.name for q in quantities_of(results)]
    assert len(names) == len(set(names))
    margin = named_quantity(results, "l2m_margin")
    assert margin.estimate.value == pytest.approx(
        0.7134712, abs=1e-6
    )  # written with these digits in the file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("direct_bta", "did you mean 'direct_beta'"),
        ("direct_mi@13", "which have direct_mi at 128, 4, 8, 16, 32, 64"),
        ("kl", "measure it with l2m_kl_process"),
        ("context_needed@0.95", "measure it with l2m_context_use"),
        ("kept@512", "measure it with l2m_context_use"),
        ("kept_bits4@4096", "measure it with l2m_state"),
        ("kept_sinks4+window256@4096", "measure it with l2m_state"),
        ("zzz", "no quantity is called 'zzz'"),
    ],
)
def test_a_name_that_is_not_there_is_one_line_with_the_nearest_or_the_task(results, name, message):
    with pytest.raises(L2MError, match=message):
        named_quantity(results, name)


def test_numbers_of_two_corpora_are_not_one(tmp_path):
    write_bipartite(tmp_path / "a", "m", planted(0.4))
    file = write_bipartite(tmp_path / "b", "m", planted(0.4))
    data = json.loads(file.read_text())
    data["configs"]["l2m_bipartite_text"]["l2m"]["settings"]["corpus"] = ["other/*.txt"]
    file.write_text(json.dumps(data))
    with pytest.raises(L2MError, match=r"is measured on .* and on "):
        named_quantity(load_results(tmp_path), "beta")


def test_unknown_numbers_are_listed_as_unknown(tmp_path):
    write_bipartite(tmp_path, "m", planted(0.4)[:1])  # one document: no error
    (one,) = load_results(tmp_path)
    mi = next(q for q in headline_quantities(one) if q.name == "direct_mi@128")
    assert math.isnan(mi.estimate.standard_error)
