"""Properties of everything that is read from a file: corpora, declared states, results, caches."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from one_line import EXAMPLES, valid_or_one_line, values

from l2m_eval.corpus.chunks import draw_sample
from l2m_eval.corpus.formats import read_files
from l2m_eval.history_state import history_state_size
from l2m_eval.history_state.named import state_source
from l2m_eval.history_state.state import HistoryState
from l2m_eval.results.check import check_results, curve_of, distinct_curves, law_of
from l2m_eval.results.load import latest, load_results
from l2m_eval.scoring.finished import FinishedWindows
from l2m_eval.scoring.scorer import Scored
from l2m_eval.scoring.windows import Window
from l2m_eval.settings import TASK_KINDS, CorpusSettings, read_settings

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
        for kind in TASK_KINDS:
            with valid_or_one_line():
                read_settings(kind.settings, metadata)


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


EXAMPLE_RUNS = _examples()


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


@given(st.integers(0, len(EXAMPLE_RUNS) - 1), changes_of_files, st.lists(changes_of_files, max_size=1))
def results_that_were_changed(which: int, changes: list[tuple[int, Any]], log_changes: list[Any]) -> None:
    name, data, logs = copy.deepcopy(EXAMPLE_RUNS[which])
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
