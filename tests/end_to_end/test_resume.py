"""A run with --use_cache that is killed, at any moment, continues to the same numbers."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from lm_eval.models.huggingface import HFLM
from tolerances import of_log_probabilities

from l2m_eval.harness.oracle import OracleLM
from l2m_eval.scoring.finished import FinishedWindows
from l2m_eval.scoring.huggingface import HuggingFaceScorer

TASK = "l2m_bipartite_text"

# One process scores in batches of one document with a pause in each, so that a kill falls inside and between them.
RUN = """
import json, sys, time
from lm_eval import simple_evaluate
from l2m_eval.scoring.huggingface import HuggingFaceScorer

original = HuggingFaceScorer._score
model, corpus, cache, begun, output = sys.argv[1:]

def slow(self, trees):
    if getattr(self._lm, "_l2m_answers_checked", False):  # the first texts are asked for anew at each start
        with open(begun, "a") as file:
            file.write(".")
    time.sleep(0.1)
    answers = original(self, trees)
    time.sleep(0.1)
    return answers

HuggingFaceScorer._score = slow
task = "l2m_bipartite_text"
answer = simple_evaluate(
    model="hf", model_args=f"pretrained={model},dtype=float32", device="cpu", batch_size=2, tasks=[task],
    metadata={"corpus": corpus, "documents": 9, "lengths": [8, 16, 32, 64, 128]}, bootstrap_iters=0,
    use_cache=cache,
)
json.dump(answer["results"][task], open(output, "w"), default=str)
"""


@pytest.fixture
def start(tiny_llama, text_folder, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)

    def run(cache: str) -> subprocess.Popen[str]:
        paths = [tmp_path / cache, tmp_path / f"{cache}.begun", tmp_path / f"{cache}.json"]
        paths[1].write_text("")
        return subprocess.Popen(
            [sys.executable, str(script), str(tiny_llama), f"{text_folder}/document*.txt", *map(str, paths)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip

    return run


def finished(process, output):
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr[-2000:]
    return json.loads(output.read_text())


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_at_the_same_bits(start, tmp_path):
    whole = finished(start("whole"), tmp_path / "whole.json")
    batches = len((tmp_path / "whole.begun").read_text())
    rng = random.Random(7)
    begun = tmp_path / "killed.begun"
    kills = 0
    for _ in range(4):
        process = start("killed")
        wanted = rng.randint(4, 6)  # two are checks of the scorer's own, and one was done
        while process.poll() is None and len(begun.read_text()) < wanted:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.3))  # inside a batch, while it is stored, or between two
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
        kills += 1
    last = finished(start("killed"), tmp_path / "killed.json")
    assert last == whole  # every digit
    assert kills > 2
    assert len(begun.read_text()) <= batches - kills  # each killed run left at least one batch done


@pytest.fixture
def counted(monkeypatch):
    batches = []
    original = HuggingFaceScorer._score

    def score(self, trees):
        batches.append(len(trees))
        return original(self, trees)

    monkeypatch.setattr(HuggingFaceScorer, "_score", score)
    return batches


def evaluated(model, cache, metadata, task=TASK):
    from lm_eval import simple_evaluate

    answer = simple_evaluate(
        model=model, tasks=[task], metadata=metadata, bootstrap_iters=0, use_cache=str(cache)
    )
    return {k: v for k, v in answer["results"][task].items() if isinstance(v, float)}


def test_a_second_run_scores_nothing_and_another_setting_only_what_is_new(
    counted, tiny_llama, text_folder, tmp_path
):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=2, dtype="float32")
    settings = {"corpus": f"{text_folder}/document*.txt", "documents": 6, "lengths": [8, 16, 32, 64]}
    first = evaluated(lm, tmp_path / "cache", settings)
    assert counted
    counted.clear()
    assert evaluated(lm, tmp_path / "cache", settings) == pytest.approx(first, nan_ok=True, abs=0)
    assert not [n for n in counted if n > 0][2:]  # at most the two forward passes of the self-checks
    counted.clear()
    other = {**settings, "seed": 99}
    fresh = evaluated(HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=2, dtype="float32"),
                      tmp_path / "other", other)  # fmt: skip
    again = evaluated(lm, tmp_path / "cache", other)
    assert again.keys() == fresh.keys()
    for name, value in fresh.items():
        # Windows that were done are in no batch this time: float32 adds up in another order.
        if "_mi@" in name:
            assert again[name] == pytest.approx(value, abs=of_log_probabilities(32, sums=4)), name
    assert counted  # other chunks were scored


@pytest.mark.slow
def test_a_cache_of_another_precision_is_not_mixed_in(tiny_llama, text_folder, tmp_path, caplog):
    settings = {"corpus": f"{text_folder}/document*.txt", "documents": 4, "lengths": [8, 16]}
    single = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=2, dtype="float32")
    half = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=2, dtype="bfloat16")
    alone = evaluated(half, tmp_path / "alone", settings)
    evaluated(single, tmp_path / "cache", settings)
    assert evaluated(half, tmp_path / "cache", settings) == pytest.approx(alone, nan_ok=True, abs=0)
    assert "holds scores of another model or precision" in caplog.text


@pytest.mark.slow
def test_other_backends_continue_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("l2m_eval.scoring.scorer.KEPT_AT_ONCE", 5)
    settings = {"documents": 6, "lengths": [8, 16, 32], "facts": 32}
    asked = []
    original = OracleLM.token_log_probs

    def dies_in_the_middle(self, sequences):
        asked.append(len(sequences))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(self, sequences)

    monkeypatch.setattr(OracleLM, "token_log_probs", dies_in_the_middle)
    task = "l2m_bipartite_process"
    with pytest.raises(KeyboardInterrupt):
        evaluated(OracleLM(facts=32), tmp_path / "cache", settings, task)
    before = len(asked)
    continued = evaluated(OracleLM(facts=32), tmp_path / "cache", settings, task)
    resumed = len(asked) - before
    whole = evaluated(OracleLM(facts=32), tmp_path / "whole", settings, task)
    assert continued == pytest.approx(whole, nan_ok=True, abs=0)
    assert resumed == len(asked) - before - resumed - 2  # two groups were done before


def test_a_damaged_file_costs_the_work_and_not_the_run(tiny_llama, text_folder, tmp_path, caplog):
    settings = {"corpus": f"{text_folder}/document*.txt", "documents": 4, "lengths": [8, 16]}
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=2, dtype="float32")
    first = evaluated(lm, tmp_path / "cache", settings)
    (tmp_path / "cache_rank0.l2m.db").write_bytes(b"damaged" * 1000)
    assert evaluated(lm, tmp_path / "cache", settings) == pytest.approx(first, nan_ok=True, abs=0)
    assert "cache_rank0.l2m.db is damaged" in caplog.text
    assert FinishedWindows(tmp_path / "cache_rank0.l2m.db", ("x", "y")).path.exists()
