"""Source documents in full, for measurements that read the text alone and run no model.

Which documents, and their order, depends on the settings and the seed alone. Their text is kept in a file, not in
memory, so that a corpus larger than memory can be measured.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from l2m_eval.corpus.chunks import CHECKED_EARLY_BYTES, draw_sample
from l2m_eval.corpus.documents import (
    is_files,
    known_process,
    read_documents,
    sampled_documents,
    say_left_out,
)
from l2m_eval.corpus.files import matching_files, size_on_disk
from l2m_eval.corpus.formats import read_files
from l2m_eval.corpus.repeated import Sketch, similar_to_earlier, sketch
from l2m_eval.corpus.rows import Document, LeftOut
from l2m_eval.errors import L2MError
from l2m_eval.settings import TwoPointSettings

IN_MEMORY_BYTES = 64 * 2**20  # text beyond this goes to a file


@dataclass(frozen=True)
class StoredDocument:
    """Where a document is from and where its text is stored; `offset` is that of a chunk in its source, else 0."""

    name: str
    source: int
    offset: int
    digest: str
    begins: str
    start: int
    size: int


class WholeDocuments(Sequence[StoredDocument]):
    """Documents in the order in which they are measured; their text is read back one at a time."""

    def __init__(
        self,
        documents: Sequence[StoredDocument],
        store: tempfile.SpooledTemporaryFile[bytes],
        read: int,
        left_out: LeftOut,
    ):
        self._documents, self._store = documents, store
        self.read, self.left_out = read, left_out

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._documents[index]

    def text(self, index: int) -> str:
        document = self._documents[index]
        self._store.seek(document.start)
        return self._store.read(document.size).decode("utf-8")


def read_whole_documents(settings: TwoPointSettings, seed: int) -> WholeDocuments:
    """The documents of a two-point measurement, in an order drawn from the seed.

    At most ``settings.documents``: a uniform choice of files, the first ones of a stream. With
    ``settings.chunk_bytes`` they are chunks of that size, chosen as for the measurements that run a model.

    Raises:
        L2MError: a corpus that cannot be read, or without any text.
    """
    rng = np.random.default_rng([seed, 0x77686F6C])
    store = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - lives as long as its reader
    process = known_process(settings)
    if settings.chunk_bytes is not None and process is None:
        sample = draw_sample(settings, 0, seed, pairing="none")
        chunks = [sample.chunks[i] for i in sample.measured]
        kept = [_store(store, Document(c.document, c.text[: c.size]), c.source, c.offset) for c in chunks]
        return WholeDocuments(kept, store, sample.documents_read, sample.left_out)
    left_out = LeftOut()
    if process is not None:
        stream: Iterator[Document] = sampled_documents(process, settings.documents, settings.length, seed)
        endless = False
    else:
        stream, endless = read_documents(settings, seed, left_out)
    kept, sketches, read = _choose(stream, settings.documents, endless, store, rng)
    if process is None:
        dropped = similar_to_earlier(sketches)
        left_out.similar += len(dropped)
        kept = [document for place, document in enumerate(kept) if place not in dropped]
    say_left_out(left_out)
    if not kept:
        raise L2MError(f"corpus: {', '.join(settings.corpus)} has no text; give documents with text")
    return WholeDocuments([kept[i] for i in rng.permutation(len(kept))], store, read, left_out)


def _choose(
    stream: Iterable[Document],
    most: int,
    endless: bool,
    store: tempfile.SpooledTemporaryFile[bytes],
    rng: np.random.Generator,
) -> tuple[list[StoredDocument], list[Sketch], int]:
    """Documents with text, at most `most`: the first ones of a stream, a uniform choice otherwise; with what tells
    similar ones, and how many were read."""
    kept: list[StoredDocument] = []
    sketches: list[Sketch] = []
    seen = read = 0
    for index, document in enumerate(stream):
        read += 1
        if not document.text:
            continue
        seen += 1
        if len(kept) < most:
            kept.append(_store(store, document, index))
            sketches.append(sketch(document.text))
            if endless and len(kept) == most:
                break
        elif (slot := int(rng.integers(seen))) < most:
            kept[slot] = _store(store, document, index)  # what it replaces stays in the file, unread
            sketches[slot] = sketch(document.text)
    return kept, sketches, read


def _store(
    store: tempfile.SpooledTemporaryFile[bytes], document: Document, source: int, offset: int = 0
) -> StoredDocument:
    data = document.text.encode("utf-8")
    start = store.seek(0, 2)
    store.write(data)
    digest = hashlib.sha256(data).hexdigest()[:16]
    return StoredDocument(document.name, source, offset, digest, document.text[:80], start, len(data))


def check_whole_documents(settings: TwoPointSettings) -> None:
    """Raise `L2MError` for files that are missing, unreadable or shorter than the shortest distance."""
    longest_given = max(settings.distances or (1,))
    if not is_files(settings):
        if known_process(settings) is not None and longest_given >= settings.length:
            raise L2MError(
                f"distances: {longest_given} is too long for sampled documents of {settings.length} tokens; give "
                "shorter distances, or a larger length"
            )
        return
    files = matching_files(settings.corpus)
    if size_on_disk(files) <= CHECKED_EARLY_BYTES:
        texts = read_files(files, settings.column, split=settings.split)
        longest = max((len(document.text.encode("utf-8")) for document in texts), default=0)
        if longest <= longest_given:  # a token has a byte at least
            raise L2MError(
                f"distances: {longest_given} is too long; the longest document has {longest:,} bytes, so no more "
                "tokens; give shorter distances or longer documents"
            )
