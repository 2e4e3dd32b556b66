"""Several processes measure together what one process measures: a real group of processes, on CPUs."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager
from tolerances import assert_same_scores, numbers, of_log_probabilities

from l2m_eval.errors import L2MError
from l2m_eval.harness.registration import tasks_folder

SCRIPT = Path(__file__).with_name("distributed_run.py")
# Every task on text, in one call; each takes what it has of the settings.
TASKS = [
    "l2m_bipartite_text",  # partners are measured by the other process
    "l2m_condition_text",  # the first process alone reads the state
    "l2m_position_nll_text",
    "l2m_two_point_text",  # counted by the first process alone
    "l2m_two_point_generated_text",
    "l2m_state_text",
]
PROCESS_TASKS = [task.replace("_text", "_process") for task in TASKS[:1] + TASKS[2:]] + ["l2m_kl_process"]
SETTINGS = {"lengths": [8, 16, 32, 64], "length": 64, "distances": [1, 2, 4], "resamples": 100,
            "states": ["bits16", "sinks4+window8"]}  # fmt: skip


@pytest.fixture
def in_a_group(tmp_path):
    """Measure in a group of processes; what the main one wrote, or how the launcher ended."""

    def run(processes, model, tasks, metadata):
        output = tmp_path / "found.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *(f"--nproc_per_node={processes}", str(SCRIPT)),
                *(str(model), ",".join(tasks), json.dumps(metadata), str(output)),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=600,  # nothing waits for a process that is gone
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        )
        return json.loads(output.read_text()) if output.exists() else {}, done

    return run


@pytest.fixture(scope="module")
def alone():
    """The same call in this process."""
    return runpy.run_path(str(SCRIPT))["measured_together"]


def records(found):
    return [json.loads(sample["filtered_resps"][0]) for sample in found["samples"]]


def assert_same(together, one, metadata, processes, documents):
    """The same documents with the same scores, and of these scores the metrics and the results that one process has.

    Fits and quantiles multiply the last digits of the scores by any factor. So the scores are compared with each
    other, and what follows from them with what this process computes from the same scores: to the bit.
    """
    assert together.keys() == one.keys()
    for task, expected in one.items():
        found = together[task]
        assert (found["processes"], expected["processes"]) == (processes, 1)
        assert [s["doc_id"] for s in found["samples"]] == list(range(documents))
        for key in ("doc", "metrics"):
            assert [s[key] for s in found["samples"]] == [s[key] for s in expected["samples"]]
        assert_same_scores(records(found), records(expected), of_log_probabilities(SETTINGS["length"]))
        assert found["metrics"].keys() == expected["metrics"].keys()
        assert found["block"].keys() == expected["block"].keys()
        if task.startswith("l2m_two_point_") and "generated" not in task:  # counted, with no rounding
            for part in ("metrics", "block"):
                assert json.dumps(numbers(found[part])) == json.dumps(numbers(expected[part]))
        else:
            assert_follows_from_the_records(found, task, metadata)


def assert_follows_from_the_records(found, name, metadata):
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata)
    task = manager.load([name])["tasks"][name]
    task.set_fewshot_seed(1234)  # as the harness does
    metrics, block = task.measure([sample["doc"] for sample in found["samples"]], records(found))
    for metric, measured in metrics.items():
        errors = [] if measured.standard_error is None else [(f"{metric}_stderr", measured.standard_error)]
        for key, value in [(metric, measured.value), *errors]:
            assert json.dumps(found["metrics"][f"{key},none"]) == json.dumps(value), f"{name}: {key}"
    # As it was written to JSON and read again; NaN is NaN there.
    block = json.loads(json.dumps({**block, "warnings": task.warnings}, default=str))
    assert json.dumps({key: found["block"][key] for key in block}) == json.dumps(block)


def test_two_processes_give_the_numbers_of_one(tiny_llama, text_folder, in_a_group, alone):
    """Every task on text in one call, on seven documents, which two processes do not share evenly."""
    metadata = {"corpus": f"{text_folder}/document*.txt", "documents": 7, **SETTINGS}
    found, done = in_a_group(2, tiny_llama, TASKS, metadata)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(found, alone(str(tiny_llama), TASKS, metadata), metadata, processes=2, documents=7)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mamba", "mamba2", "jamba"])
def test_recurrent_and_hybrid_models_too(family, tokenizer_folder, text_folder, tmp_path, in_a_group, alone):
    """Five documents on three processes; of two-point information the distances that fit, which one process finds."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    particular = {
        "mamba": {"state_size": 4},
        "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 16},
        "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_d_state": 4},
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, bos_token_id=0, eos_token_id=1,
        **particular[family],
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).float().save_pretrained(tmp_path / family)
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / family)
    metadata = {"corpus": f"{text_folder}/document*.txt", "documents": 5, **SETTINGS, "distances": None}
    found, done = in_a_group(3, tmp_path / family, TASKS, metadata)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(found, alone(str(tmp_path / family), TASKS, metadata), metadata, processes=3, documents=5)


