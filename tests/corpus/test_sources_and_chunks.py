"""What is read, and what is chosen of it."""

import gzip
import json

import numpy as np
import pytest

from l2m_eval.corpus import formats, sources
from l2m_eval.corpus.chunks import check_corpus, draw_sample, sentence_start
from l2m_eval.corpus.files import matching_files
from l2m_eval.corpus.formats import read_files
from l2m_eval.errors import L2MError
from l2m_eval.settings import CorpusSettings, read_settings


def corpus(source, **settings):
    return read_settings(CorpusSettings, {"corpus": source, **settings})


def read(path, column="text"):
    return [(d.name, d.text) for d in read_files(matching_files((str(path),)), column)]


def test_the_same_documents_come_from_every_format(tmp_path):
    import pyarrow
    import pyarrow.parquet

    texts = ["Erster Text.", "二番目の文章。", "third"]
    (tmp_path / "a.txt").write_text(texts[0], encoding="utf-8")
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write(texts[0])
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "c.jsonl").write_text(lines, encoding="utf-8")
    with gzip.open(tmp_path / "d.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(lines)
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "e.parquet")
    assert read(tmp_path / "a.txt") == [("a.txt", texts[0])]
    assert read(tmp_path / "b.txt.gz")[0][1] == texts[0]
    for name in ("c.jsonl", "d.jsonl.gz", "e.parquet"):
        assert [text for _, text in read(tmp_path / name)] == texts


