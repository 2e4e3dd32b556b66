"""Text that nobody would write, and that somebody's corpus holds: a correct number, or one line."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from tolerances import of_log_probabilities

from l2m_eval.corpus import formats as documents
from l2m_eval.corpus.chunks import check_corpus, draw_sample
from l2m_eval.corpus.files import matching_files
from l2m_eval.corpus.formats import read_files
from l2m_eval.corpus.sources import HubDataset, read_hub
from l2m_eval.errors import LONGEST_MESSAGE, L2MError, shown
from l2m_eval.history_state import history_state_size
from l2m_eval.history_state.named import state_source
from l2m_eval.measurements.position import PositionRequest
from l2m_eval.results.load import load_results
from l2m_eval.scoring import score_requests
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.settings import BipartiteSettings, CorpusSettings, PositionSettings, read_settings

LENGTH = 48
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one picture, five characters
HOSTILE = {
    "NUL bytes": "nul\x00 \x00\x00 and after. ",
    "control characters": "bell\x07 escape\x1b[31m back\b\x7f delete\x85 next. ",
    "right-to-left": "שלום עולם. مرحبا بالعالم؟ \u202eturned\u202c. ",
    "CJK without spaces": "吾輩は猫である名前はまだ無いどこで生れたかとんと見当がつかぬ",
    "emoji": f"\U0001f600{FAMILY}\U0001f3f3\ufe0f\u200d\U0001f308",
    "combining marks": "e\u0301\u0302\u0303\u0304",
    "special tokens": "<|eos|> text <|bos|><|endoftext|> <s></s> ",
    "white space": " \t\u00a0\u2003\u3000",
    "line breaks of all kinds": "a\r\nb\rc\u2028d\u2029e\x0bf\x0cg",
    "one letter": "x",
    "beyond the basic plane": "\U00010348\U000e0041\U0010fffd\ufffe\uffff",
    "private and unassigned": "\ue000\uf8ff\u0378\ufdd0",
}


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=3, dtype="float32")


def corpus(path, **settings):
    return read_settings(CorpusSettings, {"corpus": str(path), **settings})


def read(path, column="text"):
    return [document.text for document in read_files(matching_files((str(path),)), column)]


def refusal(path):
    with pytest.raises(L2MError) as error:
        check_corpus(corpus(path), longest=4)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_its_loss_is_the_models_own(lm, tmp_path, kind, suffix):
    """From the file to the number, against the definition: the model's log-softmax at the text's own bytes."""
    text = HOSTILE[kind] * (8 * LENGTH // len(HOSTILE[kind].encode()) + 2)
    file = tmp_path / f"hostile{suffix}"
    content = text if suffix == ".txt" else json.dumps({"text": text}) + "\n"
    file.write_text(content, encoding="utf-8", newline="")
    settings = read_settings(PositionSettings, {"corpus": str(file), "documents": 1, "length": LENGTH})
    (chunk,) = draw_sample(settings, LENGTH, 0, pairing="none").chunks
    assert chunk.text in text
    request = PositionRequest(settings, chunk)
    record = json.loads(score_requests(lm, [request], progress=False)[0])
    (window,) = request.plan(Encoder(lm)).windows
    spelt = lm.tokenizer.decode(window.target.tolist(), clean_up_tokenization_spaces=False)
    # A character of several bytes may be cut at the last token; all before it is the text itself.
    assert chunk.text.startswith(spelt.rstrip("\ufffd"))
    assert len(spelt.encode()) >= LENGTH
    assert not {0, 1} & set(window.target.tolist())  # <|bos|> and <|eos|>
    ids = torch.from_numpy(np.concatenate([window.context, window.target]))[None]
    with torch.no_grad():
        log_probs = torch.log_softmax(lm.model(ids).logits.double(), -1)[0]
    own = [log_probs[t - 1, ids[0, t]].item() for t in range(1, ids.shape[1])]
    assert sum(record["sums"]) == pytest.approx(sum(own), abs=of_log_probabilities(LENGTH))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the longest of 1 has 0 bytes"),
        (b"word", "the longest of 1 has 4 bytes"),
        (b"\xef\xbb\xbf", "the longest of 1 has 0 bytes"),
        ("Text of every day.".encode("utf-16"), "convert it, for example with iconv -f utf-16 "),
        ("Text of every day.".encode("utf-16le"), "by its zero bytes, utf-16le; convert it"),
        ("Text of every day.".encode("utf-16be"), "by its zero bytes, utf-16be; convert it"),
        ("Text of every day.".encode("utf-32"), "convert it, for example with iconv -f utf-32 "),
        ("Text of every day.".encode("utf-32be"), "by its zero bytes, utf-32be; convert it"),
        ("Größe. ".encode() + "Größe.".encode("latin1"), "not UTF-8: 0xf6 at byte 11"),
        (b"CESU: \xed\xa0\xbd\xed\xb8\x80", "not UTF-8: 0xed at byte 6"),  # surrogates as bytes
        (b"overlong \xc0\x80", "not UTF-8: 0xc0 at byte 9"),
    ],
)
def test_files_without_enough_text_or_in_other_encodings_are_refused(tmp_path, content, says):
    (tmp_path / "a.txt").write_bytes(content)
    assert says in refusal(tmp_path / "a.txt")


def test_zero_bytes_in_text_are_text(tmp_path):
    text = "A table\x00 of\x00\x00 records\x00 " * 20
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert read(tmp_path / "a.txt") == [text]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"text": "\\udc00 alone"}', "line 2 holds a lone surrogate U+DC00 at character 0"),
        (b'{"text": 5}', "column: 'text' of"),
        (b'["text"]', "no text field 'text' (fields: list)"),
        (b'{"text": ' + b"9" * 5000 + b"}", "line 2 is not JSON: Exceeds the limit"),
        (b"[" * 100_000, "line 2 is not JSON"),
        (b"\x00", "line 2 is not JSON"),
        ('{"text": "Größe"}'.encode("latin1"), "not UTF-8: 0xf6 at line 2"),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path, line, says):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    message = refusal(tmp_path / "a.jsonl")
    assert says in message
    assert len(message) < 1000


def test_of_five_thousand_fields_a_few_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({f"field{n}": 1 for n in range(5000)}))
    message = refusal(tmp_path / "a.jsonl")
    assert "has no text field 'text' (fields: ['field0'" in message
    assert len(message) < 1000


@pytest.mark.parametrize("kind", [".txt.gz", ".jsonl.gz"])
def test_a_packed_file_that_was_damaged_anywhere_is_refused_or_read_whole(tmp_path, kind):
    """Every third byte in turn turned over: what is read is what was written, or one line."""
    text = "".join(random.Random(1).choices("etaoin shrdlu.\n", k=300))
    content = text if kind == ".txt.gz" else json.dumps({"text": text}) + "\n"
    packed = gzip.compress(content.encode())
    file = tmp_path / f"a{kind}"
    refused = 0
    for place in range(0, len(packed), 3):
        file.write_bytes(packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :])
        try:
            assert read(file) == [text]
        except L2MError as error:
            refused += len(str(error).splitlines()) == 1
    for end in range(1, len(packed), 7):
        file.write_bytes(packed[:end])
        with pytest.raises(L2MError, match="cannot be read"):
            read(file)
    assert refused > 0.9 * len(packed) / 3


def test_a_damaged_parquet_file_is_refused_or_read(tmp_path):
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["some text, " * 5] * 3}), file)
    good = file.read_bytes()
    rng = random.Random(0)
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(3):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        file.write_bytes(bad)
        try:
            read(file)
        except L2MError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017


def test_a_name_that_would_write_on_the_terminal_stays_in_its_line(tmp_path):
    file = tmp_path / "a\n\x1b[2J\u202e.txt"
    file.write_bytes(b"\xff")
    message = refusal(file)
    assert message.isprintable()
    assert r"a\n\x1b[2J\u202e.txt" in message


def test_messages_are_one_printable_line_of_bounded_length():
    bomb: list = ["laugh"]
    for _ in range(40):  # as YAML's aliases write it: forty lines, 2^40 words
        bomb = [bomb, bomb]
    for value in (bomb, 10**5000, "x" * 10**6, {"a": "\n"}, float("nan"), object):
        assert len(shown(value)) < 500
        with pytest.raises(L2MError) as error:
            read_settings(BipartiteSettings, {"documents": value})
        assert str(error.value).startswith("documents: ")
        assert str(error.value).isprintable()
    long = str(L2MError("begins " + "x" * 10**6 + " ends"))
    assert len(long) < LONGEST_MESSAGE + 10
    assert long.startswith("begins")
    assert long.endswith("ends")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"documents": "9" * 5000}, "documents: '999"),
        ({"documents": "\u00b2"}, "documents: '\u00b2' is not accepted"),  # a digit to Python, but no number
        ({"documents": "+-5"}, "documents: '+-5' is not accepted"),
        ({"documents": 10**5000}, "documents: a whole number of 16,610 bits is not accepted"),
        ({"documents": 1e308}, "documents: 1e+308 is not accepted"),
        ({"documents": float("nan")}, "documents: nan is not accepted"),
        (
            {"ratios": [3, 5, 7, 11, 13]},
            "divide no default length (up to 2048); give lengths that are multiples of",
        ),
        ({"docments": 5}, "docments: unknown setting (value 5); did you mean documents?"),
        ({"documents\n": 5}, r"documents\n: unknown setting (value 5); did you mean documents?"),
        ({"marginal": {"a": 1}}, "marginal: {'a': 1} is not known"),
    ],
)
def test_settings_of_wrong_types_and_sizes_are_named(metadata, says):
    with pytest.raises(L2MError) as error:
        read_settings(BipartiteSettings, metadata)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "path", ["a\0b", "*\0/x*", "~nobody-of-this-name/x.txt", "x" * 5000, "[" * 50 + "*", "**/**\ud800"]
)
def test_what_is_no_path_is_one_line(path):
    for take in (
        lambda: matching_files((path,)),
        lambda: load_results(path),
        lambda: history_state_size(state_source(path), [4]),
        lambda: history_state_size(path, [4]),
    ):
        with pytest.raises(L2MError) as error:
            take()
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "content",
    ["when: 2001-99-99", "a: " + "[" * 5000, "{" * 20_000, "constant: 1e999", "constant: " + "9" * 5000, "&a [*a]",
     "!!python/object/apply:os.system [true]", "constant: 0x" + "f" * 5000, "? [1]\n: 2", "\0", "--- 1\n--- 2"],
    ids=lambda content: content[:20],
)  # fmt: skip
def test_a_statement_file_that_makes_no_sense_is_one_line(tmp_path, content):
    (tmp_path / "state.yaml").write_text(content)
    with pytest.raises(L2MError) as error:
        history_state_size(state_source(str(tmp_path / "state.yaml")), [4])
    assert str(error.value).isprintable()


def test_a_statement_file_of_aliases_within_aliases_is_refused_at_once(tmp_path):
    """A line that stands for 2^40 words (the "billion laughs"); and one of many megabytes."""
    bomb = "&a0 [ha, ha]"
    for level in range(1, 40):
        bomb = f"&a{level} [{bomb}, *a{level - 1}]"
    (tmp_path / "state.yaml").write_text(f"table: {bomb}")
    with pytest.raises(L2MError, match=r"table: \[\["):
        history_state_size(state_source(str(tmp_path / "state.yaml")), [4])
    (tmp_path / "large.yaml").write_bytes(b"#" * (2**22 + 1))
    with pytest.raises(L2MError, match=r"has more than 4,194,304 bytes"):
        state_source(str(tmp_path / "large.yaml"))


class Breaks:
    """A stream of a hub that goes away in the middle, or holds what is no text."""

    def __init__(self, rows, error=None):
        self.rows, self.error = rows, error

    def __iter__(self):
        yield from self.rows
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (
            Breaks([{"text": "one"}], ConnectionError("reset by peer")),
            "ends with an error after row 0: ConnectionError: reset",
        ),
        (Breaks([{"text": "one"}, {"text": 5}]), "holds 5 in row 1, no text"),
        (Breaks([{"text": "one"}, {"text": "\ud800"}]), "row 1 holds a lone surrogate U+D800"),
    ],
)
def test_a_hub_that_goes_away_in_the_middle_is_one_line(monkeypatch, stream, says):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: stream)
    with pytest.raises(L2MError) as error:
        list(read_hub(HubDataset("owner/name", None, "test", "text", shuffle=False), 0))
    assert says in str(error.value)


# Runs the reading of a file in a process of its own, and says what it took at most.
PEAK = """
import resource, sys
from pathlib import Path
from l2m_eval.corpus.chunks import draw_sample
from l2m_eval.errors import L2MError
from l2m_eval.settings import CorpusSettings, read_settings
path, limit = sys.argv[1:]
if int(limit):
    from l2m_eval.corpus import formats as documents
    documents.LARGEST_TEXT_BYTES = int(limit)
