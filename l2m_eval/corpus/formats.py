"""Files to documents: how the kind of a file is recognised, and how each kind is read.

The same text gives the same documents in every kind of file. An ending that is not known never means text: such a
file is read where its content says what it is, and refused by its name where it does not.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from l2m_eval.corpus.files import is_saved_dataset
from l2m_eval.corpus.rows import Document, LeftOut, documents_of_rows
from l2m_eval.errors import L2MError, shown

# A packed file may unpack to any size; text beyond this is refused rather than read until memory ends.
LARGEST_TEXT_BYTES = 2 * 2**30

_TEXT_ENDINGS = (
    "txt", "text", "utf8", "utf-8", "asc", "log", "md", "markdown", "rst", "adoc", "org", "tex", "bib", "html",
    "htm", "xhtml", "xml", "py", "pyi", "ipynb", "c", "h", "cc", "cpp", "cxx", "hpp", "cu", "cuh", "java", "kt",
    "scala", "js", "jsx", "ts", "tsx", "go", "rs", "rb", "php", "pl", "sh", "bash", "sql", "r", "jl", "lua",
    "lean", "hs", "ml", "f", "f90", "m", "swift", "cs", "css", "yaml", "yml", "toml", "ini",
)  # fmt: skip
_KINDS = {
    **{f".{ending}": "text" for ending in _TEXT_ENDINGS},
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonlines"), "json lines"),
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), "arrow"),
}
_PACKINGS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
# How files begin, whatever they are called.
_PACKED_BEGINNINGS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_BEGINNINGS = {b"PAR1": "parquet", b"ARROW1": "arrow"}
_ENDING = re.compile(
    r"\.(?=[0-9]*[a-z])[a-z0-9_-]{1,12}"
)  # not the "1" of "part.1", nor the " Smith" of "Mr. Smith"


def read_files(
    files: list[Path], column: str, *, split: str = "test", left_out: LeftOut | None = None
) -> Iterator[Document]:
    """Documents of files: a text file is one; lines of JSON, rows of tables and datasets are one each.

    Args:
        files: As `l2m_eval.corpus.files.matching_files` finds them.
        column: Field of the text where documents are rows.
        split: Of a dataset saved with several.
        left_out: Counts rows without text.

    Raises:
        L2MError: unreadable, not UTF-8 (with the position), broken (with the line), no such column, of a kind that is
            not known, or text beyond `LARGEST_TEXT_BYTES` in one document.
    """
    left_out = LeftOut() if left_out is None else left_out
    for file in files:
        if file.is_dir():
            rows = (
                (f"{file.name}:{n}", f"row {n}", row) for n, row in enumerate(saved_rows(file, column, split))
            )
            yield from documents_of_rows(rows, column, str(file), left_out)
            continue
        try:
            yield from _documents(file, column, left_out)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise L2MError(f"corpus: {file} cannot be read: {reason or type(error).__name__}") from error


def _documents(file: Path, column: str, left_out: LeftOut) -> Iterator[Document]:
    kind, packing = _kind_and_packing(file)
    with _opened(file, packing) as stream:
        if kind is None:
            kind = _kind_of_content(stream.peek(2**16)[: 2**16])
        if kind is None and not _endings(file)[0]:
            kind = "text or json"
        if kind == "text":
            yield Document(file.name, _decode(file, _bounded(file, stream), "byte"))
            return
        if kind == "text or json":  # a file without ending
            data = _bounded(file, stream)
            rows = _rows_of_json(file, data) if data.lstrip()[:1] in (b"{", b"[") else None
            if rows is None:
                yield Document(file.name, _decode(file, data, "byte"))
                return
        elif kind == "json lines":
            rows = _json_lines(file, stream)
        elif kind == "json":
            rows = _json(file, stream)
        elif kind in ("csv", "tsv"):
            rows = _separated(file, stream, "," if kind == "csv" else "\t", column)
        elif kind in ("parquet", "arrow"):
            rows = _table(file, stream, column, kind, packing is not None)
        else:
            raise L2MError(
                f"corpus: {file} has an unknown extension; give text (.txt, .md, .html, source code), "
                ".jsonl, .json, .csv, .tsv, .parquet or .arrow, also packed as "
                f"{', '.join(_PACKINGS)}; unpack or convert other files, rename text to .txt"
            )
        yield from documents_of_rows(rows, column, str(file), left_out)


def _endings(file: Path) -> tuple[str, str]:
    """The extensions for the kind and for the packing; empty where there is none."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in _PACKINGS else ""
    ending = suffixes[-1] if suffixes and _ENDING.fullmatch(suffixes[-1]) else ""
    return ending, packing


def _kind_and_packing(file: Path) -> tuple[str | None, str | None]:
    """Kind and packing by the extension, or packing by the first bytes; None for a kind that is not known."""
    ending, packed = _endings(file)
    packing = _PACKINGS.get(packed)
    if packing is None:
        with file.open("rb") as stream:
            start = stream.read(8)
        packing = next((name for first, name in _PACKED_BEGINNINGS.items() if start.startswith(first)), None)
    return _KINDS.get(ending), packing


def _kind_of_content(start: bytes) -> str | None:
    for first, kind in _BEGINNINGS.items():
        if start.startswith(first):
            return kind
    line = start.lstrip().partition(b"\n")[0]
    return "json lines" if _is_row(_parsed(line)) else None


