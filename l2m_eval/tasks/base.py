"""The harness' protocol around a measurement: what all tasks of ours have in common.

A task names its documents, makes one request of each, and turns the records that come back, gathered from all
ranks, into metrics. What is measured, and how records become curves, is in `l2m_eval.measurements`.
"""

from __future__ import annotations

import json
import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.config.task import TaskConfig
from lm_eval.filters import build_filter_ensemble

from l2m_eval import __version__, plugin
from l2m_eval.corpora import Chunk, Sample, draw_sample, known_process
from l2m_eval.errors import L2MError
from l2m_eval.processes import TokenProcess
from l2m_eval.settings import CorpusSettings, read_settings

logger = logging.getLogger(__name__)

DEFAULT_SEED = 1234
NAN = float("nan")
plugin.register_request_types()
plugin.show_errors_in_one_line()


@dataclass(frozen=True)
class Metric:
    """A number of the results table. `standard_error` is None for what has none: exact values, counts."""

    value: float
    standard_error: float | None = None


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


class MeasurementTask(Task):
    """A measurement as the harness runs it. Subclasses say what is asked of the model and what follows from it."""

    VERSION = 1
    OUTPUT_TYPE = plugin.REQUEST_TYPE
    settings_class: ClassVar[type[CorpusSettings]]

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        config = {key: value for key, value in (config or {}).items() if key != "class"}
        self.settings: Any = read_settings(self.settings_class, config.get("metadata") or {})
        known = {key: value for key, value in config.items() if key in TaskConfig.__dataclass_fields__}
        # Not Task.__init__: it would take the whole configuration for the task's name and warn about it.
        self._config = TaskConfig(**{**known, "output_type": self.OUTPUT_TYPE})
        self._instances: list[Instance] | None = None
        self._training_docs = self._fewshot_docs = None
        self._filters = [build_filter_ensemble("none", [("take_first", None)])]
        self.fewshot_rnd = None
        self._seed = DEFAULT_SEED
        self._measured: tuple[tuple[int, ...], dict[str, Metric]] | None = None
        self._results: dict[str, Any] = {}
        self.warnings: list[str] = []

    # What a measurement says of itself

    @property
    def task_name(self) -> str:
        """The name under which the harness files the results; lm-eval before 0.4.12 asks the class for it."""
        return str(self.config.task)

    @property
    @abstractmethod
    def docs(self) -> list[dict[str, Any]]:
        """The documents, each with its ``index``; what the samples log shows of them."""

    @abstractmethod
    def request(self, doc: Mapping[str, Any], measured: set[int]) -> Any:
        """What is asked of the model for a document, given the indices of all that are measured in this run."""

    @abstractmethod
    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        """Every metric of the task with the document's own value of it, NaN where one document has none."""

    @abstractmethod
    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        """All metrics from the records of all documents, and the task's own part of the results block."""

    # Documents

    def download(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to do: documents are read when they are first needed."""

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

    def has_training_docs(self) -> bool:
        return False

    def has_validation_docs(self) -> bool:
        return False

    def has_test_docs(self) -> bool:
        return True

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
            Instance(
                request_type=self.OUTPUT_TYPE,
                doc=doc,
                arguments=(self.doc_to_text(doc), self.request(doc, measured)),
                idx=0,
                metadata=(self.config.task, doc_id, 1),
            )
            for doc_id, doc in self.doc_iterator(
                rank=rank, limit=limit, world_size=world_size, samples=samples
            )
        ]

    def construct_requests(self, doc: Any, ctx: Any, **_kwargs: Any) -> list[Instance]:
        raise NotImplementedError("requests are built in build_all_requests")

    # Metrics

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, Measured]:
        """A document's own terms, and the record that the aggregation works on."""
        record = json.loads(results[0])
        unknown = Measured(NAN, doc, record)  # one object for all, since there may be many documents
        metrics = {}
        for name, value in self.own_terms(doc, record).items():
            metrics[name] = unknown if np.isnan(value) else Measured(value, doc, record)
            if self.has_standard_error(name):
                # The harness writes what a metric of this name aggregates to as the standard error of `name`.
                metrics[f"{name}_stderr"] = unknown
        return metrics

    def has_standard_error(self, name: str) -> bool:
        """Exact values and counts have none; a deviation is in units of one."""
        return "_exact" not in name and "_deviation" not in name and name != "tokens_scored"

    def aggregation(self) -> dict[str, Callable[[list[Measured]], float]]:
        return _Aggregations(self._aggregate)

    def higher_is_better(self) -> dict[str, bool]:
        return {}

    def _aggregate(self, name: str, items: list[Measured]) -> float:
        metric = self._metrics(items)[name.removesuffix("_stderr")]
        if not name.endswith("_stderr"):
            return metric.value
        return NAN if metric.standard_error is None else metric.standard_error

    def _metrics(self, items: list[Measured]) -> dict[str, Metric]:
        key = tuple(item.doc["index"] for item in items)
        if self._measured is None or self._measured[0] != key:
            order = sorted(range(len(items)), key=lambda i: items[i].doc["index"])
            docs, records = [items[i].doc for i in order], [items[i].record for i in order]
            self.warnings = []
            metrics, block = self.measure(docs, records)
            self._measured = (key, metrics)
            self._results.clear()
            self._results.update(block, warnings=self.warnings, versions=installed_versions())
        return self._measured[1]

    def warn(self, message: str) -> None:
        """Tell the user now, and whoever reads the results later."""
        self.warnings.append(message)
        logger.warning("l2m-eval: %s", message)

    def settings_block(self) -> dict[str, Any]:
        """The settings as they were used, for the results."""
        return {**asdict(self.settings), "seed": self.seed}

    def dump_config(self) -> dict[str, Any]:
        """The task's configuration; once measured, with everything needed to read and repeat the numbers.

        The block is always the same object: lm-eval before 0.4.12 asks for the configuration ahead of the run
        and writes it after it. Until then, and with ``--predict_only``, it is empty.
        """
        config: dict[str, Any] = super().dump_config()
        config["l2m"] = self._results
        # The harness' logger for Weights & Biases goes through this list for every task whose samples are logged.
        config.setdefault("metric_list", [])
        return config


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


class _Aggregations(dict[str, Callable[[list[Measured]], float]]):
    """An aggregation for every metric name: which names there are depends on the model's context."""

    def __init__(self, aggregate: Callable[[str, list[Measured]], float]):
        super().__init__()
        self._aggregate = aggregate

    def __missing__(self, name: str) -> Callable[[list[Measured]], float]:
        return lambda items: self._aggregate(name, items)


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
            }
        )
    return docs


def sample_block(sample: Sample, documents: int, pairing: str) -> dict[str, Any]:
    """What the results say about which documents were measured."""
    return {
        "documents": documents,
        "documents_requested": sample.requested,
        "source_documents": len({sample.chunks[i].source for i in sample.measured}),
        "source_documents_read": sample.documents_read,
        "source_documents_too_short": sample.too_short,
        "pairs": pairing,
    }


def finite_or_none(value: Any) -> Any:
    """A number, or nested lists of them, as the results carry it: null where it is not known."""
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return value if math.isfinite(value) else None


def deviation(value: float, exact: float, standard_error: float) -> float:
    """How many standard errors an estimate is away from the exact value; NaN where the error is zero or unknown."""
    return (value - exact) / standard_error if standard_error > 0 else NAN


def rejection(p_value: float, law: str) -> str:
    """That the documents reject a fitted law, and what the fit is worth then."""
    return (
        f"the documents reject {law} (goodness of fit p = {p_value:.2g}): the fit sums up this range and says "
        "nothing of others"
    )


def installed_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {"l2m-eval": __version__}
    for package in ("lm_eval", "torch", "transformers", "datasets", "numpy", "scipy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
