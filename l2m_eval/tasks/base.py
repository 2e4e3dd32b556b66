"""The harness' protocol around a measurement: what all tasks of this package share.

A task names its documents, makes one request of each, and turns the records that come back, gathered from all
ranks, into metrics. What is measured, and how records become curves, is in `l2m_eval.measurements`.
"""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from l2m_eval import __version__
from l2m_eval.corpus.chunks import Chunk, Sample, draw_sample
from l2m_eval.corpus.documents import hub_dataset, known_predictor, known_process
from l2m_eval.errors import L2MError
from l2m_eval.fields import AUTO
from l2m_eval.harness.task import HarnessTask
from l2m_eval.processes import TokenProcess
from l2m_eval.settings import DEFAULT_SEED, PROCESS, CorpusSettings, read_settings, task_kind
from l2m_eval.statistics.estimate import Estimate

logger = logging.getLogger(__name__)

NAN = float("nan")


@dataclass(frozen=True)
class Metric:
    """A number of the results table. `standard_error` is None for what has none: exact values, counts."""

    value: float
    standard_error: float | None = None

    @classmethod
    def of(cls, estimate: Estimate) -> Metric:
        return cls(estimate.value, estimate.standard_error)


class Measured(float):
    """A document's own term of a metric, carrying what the aggregation over documents needs.

    The harness logs the number and hands the objects, gathered from all ranks, to the aggregation.
    """

    doc: dict[str, Any]
    record: dict[str, Any]

    def __new__(cls, value: float, doc: dict[str, Any], record: dict[str, Any]) -> Measured:
        self = super().__new__(cls, value)
        self.doc, self.record = doc, record
        return self

    def __reduce__(self) -> Any:
        return (Measured, (float(self), self.doc, self.record))


class MeasurementTask(HarnessTask):
    """A measurement as the harness runs it. Subclasses define the requests and what is computed from the answers."""

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        config = {key: value for key, value in (config or {}).items() if key != "class"}
        self.kind = task_kind(*(base.__name__ for base in type(self).__mro__))
        self.settings: Any = read_settings(self.kind.settings, config.get("metadata") or {})
        super().__init__({**dataset_of(self.settings), **config})
        self._seed = DEFAULT_SEED
        self._measured: tuple[tuple[int, ...], dict[str, Metric]] | None = None
        self._results: dict[str, Any] = {}
        self.warnings: list[str] = []

    # What a measurement says of itself

    @property
    @abstractmethod
    def docs(self) -> list[dict[str, Any]]:
        """The documents, each with its ``index``; what the samples log shows of them."""

    @abstractmethod
    def request(self, doc: Mapping[str, Any], measured: set[int]) -> Any:
        """The request to the model for a document, given the indices of all documents measured in this run."""

    @abstractmethod
    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        """Every metric of the task with the document's own value of it, NaN where one document has none."""

    @abstractmethod
    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        """All metrics from the records of all documents, and the task's own part of the results block."""

    # Documents

    def set_fewshot_seed(self, seed: int | None = None) -> None:
        """The harness hands ``--seed`` to a task here; it is the sample's seed unless the task sets its own."""
        super().set_fewshot_seed(seed)
        if seed is not None:
            self._seed = int(seed)

    @property
    def seed(self) -> int:
        return self.settings.seed if self.settings.seed is not None else self._seed

    @cached_property
    def process(self) -> TokenProcess | None:
        """The known process that the documents are sampled from, where they are."""
        return known_process(self.settings)

    @cached_property
    def predictor(self) -> TokenProcess | None:
        """The process whose exact curves are given beside the measured ones, with the memory of the settings."""
        return known_predictor(self.settings)

    def test_docs(self) -> list[dict[str, Any]]:
        return self.docs

    def doc_to_text(self, doc: Mapping[str, Any]) -> str:
        return f"{doc['document']}@{doc['offset']}: {doc['begins']}"

    def doc_to_target(self, doc: Mapping[str, Any]) -> str:
        return ""

    # Requests

    def build_all_requests(
        self,
        *,
        limit: int | None = None,
        samples: list[int] | None = None,
        rank: int = 0,
        world_size: int = 1,
        cache_requests: bool = False,
        system_instruction: str | None = None,
        apply_chat_template: bool = False,
        **_unused: Any,
    ) -> None:
        """One request for each document of this rank.

        The harness' cache of requests is not used: its key does not know our settings, and building the
        requests takes no time.
        """
        if cache_requests:
            logger.warning("l2m-eval: --cache_requests is not needed and not used by %s", self.config.task)
        if apply_chat_template or system_instruction:
            logger.warning(
                "l2m-eval: %s measures plain text; chat template and system prompt unused", self.config.task
            )
        if self.config.num_fewshot:
            logger.warning("l2m-eval: %s has no examples; num_fewshot is not used", self.config.task)
        measured = set(samples) if samples else set(range(len(self.docs))[: int(limit) if limit else None])
        if len(measured) < world_size:
            # Said by every process: one that stopped alone would leave the others waiting for it.
            raise L2MError(
                f"{self.config.task}: {len(measured)} document(s) for {world_size} processes; use fewer processes or "
                "measure more documents"
            )
        self._instances = [
            self.instance(doc, doc_id, (self.doc_to_text(doc), self.request(doc, measured)))
            for doc_id, doc in self.doc_iterator(
                rank=rank, limit=limit, world_size=world_size, samples=samples
            )
        ]

    # Metrics

    def document_terms(self, doc: dict[str, Any], answer: str) -> dict[str, Measured]:
        """A document's own terms, each with the record that the aggregation works on."""
        record = json.loads(answer)
        unknown = Measured(NAN, doc, record)  # one object for all, since there may be many documents
        metrics = {}
        for name, value in self.own_terms(doc, record).items():
            metrics[name] = unknown if np.isnan(value) else Measured(value, doc, record)
            if self.has_standard_error(name):
                # The harness writes what a metric of this name aggregates to as the standard error of `name`.
                metrics[f"{name}_stderr"] = unknown
        return metrics

    def has_standard_error(self, name: str) -> bool:
        """Exact values, counts and bounds have none; a deviation is in units of one."""
        without = ("_exact", "_deviation", "effective_context", "tokens_scored")
        return not any(part in name for part in without)

    def aggregated(self, name: str, items: Sequence[Any]) -> float:
        metric = self._metrics(items)[name.removesuffix("_stderr")]
        if not name.endswith("_stderr"):
            return metric.value
        return NAN if metric.standard_error is None else metric.standard_error

    def _metrics(self, items: Sequence[Measured]) -> dict[str, Metric]:
        key = tuple(item.doc["index"] for item in items)
        if self._measured is None or self._measured[0] != key:
            order = sorted(range(len(items)), key=lambda i: items[i].doc["index"])
            docs, records = [items[i].doc for i in order], [items[i].record for i in order]
            self.warnings = []
            metrics, block = self.measure(docs, records)
            self._measured = (key, metrics)
            self._results.clear()
            self._results.update(
                block,
                set_by_the_run=self._set_by_the_run(block["settings"]),
                warnings=self.warnings,
                versions=installed_versions(),
            )
        return self._measured[1]

    def warn(self, message: str) -> None:
        """Warn the user now, and readers of the results later."""
        self.warnings.append(message)
        logger.warning("l2m-eval: %s", message)

    def settings_block(self) -> dict[str, Any]:
        """The settings as they were used, for the results."""
        return {**asdict(self.settings), "seed": self.seed}

    def _set_by_the_run(self, used: Mapping[str, Any]) -> list[str]:
        """The settings that nobody gave as numbers, and that the run chose to fit the model or the documents.

        The sample is drawn before they are known, so giving them would draw another.
        """
        return sorted(
            name
            for name, value in asdict(self.settings).items()
            if (value is None or (value == AUTO and name in ("lengths", "contexts")))
            and name not in ("seed", "model_context")
            and used.get(name) is not None
        )

    @property
    def results_block(self) -> dict[str, Any]:
        """Everything needed to read and repeat the numbers; empty until they are measured."""
        return self._results


