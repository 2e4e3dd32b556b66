"""The same text is the same documents, whatever the file is called and packed in; what is not known is refused."""

import bz2
import gzip
import json
import lzma
import shutil

import datasets
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from l2m_eval.corpus.chunks import draw_sample
from l2m_eval.corpus.files import matching_files
from l2m_eval.corpus.formats import read_files
from l2m_eval.corpus.rows import LeftOut
from l2m_eval.corpus.sources import HubDataset, read_hub
from l2m_eval.errors import L2MError
from l2m_eval.settings import CorpusSettings, read_settings

TEXTS = ["Erster Text, mit „Zeichen“.\n\nAbsatz.", "二番目の文章。", 'third, "quoted" \t text', *"abcde"]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()


def read(path, split="test"):
    return [d.text for d in read_files(matching_files((str(path),)), "text", split=split)]


def zstd(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKINGS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def packed_table(write):
    sink = pyarrow.BufferOutputStream()
    write(pyarrow.table({"id": range(len(TEXTS)), "text": TEXTS}), sink)
    return sink.getvalue().to_pybytes()


def ipc_stream(table, sink):
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def csv_of(separator):
    rows = [separator.join(('"' + text.replace('"', '""') + '"', "7")) for text in TEXTS]
    return "\r\n".join([f"text{separator}id", *rows]).encode()


ROWS = {
    "a.jsonl": LINES,
    "a.ndjson": LINES,
    "a.json": LINES,
    "list.json": json.dumps([{"text": text} for text in TEXTS], indent=2).encode(),
    "columns.json": json.dumps({"text": TEXTS, "id": list(range(len(TEXTS)))}).encode(),
    "without": LINES,
    "part.0001": LINES,
    "unknown.data": LINES,
    "a.csv": csv_of(","),
    "a.tsv": csv_of("\t"),
    "a.parquet": packed_table(pyarrow.parquet.write_table),
    "tablewithout": packed_table(pyarrow.parquet.write_table),
    "a.arrow": packed_table(ipc_stream),
    "a.feather": packed_table(lambda table, sink: pyarrow.feather.write_feather(table, sink)),
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ROWS)
def test_rows_are_the_same_documents_in_every_file(tmp_path, name, packing):
    (tmp_path / (name + packing)).write_bytes(PACKINGS[packing](ROWS[name]))
    assert read(tmp_path / (name + packing)) == TEXTS


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "README", "vol. 2", "Mr. Smith", "a.TXT", "a.2024"])
def test_text_is_one_document_in_every_file(tmp_path, name, packing):
    text = "[Illustration]\n\nChapter 1. {It} begins.\n" * 3
    (tmp_path / (name + packing)).write_bytes(PACKINGS[packing](text.encode()))
    assert read(tmp_path / (name + packing)) == [text]


@pytest.mark.parametrize("packing", [".gz", ".bz2", ".xz", ".zst"])
def test_a_packed_file_without_its_ending_is_unpacked(tmp_path, packing):
    (tmp_path / "a.jsonl").write_bytes(PACKINGS[packing](LINES))
    assert read(tmp_path / "a.jsonl") == TEXTS


