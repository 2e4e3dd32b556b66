"""Whatever a parser is given, it answers with a valid object or with one line of ours, never with another exception.

Short here, with inputs that hypothesis draws; ``run.py`` beside this file runs the same properties for as long as
one likes under atheris, which follows what the code does with its input. `RAW` are properties of bytes, `DRAWN` of
values.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import logging
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from l2m_eval.corpora import draw_sample
from l2m_eval.documents import read_files
from l2m_eval.errors import L2MError
from l2m_eval.history_state import history_state_size, state_growth
from l2m_eval.history_state.sources import state_source
from l2m_eval.history_state.state import HistoryState
from l2m_eval.measurements.position import PositionRequest
from l2m_eval.processes import PROCESSES
from l2m_eval.processes.oracle import OracleLM
from l2m_eval.results import latest, load_results
from l2m_eval.saved_check import check_results, curve_of, distinct_curves, law_of
from l2m_eval.scoring.base import Scored
from l2m_eval.scoring.finished import FinishedWindows
from l2m_eval.scoring.tokens import Encoder
from l2m_eval.settings import TASK_SETTINGS, CorpusSettings, PositionSettings, read_settings
from l2m_eval.windows import Window

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "results"


@contextlib.contextmanager
def valid_or_one_line() -> Iterator[None]:
    """Fails for any exception but an `L2MError` of one printable line."""
    message = "fine"
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except L2MError as error:
        message = str(error)
    finally:
        logging.disable(logging.NOTSET)
    assert message.strip()
    assert len(message.splitlines()) == 1
    assert len(message) < 2100


# --- values -----------------------------------------------------------------------------------------------------

numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63), 10**400, 1e308, -0.0])
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
_SETTING_NAMES = sorted(
    {name for kind in TASK_SETTINGS.values() for name in kind.__dataclass_fields__}
    | {name for kind in PROCESSES.values() for name in kind.__dataclass_fields__}
)
_WORDS = ["process", "pg19", "hub:", "hub:a/b", "text", "none", "auto", "vclub", "direct", "ngram", "true", "1,2", "",
          *PROCESSES]  # fmt: skip
setting_values = (
    values | st.sampled_from(_WORDS) | st.lists(st.sampled_from(_WORDS) | st.integers(1, 99), max_size=3)
)


@given(
    st.sampled_from(sorted(TASK_SETTINGS)),
    st.dictionaries(
        st.sampled_from([*_SETTING_NAMES, "document", "x\ny"]) | st.text(max_size=9), setting_values
    ),
)
def settings_of_a_task(kind: str, metadata: dict[str, Any]) -> None:
    with valid_or_one_line():
        read = read_settings(TASK_SETTINGS[kind], metadata)
        assert 1 <= read.longest <= 2**26
        assert read.documents >= 1


@given(
    st.sampled_from([*PROCESSES, "santa_fee"]),
    st.dictionaries(st.sampled_from(_SETTING_NAMES) | st.text(max_size=9), setting_values, max_size=4),
    st.booleans(),
)
def arguments_of_the_oracle(process: str, arguments: dict[str, Any], known_only: bool) -> None:
    if known_only and process in PROCESSES:
        known = set(PROCESSES[process].__dataclass_fields__) | {"seed", "max_length"}
        arguments = {key: value for key, value in arguments.items() if key in known}
    arguments.pop("process", None)
    with valid_or_one_line():
        lm = OracleLM(process=process, **arguments)
        assert lm.process.vocabulary_size >= 1
        assert lm.tok_encode(lm.tok_decode([0])) == [0]


_formulas = st.sampled_from(
    ["L", "2*n*L", "64*min(L, 4096)", "n**L", "L/(L-4)", "log(L)*n", "floor(L)", "9**9**9", "L if n else 1"]
)


@given(
    st.dictionaries(
        st.sampled_from(["formula", "table", "constant", "bits", "name", "n", "layers"])
        | st.text(max_size=5),
        values
        | _formulas
        | st.dictionaries(st.integers(-1, 99) | st.text("0123456789", max_size=3), numbers),
        max_size=4,
    )
    | _formulas.map(lambda formula: {"formula": formula, "n": 3})
    | st.tuples(_formulas, numbers).map(lambda pair: {"formula": pair[0], "n": pair[1]}),
    st.lists(st.integers(-1, 2**41) | values, max_size=3),
)
def statement_of_a_state(statement: dict[Any, Any], lengths: list[Any]) -> None:
    assume("model_type" not in statement)
    with valid_or_one_line():
        state = history_state_size(statement, lengths)
        assert (state.elements >= 0).all()
        assert (state.bits >= 0).all()
        state_growth(state)
        again = HistoryState.from_json(json.loads(json.dumps(state.to_json())))
        assert (again.elements == state.elements).all()


_MODEL_TYPES = [
    "llama",
    "mamba",
    "mamba2",
    "gpt2",
    "mistral",
    "gemma3_text",
    "deepseek_v3",
    "jamba",
    "qwen3",
    "t5",
    "no_such",
]
_SMALL = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8, "vocab_size": 16,
          "num_attention_heads": 2, "num_key_value_heads": 1, "n_layer": 1, "n_embd": 8, "n_head": 2}  # fmt: skip
_CONFIG_NAMES = [*_SMALL, "head_dim", "sliding_window", "max_position_embeddings", "state_size", "expand",
                 "conv_kernel", "layer_types", "rope_theta", "rope_scaling", "torch_dtype", "dtype", "use_cache",
                 "architectures", "quantization_config", "auto_map", "is_encoder_decoder", "num_experts",
                 "kv_lora_rank", "pad_token_id", "attn_implementation", "hidden_act",
                 "tie_word_embeddings"]  # fmt: skip


@given(
    st.sampled_from(_MODEL_TYPES),
    st.dictionaries(
        st.sampled_from(_CONFIG_NAMES),
        # a size in the thousands is honest, only slow to build
        st.integers(-2, 64) | st.floats(-2, 64) | st.booleans() | st.none() | st.text(max_size=6)
        | st.sampled_from(["full_attention", "sliding_attention", "bfloat16", "float99", "silu"])
        | st.lists(st.sampled_from(["full_attention", "sliding_attention", "mamba", 3]), max_size=3)
        | st.dictionaries(st.text(max_size=6), scalars, max_size=2),
        max_size=3,
    ),
)  # fmt: skip
def configuration_of_a_model(model_type: str, changes: dict[str, Any]) -> None:
    with valid_or_one_line():
        state = history_state_size({"model_type": model_type, **_SMALL, **changes}, [4, 16])
        assert (state.total >= 0).all()


# --- files ------------------------------------------------------------------------------------------------------

SUFFIXES = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz", ".parquet", ".parquet.gz", "", ".JSONL")


def a_corpus_file(data: bytes) -> None:
    """The first byte says how the file ends and whether the rest is packed for it; the rest is the content."""
    if not data:
        return
    suffix, content = SUFFIXES[data[0] % len(SUFFIXES)], data[1:]
    if suffix.endswith(".gz") and data[0] >= 128:
        content = gzip.compress(content, 1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"text{suffix}"
        file.write_bytes(content)
        with valid_or_one_line():
            for document in read_files([file], "text"):
                document.text.encode("utf-8")
        with valid_or_one_line():
            corpus = read_settings(CorpusSettings, {"corpus": str(file), "documents": 3, "chunk_bytes": 16})
            sample = draw_sample(corpus, 4, 0, pairing="none")
            assert len(sample) >= 1
            for chunk in sample.chunks:
                assert 0 < chunk.size <= len(chunk.text)


def a_statement_file(data: bytes) -> None:
    """What ``--state FILE`` reads."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.yaml"
        file.write_bytes(data)
        with valid_or_one_line():
            source = state_source(str(file))
            if not isinstance(source, str):
                history_state_size(source, [4, 16])