try:
    settings = read_settings(CorpusSettings, {"corpus": path, "documents": 4})
    sample = draw_sample(settings, 2048, 0, pairing="none")
    print(len(sample), max(len(chunk.text) for chunk in sample.chunks))
except L2MError as error:
    print(error)
status = Path("/proc/self/status")  # getrusage would report the process that started this one, if larger
if status.exists():
    print(int(status.read_text().split("VmHWM:")[1].split()[0]) // 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak(path, limit=0):
    """What was printed, and MiB of memory at most."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), str(limit)], capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said, megabytes = done.stdout.strip().splitlines()
    return said, int(megabytes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".txt.gz"])
def test_a_hundred_megabytes_in_one_line(lm, tmp_path, kind):
    """Read, cut and split into tokens; memory holds the text a few times, the window is what was asked for."""
    file = tmp_path / f"line{kind}"
    text = "吾輩は猫である" * (100 * 2**20 // 21)
    if kind == ".jsonl":
        file.write_text(json.dumps({"text": text}, ensure_ascii=False), encoding="utf-8")
    elif kind == ".txt.gz":
        file.write_bytes(gzip.compress(text.encode(), 1))
    else:
        file.write_text(text, encoding="utf-8")
    said, megabytes = peak(file)
    assert said == "4 21848"  # 2048 tokens at 8 bytes, the reserve of 4, three bytes a character
    assert megabytes < 1500
    settings = read_settings(PositionSettings, {"corpus": str(file), "documents": 2, "length": LENGTH})
    sample = draw_sample(settings, LENGTH, 0, pairing="none")
    records = score_requests(
        lm, [PositionRequest(settings, chunk) for chunk in sample.chunks], progress=False
    )
    assert all(np.isfinite(json.loads(record)["sums"]).all() for record in records)


@pytest.mark.slow
def test_a_gz_bomb_takes_the_memory_of_the_limit_and_no_more(tmp_path):
    """A gibibyte of zeros in a megabyte: refused at the limit, here of 64 MiB, and never unpacked beyond it."""
    file = tmp_path / "bomb.txt.gz"
    with gzip.open(file, "wb", compresslevel=1) as packed:
        for _ in range(1024):
            packed.write(bytes(2**20))
    assert file.stat().st_size < 8 * 2**20
    assert documents.LARGEST_TEXT_BYTES == 2 * 2**30  # as documented; the test's own limit is smaller
    said, megabytes = peak(file, 64 * 2**20)
    assert "holds more than 67,108,864 bytes of text in one document; split it" in said
    assert megabytes < 800