@pytest.mark.parametrize("packing", [".gz", ".bz2", ".xz", ".zst"])
def test_a_torn_packed_file_is_one_line(tmp_path, packing):
    whole = PACKINGS[packing](LINES * 20)
    (tmp_path / f"a.jsonl{packing}").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(L2MError, match="cannot be read") as error:
        read(tmp_path / f"a.jsonl{packing}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["a.pdf", "a.docx", "a.zip", "a.tar", "a.epub", "a.pickle", "a.7z", "a.xyz.gz"]
)
def test_an_ending_that_is_not_known_is_refused_by_name(tmp_path, name):
    content = b"words of every day. "
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(L2MError, match="has an unknown extension; give text") as error:
        read(tmp_path / name)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'{"text": ', "is not JSON with rows of text: Expecting value"),
        ("a.json", b"5", "is not JSON with rows of text: a single value"),
        ("a.json", b'["text"]', "row 0 has no text field 'text' (fields: str)"),
        ("a.json", b'{"body": "x"}', "has no text field 'text' (fields: ['body'])"),
        ("a.csv", b"body,id\nx,1\n", "has no column 'text' (columns: ['body', 'id'])"),
        ("a.csv", b"", "has no column 'text' (columns: [])"),
        ("a.csv", b'text\n"open', "is not CSV: unexpected end of data"),
        ("a.csv", b"text\ngr\xf6sse\n", "is not UTF-8: 0xf6"),
        ("a.arrow", b"nothing of the kind", "is not an Arrow file that can be read"),
        ("a.parquet.zst", zstd(b"nothing of the kind"), "is not a parquet file that can be read"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(L2MError) as error:
        read(tmp_path / name)
    assert says in str(error.value)
    assert str(tmp_path / name) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_saved_dataset_is_its_rows(tmp_path):
    """As `save_to_disk` leaves it: whole, with splits, and with rows in another order than they are stored in."""
    dataset = datasets.Dataset.from_dict({"text": TEXTS, "id": list(range(len(TEXTS)))})
    dataset.save_to_disk(tmp_path / "whole")
    datasets.DatasetDict({"train": dataset, "test": dataset.select([2, 0])}).save_to_disk(tmp_path / "splits")
    assert read(tmp_path / "whole") == TEXTS
    assert read(tmp_path / "splits", "train") == TEXTS
    assert read(tmp_path / "splits") == [TEXTS[2], TEXTS[0]]
    with pytest.raises(L2MError, match=r"split: 'dev' is not in .*splits, which has \['test', 'train'\]"):
        read(tmp_path / "splits", "dev")
    named = HubDataset(str(tmp_path / "whole"), None, "test", "text")
    assert sorted(d.text for d in read_hub(named, 0)) == sorted(TEXTS)


@pytest.mark.parametrize("name", ["a [1].txt", "b*?.txt", "[c]/d[!e].txt"])
def test_brackets_and_stars_in_a_name_are_the_name(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("literal")
    (tmp_path / "a 1.txt").write_text("what the glob would match")
    assert read(file) == ["literal"]


# Rows without text


@pytest.mark.parametrize("place", [0, 3, 7])
@pytest.mark.parametrize("empty", [None, ""])
def test_rows_without_text_are_skipped_and_counted_everywhere(tmp_path, monkeypatch, place, empty):
    texts = [*TEXTS[:place], empty, *TEXTS[place:]]
    rows = [{"id": number, "text": text} for number, text in enumerate(texts)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    missing = [{k: v for k, v in row.items() if v is not None} for row in rows]
    (tmp_path / "missing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in missing))
    table = pyarrow.table({"text": pyarrow.array(texts, pyarrow.string())})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    pyarrow.feather.write_feather(table, tmp_path / "a.feather")
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(tmp_path / "saved")
    for name in ("a.jsonl", "a.json", "missing.jsonl", "a.parquet", "a.feather", "saved"):
        left_out = LeftOut()
        found = [d.text for d in read_files([tmp_path / name], "text", left_out=left_out)]
        assert (found, left_out.without_text) == (TEXTS, 1), name
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: iter(rows))
    left_out = LeftOut()
    hub = HubDataset("owner/name", None, "test", "text", shuffle=False)
    assert [d.text for d in read_hub(hub, 0, left_out)] == TEXTS
    assert left_out.without_text == 1


@pytest.mark.slow
def test_a_shuffled_dataset_with_a_null_is_measured_at_every_seed(tmp_path, caplog):
    """Whichever row comes first: the null is no reason to refuse at some seeds and not at others."""
    (tmp_path / "data").mkdir()
    texts = [None, *(f"Row {n}: " + " ".join(str(n * k) for k in range(200)) for n in range(5))]
    pyarrow.parquet.write_table(
        pyarrow.table({"text": texts}), tmp_path / "data" / "test-00000-of-00001.parquet"
    )
    settings = read_settings(
        CorpusSettings, {"corpus": f"hub:{tmp_path}", "documents": 20, "chunk_bytes": 50}
    )
    for seed in range(6):
        sample = draw_sample(settings, 4, seed, pairing="none")
        assert len({chunk.source for chunk in sample.chunks}) == 5
        assert sample.left_out.without_text == 1
    assert "left out 1 row(s) without text" in caplog.text


# Documents that are there twice


@pytest.fixture
def books(tmp_path):
    """Six different texts of 6000 bytes."""
    import random

    rng = random.Random(1)
    for number in range(6):
        words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(1000)]
        (tmp_path / f"book{number}.txt").write_text(". ".join(words)[:6000])
    return tmp_path


def sample_of(*patterns, **settings):
    settings = read_settings(
        CorpusSettings, {"corpus": [str(p) for p in patterns], "documents": 50, **settings}
    )
    return draw_sample(settings, 32, 3, pairing="mutual")


def measured(sample):
    return [(chunk.digest, chunk.group) for chunk in sample.chunks], sample.measured, sample.partners


def test_a_document_under_two_names_is_one(books, monkeypatch, caplog):
    """Links, relative beside absolute paths, copies in other formats: the sample is that of each book once."""
    alone = measured(sample_of(books / "*.txt"))
    monkeypatch.chdir(books)
    (books / "zlink.txt").symlink_to(books / "book1.txt")
    assert measured(sample_of(books / "*.txt", "book0.txt", "./book2.txt")) == alone
    shutil.copy(books / "book3.txt", books / "zcopy.txt")
    row = json.dumps({"text": (books / "book4.txt").read_text()})
    (books / "zcopy.jsonl").write_text(row)
    caplog.clear()
    repeated = sample_of(books / "*.txt", books / "*.jsonl", "book0.txt")
    assert measured(repeated) == alone
    assert repeated.left_out.identical == 2
    assert "left out 2 document(s) identical to an earlier one" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:3000] + "!" + text[3000:],
        lambda text: "Another edition, with a preface. " * 20 + text,
        lambda text: text.replace(" a", " an"),
        lambda text: text[500:] + "\n",
    ],
)
def test_a_nearly_identical_document_is_no_partner_of_its_original(books, caplog, change):
    alone = measured(sample_of(books / "*.txt"))
    (books / "zother.txt").write_text(change((books / "book2.txt").read_text()))
    sample = sample_of(books / "*.txt")
    assert measured(sample) == alone
    assert sample.left_out.similar == 1
    assert "left out 1 document(s) nearly identical to an earlier one" in caplog.text


def test_documents_that_share_a_licence_or_are_all_alike_are_kept(books):
    licence = "This text is free to copy; keep this notice with it. " * 10
    for file in books.glob("*.txt"):
        file.write_text(licence + file.read_text() + licence)
    assert sample_of(books / "*.txt").left_out.repeated == 0


def test_too_few_documents_because_they_are_the_same_says_so(tmp_path, books):
    shutil.copy(books / "book0.txt", books / "copy.txt")
    with pytest.raises(
        L2MError, match=r"1 source document\(s\) .* \(1 document\(s\) identical to an earlier one left"
    ):
        sample_of(books / "book0.txt", books / "copy.txt")
