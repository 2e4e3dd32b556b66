"""Whatever a parser is given, it answers with a valid object or with one line of ours, never with another exception.

Short here, with inputs that hypothesis draws; ``run.py`` beside this file runs the same properties for as long as
one likes under atheris, which follows what the code does with its input. `RAW` are properties of bytes, `DRAWN` of
values.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from properties_of_files import (
    EXAMPLE_RUNS,
    a_cache_file,
    a_corpus_file,
    a_named_state,
    a_results_file,
    a_state_read_from_results,
    a_statement_file,
    metadata_json,
    results_that_were_changed,
    rows_of_a_cache,
)
from properties_of_text import windows_of_a_text
from properties_of_values import (
    arguments_of_the_oracle,
    configuration_of_a_model,
    settings_of_a_task,
    statement_of_a_state,
)

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
    "a_results_file": [json.dumps(data).encode() for _, data, _ in EXAMPLE_RUNS[:3]],
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