def a_named_state(data: bytes) -> None:
    """What ``--state TEXT`` reads, up to where a hub id would be looked up."""
    with valid_or_one_line():
        source = state_source(data.decode("utf-8", "surrogateescape"))
        if not isinstance(source, str) and "model_type" not in source:
            history_state_size(source, [4, 16])


def metadata_json(data: bytes) -> None:
    """What ``--metadata JSON`` hands over."""
    try:
        metadata = json.loads(data)
    except (ValueError, RecursionError):  # the harness says so itself
        return
    if isinstance(metadata, dict):
        for kind in TASK_SETTINGS.values():
            with valid_or_one_line():
                read_settings(kind, metadata)


def _use_results(folder: Path) -> None:
    with valid_or_one_line():
        found = latest(load_results(folder))
        for one in found:
            assert str(one)
            assert isinstance(one.corpus, str)
        for one in distinct_curves(found):
            for curve in one.bipartite:
                with valid_or_one_line():
                    law_of(one, curve.name)
                with valid_or_one_line():
                    curve_of(one, curve.name, unit="bytes")
                with valid_or_one_line():
                    state = history_state_size({"formula": "8*L"}, [4, 16])
                    check_results(one, state=state, curve=curve.name)


def a_results_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "results_2026.json").write_bytes(data)
        _use_results(Path(folder))


