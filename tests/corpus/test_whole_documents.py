"""Documents read whole: which, in what order, and that their text comes back as it was."""

import numpy as np
import pytest

from l2m_eval.corpus.whole_documents import check_whole_documents, read_whole_documents
from l2m_eval.errors import L2MError
from l2m_eval.settings import TwoPointSettings, read_settings


@pytest.fixture
def folder(tmp_path):
    texts = {f"{number:02d}.txt": f"Document {number}. " * (number + 1) for number in range(20)}
    texts["00.txt"] = ""  # nothing in it
    texts["01.txt"] = "naïve 日本語 🙂\x00 \u202e right to left"
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path, texts


def settings(folder, **given):
    return read_settings(TwoPointSettings, {"corpus": f"{folder}/*.txt", **given})


@pytest.mark.parametrize("in_memory", [10, 2**20])
def test_texts_come_back_as_they_were_and_empty_ones_not_at_all(folder, in_memory, monkeypatch):
    monkeypatch.setattr("l2m_eval.corpus.whole_documents.IN_MEMORY_BYTES", in_memory)
    path, texts = folder
    documents = read_whole_documents(settings(path), seed=0)
    assert {d.name: documents.text(i) for i, d in enumerate(documents)} == {
        name: text for name, text in texts.items() if text
    }
    assert documents.read == 20


def test_the_seed_fixes_order_and_choice_and_every_document_may_be_chosen(folder):
    path, _ = folder
    chosen = [[d.name for d in read_whole_documents(settings(path, documents=5), seed)] for seed in range(60)]
    assert chosen[7] == [d.name for d in read_whole_documents(settings(path, documents=5), 7)]
    assert all(len(set(names)) == 5 for names in chosen)
    counts = np.unique(np.concatenate(chosen), return_counts=True)[1]
    # 19 documents, 300 choices: 15.8 each, binomial with standard deviation 3.4; a fixed choice would leave some out
    assert len(counts) == 19
    assert counts.max() < 15.8 + 4.5 * 3.4


def test_a_stream_is_read_no_further_than_asked_for(folder, monkeypatch):
    from l2m_eval.corpus import whole_documents
    from l2m_eval.corpus.rows import Document

    read = []

    def stream():
        for number in range(10**9):
            read.append(number)
            yield Document(str(number), f"text {number}")

    monkeypatch.setattr(whole_documents, "read_documents", lambda *_: (stream(), True))
    documents = read_whole_documents(settings(folder[0], documents=30), seed=1)
    assert len(documents) == len(read) == 30


def test_chunks_are_of_the_size_asked_for(folder):
    documents = read_whole_documents(settings(folder[0], documents=4, chunk_bytes=100), seed=1)
    assert [d.size for d in documents] == [100] * 4


def test_a_corpus_without_text_is_one_line(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(L2MError, match="has no text"):
        read_whole_documents(settings(tmp_path), seed=0)


def test_sampled_documents_are_long_enough_for_the_distances():
    process = {"corpus": "process", "length": 64}
    check_whole_documents(read_settings(TwoPointSettings, process))
    with pytest.raises(L2MError, match="distances: 64 is too long for sampled documents of 64 tokens"):
        check_whole_documents(read_settings(TwoPointSettings, {**process, "distances": [1, 64]}))
