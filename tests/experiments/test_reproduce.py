"""The experiment from end to end on a plan of seconds, its resumption, and its plans."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from l2m_eval.cli.main import main
from l2m_eval.errors import L2MError
from l2m_eval.experiments.plan import presets, read_plan
from l2m_eval.experiments.training import FreshSequences, train
from l2m_eval.processes import Gaussian, GaussianRecall, SantaFeRecall

TINY = {
    "variants": {
        "tokens": {
            "process": {"name": "santa_fe_recall", "facts": 4, "flip_rate": 0.0},
            "lengths": [8, 16],
            "training": {"steps": 12, "batch": 4, "saves": 3},
            "evaluation": {"documents": 8},
            "models": {
                "transformer": {"kind": "transformer", "width": 16},
                "mamba2, state 2": {"kind": "mamba2", "width": 16, "state": 2, "chunk": 8},
                "mamba": {"kind": "mamba", "width": 16, "state": 2, "longest": 8},
            },
        },
        "gaussian": {
            "process": {"name": "gaussian_recall", "facts": 4},
            "lengths": [8],
            "training": {"steps": 12, "batch": 4},
            "evaluation": {"documents": 8},
            "models": {"transformer": {"width": 16}},
        },
    }
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def plan_file(folder: Path, **changes) -> str:
    content = json.loads(json.dumps(TINY))
    for path, value in changes.items():
        *parts, last = path.split("__")
        place = content["variants"]["tokens"]
        for part in parts:
            place = place[part]
        place[last] = value
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(file)


def test_the_command_trains_measures_and_draws(tmp_path, capsys):
    config, output = plan_file(tmp_path), tmp_path / "out"
    arguments = ["reproduce", "synthetic", "--config", config, "--output", str(output), "--cpu", "--quiet"]
    assert main([*arguments, "--processes", "1"]) == 0
    table = capsys.readouterr().out
    assert "| mamba2, state 2 |" in table
    assert "exact I(L/2; L), nats" in table
    result = json.loads((output / "tokens" / "mamba2,_state_2" / "L16" / "result.json").read_text())
    assert result["terms"] == "full"
    assert result["kl"] > 0
    assert result["information"] == pytest.approx(SantaFeRecall(facts=4, flip_rate=0.0).bipartite_mi(8, 16))
    # One layer of 16 channels with a state of 2, and the last 3 inputs of a convolution over 16 + 2 · 2 channels,
    # as the cache keeps them: 4 of each.
    assert result["state"] == 16 * 2 + 4 * 20
    assert not (output / "tokens" / "mamba" / "L16").exists()  # longest: 8
    for name in ("tokens", "gaussian"):
        assert (output / f"reproduce_{name}.svg").read_text().startswith("<?xml")
    assert not list(output.rglob("checkpoints"))

    before = (output / "tokens" / "transformer" / "L8" / "result.json").stat().st_mtime_ns
    assert main([*arguments, "--processes", "1"]) == 0  # nothing is trained twice
    assert (output / "tokens" / "transformer" / "L8" / "result.json").stat().st_mtime_ns == before
    assert capsys.readouterr().out.splitlines()[:8] == table.splitlines()[:8]


def test_a_saved_model_is_one_for_the_harness(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from l2m_eval.experiments.synthetic import run_variant
    from l2m_eval.processes import WordTokenizer

    variant = read_plan(plan_file(tmp_path, lengths=[8]))[0]
    run_variant(variant, tmp_path, cpu=True, progress=False, models=["transformer"])
    folder = tmp_path / "tokens" / "transformer" / "L8" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = variant.process.sample(1, 8, np.random.default_rng(0))[0]
    text = WordTokenizer(variant.process.vocabulary_size).decode(tokens)
    assert tokenizer(text)["input_ids"] == tokens.tolist()
    assert tokenizer.bos_token_id == variant.process.vocabulary_size
    assert (
        AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == variant.process.vocabulary_size + 1
    )


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(tmp_path, monkeypatch):
    variant = read_plan(plan_file(tmp_path))[0]
    plan = variant.models[0]
    whole = train(variant, plan, 8, tmp_path / "whole", cpu=True, progress=False)

    class Cut(Exception):
        pass

    fetch, seen = FreshSequences.__getitem__, []

    def cut_off(self, index):
        seen.append(index)
        if len(seen) > 4 * 9:  # in the ninth step, after the checkpoint of the eighth
            raise Cut
        return fetch(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(FreshSequences, "__getitem__", cut_off)
        with pytest.raises(Cut):
            train(variant, plan, 8, tmp_path / "cut", cpu=True, progress=False)
    assert (tmp_path / "cut" / "checkpoints").is_dir()
    resumed = train(variant, plan, 8, tmp_path / "cut", cpu=True, progress=False)
    for (name, one), other in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        # The same sequences in the same order through the same optimiser.
        torch.testing.assert_close(one, other, msg=name)


def test_sequences_are_new_and_can_be_drawn_again():
    data = FreshSequences(SantaFeRecall(facts=64), 32, 50, seed=1)
    drawn = [tuple(data[i]["labels"].tolist()) for i in range(50)]
    assert len(set(drawn)) == 50
    assert tuple(data[7]["labels"].tolist()) == drawn[7]
    assert data[7]["input_ids"][0] == 3 * 64
    assert (data[7]["input_ids"][1:] == data[7]["labels"][:-1]).all()
    for process in (Gaussian(), GaussianRecall()):
        values = torch.stack([item["values"] for item in FreshSequences(process, 4, 2000, seed=1)])
        assert values.std().item() == pytest.approx(1, rel=0.05)  # 8000 values: one percent


@pytest.mark.parametrize("name", presets())
def test_presets_are_read(name):
    variants = read_plan(name)
    assert {variant.process.name for variant in variants} <= {"santa_fe_recall", "gaussian_recall"}
    for variant in variants:
        kinds = {plan.kind for plan in variant.models}
        assert "transformer" in kinds
        assert len({plan.state for plan in variant.models if plan.kind == "mamba2"}) >= 2
        # The law must hold over all lengths, or the figure would show its end.
        splits = [(length // 2, length) for length in variant.lengths]
        assert variant.process.remarks(splits) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": [1]}, "lengths: 1 is not accepted"),
        ({"training__step": 5}, r"training.step: unknown setting \(nearest: steps\)"),
        ({"training__steps": 0}, "steps: 0 is not accepted"),
        ({"models__transformer": {"kind": "lstm"}}, "kind: 'lstm' is not known"),
        (
            {"models__transformer": {"width": 10, "heads": 3}},
            "heads: 3 is not accepted for model transformer",
        ),
        ({"process": {"name": "santa_fe_recal"}}, "nearest: santa_fe_recall"),
        ({"process": {"name": "santa_fe_recall", "beta": 2}}, "beta: 2 is not accepted"),
        ({"models": {}}, "models: {} is not accepted"),
        ({"epochs": 3}, r"variants.tokens.epochs: unknown setting"),
    ],
)
def test_a_plan_with_a_mistake_is_one_line(tmp_path, changes, message):
    with pytest.raises(L2MError, match=message) as caught:
        read_plan(plan_file(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_named(tmp_path, capsys):
    with pytest.raises(
        L2MError, match=r"'desktop' is not known; accepted: gpu, laptop, laptop-gaussian, paper"
    ):
        read_plan("desktop")
    with pytest.raises(L2MError, match=r"config: .*no.yaml cannot be read"):
        read_plan(str(tmp_path / "no.yaml"))
    config = plan_file(tmp_path)
    assert main(["reproduce", "synthetic", "--config", config, "--variant", "token"]) == 3
    assert "variant: 'token' is not in the plan; accepted: tokens, gaussian" in capsys.readouterr().err
    assert main(["reproduce", "synthetic", "--figures-only", "--output", str(tmp_path / "empty")]) == 3
    assert "holds no results" in capsys.readouterr().err