def _examples() -> list[tuple[str, Any, dict[str, list[Any]]]]:
    """Our own results with the first lines of their samples logs."""
    found = []
    for file in sorted(EXAMPLES.rglob("results_*.json")):
        date = file.stem.removeprefix("results_")
        logs = {
            log.name: [json.loads(line) for line in log.read_text().splitlines()[:4]]
            for log in sorted(file.parent.glob(f"samples_*{date}.jsonl"))
        }
        data = json.loads(file.read_text())
        for config in data["configs"].values():  # fewer resamples: the same code, less time
            config["l2m"]["settings"]["resamples"] = 100
        found.append((file.name, data, logs))
    return found


_EXAMPLES = _examples()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _changed(data: Any, places: list[tuple[Any, ...]], where: int, what: Any) -> None:
    """Put `what` at one place, or remove the entry where it is the word 'absent'; gone places are left alone."""
    if not places:
        return
    path = places[where % len(places)]
    for key in path[:-1]:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return
    with contextlib.suppress(KeyError, IndexError, TypeError):
        if what == "absent":
            del data[path[-1]]
        else:
            data[path[-1]] = what


changes_of_files = st.lists(
    st.tuples(st.integers(0, 2**16), values | st.sampled_from(["absent", "NaN", "../../x", "l2m-eval/kl/1"])),
    min_size=1,
    max_size=3,
)


@given(st.integers(0, len(_EXAMPLES) - 1), changes_of_files, st.lists(changes_of_files, max_size=1))
def results_that_were_changed(which: int, changes: list[tuple[int, Any]], log_changes: list[Any]) -> None:
    name, data, logs = copy.deepcopy(_EXAMPLES[which])
    ours = [path for path in _places(data) if path[0] != "results" and "metric_list" not in path]
    for where, what in changes if not log_changes else []:
        _changed(data, ours, where, what)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(_written(data))
        for log, lines in logs.items():
            answers = [json.loads(line["filtered_resps"][0]) for line in lines]
            inside = {"lines": lines, "answers": answers}
            for where, what in log_changes[0] if log_changes else []:
                _changed(inside, list(_places(inside)), where, what)
            for line, answer in zip(lines, answers, strict=False):  # either may have lost some
                if isinstance(line, dict) and isinstance(line.get("filtered_resps"), list):
                    line["filtered_resps"] = [_written(answer)]
            (Path(folder) / log).write_text("".join(_written(line) + "\n" for line in lines))
        _use_results(Path(folder))


def _written(data: Any) -> str:
    try:
        return json.dumps(data)
    except ValueError:  # a whole number of more digits than Python writes
        assume(False)
        raise


@given(values)
def a_state_read_from_results(data: Any) -> None:
    with valid_or_one_line():
        HistoryState.from_json(data)


_KEPT = [
    (Window(np.arange(3), np.arange(n), (1, n), "a window"), Scored(np.array([-1.5, -2.25 * n]), 3 + n))
    for n in (4, 5, 6)
]


def _cache_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.db"
        kept = FinishedWindows(path, ("model", "a model"))
        kept.put(_KEPT)
        kept.close()
        return path.read_bytes()


