"""What is measured: chunks of documents, and the partners of each chunk.

Everything here depends on the settings and the seed alone, never on the model, the number of processes,
the batch size or ``--limit``, so that every rank of a distributed run holds the same sample.
"""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from l2m_eval.corpus.documents import (
    WholeCorpus,
    is_files,
    known_predictor,
    known_process,
    read_documents,
    sampled_documents,
    say_left_out,
)
from l2m_eval.corpus.files import matching_files, size_on_disk
from l2m_eval.corpus.formats import read_files
from l2m_eval.corpus.repeated import similar_to_earlier, sketch
from l2m_eval.corpus.rows import Document, LeftOut
from l2m_eval.errors import L2MError
from l2m_eval.processes import WordTokenizer
from l2m_eval.settings import CorpusSettings

logger = logging.getLogger(__name__)

# A chunk must give `longest` tokens under a tokenizer that is not known yet. Eight bytes a token is more than
# the tokenizers of today need for running text in any script; the published procedure asks for 5000 words
# for 2048 tokens, about 14 bytes a token.
BYTES_PER_TOKEN = 8
# Text kept behind a chunk for the rare tokenizer, or stretch of text, that needs more.
RESERVE = 4
# Groups of documents that hold a length which shorter documents do not: an error from fewer says little.
FEWEST_GROUPS = 3
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
        pieces: Its parts that were asked for, see `l2m_eval.corpus.blocks`.
        holds: Tokens of the longest length that it is cut for, with all documents of its group; None where that is
            the longest length measured.
    """

    document: str
    source: int
    group: int
    offset: int
    text: str
    size: int
    pieces: dict[tuple[int, int], Chunk] = field(default_factory=dict, repr=False)
    holds: int | None = None

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
        whole: All source documents read, for what needs their whole text.
        longest: Tokens that its longest chunk holds.
        left_out: What was read beside them and is not measured.
    """

    chunks: tuple[Chunk, ...]
    measured: tuple[int, ...]
    partners: tuple[tuple[int, ...], ...]
    documents_read: int
    too_short: int
    requested: int
    whole: WholeCorpus
    longest: int
    left_out: LeftOut = field(default_factory=LeftOut)

    def __len__(self) -> int:
        return len(self.measured)

    def tokens_held(self) -> list[int]:
        """Tokens of the longest length that each measured chunk holds."""
        return [self.chunks[i].holds or self.longest for i in self.measured]


