"""What is measured: chunks of documents, and which chunk is whose partner.

Everything here depends on the settings and the seed alone, never on the model, the number of processes,
the batch size or ``--limit``, so that every rank of a distributed run holds the same sample.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from l2m_eval import documents as sources
from l2m_eval.documents import Document
from l2m_eval.errors import L2MError
from l2m_eval.processes import TokenProcess, WordTokenizer, make_process
from l2m_eval.settings import PROCESS, CorpusSettings

logger = logging.getLogger(__name__)

# A chunk must give `longest` tokens under a tokenizer that is not known yet. Eight bytes a token is more than
# the tokenizers of today need for running text in any script; the published procedure asks for 5000 words
# for 2048 tokens, about 14 bytes a token.
BYTES_PER_TOKEN = 8
# Text kept behind a chunk for the rare tokenizer, or stretch of text, that needs more.
RESERVE = 4
# How far a chunk's start may move to reach the end of a sentence, in characters.
SENTENCE_SEARCH = 4096
# Files smaller than this in total are read before the model is loaded, to find faults early.
CHECKED_EARLY_BYTES = 256 * 2**20

# Ends of sentences: Latin with a following space, East Asian full stops without one, Arabic, Urdu,
# Devanagari, Ethiopic, Armenian, and empty lines for text that has no punctuation at all.
SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？｡．]+[」』”’）]*|[؟۔।॥።፧։]+|\n[ \t\r]*\n)\s*")


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: texts are long
class Chunk:
    """A piece of one document, cut at sentence ends, long enough for the longest length measured.

    Attributes:
        document: Name of the source document.
        source: Index of the source document; chunks of one document are not independent.
        group: Index of the group of source documents that are each other's partners.
        offset: Where the chunk starts in its document, in characters.
        text: The chunk and the reserve behind it.
        size: Characters of `text` that suffice for nearly every tokenizer.
    """

    document: str
    source: int
    group: int
    offset: int
    text: str
    size: int

    @property
    def label(self) -> str:
        return f"{self.document}@{self.offset}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()[:16]


@dataclass(frozen=True)
class Sample:
    """The chunks that are measured, in order, with the partners of each.

    Attributes:
        chunks: All chunks, measured or partner.
        measured: Indices into `chunks` of the documents of the task, in their order.
        partners: For each of them, indices of its partners, from other source documents; empty when not needed.
        documents_read: Source documents looked at.
        too_short: Of those, how many are shorter than a chunk.
        requested: Documents asked for; more than `len(measured)` when the corpus has no room for them.
    """

    chunks: tuple[Chunk, ...]
    measured: tuple[int, ...]
    partners: tuple[tuple[int, ...], ...]
    documents_read: int
    too_short: int
    requested: int

    def __len__(self) -> int:
        return len(self.measured)


def known_process(settings: CorpusSettings) -> TokenProcess | None:
    """The process that the corpus is sampled from, where it is one.

    Raises:
        L2MError: no such process, a setting outside its range, or a process without tokens.
    """
    if settings.corpus != (PROCESS,):
        return None
    process = make_process(settings.process, **dict(settings.process_settings))
    if not isinstance(process, TokenProcess):
        raise L2MError(f"process: {settings.process!r} has no tokens that a language model could read")
    return process


def sampled_documents(process: TokenProcess, count: int, length: int, seed: int) -> Iterator[Document]:
    """Independent documents of a process, in its tokenizer's text form, `length` tokens each."""
    words = WordTokenizer(process.vocabulary_size)
    rng = np.random.default_rng([seed, 0x70726F63])
    for number, tokens in enumerate(process.sample(count, length, rng)):
        yield Document(f"{process.name}:{number}", words.decode(tokens))


def chunk_size_bytes(settings: CorpusSettings, longest: int) -> int:
    process = known_process(settings)
    if process is not None:
        return longest * len(WordTokenizer(process.vocabulary_size).decode([0]))
    return settings.chunk_bytes or BYTES_PER_TOKEN * longest


def read_documents(settings: CorpusSettings, seed: int) -> tuple[Iterator[Document], bool]:
    """Documents of the corpus that the settings name, and whether they come as an endless stream."""
    first = settings.corpus[0]
    if first == "pg19":
        return sources.read_hub(sources.PG19, seed), False
    if first == "wikipedia":
        return sources.read_hub(sources.WIKIPEDIA, seed), True
    if first.startswith(sources.HUB_PREFIX):
        path = first[len(sources.HUB_PREFIX) :]
        dataset = sources.HubDataset(path, settings.subset, settings.split, settings.column)
        return sources.read_hub(dataset, seed), True
    return sources.read_files(sources.matching_files(settings.corpus), settings.column), False