def _opened(file: Path, packing: str | None) -> io.BufferedReader:
    if packing == "zstd":
        import pyarrow

        raw: Any = pyarrow.CompressedInputStream(pyarrow.OSFile(str(file)), "zstd")
        return io.BufferedReader(raw)
    opens: dict[str | None, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open, None: open}
    opened = opens[packing](file, "rb")
    return cast("io.BufferedReader", opened if packing is None else io.BufferedReader(opened))


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

    Without a byte-order mark, such text of Latin letters is valid UTF-8, every letter beside a NUL.
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


def _is_row(value: Any) -> bool:
    """Whether a value of JSON is one row; an object of lists is a whole table."""
    return isinstance(value, dict) and not _is_table(value)


def _is_table(value: dict[str, Any]) -> bool:
    return bool(value) and all(isinstance(part, list) for part in value.values())


def _parsed(text: bytes | str) -> Any:
    """A value of JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_lines(file: Path, stream: BinaryIO) -> Iterator[tuple[str, str, Any]]:
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
        yield f"{file.name}:{number}", f"line {number}", row


def _json(file: Path, stream: io.BufferedReader) -> Iterable[tuple[str, str, Any]]:
    """Lines of JSON under the ending of JSON, or one list of rows, or one object."""
    if _kind_of_content(stream.peek(2**16)) == "json lines":
        return _json_lines(file, stream)
    data = _bounded(file, stream)
    rows = _rows_of_json(file, data)
    if rows is None:
        try:
            json.loads(_decode(file, data, "byte"))
            found = "a single value"
        except L2MError:
            raise
        except (ValueError, RecursionError) as error:
            found = str(error)
        raise L2MError(f"corpus: {file} is not JSON with rows of text: {found}")
    return rows


def _rows_of_json(file: Path, data: bytes) -> Iterable[tuple[str, str, Any]] | None:
    """Rows of a text that is JSON as a whole or line by line; None where it is neither."""
    first = data.lstrip().partition(b"\n")[0]
    if _is_row(_parsed(first)):
        return _json_lines(file, io.BytesIO(data))
    value = _parsed(data)
    rows: list[Any]
    if isinstance(value, list):
        rows = value
    elif isinstance(value, dict) and _is_table(value):
        rows = [dict(zip(value, row, strict=True)) for row in itertools.zip_longest(*value.values())]
    elif isinstance(value, dict):
        rows = [value]
    else:
        return None
    return ((f"{file.name}:{number}", f"row {number}", row) for number, row in enumerate(rows))


def _separated(file: Path, stream: BinaryIO, separator: str, column: str) -> Iterator[tuple[str, str, Any]]:
    csv.field_size_limit(min(LARGEST_TEXT_BYTES, 2**31 - 1))
    lines = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    rows = csv.DictReader(lines, delimiter=separator, strict=True)
    try:
        if column not in (rows.fieldnames or ()):
            raise L2MError(
                f"corpus: {file} has no column {column!r} (columns: {shown(list(rows.fieldnames or ()))}); "
                "set column"
            )
        for number, row in enumerate(rows):
            yield f"{file.name}:{number}", f"row {number}", row
    except UnicodeDecodeError as error:
        raise L2MError(
            f"corpus: {file} is not UTF-8: 0x{error.object[error.start]:02x} behind line {rows.line_num}; "
            "convert it, for example with iconv -f latin1 -t utf-8"
        ) from error
    except csv.Error as error:
        raise L2MError(f"corpus: {file}, line {rows.line_num} is not CSV: {error}") from error


def _table(
    file: Path, stream: BinaryIO, column: str, kind: str, packed: bool
) -> Iterator[tuple[str, str, Any]]:
    import pyarrow
    import pyarrow.ipc
    import pyarrow.parquet

    row = 0
    try:
        source: Any = io.BytesIO(_bounded(file, stream)) if packed else stream
        if kind == "parquet":
            table = pyarrow.parquet.ParquetFile(source)
            columns, batches = table.schema_arrow.names, None
        else:
            start = source.read(6)
            source.seek(0)
            table = pyarrow.ipc.open_file(source) if start == b"ARROW1" else pyarrow.ipc.open_stream(source)
            columns = table.schema.names
            batches = map(table.get_batch, range(table.num_record_batches)) if start == b"ARROW1" else table
        if column not in columns:
            raise L2MError(f"corpus: {file} has no column {column!r} (columns: {shown(columns)}); set column")
        for batch in table.iter_batches(batch_size=64, columns=[column]) if batches is None else batches:
            for value in batch.column(batch.schema.get_field_index(column)):
                yield f"{file.name}:{row}", f"row {row}", {column: value.as_py()}
                row += 1
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            raise
        article = "a parquet" if kind == "parquet" else "an Arrow"
        raise L2MError(
            f"corpus: {file} is not {article} file that can be read (row {row}): {error}"
        ) from error


def saved_rows(folder: Path, column: str, split: str) -> Iterable[dict[str, Any]]:
    """Rows of a dataset that the ``datasets`` library saved with `save_to_disk`.

    Raises:
        L2MError: it cannot be read, or has no such split or column.
    """
    import datasets

    assert is_saved_dataset(folder)
    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise L2MError(
            f"corpus: {folder}, saved by datasets, cannot be read: {type(error).__name__}: {error}"
        ) from error
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise L2MError(f"split: {split!r} is not in {folder}, which has {sorted(saved)}; set split")
        saved = saved[split]
    if column not in saved.column_names:
        raise L2MError(
            f"corpus: {folder} has no column {column!r} (columns: {shown(saved.column_names)}); set column"
        )
    return cast("Iterable[dict[str, Any]]", saved.select_columns([column]))
