"""Where documents come from that are not files: datasets of the Hugging Face hub, and of the ``datasets`` library.

Every source is an iterator of `Document`; what is measured of them is chosen in `l2m_eval.corpus.chunks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2m_eval.corpus.files import is_saved_dataset
from l2m_eval.corpus.formats import saved_rows
from l2m_eval.corpus.rows import Document, LeftOut, documents_of_rows
from l2m_eval.errors import L2MError

HUB_PREFIX = "hub:"


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


def read_hub(dataset: HubDataset, seed: int, left_out: LeftOut | None = None) -> Iterator[Document]:
    """Documents of a hub dataset, streamed, in an order fixed by the seed; never the whole corpus at once.

    Raises:
        L2MError: the hub or the dataset cannot be reached (and what to do offline), or no such column.
    """
    yield from documents_of_rows(
        _rows(dataset, seed), dataset.column, dataset.path, LeftOut() if left_out is None else left_out
    )


def _rows(dataset: HubDataset, seed: int) -> Iterator[tuple[str, str, Any]]:
    try:
        rows = iter(_stream(dataset, seed))
        row = next(rows, None)
    except L2MError:
        raise
    except Exception as error:
        raise L2MError(
            f"corpus: the dataset {dataset.path!r} (split {dataset.split!r}) cannot be read: "
            f"{_cause(error)}. Offline, measure files of your own with the _text task: "
            '--metadata \'{"corpus": "books/*.txt"}\', or name a local copy of the dataset: hub:PATH'
        ) from error
    if row is not None and dataset.column not in row:  # a stream has the same columns in every row
        raise L2MError(
            f"column: {dataset.column!r} is not a text column of {dataset.path!r}; it has {sorted(row)}"
        )
    number = 0
    while row is not None:
        label = row.get(dataset.name_column) if dataset.name_column else None
        yield str(label) if label else f"{dataset.path}:{number}", f"row {number}", row
        number += 1
        try:
            row = next(rows, None)
        except Exception as error:  # the connection may end at any row
            raise L2MError(
                f"corpus: the dataset {dataset.path!r} ends with an error after row {number - 1}: "
                f"{_cause(error)}; run again (with --use_cache finished documents are kept)"
            ) from error


def _stream(dataset: HubDataset, seed: int) -> Any:
    import datasets

    folder = Path(dataset.path)
    if is_saved_dataset(folder):
        stream: Any = saved_rows(folder, dataset.column, dataset.split)
        return stream.shuffle(seed=seed) if dataset.shuffle else stream
    stream = datasets.load_dataset(dataset.path, dataset.subset, split=dataset.split, streaming=True)
    return stream.shuffle(seed=seed, buffer_size=1000) if dataset.shuffle else stream


def _cause(error: Exception) -> str:
    """What went wrong in one line, whole: what to choose from often stands in the lines below the first."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