class ChunkTask(MeasurementTask):
    """A measurement of chunks one by one, each without partners."""

    @cached_property
    def sample(self) -> Sample:
        return draw_sample(self.settings, self.settings.longest, self.seed, pairing="none")

    @cached_property
    def docs(self) -> list[dict[str, Any]]:
        return chunk_docs(self.sample)

    def chunk(self, doc: Mapping[str, Any]) -> Chunk:
        """The chunk that a document of the harness stands for."""
        return self.sample.chunks[self.sample.measured[doc["index"]]]


def chunk_docs(sample: Sample) -> list[dict[str, Any]]:
    """The measured chunks of a sample as documents of the harness: where each is from, not its text."""
    docs = []
    for number, chunk_index in enumerate(sample.measured):
        chunk = sample.chunks[chunk_index]
        docs.append(
            {
                "index": number,
                "document": chunk.document,
                "offset": chunk.offset,
                "sha256": chunk.digest,
                "begins": chunk.text[:80],
                "source": chunk.source,
                **({} if chunk.holds is None else {"holds": chunk.holds}),
            }
        )
    return docs


def dataset_of(settings: CorpusSettings) -> dict[str, str]:
    """What is measured, in the fields where the harness and converters of its results look for a dataset.

    For files of the user's own the path is ``text``, as for the harness' own tasks on local files: readers take a
    path with a slash for a dataset of the hub.
    """
    saved = getattr(settings, "results", None)
    if saved is not None:
        return {"dataset_path": "results", "dataset_name": str(saved)}
    hub = hub_dataset(settings)
    if hub is not None:
        named = {"dataset_path": hub.path, "dataset_name": hub.subset, "test_split": hub.split}
        return {field: value for field, value in named.items() if value is not None}
    if settings.corpus == (PROCESS,):
        given = ", ".join(f"{name}={value}" for name, value in settings.process_settings)
        return {"dataset_path": PROCESS, "dataset_name": f"{settings.process}({given})"}
    return {"dataset_path": "text", "dataset_name": ", ".join(settings.corpus)}


def sample_block(sample: Sample, documents: int, pairing: str) -> dict[str, Any]:
    """What the results say about which documents were measured."""
    return {
        "documents": documents,
        "documents_requested": sample.requested,
        "source_documents": len({sample.chunks[i].source for i in sample.measured}),
        "source_documents_read": sample.documents_read,
        "source_documents_too_short": sample.too_short,
        "source_documents_repeated": sample.left_out.repeated,
        "rows_without_text": sample.left_out.without_text,
        "pairs": pairing,
    }


def deviation(value: float, exact: float, standard_error: float) -> float:
    """How many standard errors an estimate is away from the exact value; NaN where the error is zero or unknown."""
    return (value - exact) / standard_error if standard_error > 0 else NAN


def installed_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {"l2m-eval": __version__}
    for package in ("lm_eval", "torch", "transformers", "datasets", "numpy", "scipy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
