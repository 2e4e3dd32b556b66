"""What a run measures follows from its settings and its seed: not from the order in which things come, from
`--limit`, or from the harness' other seeds."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tolerances import assert_same_scores, of_log_probabilities

from l2m_eval.harness.oracle import OracleLM
from l2m_eval.harness.registration import tasks_folder

TASKS = [
    "l2m_bipartite_text",
    "l2m_condition_text",
    "l2m_position_nll_text",
    "l2m_two_point_text",
    "l2m_two_point_generated_text",
]
SETTINGS = {
    "documents": 6,
    "lengths": [8, 16, 32, 64],
    "length": 64,
    "distances": [1, 2, 4],
    "resamples": 100,
}


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4, dtype="float32")


@pytest.fixture(scope="module")
def corpus(text_folder):
    return [str(text_folder / f"document{number}.txt") for number in range(6)]


def manager(metadata):
    return TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata)


def results(lm, tasks, metadata, **arguments):
    """Everything that the harness reports and logs of the tasks, as JSON has it."""
    answer = simple_evaluate(
        lm,
        tasks=tasks,
        task_manager=manager(metadata),
        metadata=metadata,
        bootstrap_iters=0,
        log_samples=True,
        **arguments,
    )
    found = {
        task: {
            "metrics": answer["results"][task],
            "block": answer["configs"][task]["l2m"],
            "samples": [(sample["doc"], sample["filtered_resps"]) for sample in answer["samples"][task]],
        }
        for task in tasks
    }
    return json.loads(json.dumps(found, default=str))


@pytest.fixture(scope="module")
def reference(lm, corpus):
    return results(lm, TASKS, {"corpus": corpus, **SETTINGS})


def test_the_harness_other_seeds_and_the_order_of_files_change_no_bit(lm, corpus, reference):
    """The seed of few-shot examples is the sample's (`--seed`); those of random, numpy and torch are not used."""
    other = results(
        lm,
        TASKS,
        {"corpus": corpus[::-1], **SETTINGS},
        random_seed=5,
        numpy_random_seed=6,
        torch_random_seed=7,
    )
    for task in TASKS:
        named = {"corpus": reference[task]["block"]["settings"]["corpus"]}
        other[task]["block"]["settings"] |= named  # as the user wrote it
        # NaN is NaN: compared as text.
        assert json.dumps(other[task]) == json.dumps(reference[task]), task


def test_what_a_task_costs_does_not_depend_on_its_company(reference):
    """`l2m_condition` needs the windows of `l2m_bipartite`: they are read once and count with both."""
    bipartite, condition = (reference[task]["metrics"]["tokens_scored,none"] for task in TASKS[:2])
    assert bipartite == condition > 0


@pytest.mark.parametrize("task", ["l2m_condition_text", "l2m_two_point_generated_text"])
@pytest.mark.parametrize("limit", [2, 5])
def test_a_limited_run_is_the_beginning_of_the_whole_one(lm, corpus, reference, task, limit):
    """For the other tasks see their own tests."""
    limited = results(lm, [task], {"corpus": corpus, **SETTINGS}, limit=limit)[task]["samples"]
    whole = reference[task]["samples"][:limit]
    assert [doc for doc, _ in limited] == [doc for doc, _ in whole]
    # A partner that is not measured itself is scored beside the document: its part of the record is not compared.
    compared = {"generated", "conditional", "marginal", "state"}
    records, others = (
        [
            {name: part for name, part in json.loads(record).items() if name in compared}
            for _, (record,) in samples
        ]
        for samples in (limited, whole)
    )
    assert_same_scores(records, others, of_log_probabilities(SETTINGS["length"]))


def test_a_limited_divergence_is_the_beginning_of_the_whole_one():
    process = {"process": "markov", "states": 8, "persistence": 0.5}
    metadata = {**process, "documents": 8, "length": 32}
    whole = results(OracleLM(**process), ["l2m_kl_process"], metadata)
    limited = results(OracleLM(**process), ["l2m_kl_process"], metadata, limit=3)
    assert limited["l2m_kl_process"]["samples"] == whole["l2m_kl_process"]["samples"][:3]


@pytest.fixture(scope="module")
def gathered(lm, corpus):
    """Tasks after a run, with what was gathered of each document, in the order of the documents."""
    metadata = {"corpus": corpus, **SETTINGS}
    found = []
    for name in TASKS[:3]:
        task = manager(metadata).load([name])["tasks"][name]
        task.set_fewshot_seed(1234)
        task.build_all_requests()
        requests = task.instances
        answers = lm.l2m_logprobs(requests)
        found.append(
            [
                task,
                [
                    task.process_results(request.doc, [answer])
                    for request, answer in zip(requests, answers, strict=True)
                ],
            ]
        )
    return found


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)))
def test_the_order_in_which_documents_are_gathered_changes_no_bit(gathered, order):
    """Several processes give them back process by process."""
    for task, documents in gathered:
        names = list(documents[0])
        in_order = [task.aggregation()[name]([document[name] for document in documents]) for name in names]
        shuffled = [task.aggregation()[name]([documents[i][name] for i in order]) for name in names]
        assert json.dumps(shuffled) == json.dumps(in_order)
