"""Where documents come from: text files of the user's own and datasets of the Hugging Face hub.

Every source is an iterator of `Document`; what is measured of them is chosen in `l2m_eval.corpora`.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from l2m_eval.errors import L2MError, shown

# A gz file may unpack to any size; text beyond this is refused rather than read until memory ends.
LARGEST_TEXT_BYTES = 2 * 2**30
HUB_PREFIX = "hub:"


@dataclass(frozen=True)
class Document:
    """One source document: a book, an article, a row of a file."""

    name: str
    text: str


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the Hugging Face hub (or a local folder of the same layout), read as a stream."""

    path: str
    subset: str | None
    split: str
    column: str
    name_column: str | None = None
    shuffle: bool = True  # False where the whole split is read anyway


# deepmind/pg19 is a script dataset, which `datasets` 4 and later refuse; this is its parquet copy.
PG19 = HubDataset("emozilla/pg19-test", None, "test", "text", "short_book_title", shuffle=False)
WIKIPEDIA = HubDataset("wikimedia/wikipedia", "20231101.en", "train", "text", "title")


def matching_files(patterns: tuple[str, ...]) -> list[Path]:
    """Files that the paths and globs name, sorted, each once.

    Raises:
        L2MError: a pattern that matches no file, or names a folder.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        try:
            expanded = str(Path(pattern).expanduser())
            matched = [Path(path) for path in sorted(glob.glob(expanded, recursive=True))]
        except (ValueError, RuntimeError, re.error) as error:  # a NUL, a user that there is not
            raise L2MError(f"corpus: {pattern!r} is no path: {error}") from error
        found = [path for path in matched if path.is_file()]
        if not found:
            if any(path.is_dir() for path in matched):
                raise L2MError(
                    f"corpus: {pattern!r} is a folder; name its files, for example {pattern}/*.txt"
                )
            raise L2MError(
                f"corpus: no file matches {pattern!r} (looked from {Path.cwd().name}/); give a path or glob of "
                ".txt, .jsonl or .parquet files, pg19, wikipedia, or hub:OWNER/NAME"
            )
        files.update(dict.fromkeys(found))
    return sorted(files)


def read_files(files: list[Path], column: str) -> Iterator[Document]:
    """Documents of text files: a `.txt` is one, `.jsonl` lines and `.parquet` rows are one each; also `.gz`.

    Raises:
        L2MError: unreadable, not UTF-8 (with the position), broken JSON (with the line), no such column, or text
            beyond `LARGEST_TEXT_BYTES` in one document.
    """
    for file in files:
        suffixes = [suffix.lower() for suffix in file.suffixes]
        packed = bool(suffixes) and suffixes[-1] == ".gz"
        kind = (suffixes[-2] if len(suffixes) > 1 else "") if packed else (suffixes[-1] if suffixes else "")
        try:
            with cast("BinaryIO", gzip.open(file) if packed else file.open("rb")) as stream:
                if kind == ".parquet":
                    yield from _parquet_rows(file, stream, column, packed)
                elif kind in (".jsonl", ".ndjson"):
                    yield from _json_lines(file, stream, column)
                else:
                    yield Document(file.name, _decode(file, _bounded(file, stream), "byte"))
        except (OSError, EOFError, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise L2MError(f"corpus: {file} cannot be read: {reason or type(error).__name__}") from error


def _bounded(file: Path, stream: BinaryIO) -> bytes:
    data = stream.read(LARGEST_TEXT_BYTES + 1)
    if len(data) > LARGEST_TEXT_BYTES:
        raise L2MError(
            f"corpus: {file} holds more than {LARGEST_TEXT_BYTES:,} bytes of text in one document; split it"
        )
    return data


def _decode(file: Path, data: bytes, unit: str, line: int | None = None) -> str:
    encoding = _wide_encoding(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"line {line}, byte {error.start}" if line else f"{unit} {error.start}"
        raise L2MError(
            f"corpus: {file} is not UTF-8: 0x{data[error.start]:02x} at {place}; "
            f"convert it, for example with iconv -f {encoding or 'latin1'} -t utf-8"
        ) from error
    if encoding:
        raise L2MError(
            f"corpus: {file} is not UTF-8 but, by its zero bytes, {encoding}; "
            f"convert it, for example with iconv -f {encoding} -t utf-8"
        )
    return text


def _wide_encoding(data: bytes) -> str:
    """The encoding of two or four bytes a character that text seems to be in; empty where it is none of them.

    Without a mark at its beginning such text of Latin letters is valid UTF-8, every letter beside a NUL.
    """
    start = data[:4096]
    if start.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if len(start) >= 16:
        zeros = [start[place::4].count(0) / len(start[place::4]) > 0.9 for place in range(4)]
        for pattern, name in _WIDE.items():
            if zeros == list(pattern):
                return name
    return ""


# Which of every four bytes are zero in Latin text.
_WIDE = {
    (False, True, False, True): "utf-16le",
    (True, False, True, False): "utf-16be",
    (False, True, True, True): "utf-32le",
    (True, True, True, False): "utf-32be",
}


def _json_lines(file: Path, stream: BinaryIO, column: str) -> Iterator[Document]:
    number = 0
    while line := stream.readline(LARGEST_TEXT_BYTES + 1):
        number += 1
        if len(line) > LARGEST_TEXT_BYTES:
            raise L2MError(f"corpus: {file}, line {number} is longer than {LARGEST_TEXT_BYTES:,} bytes")
        if not line.strip():
            continue
        try:
            row = json.loads(_decode(file, line, "byte", number))
        except L2MError:
            raise
        except (ValueError, RecursionError) as error:  # also a whole number of thousands of digits
            raise L2MError(f"corpus: {file}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            fields = shown(sorted(row)) if isinstance(row, dict) else type(row).__name__
            raise L2MError(
                f"corpus: {file}, line {number} has no text field {column!r} (fields: {fields}); set column"
            )
        yield Document(f"{file.name}:{number}", _encodable(f"{file}, line {number}", row[column]))


def _parquet_rows(file: Path, stream: BinaryIO, column: str, packed: bool) -> Iterator[Document]:
    import pyarrow
    import pyarrow.parquet

    source: Any = io.BytesIO(_bounded(file, stream)) if packed else stream
    row = 0
    try:
        table = pyarrow.parquet.ParquetFile(source)
        columns = table.schema_arrow.names
        if column not in columns:
            raise L2MError(f"corpus: {file} has no column {column!r} (columns: {shown(columns)}); set column")
        for batch in table.iter_batches(batch_size=64, columns=[column]):
            for value in batch.column(0).to_pylist():
                if not isinstance(value, str):
                    raise L2MError(f"corpus: {file}, row {row}: column {column!r} is not text; set column")
                yield Document(f"{file.name}:{row}", value)
                row += 1
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise
        raise L2MError(
            f"corpus: {file} is not a parquet file that can be read (row {row}): {error}"
        ) from error


def _encodable(place: str, value: str) -> str:
    """JSON escapes can spell half a surrogate pair, which is no character and has no UTF-8 form."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise L2MError(
            f"corpus: {place} holds a lone surrogate U+{ord(value[error.start]):04X} at character "
            f"{error.start}, which is not text; remove it"
        ) from error
    return value