_CACHE = _cache_file()


def a_cache_file(data: bytes) -> None:
    """Three bytes for each place of a good file: two say where, one what. A score is as stored, or not there."""
    content = bytearray(_CACHE)
    for at in range(0, len(data) - 2, 3):
        content[int.from_bytes(data[at : at + 2], "big") % len(content)] = data[at + 2]
    with tempfile.TemporaryDirectory() as folder, valid_or_one_line():
        path = Path(folder) / "cache.db"
        path.write_bytes(bytes(content))
        kept = FinishedWindows(path, ("model", "a model"))
        for window, scored in _KEPT:
            found = kept.get([window])
            if found is not None:
                assert found[0].sums.tolist() == scored.sums.tolist()
                assert found[0].tokens == scored.tokens
        kept.put(_KEPT)
        kept.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sums", "tokens", "digest", "window", "model"]),
            st.none()
            | st.integers(-(2**63), 2**63 - 1)
            | st.floats()
            | st.text(max_size=5)
            | st.binary(max_size=20),
        ),
        min_size=1,
        max_size=3,
    )
)
def rows_of_a_cache(changes: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder, valid_or_one_line():
        path = Path(folder) / "cache.db"
        path.write_bytes(_CACHE)
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            for column, value in changes:
                connection.execute(f"UPDATE OR IGNORE finished SET {column} = ?", (value,))
        kept = FinishedWindows(path, ("model", "a model"))
        for window, scored in _KEPT:
            found = kept.get([window])
            assert found is None or found[0].sums.tolist() == scored.sums.tolist()
        kept.close()


# --- text under a tokenizer -------------------------------------------------------------------------------------


class _Tokenizers:
    """Two tokenizers made on the spot: bytes, and words with an unknown token (which does not round-trip)."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, kind: str) -> Any:
        if kind not in self._made:
            from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
            from transformers import PreTrainedTokenizerFast

            if kind == "bytes":
                alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
                vocabulary = {"<|endoftext|>": 0, **{letter: n for n, letter in enumerate(alphabet, 1)}}
                tokenizer = Tokenizer(models.BPE(vocabulary, []))
                tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
                tokenizer.decoder = decoders.ByteLevel()
            else:
                tokenizer = Tokenizer(
                    models.WordLevel({"<|endoftext|>": 0, "<unk>": 1, "a": 2, "the": 3}, "<unk>")
                )
                tokenizer.normalizer = normalizers.Lowercase()
                tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
            self._made[kind] = PreTrainedTokenizerFast(
                tokenizer_object=tokenizer,
                eos_token="<|endoftext|>",
                bos_token="<|endoftext|>",
                **({"unk_token": "<unk>"} if kind == "words" else {}),
            )
        return self._made[kind]


_TOKENIZERS = _Tokenizers()


class _LM:
    """As much of a harness LM as planning windows takes."""

    max_length, rank = 4096, 0

    def __init__(self, kind: str) -> None:
        self.tokenizer = _TOKENIZERS[kind]
        self.prefix_token_id = self.tokenizer.bos_token_id

    def tok_encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens))


def windows_of_a_text(data: bytes) -> None:
    """Any text is cut, split into tokens and planned; its special-token strings are text, its bytes are counted."""
    text = data.decode("utf-8", "ignore")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.txt"
        file.write_text(text, encoding="utf-8", newline="")
        for kind in ("bytes", "words"):
            with valid_or_one_line():
                task = read_settings(PositionSettings, {"corpus": str(file), "documents": 2, "length": 4})
                sample = draw_sample(task, 4, 0, pairing="none")
                encoder = Encoder(_LM(kind))
                for chunk in sample.chunks:
                    (window,) = PositionRequest(task, chunk).plan(encoder).windows
                    assert 0 not in window.target
                    assert len(window.target) == 4
                    ends = encoder.byte_ends(chunk, 4)
                    assert (np.diff(ends) >= 0).all()
                    assert ends[0] >= 0
                    assert ends[-1] <= len(chunk.text.encode("utf-8"))
                    if kind == "bytes":
                        assert bytes(chunk.text, "utf-8").startswith(bytes(window_bytes(window)))


def window_bytes(window: Window) -> list[int]:
    """The bytes that tokens of the tokenizer of bytes stand for."""
    from tokenizers import pre_tokenizers

    order = sorted(pre_tokenizers.ByteLevel.alphabet())
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    by_letter = {chr(byte): byte for byte in printable} | {
        chr(256 + n): byte for n, byte in enumerate(others)
    }
    return [by_letter[order[token - 1]] for token in window.target]


RAW: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        a_corpus_file,
        a_statement_file,
        a_named_state,
        metadata_json,
        a_results_file,
        a_cache_file,
        windows_of_a_text,
    )
}
DRAWN: dict[str, Any] = {
    "settings_of_a_task": settings_of_a_task,
    "arguments_of_the_oracle": arguments_of_the_oracle,
    "statement_of_a_state": statement_of_a_state,
    "configuration_of_a_model": configuration_of_a_model,
    "results_that_were_changed": results_that_were_changed,
    "a_state_read_from_results": a_state_read_from_results,
    "rows_of_a_cache": rows_of_a_cache,
}
# Beginnings from which inputs are changed; those of text are also what hypothesis draws from.
SEEDS: dict[str, list[bytes]] = {
    "a_corpus_file": [
        b"\x00" + "Text. 二番目の文。 \U0001f600 a\x00b <|endoftext|>".encode(),
        b"\x01" + b'{"text": "x"}\n{"text": "\\ud83d\\ude00"}\n\n',
        b"\x82" + b"Packed text. And more of it.",
        b"\x02" + gzip.compress(b"Packed text. And more of it.", mtime=0),
        b"\x03" + gzip.compress(b'{"text": "x"}\n', mtime=0),
    ],
    "a_statement_file": [
        b"formula: 2*n*L\nn: 3\n",
        b'{"table": {"4": 8, "16": 32}}',
        b"constant: 0x1F\nbits: 8\n",
    ],
    "a_named_state": [b"64*min(L, 4096)", b'{"constant": 3}', b"./no/such.json", b"owner/name"],
    "metadata_json": [
        b'{"lengths": [4, 8], "corpus": "a*.txt"}',
        b'{"corpus": "process", "process": "markov"}',
    ],
    "a_results_file": [json.dumps(data).encode() for _, data, _ in _EXAMPLES[:3]],
    "a_cache_file": [b"\x00\x10\xff", b"\x10\x20\x00\x20\x00\x01"],
    "windows_of_a_text": [
        "One. Two <|endoftext|> three.\n\n吾輩は猫である。名前はまだ無い。".encode(),
        b"a\x00" * 40,
    ],
}


def mutations(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A seed with a stretch of it replaced, or any bytes."""
    cut = st.tuples(st.sampled_from(seeds), st.integers(0, 2**16), st.integers(0, 8), st.binary(max_size=8))
    return st.binary(max_size=60) | cut.map(
        lambda c: c[0][: c[1] % (len(c[0]) + 1)] + c[3] + c[0][c[1] % (len(c[0]) + 1) + c[2] :]
    )


# Hundredths of a second each: the rest of the default suite has the time.
_EXAMPLES_EACH = {
    "configuration_of_a_model": 4,
    "a_cache_file": 20,
    "rows_of_a_cache": 20,
    "results_that_were_changed": 25,
    "a_results_file": 15,
}
# A failing input is shown as it was drawn: to make it smaller can take many minutes.
_QUICK = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.generate),
    "database": None,
}


@pytest.mark.parametrize("name", RAW)
def test_any_bytes_are_read_or_refused_in_one_line(name):
    check = RAW[name]
    drawn = given(mutations(SEEDS[name]))(lambda data: check(data))
    settings(max_examples=_EXAMPLES_EACH.get(name, 60), **_QUICK)(drawn)()
    for seed in SEEDS[name]:
        check(seed)


@pytest.mark.parametrize("name", DRAWN)
def test_any_value_is_accepted_or_refused_in_one_line(name):
    settings(max_examples=_EXAMPLES_EACH.get(name, 60), **_QUICK)(DRAWN[name])()
