"""Scores on disk: what is kept, what is never mixed up, and what becomes of a damaged file."""

import multiprocessing
import sqlite3

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from l2m_eval.harness.oracle import OracleLM
from l2m_eval.scoring.finished import FinishedWindows, model_fingerprint
from l2m_eval.scoring.scorer import Scored
from l2m_eval.scoring.windows import Window

MODEL = ("fingerprint", "a model")


def window(seed, cuts=(3, 10)):
    rng = np.random.default_rng(seed)
    return Window(rng.integers(0, 99, 5), rng.integers(0, 99, 10), cuts, "test")


def scored(seed):
    return Scored(np.random.default_rng(seed).normal(size=2), 15)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache_rank0.l2m.db"


def test_scores_come_back_to_the_last_bit(path):
    FinishedWindows(path, MODEL).put([(window(i), scored(i)) for i in range(5)])
    found = FinishedWindows(path, MODEL).get([window(3), window(1)])
    assert [s.sums.tobytes() for s in found] == [scored(3).sums.tobytes(), scored(1).sums.tobytes()]
    assert found[0].tokens == 15


def test_a_batch_is_finished_only_as_a_whole(path):
    store = FinishedWindows(path, MODEL)
    store.put([(window(0), scored(0))])
    assert store.get([window(0), window(1)]) is None


def test_other_tokens_cuts_and_models_are_other_windows(path, caplog):
    store = FinishedWindows(path, MODEL)
    store.put([(window(0), scored(0))])
    moved = Window(np.append(window(0).context, window(0).target[:1]), window(0).target[1:], (3, 9), "test")
    assert store.get([window(1)]) is None
    assert store.get([window(0, cuts=(4, 10))]) is None
    assert store.get([moved]) is None
    other = FinishedWindows(path, ("another", "a second model"))
    assert other.get([window(0)]) is None
    assert (
        "holds scores of another model or precision (a model), which are not used for a second model"
        in caplog.text
    )


def test_a_score_that_was_altered_is_not_used(path):
    FinishedWindows(path, MODEL).put([(window(0), scored(0))])
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE finished SET sums = ?", (np.zeros(2).tobytes(),))
    connection.close()
    assert FinishedWindows(path, MODEL).get([window(0)]) is None


@pytest.mark.parametrize("damage", ["text", "middle", "empty", "newer"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path, caplog, damage):
    FinishedWindows(path, MODEL).put([(window(i), scored(i)) for i in range(200)])
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"not a database at all, whatever it is called" * 100)
    elif damage == "middle":
        data[4096 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4096)
    elif damage == "empty":
        data = bytearray()
    if damage == "newer":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        path.write_bytes(data)
    store = FinishedWindows(path, MODEL)
    assert store.get([window(0)]) is None
    store.put([(window(0), scored(0))])
    assert store.get([window(0)]) is not None
    if damage != "empty":  # an empty file is a new one
        assert "is damaged" in caplog.text
        assert (path.parent / f"{path.name}.damaged1").exists()


def _write(path, first):
    store = FinishedWindows(path, MODEL)
    for i in range(first, first + 50):
        store.put([(window(i), scored(i))])


def test_two_processes_on_one_file_do_not_lose_or_corrupt_anything(path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(path, first)) for first in (0, 50)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = FinishedWindows(path, MODEL).get([window(i) for i in range(100)])
    assert all((s.sums == scored(i).sums).all() for i, s in enumerate(found))


def test_a_full_disk_costs_the_continuation_and_not_the_run(path, caplog):
    store = FinishedWindows(path, MODEL)
    store._connection.execute("PRAGMA max_page_count = 8")
    for i in range(300):
        store.put([(window(i), scored(i))])
    assert "cannot be written (database or disk is full); the run continues" in caplog.text
    assert caplog.text.count("cannot be written") == 1


def test_a_model_is_known_by_its_weights_and_precision_not_by_where_it_lies(tiny_llama, tmp_path):
    import shutil

    moved = tmp_path / "moved"
    shutil.copytree(tiny_llama, moved)
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", dtype="float32")
    other_place = HFLM(pretrained=str(moved), device="cpu", dtype="float32", batch_size=7)
    assert model_fingerprint(lm)[0] == model_fingerprint(other_place)[0]
    half = HFLM(pretrained=str(tiny_llama), device="cpu", dtype="bfloat16")
    assert model_fingerprint(half)[0] != model_fingerprint(lm)[0]
    with torch.no_grad():
        other_place.model.model.layers[1].mlp.up_proj.weight += 1e-3
    assert model_fingerprint(other_place)[0] != model_fingerprint(lm)[0]


def test_processes_are_known_by_their_settings(tmp_path):
    one, same, other = OracleLM(facts=64), OracleLM(facts=64, batch_size=4), OracleLM(facts=65)
    assert model_fingerprint(one) == model_fingerprint(same)
    assert model_fingerprint(one)[0] != model_fingerprint(other)[0]