def read_hub(dataset: HubDataset, seed: int) -> Iterator[Document]:
    """Documents of a hub dataset, streamed, in an order fixed by the seed; never the whole corpus at once.

    Raises:
        L2MError: the hub or the dataset cannot be reached (and what to do offline), or no such column.
    """
    import datasets

    try:
        stream = datasets.load_dataset(dataset.path, dataset.subset, split=dataset.split, streaming=True)
        if dataset.shuffle:
            stream = stream.shuffle(seed=seed, buffer_size=1000)
        rows = iter(stream)
        first = next(rows, None)
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise L2MError(
            f"corpus: the dataset {dataset.path!r} (split {dataset.split!r}) cannot be read: "
            f"{type(error).__name__}: {reason}. Offline, measure files of your own with the _text task: "
            '--metadata \'{"corpus": "books/*.txt"}\', or name a local copy of the dataset: hub:PATH'
        ) from error
    if first is None:
        return
    if not isinstance(first.get(dataset.column), str):
        raise L2MError(
            f"column: {dataset.column!r} is no text column of {dataset.path!r}; it has {sorted(first)}"
        )
    number = 0
    row: Any = first
    while row is not None:
        label = row.get(dataset.name_column) if dataset.name_column else None
        text = row.get(dataset.column)
        if text is not None and not isinstance(text, str):
            raise L2MError(
                f"column: {dataset.column!r} of {dataset.path!r} holds {shown(text)} in row {number}, no text"
            )
        yield Document(
            str(label) if label else f"{dataset.path}:{number}",
            _encodable(f"{dataset.path}, row {number}", text or ""),
        )
        number += 1
        try:
            row = next(rows, None)
        except Exception as error:  # the connection may end at any row
            reason = str(error).strip().split("\n")[0][:200]
            raise L2MError(
                f"corpus: the dataset {dataset.path!r} breaks off behind row {number - 1}: "
                f"{type(error).__name__}: {reason}; run again (with --use_cache finished documents are kept)"
            ) from error
