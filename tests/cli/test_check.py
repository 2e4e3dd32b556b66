"""``l2m-eval check``: verdicts on planted results, how they read, exit codes, and mistakes in one line."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from planted_states import planted_state_curve, write_state
from tolerances import FLOAT64

from l2m_eval.cli import main as cli
from l2m_eval.errors import L2MError
from l2m_eval.history_state import history_state_size
from l2m_eval.results.check import compare_with, law_of, measured_state_named
from l2m_eval.results.load import load_results

PUBLISHED = "pg19-llama-3.1-405b-direct"


@pytest.fixture
def check(capsys):
    """Run ``l2m-eval check`` in this process: exit code, stdout, stderr."""

    def run(*arguments):
        code = cli.main(["check", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def as_json(check):
    def run(*arguments):
        code, out, _ = check(*arguments, "--json")
        found = json.loads(out)
        assert found["exit_code"] == code
        return found

    return run


# --- one model --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "code", "status", "gamma", "constant", "slope"),
    [
        ("llama", 0, "satisfied", 1, 0, 192),
        ("mistral", 1, "violated", 0, 192 * 64, 0),
        ("mamba", 1, "violated", 0, 3 * 128 * 12, 0),
        ("lfm2", 0, "satisfied", 1, 384, 64),
    ],
)
def test_the_state_is_that_of_the_model_named_in_the_results(
    as_json, planted, model, code, status, gamma, constant, slope
):
    found = as_json(planted(model))
    assert (found["schema"], found["status"], found["exit_code"]) == ("l2m-eval/checks/1", status, code)
    (one,) = found["checks"]
    assert (one["schema"], one["check"], one["model"], one["reference"]) == (
        "l2m-eval/check/1", "single-model", model, "",
    )  # fmt: skip
    numbers = one["numbers"]
    assert (numbers["gamma"], numbers["constant_part"], numbers["slope_per_token"]) == (
        gamma,
        constant,
        slope,
    )
    assert numbers["beta"] == pytest.approx(0.5, abs=0.01)  # every document has the planted exponent
    assert numbers["margin"] == pytest.approx(gamma - 0.5, abs=0.01)
    assert model in one["sentence"]


def test_the_horizon_of_a_fixed_state_is_where_the_law_fills_its_bits(as_json, planted):
    (one,) = as_json(planted("mamba"))["checks"]
    law = law_of(load_results(one["results"])[0])
    # Mamba keeps its recurrent state (8 of 12 elements a channel) in 32 bits whatever the model's own 16.
    nats = 3 * 128 * (8 * 32 + 4 * 16) * math.log(2) + math.log(128)
    assert one["numbers"]["horizon"]["length"] == pytest.approx(
        (nats / law.amplitude) ** (1 / law.exponent), rel=1e-6
    )
    used = one["numbers"]["utilisation"]
    assert used["capacity"][-1] == pytest.approx(nats)
    assert used["values"][-1] == pytest.approx(
        2.0 * 2048**0.5 / nats, rel=0.1
    )  # 40 documents that scatter by 0.1


def test_a_constant_of_ones_own_replaces_the_bits(as_json, planted):
    (one,) = as_json(planted("mamba"), "--constant", "0.1")["checks"]
    horizon = one["numbers"]["horizon"]
    law = law_of(load_results(one["results"])[0])
    nats = 0.1 * 3 * 128 * 12 + math.log(128)
    assert horizon["length"] == pytest.approx((nats / law.amplitude) ** (1 / law.exponent), rel=1e-6)
    assert "0.1 nats per element" in horizon["assumption"]


def test_the_precision_is_the_one_that_the_model_ran_in(as_json, planted):
    config = {"model": "hf", "model_args": {}, "model_dtype": "torch.float32"}
    in_bfloat16 = as_json(planted("llama"))["checks"][0]["numbers"]["utilisation"]["capacity"]
    folder = planted("llama", name="single")
    file = folder / "results_1.json"
    data = json.loads(file.read_text())
    data["config"] |= {"model_dtype": config["model_dtype"]}
    file.write_text(json.dumps(data))
    in_float32 = as_json(folder)["checks"][0]["numbers"]["utilisation"]["capacity"]
    assert in_float32[-1] - math.log(128) == pytest.approx(2 * (in_bfloat16[-1] - math.log(128)))


def test_without_the_samples_log_intervals_are_those_of_the_file(as_json, planted):
    with_log = as_json(planted("mistral"))["checks"][0]["numbers"]
    without = as_json(planted("mistral", name="bare", logged=False))["checks"][0]["numbers"]
    assert without["beta_interval"] == with_log["beta_interval"]
    low, high = without["horizon"]["interval"]
    # Where resamples come to the same end: exp(ln(capacity / A) / β) in another order, roundings of its logarithm.
    rounding = 8 * FLOAT64 * math.log(high)
    early, late = with_log["horizon"]["interval"]
    assert low * (1 - rounding) <= early <= late <= high * (1 + rounding)


def test_several_results_are_each_checked_and_the_worst_decides(check, planted):
    llama, mistral = planted("llama"), planted("mistral")
    code, out, _ = check(llama, mistral)
    assert code == 1
    assert out.index("Satisfied: the history state of llama") < out.index(
        "Violated: the history state of mistral"
    )


def test_one_that_cannot_be_checked_does_not_hide_the_others(check, as_json, planted):
    llama, gone = planted("llama"), planted("/gone/with/the/disk", name="gone")
    code, out, _ = check(llama, gone)
    assert code == 3
    assert "Satisfied: the history state of llama" in out
    assert "Not checked: disk: state: that of disk cannot be read" in out
    assert [one["status"] for one in as_json(llama, gone)["checks"]] == ["satisfied", "error"]


def test_a_state_that_another_task_read_is_used(as_json, planted):
    """l2m_condition with results=... repeats saved curves and adds the state of the model itself."""
    measured = planted("/gone/with/the/disk", name="measured")
    added = planted("/gone/with/the/disk", name="added", logged=False, task="l2m_condition_text")
    file = added / "results_1.json"
    data = json.loads(file.read_text())
    state = history_state_size({"formula": "7*L"}, [2, 1024]).to_json()
    block = data["configs"]["l2m_condition_text"]["l2m"]
    check = {"schema": "l2m-eval/check/1", "status": "satisfied"}
    block |= {"schema": "l2m-eval/condition/1", "state": state, "check": check}
    file.write_text(json.dumps(data))
    (one,) = as_json(added, measured, "--reference", PUBLISHED)["checks"]
    assert one["numbers"]["slope_per_token"] == 7
    assert one["results"].startswith(str(measured))  # where the documents' records are


def test_a_state_within_the_interval_of_the_law_is_inconclusive(check, as_json, planted):
    folder = planted("llama", beta_spread=0.05)
    beta = as_json(folder)["checks"][0]["numbers"]["beta"]
    code, out, _ = check(folder, "--state", f"1000*L**{beta:.3f}")
    assert code == 2
    assert "it is undecided whether this is fast enough" in out


def test_a_published_law_judges_by_name(as_json, planted):
    (one,) = as_json(planted("mistral"), "--reference", PUBLISHED)["checks"]
    assert one["numbers"]["beta"] == 0.76
    assert "Llama 3.1 405B" in one["reference"]


def test_states_alone_against_a_law(as_json, configurations):
    arguments = ["--state", configurations["mistral"], "--state", "64*L", "--reference", PUBLISHED]
    found = as_json(*arguments)
    assert [one["status"] for one in found["checks"]] == ["violated", "satisfied"]
    assert found["status"] == "violated"


def test_a_state_can_be_given_by_name_or_in_order(as_json, planted):
    llama, mistral = planted("llama"), planted("mistral")
    named = as_json(llama, mistral, "--state", "mistral=1000*L")["checks"]
    assert [one["numbers"]["slope_per_token"] for one in named] == [192, 1000]
    assert "mistral (1000*L)" in named[1]["sentence"]
    ordered = as_json(llama, mistral, "--state", "10*L", "--state", "20*L")["checks"]
    assert [one["numbers"]["slope_per_token"] for one in ordered] == [10, 20]


# --- against a reference ----------------------------------------------------------------------------------------


def test_a_weaker_model_falls_behind_its_reference(check, as_json, planted):
    strong, weak = planted("llama"), planted("mistral", beta=0.3)
    found = as_json(weak, "--reference", strong)
    state, ratio = found["checks"]
    assert state["reference"] == ratio["reference"] == "llama"
    assert state["numbers"]["beta"] == pytest.approx(0.5, abs=0.01)  # the reference's, not the model's own
    assert "measured with llama" in state["sentence"]
    assert ratio["check"] == "mi-capability"
    assert ratio["numbers"]["trend"] == pytest.approx(-0.2, abs=1e-6)
    # Documents scatter in both curves alike, and are resampled for both at once.
    assert ratio["numbers"]["trend_error"] == pytest.approx(0, abs=1e-6)
    _, out, _ = check(weak, "--reference", strong)
    assert "falls behind that of llama on books/*.txt" in out


def test_no_model_is_compared_with_itself_whether_its_file_is_read_once_or_twice(as_json, planted):
    folder = planted("llama")
    found = as_json(folder, "--reference", folder)
    assert [one["check"] for one in found["checks"]] == ["single-model"]


def test_the_reference_may_be_one_of_the_results(as_json, planted):
    strong, weak = planted("llama"), planted("mistral", beta=0.3)
    found = as_json(strong, weak, "--reference", "llama")
    assert [(one["model"], one["check"]) for one in found["checks"]] == [
        ("llama", "single-model"), ("mistral", "single-model"), ("mistral", "mi-capability"),
    ]  # fmt: skip


def test_the_same_documents_are_the_same_wherever_they_lay(as_json, planted):
    strong = planted("llama", settings={"corpus": ["/elsewhere/books/*.txt"]})
    assert as_json(planted("mistral", beta=0.3), "--reference", strong)["checks"][1]["status"] == "violated"


def test_other_tokenizers_are_compared_in_bytes(planted):
    ours = load_results(planted("mistral", beta=0.5, longest_byte=3.0))[0]
    theirs = load_results(planted("llama", beta=0.5, longest_byte=4.0))[0]
    verdict = compare_with(ours, theirs)
    assert verdict.numbers["unit"] == "bytes"
    # I = A·(bytes / 3)^β against A·(bytes / 4)^β
    np.testing.assert_allclose(verdict.numbers["ratios"], (4 / 3) ** 0.5, rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"log_seed": 1}, "corpus: mistral (books/*.txt, 40 documents) and the reference llama"),
        ({"documents": 30}, "corpus: mistral (books/*.txt, 30 documents) and the reference llama"),
        ({"logged": False, "settings": {"corpus": ["news/*.txt"]}}, "corpus: ['news/*.txt'] for mistral"),
        ({"logged": False, "settings": {"seed": 8}}, "seed: 8 for mistral"),
        ({"settings": {"correction": "ngram"}, "logged": False}, "correction: 'ngram' for mistral"),
        ({"longest_byte": 3.0, "unit": "tokens"}, "unit: mistral and llama have different tokenizers"),
    ],
)
def test_other_documents_or_settings_are_not_compared(check, planted, changes, says):
    unit = changes.pop("unit", "auto")
    weak = planted("mistral", **{"settings": None, **changes})
    code, out, err = check(weak, "--reference", planted("llama"), "--unit", unit)
    assert (code, out) == (3, "")
    assert says in err
    assert err.count("\n") == 1


# --- series -----------------------------------------------------------------------------------------------------


def test_states_that_grow_with_the_lengths_they_are_meant_for(as_json, planted):
    folders = [planted(model) for model in ("lfm2", "mistral", "llama")]
    states = [argument for size in (1000, 2000, 4000) for argument in ("--state", str(size))]
    found = as_json(*folders, *states, "--series", "1024,1448,2048")
    assert found["status"] == "satisfied"
    assert found["checks"][0]["numbers"]["delta"] == pytest.approx(2, abs=1e-3)  # 1448 is 2^10.5, rounded
    behind = as_json(*folders, *states, "--series", "1024,4096,16384", "--reference", PUBLISHED)
    assert behind["checks"][0]["numbers"]["delta"] == pytest.approx(0.5)
    assert behind["status"] == "violated"


def test_a_series_of_states_alone(as_json):
    arguments = ["--state", "1000", "--state", "4000", "--series", "1024,4096", "--reference", PUBLISHED]
    assert as_json(*arguments)["checks"][0]["numbers"]["delta"] == pytest.approx(1)


# --- how it reads -----------------------------------------------------------------------------------------------


def test_the_sentence_comes_first_and_the_numbers_after_it(check, planted):
    code, out, err = check(planted("lfm2"))
    assert (code, err) == (0, "")
    first, _, rest = out.partition("\n")
    assert first.startswith("Satisfied: the history state of lfm2 grows linearly: 384 + 64 · L elements")
    assert "books/*.txt, measured with lfm2, direct, 40 documents" in first
    assert "γ - β = 0.50" in first
    assert "β is that of this model's own curve" in rest
    row = next(line.split() for line in rest.splitlines() if line.split()[:1] == ["2,048"])
    assert row[4] == "65,920"  # 384 + 64·1024 elements
    assert "own curve" not in check(planted("lfm2"), "--quiet")[1]
    assert "own curve" not in check(planted("lfm2"), "--reference", PUBLISHED)[1]


def test_an_error_is_json_too_where_json_is_asked_for(check):
    code, out, err = check("nothing", "--json")
    found = json.loads(out)
    assert code == found["exit_code"] == found["checks"][0]["exit_code"] == 3
    assert found["status"] == "error"
    assert err == f"l2m-eval: error: {found['checks'][0]['sentence']}\n"


def test_json_is_strict_where_the_horizon_is_never_reached(check, planted):
    _, out, _ = check(planted("llama"), "--json")
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["checks"][0]["numbers"]["horizon"]["length"] is None


# --- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "results: none given"),
        (["--state", "L"], "results: none given; give RESULTS, or both --state and --reference"),
        (["nothing"], "results: there is no 'nothing'"),
        (["{mistral}", "--curve", "vclub"], "curve: 'vclub' is not in"),
        (
            ["{mistral}", "--reference", "pg20"],
            "reference: 'pg20' is not a published law (pg19-llama-3.1-405b-direct",
        ),
        (["{mistral}", "--constant", "-1"], "constant: -1 is not a capacity"),
        (["{mistral}", "--state", "L", "--state", "L"], "state: 2 given for 1 result(s) (mistral)"),
        (["{mistral}", "--state", "__import__('os').getcwd()"], "formula: call in"),
        (["{mistral}", "--state", "64*widht*L"], "formula: unknown name 'widht'"),
        (["{mistral}", "--state", "10**14*L"], "overflows at L = "),
        (["{mistral}", "--series", "1024,2048"], "series: 2 length(s) for 1 result(s) (mistral)"),
        (["{mistral}", "--series", "long"], "lengths: 'long' is not a number of tokens"),
        (["--state", "L", "--state", "L", "--reference", PUBLISHED], "state: 'L' is given twice"),
    ],
)
def test_a_mistake_is_one_line(check, planted, arguments, says):
    folder = planted("mistral")
    code, out, err = check(*[argument.replace("{mistral}", str(folder)) for argument in arguments])
    assert (code, out) == (3, "")
    assert says in err
    assert err.count("\n") == 1


def test_results_of_another_measurement_are_one_line(check, planted):
    folder = planted("mistral")
    file = folder / "results_1.json"
    data = json.loads(file.read_text())
    data["configs"]["l2m_two_point"] = {
        "l2m": {
            "schema": "l2m-eval/two_point/1",
            "curves": [{"name": "two_point", "distances": [1], "mi": [1.0], "standard_error": [0.1]}],
        }
    }
    del data["configs"]["l2m_bipartite_text"]
    file.write_text(json.dumps(data))
    code, _, err = check(folder)
    assert code == 3
    assert "results: l2m_two_point in" in err
    assert "has no bipartite curve; give results of l2m_bipartite or l2m_condition" in err


def test_a_model_that_is_gone_asks_for_a_state(check, planted):
    code, _, err = check(planted("/gone/with/the/disk", name="gone"))
    assert code == 3
    assert "state: that of disk cannot be read from the model named in its results" in err
    assert "name it with --state" in err
    assert err.count("\n") == 1


def test_an_api_model_asks_for_a_state(check, planted):
    config = {"model": "local-completions", "model_args": {"model": "some-model"}}
    folder = planted("api", config=config, model_source="local-completions")
    code, _, err = check(folder)
    assert code == 3
    assert "some-model (local-completions) name no pretrained model" in err
    assert check(folder, "--state", "64*L")[0] == 0


def test_a_law_that_could_not_be_fitted_is_one_line(check, planted):
    folder = planted("llama", amplitude=-1.0, logged=False)
    code, _, err = check(folder)
    assert code == 3
    assert "curve: no law could be fitted to direct" in err


def test_a_fault_of_ours_does_not_read_as_violated(check, monkeypatch):
    def fail(_parsed):
        raise RuntimeError("a fault")

    monkeypatch.setattr("l2m_eval.cli.check._checks", fail)
    assert check("anything")[0] == 3


# --- smaller states -----------------------------------------------------------------------------------------------


def test_results_of_smaller_states_say_what_is_needed_beside_what_there_is(
    check, as_json, planted, configurations, tmp_path
):
    """Windows keep 1 − exp(−w / √L): the needed window grows like L^0.5, where the state grows like L."""
    states = write_state(tmp_path / "states", str(configurations["llama"]))
    (one,) = as_json(planted("llama"), states)["checks"]
    measured = one["numbers"]["measured"]
    assert measured["of"] == "books/*.txt with 30 documents"
    assert measured["delta_of"] == "window"
    # Interpolation between windows four times apart is off by less than a tenth of an octave.
    assert measured["delta"] == pytest.approx(0.5, abs=0.1)
    assert measured["bound"] == {"points": 21, "largest_share": pytest.approx(0, abs=1e-2), "above": []}
    calibrated = measured["calibration"]["nats_per_element"]["value"]
    assert one["numbers"]["horizon"]["assumption"].startswith("If an element carries what it was measured")
    needed = next(f for f in measured["needed"] if f["family"] == "window")["sizes"][-1]["value"]
    # The state of 3 layers, 2 heads of 16 numbers, keys and values, is 192 numbers a token, as was measured.
    assert calibrated == pytest.approx(0.95 * information_at_4096() / (needed / 16), rel=1e-9)
    code, out, _ = check(planted("llama"), states)
    assert code == 0
    assert "the model needs L^0." in out
    assert re.search(r"needed state  .*\(bits\), .*\(window\) of 768 KiB at L = 4,096", out)
    assert "Theorem 5.2   21 points measured, none above the bound" in out


def information_at_4096():
    return planted_state_curve()[0].mi[-1]


def test_states_of_another_model_say_nothing_and_those_on_the_same_text_come_first(
    as_json, planted, configurations, tmp_path
):
    other = write_state(tmp_path / "other", "another/model")
    (one,) = as_json(planted("llama"), other)["checks"]
    assert "measured" not in one["numbers"]
    model = str(configurations["llama"])
    same = write_state(tmp_path / "same", model)
    newer = write_state(tmp_path / "newer", model, corpus="code/*.py", date=1.8e9)
    (one,) = as_json(planted("llama"), newer, same)["checks"]
    assert one["numbers"]["measured"]["of"].startswith("books/*.txt")
    (one,) = as_json(planted("llama"), newer)["checks"]
    assert one["numbers"]["measured"]["of"].startswith("code/*.py")


def test_results_that_the_condition_task_cannot_take_are_one_line(planted, tmp_path):
    """They are read before a model is loaded."""
    contexts = write_state(tmp_path / "contexts", "m", states=("context8", "context16"))
    with pytest.raises(L2MError, match=r"state_results: .* has shorter contexts alone, which say nothing"):
        measured_state_named(str(contexts))
    with pytest.raises(L2MError, match=r"state_results: .* names 0 results of l2m_state; give results of"):
        measured_state_named(str(planted("llama")))


def test_states_alone_are_no_curve_to_check(check, tmp_path):
    code, _, error = check(write_state(tmp_path, "llama"))
    assert code == 3
    assert "has no bipartite curve; give results of l2m_bipartite" in error