def is_files(settings: CorpusSettings) -> bool:
    """Whether the corpus is files of the user's. Also refuses names that are neither files nor known corpora."""
    first = settings.corpus[0]
    if first in ("pg19", "wikipedia", PROCESS) or first.startswith(sources.HUB_PREFIX):
        return False
    if first in ("", "text"):
        raise L2MError(
            "corpus: the text tasks measure files of your own; name them, for example "
            '--metadata \'{"corpus": "books/*.txt"}\''
        )
    return True


def check_corpus(settings: CorpusSettings, longest: int) -> None:
    """Raise `L2MError` for files that are missing, unreadable or all too short. Hub corpora are not touched."""
    if not is_files(settings):
        known_process(settings)
        return
    files = sources.matching_files(settings.corpus)
    if sum(file.stat().st_size for file in files) <= CHECKED_EARLY_BYTES:
        needed = chunk_size_bytes(settings, longest)
        sizes = [
            len(document.text.encode("utf-8")) for document in sources.read_files(files, settings.column)
        ]
        _require_long_enough(sizes, needed, longest)


def _require_long_enough(sizes: list[int], needed: int, longest: int) -> None:
    if not sizes or max(sizes) < needed:
        found = f"the longest of {len(sizes):,} has {max(sizes):,}" if sizes else "there is none"
        raise L2MError(
            f"corpus: no document is long enough: {found} bytes, {needed:,} are needed for lengths up to "
            f"{longest} tokens; give shorter lengths, longer documents, or set chunk_bytes "
            f"({BYTES_PER_TOKEN} bytes a token unless set)"
        )