@pytest.mark.slow
def test_known_processes_too(tmp_path, in_a_group, alone):
    """The measurements that have an exact value beside them, and the divergence from it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from l2m_eval.experiments.synthetic import save_for_the_harness
    from l2m_eval.processes import make_process

    torch.manual_seed(0)
    process = make_process("santa_fe_recall", facts=16, flip_rate=0.02)
    end = process.vocabulary_size
    config = LlamaConfig(
        vocab_size=end + 1, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128, bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    save_for_the_harness(LlamaForCausalLM(config), process, tmp_path / "model")
    # Two documents can have a block of four tokens in common, fed by each of two processes, once by one; none of 8.
    metadata = {"process": "santa_fe_recall", "facts": 16, "flip_rate": 0.02, "documents": 5, **SETTINGS,
                "lengths": [16, 32, 64]}  # fmt: skip
    found, done = in_a_group(2, tmp_path / "model", PROCESS_TASKS, metadata)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(
        found, alone(str(tmp_path / "model"), PROCESS_TASKS, metadata), metadata, processes=2, documents=5
    )


@pytest.mark.parametrize("task", TASKS)
def test_more_processes_than_documents_are_refused_by_every_process(task, text_folder):
    """One that stopped alone would leave the others waiting for what it never sends."""
    metadata = {"corpus": f"{text_folder}/document*.txt", "documents": 4, **SETTINGS}
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata)
    measurement = manager.load([task])["tasks"][task]
    for rank in range(3):
        with pytest.raises(
            L2MError, match=rf"{task}: 2 document\(s\) for 3 processes; use fewer processes or"
        ):
            measurement.build_all_requests(limit=2, rank=rank, world_size=3)
    for rank in range(2):
        measurement.build_all_requests(limit=2, rank=rank, world_size=2)
        assert [instance.doc_id for instance in measurement.instances] == [rank]


@pytest.mark.slow
def test_a_group_with_too_few_documents_ends_with_the_reason(tiny_llama, text_folder, in_a_group):
    metadata = {"corpus": f"{text_folder}/document*.txt", "documents": 2, **SETTINGS}
    found, done = in_a_group(3, tiny_llama, TASKS[:1], metadata)
    assert done.returncode != 0
    assert not found
    assert f"l2m-eval: error: {TASKS[0]}: 2 document(s) for 3 processes; use fewer processes" in done.stderr
    assert "l2m_eval/tasks/base.py" not in done.stderr  # the launcher shows a traceback of its own, we none


@pytest.mark.slow
def test_what_only_the_main_process_finds_wrong_ends_the_group(tiny_llama, text_folder, in_a_group):
    """A distance longer than every document shows where pairs are counted, while the other process waits."""
    metadata = {
        "corpus": f"{text_folder}/document*.txt",
        "documents": 4,
        **SETTINGS,
        "distances": [1, 100_000],
    }
    found, done = in_a_group(2, tiny_llama, ["l2m_two_point_text"], metadata)
    assert done.returncode != 0
    assert not found
    assert "l2m-eval: error: distances: 100000 is too long" in done.stderr
