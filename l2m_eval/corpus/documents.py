"""The source documents that a task's settings name: files, hub datasets, or samples of a known process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from l2m_eval.corpus import sources
from l2m_eval.corpus.files import matching_files
from l2m_eval.corpus.formats import read_files
from l2m_eval.corpus.repeated import without_identical
from l2m_eval.corpus.rows import Document, LeftOut
from l2m_eval.errors import L2MError
from l2m_eval.processes import LimitedMemory, TokenProcess, WordTokenizer, make_process
from l2m_eval.settings import PROCESS, CorpusSettings

logger = logging.getLogger(__name__)


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


def known_predictor(settings: CorpusSettings) -> TokenProcess | None:
    """The process whose exact curves a perfect model has: the corpus' own, or that with the memory of the settings.

    Raises:
        L2MError: as `known_process`, or a process that has no formula for a limited memory.
    """
    process = known_process(settings)
    if process is None or settings.memory is None:
        return process
    return LimitedMemory(process, settings.memory)


def sampled_documents(process: TokenProcess, count: int, length: int, seed: int) -> Iterator[Document]:
    """Independent documents of a process, in its tokenizer's text form, `length` tokens each."""
    words = WordTokenizer(process.vocabulary_size)
    rng = np.random.default_rng([seed, 0x70726F63])
    for number, tokens in enumerate(process.sample(count, length, rng)):
        yield Document(f"{process.name}:{number}", words.decode(tokens))


def hub_dataset(settings: CorpusSettings) -> sources.HubDataset | None:
    """The dataset of the hub that the corpus is, where it is one."""
    first = settings.corpus[0]
    if first.startswith(sources.HUB_PREFIX):
        path = first.removeprefix(sources.HUB_PREFIX)
        return sources.HubDataset(path, settings.subset, settings.split, settings.column)
    return {"pg19": sources.PG19, "wikipedia": sources.WIKIPEDIA}.get(first)


def read_documents(
    settings: CorpusSettings, seed: int, left_out: LeftOut | None = None
) -> tuple[Iterator[Document], bool]:
    """Documents of the corpus that the settings name, each text once, and whether they come as an endless stream."""
    left_out = LeftOut() if left_out is None else left_out
    dataset = hub_dataset(settings)
    if dataset is not None:
        return without_identical(sources.read_hub(dataset, seed, left_out), left_out), dataset.shuffle
    files = read_files(
        matching_files(settings.corpus), settings.column, split=settings.split, left_out=left_out
    )
    return without_identical(files, left_out), False


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


def say_left_out(left_out: LeftOut) -> None:
    """Tell the user which parts of the corpus are not measured, if any."""
    if left_out.said:
        logger.warning("l2m-eval: corpus: left out %s", left_out.said)


@dataclass(frozen=True, eq=False)
class WholeCorpus:
    """All source documents that a sample was drawn from, read again where their whole text is needed.

    Attributes:
        settings: Of the task.
        seed: Of the sample.
        length: Tokens of a sampled document of a known process.
        read: How many documents the sample looked at; of a stream, no more are read.
        size: Their UTF-8 bytes.
    """

    settings: CorpusSettings
    seed: int
    length: int
    read: int
    size: int

    @property
    def key(self) -> tuple[object, ...]:
        """The same for samples of the same documents."""
        s = self.settings
        return (
            s.corpus,
            s.column,
            s.subset,
            s.split,
            s.process,
            s.process_settings,
            self.seed,
            self.read,
            self.size,
        )

    def part(self, most_bytes: int) -> Iterator[Document]:
        """The documents, or a part of them drawn from the seed that has about `most_bytes` bytes."""
        process = known_process(self.settings)
        stream = (
            read_documents(self.settings, self.seed)[0]
            if process is None
            else sampled_documents(process, self.read, self.length, self.seed)
        )
        rng = np.random.default_rng([self.seed, 0x77686F6C65])
        for _, document in zip(range(self.read), stream, strict=False):
            if rng.random() * self.size < most_bytes and document.text:
                yield document