def draw_sample(settings: CorpusSettings, longest: int, seed: int, *, pairing: str) -> Sample:
    """Choose chunks and partners.

    Source documents are dealt, in an order drawn from the seed, into groups of `settings.partners` + 1 (the
    last group takes the remainder), and chunks are drawn from them in turn, one from each document before a
    second from any, from strata that do not overlap.

    Args:
        settings: Corpus, number of documents, partners.
        longest: Longest total length that will be measured, in tokens.
        seed: Seed of every choice made here.
        pairing: ``"none"``, no partners; ``"mutual"``, every chunk is measured and the others of its group are
            its partners; ``"separate"``, the first document of each group is measured and the others are only
            partners, as in the published procedure.

    Raises:
        L2MError: no document long enough, or too few source documents for partners.
    """
    rng = np.random.default_rng([seed, 0x6C326D])
    group_size = 1 if pairing == "none" else settings.partners + 1
    wanted = settings.documents * (group_size if pairing == "separate" else 1)
    needed_bytes = chunk_size_bytes(settings, longest)
    process = known_process(settings)
    if process is not None:
        stream, endless = sampled_documents(process, max(wanted, group_size), longest, seed), False
    else:
        stream, endless = read_documents(settings, seed)
    kept, sizes = _collect(stream, needed_bytes, max(wanted, group_size), endless, rng)
    _require_long_enough(sizes, needed_bytes, longest)
    if len(kept) < group_size:
        raise L2MError(
            f"corpus: {len(kept)} source document(s) of at least {needed_bytes:,} bytes found, "
            f"{group_size} are needed so that partners come from different documents; give more documents, "
            'or measure without partners: estimators ["direct"], marginal paired'
        )
    order = rng.permutation(len(kept))[: max(wanted, group_size)]
    groups = len(order) // group_size
    if pairing == "separate":
        order = order[: groups * group_size]  # a remainder would only give chunks that nobody needs
    group_of = [min(position // group_size, groups - 1) for position in range(len(order))]
    members = [[p for p in range(len(order)) if group_of[p] == g] for g in range(groups)]
    capacity = [len(kept[i][1].text.encode("utf-8")) // needed_bytes for i in order]
    shares = _deal(capacity, wanted)
    chunk_index: dict[tuple[int, int], int] = {}
    chunks: list[Chunk] = []
    for position, share in enumerate(shares):
        if share:
            index, document = kept[order[position]]
            pieces = _cut(document, index, group_of[position], share, needed_bytes, rng)
            for round_, piece in enumerate(pieces):
                chunk_index[position, round_] = len(chunks)
                chunks.append(piece)
    measured, partners = [], []
    for round_ in range(max(shares)):
        for position in range(len(order)):
            if (position, round_) not in chunk_index:
                continue
            group = members[group_of[position]]
            place = group.index(position)
            if pairing == "separate" and place > 0:
                continue
            others = [group[(place + k) % len(group)] for k in range(1, group_size)]
            found = [chunk_index[p, round_ % shares[p]] for p in others if shares[p]]
            if pairing != "none" and len(found) < group_size - 1:
                continue
            measured.append(chunk_index[position, round_])
            partners.append(tuple(found))
    del measured[settings.documents :], partners[settings.documents :]
    too_short = sum(size < needed_bytes for size in sizes)
    sample = Sample(
        tuple(chunks), tuple(measured), tuple(partners), len(sizes), too_short, settings.documents
    )
    if too_short:
        logger.warning(
            "l2m-eval: %d of %d documents read are shorter than %d bytes and are not measured",
            too_short,
            len(sizes),
            needed_bytes,
        )
    if len(sample) < settings.documents:
        logger.warning(
            "l2m-eval: documents: %d asked for, the corpus has room for %d that do not overlap; measuring these",
            settings.documents,
            len(sample),
        )
    return sample


def _collect(
    stream: Iterable[Document], needed_bytes: int, most: int, endless: bool, rng: np.random.Generator
) -> tuple[list[tuple[int, Document]], list[int]]:
    """Documents long enough, at most `most`: the first ones of a stream, a uniform choice otherwise."""
    kept: list[tuple[int, Document]] = []
    sizes: list[int] = []
    eligible = 0
    for index, document in enumerate(stream):
        sizes.append(len(document.text.encode("utf-8")))
        if sizes[-1] < needed_bytes:
            continue
        eligible += 1
        if len(kept) < most:
            kept.append((index, document))
            if endless and len(kept) == most:
                break
        elif (slot := int(rng.integers(eligible))) < most:
            kept[slot] = (index, document)  # reservoir sampling: memory holds `most` documents, however many
    return kept, sizes


def _deal(capacity: list[int], wanted: int) -> list[int]:
    """How many chunks each document gives: one each in turn until `wanted` or no room is left."""
    shares = [0] * len(capacity)
    while sum(shares) < wanted:
        before = sum(shares)
        for position, room in enumerate(capacity):
            if shares[position] < room and sum(shares) < wanted:
                shares[position] += 1
        if sum(shares) == before:
            break
    return shares


def _cut(
    document: Document, source: int, group: int, share: int, needed_bytes: int, rng: np.random.Generator
) -> list[Chunk]:
    """`share` chunks of one document, one from each of as many equal strata, in random order."""
    text = document.text
    size = -(-needed_bytes * len(text) // len(text.encode("utf-8")))  # characters, rounded up
    pieces = []
    for stratum in rng.permutation(share):
        low = int(stratum * len(text) // share)
        high = int((stratum + 1) * len(text) // share)
        latest = max(low, high - size)
        start = sentence_start(text, int(rng.integers(low, latest + 1)), low, latest)
        end = min(high, start + RESERVE * size)
        pieces.append(Chunk(document.name, source, group, start, text[start:end], min(size, end - start)))
    return pieces


def sentence_start(text: str, near: int, low: int, high: int) -> int:
    """The start of a sentence close to `near` within [low, high]; failing that a word's, a character's.

    Works for scripts without spaces or Latin punctuation; never between a letter and its combining marks.
    """
    after = SENTENCE_END.search(text, near, min(len(text), near + SENTENCE_SEARCH))
    if after and after.end() <= high:
        return after.end()
    before = list(SENTENCE_END.finditer(text, max(low, near - SENTENCE_SEARCH), near))
    if before and before[-1].end() <= near:
        return before[-1].end()
    if low == 0 and near < SENTENCE_SEARCH:
        return 0  # the document's own beginning is one
    space = re.compile(r"\s\S").search(text, near, min(len(text), near + SENTENCE_SEARCH))
    start = space.start() + 1 if space and space.start() + 1 <= high else near
    while low < start < len(text) and unicodedata.combining(text[start]):
        start -= 1
    return start