def chunk_size_bytes(settings: CorpusSettings, longest: int, length: int | None = None) -> int:
    """Bytes of text that a chunk needs for the longest length, or for a shorter one of the same measurement.

    Where chunk_bytes is set it is what the longest length needs, and shorter ones as much less.
    """
    process, length = known_process(settings), longest if length is None else length
    if process is not None:
        return length * len(WordTokenizer(process.vocabulary_size).decode([0]))
    if settings.chunk_bytes is None:
        return BYTES_PER_TOKEN * length
    return settings.chunk_bytes if length == longest else -(-settings.chunk_bytes * length // longest)


def check_corpus(settings: CorpusSettings, longest: int) -> list[int] | None:
    """Raise `L2MError` for files that are missing, unreadable or all too short. Hub corpora are not touched.

    Returns:
        Bytes of each document; None where that would take reading a hub corpus or many files, or where documents are
        made as long as they must be.
    """
    if not is_files(settings):
        known_predictor(settings)
        return None
    files = matching_files(settings.corpus)
    if size_on_disk(files) <= CHECKED_EARLY_BYTES:
        shortest = min((longest, *settings.shorter))
        needed = chunk_size_bytes(settings, longest, shortest)
        sizes = [
            len(document.text.encode("utf-8"))
            for document in read_files(files, settings.column, split=settings.split)
        ]
        _require_long_enough(sizes, needed, shortest)
        return sizes
    return None


def documents_that_hold(settings: CorpusSettings, sizes: Sequence[int], length: int) -> int:
    """How many documents, of so many bytes, a chunk of `length` tokens can be cut from."""
    needed = chunk_size_bytes(settings, settings.longest, length)
    return sum(size >= needed for size in sizes)


def _require_long_enough(sizes: list[int], needed: int, longest: int) -> None:
    if not sizes or max(sizes) < needed:
        found = f"the longest of {len(sizes):,} has {max(sizes):,} bytes" if sizes else "none has text"
        raise L2MError(
            f"corpus: no document is long enough: {found}, {needed:,} are needed for lengths up to "
            f"{longest} tokens; give shorter lengths or contexts, longer documents, or set chunk_bytes "
            f"({BYTES_PER_TOKEN} bytes a token unless set)"
        )


def draw_sample(settings: CorpusSettings, longest: int, seed: int, *, pairing: str) -> Sample:
    """Choose chunks and partners.

    Source documents are dealt, in an order drawn from the seed, into groups of `settings.partners` + 1 (the
    last group takes the remainder), and chunks are drawn from them in turn, one from each document before a
    second from any, from strata that do not overlap.

    Where `settings.shorter` names shorter lengths, and the documents that hold the longest give fewer chunks than
    are asked for, those that hold the next shorter one follow, and so on: the sample begins with what it would be
    without them. Partners are of equal length, so that a group holds a length in full or not at all. A length that
    fewer than `FEWEST_GROUPS` groups hold is not measured.

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
    levels = (longest, *settings.shorter)
    needed = [chunk_size_bytes(settings, longest, level) for level in levels]
    process, left_out = known_process(settings), LeftOut()
    if process is not None:
        stream, endless = sampled_documents(process, max(wanted, group_size), longest, seed), False
    else:
        stream, endless = read_documents(settings, seed, left_out)
    collected, sizes = _collect(stream, needed, max(wanted, group_size), endless, rng, seed)
    _require_long_enough(sizes, needed[-1], levels[-1])
    drawn = _Drawn(group_size, pairing)
    looked_at: list[tuple[int, Document]] = []  # of this level and of longer ones
    waiting: list[tuple[int, Document]] = []  # of longer ones, which are too few
    for level, needed_bytes, found in zip(levels, needed, collected, strict=True):
        missing, last = settings.documents - len(drawn.measured), level == levels[-1]
        if missing < (group_size if drawn.measured and pairing == "mutual" else 1):
            break
        kept = found if process is not None else _without_similar(found, left_out, looked_at)
        looked_at += kept
        waiting += kept
        if last and not drawn.measured:
            _require_partners(len(waiting), group_size, needed_bytes, left_out)
        groups = len(waiting) // group_size
        if groups and (last or drawn.groups + groups >= FEWEST_GROUPS):
            drawn.add(waiting, missing, needed_bytes, None if level == longest else level, rng)
            waiting = []
    say_left_out(left_out)
    sample = Sample(
        chunks=tuple(drawn.chunks),
        measured=tuple(drawn.measured),
        partners=tuple(drawn.partners),
        documents_read=len(sizes),
        too_short=sum(size < needed[-1] for size in sizes),
        requested=settings.documents,
        whole=WholeCorpus(settings, seed, longest, len(sizes), sum(sizes)),
        left_out=left_out,
        longest=max((chunk.holds or longest for chunk in drawn.chunks), default=longest),
    )
    _say_missing(sample, needed[-1])
    if len(levels) > 1:
        _say_how_many_hold(sample, levels)
    return sample


class _Drawn:
    """Chunks as they are drawn, those of the longest documents first.

    Attributes:
        chunks: All of them, measured or partner.
        measured: Indices into `chunks` of the measured ones.
        partners: For each of these, indices of its partners.
        groups: How many groups of documents there are.
    """

    def __init__(self, group_size: int, pairing: str) -> None:
        self._group_size, self._pairing = group_size, pairing
        self.chunks: list[Chunk] = []
        self.measured: list[int] = []
        self.partners: list[tuple[int, ...]] = []
        self.groups = 0

    def add(
        self,
        documents: Sequence[tuple[int, Document]],
        missing: int,
        needed_bytes: int,
        holds: int | None,
        rng: np.random.Generator,
    ) -> None:
        """Deal documents of at least `needed_bytes` into groups, and cut up to `missing` chunks that are measured."""
        wanted = missing * (self._group_size if self._pairing == "separate" else 1)
        order = rng.permutation(len(documents))[: max(wanted, self._group_size)]
        groups = _groups(len(order), self._group_size, remainder=self._pairing != "separate")
        dealt = [documents[i] for i in order[: sum(map(len, groups))]]
        capacity = [len(document.text.encode("utf-8")) // needed_bytes for _, document in dealt]
        shares = _deal(capacity, wanted)
        at: list[list[int]] = []  # for each document, where its chunks stand in `chunks`
        group_of = {member: self.groups + number for number, group in enumerate(groups) for member in group}
        for position, ((index, document), share) in enumerate(zip(dealt, shares, strict=True)):
            first = len(self.chunks)
            if share:
                self.chunks += _cut(document, index, group_of[position], share, needed_bytes, rng, holds)
            at.append(list(range(first, len(self.chunks))))
        measured, partners = _paired(groups, at, self._group_size, self._pairing)
        self.measured += measured[:missing]
        self.partners += partners[:missing]
        self.groups += len(groups)


def _require_partners(found: int, group_size: int, needed_bytes: int, left_out: LeftOut) -> None:
    if found < group_size:
        repeated = f" ({left_out.said} left out)" if left_out.said else ""
        raise L2MError(
            f"corpus: {found} source document(s) of at least {needed_bytes:,} bytes found{repeated}, "
            f"{group_size} are needed so that partners come from different documents; give more documents, "
            'or measure without partners: estimators ["direct"], marginal paired'
        )


def _say_missing(sample: Sample, needed_bytes: int) -> None:
    if sample.too_short:
        logger.warning(
            "l2m-eval: %d of %d documents read are shorter than %d bytes and are not measured",
            sample.too_short,
            sample.documents_read,
            needed_bytes,
        )
    if len(sample) < sample.requested:
        logger.warning(
            "l2m-eval: documents: %d asked for, the corpus has room for %d that do not overlap; measuring these",
            sample.requested,
            len(sample),
        )


def _say_how_many_hold(sample: Sample, levels: Sequence[int]) -> None:
    """How many of the measured documents hold each length, and which lengths too few hold."""
    held = sample.tokens_held()
    told = ", ".join(
        f"{sum(tokens >= level for tokens in held):,} hold {level:,} tokens"
        for level in reversed(levels)
        if level <= sample.longest
    )
    over = [level for level in levels if level > sample.longest]
    without = (
        f"; {over[-1]:,} tokens or more are not measured, which fewer than {FEWEST_GROUPS} independent groups of "
        "documents hold"
        if over
        else ""
    )
    logger.warning("l2m-eval: of %d chunks measured %s%s", len(sample), told, without)


def _groups(documents: int, size: int, *, remainder: bool) -> list[list[int]]:
    """Positions of documents that are each other's partners; the last group takes the remainder, or nobody does."""
    groups = [list(range(first, first + size)) for first in range(0, documents - size + 1, size)]
    if remainder:
        groups[-1] += range(len(groups) * size, documents)
    return groups


def _paired(
    groups: list[list[int]], at: list[list[int]], group_size: int, pairing: str
) -> tuple[list[int], list[tuple[int, ...]]]:
    """Which chunks are measured, one of each document before a second of any, and the partners of each.

    A partner is the chunk of the same turn of the documents that follow in the group, or of an earlier turn where
    they have fewer. A chunk without enough partners is not measured.
    """
    places = [(group, place) for group in groups for place in range(len(group))]
    measured: list[int] = []
    partners: list[tuple[int, ...]] = []
    for turn in range(max(map(len, at))):
        for group, place in places:
            own = at[group[place]]
            if turn >= len(own) or (pairing == "separate" and place > 0):
                continue
            following = [at[group[(place + k) % len(group)]] for k in range(1, group_size)]
            found = tuple(chunks[turn % len(chunks)] for chunks in following if chunks)
            if len(found) == group_size - 1:
                measured.append(own[turn])
                partners.append(found)
    return measured, partners


def _collect(
    stream: Iterable[Document],
    needed: Sequence[int],
    most: int,
    endless: bool,
    rng: np.random.Generator,
    seed: int,
) -> tuple[list[list[tuple[int, Document]]], list[int]]:
    """For each size, the documents of that many bytes but not of the larger size before, at most `most`.

    The first ones of a stream, a uniform choice otherwise.

    Args:
        stream: Source documents.
        needed: Bytes, from most to fewest.
        most: Documents of each size; a stream is read up to where there are so many of the largest.
        endless: Whether it is a stream.
        rng: Source of the choice among those of the largest size.
        seed: Of the choices among the others, so that they do not change the first.
    """
    kept: list[list[tuple[int, Document]]] = [[] for _ in needed]
    draws = [rng, *(np.random.default_rng([seed, 0x73686F7274, level]) for level in range(1, len(needed)))]
    sizes: list[int] = []
    eligible = [0] * len(needed)
    for index, document in enumerate(stream):
        size = len(document.text.encode("utf-8"))
        sizes.append(size)
        level = next((level for level, bytes_needed in enumerate(needed) if size >= bytes_needed), None)
        if level is None:
            continue
        eligible[level] += 1
        if len(kept[level]) < most:
            kept[level].append((index, document))
            if endless and len(kept[0]) == most:
                break
        elif (slot := int(draws[level].integers(eligible[level]))) < most:
            # reservoir sampling: memory holds `most` documents of each size, however many there are
            kept[level][slot] = (index, document)
    return kept, sizes


def _without_similar(
    kept: list[tuple[int, Document]], left_out: LeftOut, earlier: Sequence[tuple[int, Document]] = ()
) -> list[tuple[int, Document]]:
    """The documents without those that share most of their text with one before them, or with an earlier one."""
    dropped = similar_to_earlier([sketch(document.text) for _, document in (*earlier, *kept)])
    found = [one for place, one in enumerate(kept, start=len(earlier)) if place not in dropped]
    left_out.similar += len(kept) - len(found)
    return found


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
    document: Document,
    source: int,
    group: int,
    share: int,
    needed_bytes: int,
    rng: np.random.Generator,
    holds: int | None = None,
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
        chosen = text[start:end]
        pieces.append(Chunk(document.name, source, group, start, chosen, min(size, end - start), holds=holds))
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
