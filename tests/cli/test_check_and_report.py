"""`l2m-eval check` and `l2m-eval report` judge a state by the same law, whatever the results hold."""

from __future__ import annotations

import json

import pytest

from l2m_eval.cli import main as cli
from l2m_eval.condition.law import published_law
from l2m_eval.condition.state_check import check_model
from l2m_eval.history_state import history_state_size
from l2m_eval.results.check import law_of
from l2m_eval.results.load import load_results

PUBLISHED = "pg19-llama-3.1-405b-direct"
STATE = {"formula": "100*L"}


def condition_run(folder):
    """Turn a bipartite run into one of l2m_condition whose own reference was the published law."""
    file = folder / "results_1.json"
    data = json.loads(file.read_text())
    (config,) = data["configs"].values()
    state = history_state_size(STATE, [2, 1024])
    verdict = check_model(state, published_law(PUBLISHED))
    config["l2m"] |= {
        "schema": "l2m-eval/condition/1", "state": state.to_json(), "check": verdict.to_json(), "capability": None,
        "reference": published_law(PUBLISHED).of,
    }  # fmt: skip
    file.write_text(json.dumps(data))
    return folder


@pytest.fixture
def both(tmp_path, capsys):
    """Run both commands with the same arguments: for each check of each model, what both say."""

    def run(results, *arguments):
        given = [*map(str, results), *arguments]
        cli.main(["check", *given, "--json"])
        checked = json.loads(capsys.readouterr().out)["checks"]
        assert cli.main(["report", *given, "-o", str(tmp_path / "report"), "--quiet"]) == 0
        reported = json.loads((tmp_path / "report" / "report.json").read_text())["verdicts"]
        capsys.readouterr()

        def told(verdicts, name):
            return {
                (v[name], v["check"]): (v["status"], v["sentence"], v["numbers"].get("beta"))
                for v in verdicts
            }

        return told(checked, "model"), told(reported, "label")

    return run


def test_a_reference_with_another_tokenizer_judges_in_both(both, planted):
    weak = planted("mistral", beta=0.3, longest_byte=3.0)
    strong = planted("llama", beta=0.6, longest_byte=4.0)
    checked, reported = both([weak, strong], "--reference", "llama")
    assert reported == checked
    own = law_of(load_results(weak)[0]).exponent
    assert checked["mistral", "single-model"][2] == pytest.approx(0.6, abs=0.02)  # the reference's
    assert own == pytest.approx(0.3, abs=0.02)
    assert ("mistral", "mi-capability") in checked


def test_a_published_law_judges_results_that_hold_a_verdict_by_another(both, planted):
    results = [condition_run(planted("llama", beta=0.9, task="l2m_condition_text"))]
    for arguments in ([], ["--reference", "pg19-llama-3.1-405b-vclub"]):
        checked, reported = both(results, *arguments)
        assert reported == checked
        (beta,) = {found[2] for found in checked.values()}
        # What the run recorded where nothing else is asked for; else what is asked for.
        assert beta == (0.71 if arguments else 0.76)


def test_each_model_is_judged_by_its_own_law_without_a_reference(both, planted):
    checked, reported = both([planted("mistral", beta=0.3), planted("llama", beta=0.6, amplitude=3.0)])
    assert reported == checked
    assert checked["mistral", "single-model"][2] == pytest.approx(0.3, abs=0.02)
    assert checked["llama", "single-model"][2] == pytest.approx(0.6, abs=0.02)


def test_a_condition_run_that_repeats_saved_curves_is_judged_once(both, planted):
    measured = planted("llama", beta=0.9, name="measured")
    repeated = condition_run(
        planted("llama", beta=0.9, name="repeated", task="l2m_condition_text", logged=False)
    )
    checked, reported = both([measured, repeated])
    assert reported == checked
    assert len(checked) == 1