def test_a_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfHello")
    assert read(tmp_path / "a.txt")[0][1] == "Hello"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"good\xff", "not UTF-8: 0xff at byte 4"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "line 2 is not JSON"),
        ("a.jsonl", b'{"body": "x"}\n', "no text field 'text' (fields: ['body'])"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "lone surrogate U+D800"),
        ("a.jsonl", b'{"text": "x"}\n\xff\xfe\n', "not UTF-8: 0xff at line 2, byte 0"),
        ("a.parquet", b"nothing of the kind", "not a parquet file"),
        ("a.txt.gz", b"nothing of the kind", "cannot be read"),
    ],
)
def test_a_broken_file_is_named_with_the_place(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(L2MError, match=name.replace(".", r"\.")) as error:
        read(tmp_path / name)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_gz_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LARGEST_TEXT_BYTES", 1000)
    with gzip.open(tmp_path / "bomb.txt.gz", "wb") as file:
        file.write(b"0" * 1_000_000)
    with pytest.raises(L2MError, match=r"bomb\.txt\.gz holds more than 1,000 bytes"):
        read(tmp_path / "bomb.txt.gz")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nothing/*.txt", "no file matches"),
        ("pg20", "no file matches 'pg20'"),
        ("text", "name them, for example"),
    ],
)
def test_a_corpus_that_does_not_exist_is_one_line(source, says):
    with pytest.raises(L2MError) as error:
        check_corpus(corpus(source), longest=64)
    assert says in str(error.value)


def test_a_folder_is_not_taken_for_its_files(text_folder):
    with pytest.raises(L2MError, match="is a folder"):
        check_corpus(corpus(str(text_folder)), longest=64)


def test_no_document_long_enough_says_what_was_found_and_what_is_needed(text_folder):
    with pytest.raises(L2MError, match=r"the longest of 10 has 8,\d+ bytes, 16,384 are needed"):
        check_corpus(corpus(f"{text_folder}/*.txt"), longest=2048)


@pytest.mark.parametrize("pairing", ["none", "mutual", "separate"])
@pytest.mark.parametrize("documents_wanted", [2, 3, 7, 12, 30])
@pytest.mark.parametrize("partners", [1, 2])
def test_samples_hold_what_they_promise(text_folder, pairing, documents_wanted, partners):
    settings = corpus(f"{text_folder}/*.txt", documents=documents_wanted, partners=partners)
    sample = draw_sample(settings, 64, 7, pairing=pairing)
    assert len(sample) <= documents_wanted
    assert sample.too_short == 1
    assert sample.documents_read == 10
    spans = [(c.source, c.offset, c.offset + c.size) for c in sample.chunks]
    for i, (source, low, high) in enumerate(spans):
        for other_source, other_low, other_high in spans[:i]:
            assert source != other_source or high <= other_low or other_high <= low
    by_group: dict[int, set[int]] = {}
    for chunk in sample.chunks:
        by_group.setdefault(chunk.group, set()).add(chunk.source)
    # No source document is in two groups, so groups are independent.
    assert sum(map(len, by_group.values())) == len({c.source for c in sample.chunks})
    for measured, theirs in zip(sample.measured, sample.partners, strict=True):
        assert len(theirs) == (0 if pairing == "none" else partners)
        for partner in theirs:
            assert sample.chunks[partner].source != sample.chunks[measured].source
            assert sample.chunks[partner].group == sample.chunks[measured].group
            assert (partner in sample.measured) == (pairing == "mutual")


def test_chunks_are_long_enough_and_the_sample_is_full_where_there_is_room(text_folder):
    sample = draw_sample(corpus(f"{text_folder}/*.txt", documents=18), 64, 0, pairing="mutual")
    assert len(sample) == 18
    for chunk in sample.chunks:
        assert len(chunk.text[: chunk.size].encode("utf-8")) >= 0.9 * 8 * 64


def test_fewer_documents_than_asked_for_is_said(text_folder, caplog):
    sample = draw_sample(corpus(f"{text_folder}/*.txt", documents=500), 512, 0, pairing="none")
    assert len(sample) < 500
    assert sample.requested == 500
    assert "500 asked for" in caplog.text


def test_the_seed_fixes_the_sample(text_folder):
    def draw(seed):
        sample = draw_sample(corpus(f"{text_folder}/*.txt", documents=8), 64, seed, pairing="mutual")
        return [(c.label, c.digest) for c in sample.chunks], sample.partners

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_offsets_spread_over_documents(text_folder):
    offsets = [
        chunk.offset / 8000
        for seed in range(40)
        for chunk in draw_sample(corpus(f"{text_folder}/*.txt", documents=9), 64, seed, pairing="none").chunks
    ]
    # 360 offsets spread evenly over [0, 0.94]: mean 0.47, spread of the mean 0.014.
    assert np.mean(offsets) == pytest.approx(0.47, abs=0.06)
    assert np.histogram(offsets, bins=4, range=(0, 1))[0].min() > 40


def test_partners_need_two_source_documents(tmp_path, text_folder):
    (tmp_path / "one.txt").write_text((text_folder / "document0.txt").read_text())
    with pytest.raises(L2MError, match="2 are needed so that partners come from different documents"):
        draw_sample(corpus(str(tmp_path / "one.txt"), documents=4), 64, 0, pairing="mutual")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two three. Four five six. Seven", "Seven"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたか", "どこで生れたか"),
        ("पहला वाक्य है। दूसरा वाक्य है। तीसरा", "तीसरा"),
        ("هل هذا نص؟ نعم هو نص؟ ثالث", "ثالث"),
        ("no stops at all\n\nbut paragraphs\n\nthree of them", "three of them"),
        ('He said "Stop." Then he left. "Why?" asked she', '"Why?" asked she'),
    ],
)
def test_chunks_start_at_sentences_in_any_script(text, expected):
    start = sentence_start(text, text.index(expected) - 2, 0, len(text))
    assert text[start:] == expected


def test_without_sentences_a_chunk_starts_at_a_word_and_without_words_at_a_letter():
    words = "word " * 3000
    assert words[sentence_start(words, 7001, 5000, 9000) :].startswith("word")
    accents = "e\u0301" * 10_000  # letters each followed by a combining accent
    start = sentence_start(accents, 7001, 5000, 9000)
    assert accents[start] == "e"


def test_a_hundred_megabytes_in_one_line_are_cut_like_any_text():
    text = "x" * 10_000_000
    assert 0 <= sentence_start(text, 5_000_001, 4_000_000, 9_000_000) < len(text)


@pytest.fixture
def local_pg19(tmp_path):
    """Parquet files with the schema of the PG19 copy, and of Wikipedia."""
    import pyarrow
    import pyarrow.parquet

    def write(folder, split, columns):
        (tmp_path / folder / "data").mkdir(parents=True)
        path = tmp_path / folder / "data" / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return str(tmp_path / folder)

    texts = [f"Book {i}. " + f"A sentence of book {i}. " * 100 for i in range(6)]
    books = {
        "short_book_title": [f"Title {i}" for i in range(6)],
        "publication_date": pyarrow.array([1900 + i for i in range(6)], pyarrow.int32()),
        "url": [f"http://example.org/{i}" for i in range(6)],
        "text": texts,
    }
    articles = {
        "id": [str(i) for i in range(6)],
        "url": books["url"],
        "title": [f"Article {i}" for i in range(6)],
        "text": texts,
    }
    return write("pg19", "test", books), write("wikipedia", "train", articles)


def test_hub_corpora_are_read_by_their_own_schema(local_pg19, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(sources, "PG19", replace(sources.PG19, path=local_pg19[0]))
    monkeypatch.setattr(sources, "WIKIPEDIA", replace(sources.WIKIPEDIA, path=local_pg19[1], subset=None))
    for name, title in (("pg19", "Title"), ("wikipedia", "Article")):
        sample = draw_sample(corpus(name, documents=4), 64, 0, pairing="mutual")
        assert len(sample) == 4
        assert all(chunk.document.startswith(title) for chunk in sample.chunks)


def test_any_hub_dataset_by_name_and_column(local_pg19):
    sample = draw_sample(corpus(f"hub:{local_pg19[0]}", documents=3, column="text"), 64, 0, pairing="none")
    assert len(sample) == 3
    with pytest.raises(L2MError, match=r"column: 'body' is not a text column .* it has \["):
        draw_sample(corpus(f"hub:{local_pg19[0]}", documents=3, column="body"), 64, 0, pairing="none")


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(L2MError, match=r"emozilla/pg19-test.*Offline, measure files of your own"):
        draw_sample(corpus("pg19"), 64, 0, pairing="none")


def test_reading_a_large_file_keeps_only_what_is_measured(tmp_path):
    """Reservoir sampling: every document is equally likely to be kept, however many there are."""
    with (tmp_path / "many.jsonl").open("w") as file:
        for number in range(400):
            file.write(json.dumps({"text": f"{number:04d} " + "word. " * 100}) + "\n")
    chosen = [
        chunk.source
        for seed in range(30)
        for chunk in draw_sample(
            corpus(str(tmp_path / "many.jsonl"), documents=20), 16, seed, pairing="none"
        ).chunks
    ]
    # 600 draws from 0 .. 399: mean 199.5, spread of the mean 4.7.
    assert np.mean(chosen) == pytest.approx(199.5, abs=20)


@pytest.mark.parametrize("pairing", ["none", "mutual", "separate"])
def test_the_whole_corpus_is_all_documents_however_few_are_measured(text_folder, pairing):
    texts = [file.read_text(encoding="utf-8") for file in sorted(text_folder.glob("*.txt"))]
    for wanted in (2, 6):
        settings = corpus(f"{text_folder}/*.txt", documents=wanted)
        whole = draw_sample(settings, 64, 7, pairing=pairing).whole
        assert [document.text for document in whole.part(2**40)] == texts
        assert whole.size == sum(len(text.encode("utf-8")) for text in texts)


def test_of_a_large_corpus_a_part_is_drawn_that_the_seed_fixes(tmp_path):
    with (tmp_path / "many.jsonl").open("w") as file:
        for number in range(400):
            file.write(json.dumps({"text": f"{number:04d} " + "word. " * 20}) + "\n")
    whole = draw_sample(corpus(str(tmp_path / "many.jsonl"), documents=2), 4, 0, pairing="none").whole
    part = [document.name for document in whole.part(whole.size // 4)]
    # 400 documents, each with probability 1/4: binomial, standard deviation 8.7
    assert len(part) == pytest.approx(100, abs=4 * 8.7)
    assert part == [document.name for document in whole.part(whole.size // 4)]


def test_of_a_stream_the_whole_is_what_was_read(local_pg19):
    sample = draw_sample(corpus(f"hub:{local_pg19[0]}", documents=3), 64, 0, pairing="none")
    assert {d.name for d in sample.whole.part(2**40)} == {chunk.document for chunk in sample.chunks}
