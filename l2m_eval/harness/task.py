"""The harness' protocol of a task, for one whose metrics come from all documents together.

Up to 0.4.13 the harness gathers what `process_results` gives for each document and asks `aggregation` for a function
per metric; from 0.5 on it asks the task to aggregate. Both come to `aggregated` here. What one release alone asks
for stands under its name; what is measured is in `l2m_eval.tasks`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.config.task import TaskConfig
from lm_eval.filters import build_filter_ensemble

from l2m_eval.harness import newer_releases, registration

registration.register_request_types()
registration.show_errors_in_one_line()

# What the harness gives for each task of a run with ``--predict_only``, as a number that is none.
BYPASSED = 999


class HarnessTask(Task):
    """A task with one request for each document, and metrics that only all documents together have."""

    VERSION = 1
    OUTPUT_TYPE = registration.REQUEST_TYPE

    def __init__(self, config: Mapping[str, Any]) -> None:
        known = {key: value for key, value in config.items() if key in TaskConfig.__dataclass_fields__}
        # Not Task.__init__: up to 0.4.13 it takes the whole configuration for the task's name and warns about it;
        # in 0.5 it builds scorers, which it cannot for our kind of request.
        self._config = TaskConfig(**{**known, "output_type": self.OUTPUT_TYPE})
        self._instances: list[Instance] | None = None
        self.fewshot_rnd = None
        self._names: tuple[str, ...] = ()
        self._instead: str | None = None
        # 0.4
        self._training_docs = self._fewshot_docs = None
        self._filters = [build_filter_ensemble("none", [("take_first", None)])]
        # 0.5
        self._scorers: list[Any] = newer_releases.scorers()
        self._fewshot_seed: int | None = None

    # What a measurement says

    @abstractmethod
    def document_terms(self, doc: dict[str, Any], answer: str) -> dict[str, Any]:
        """Every metric of the task by name, with the document's own term of it."""

    @abstractmethod
    def aggregated(self, name: str, items: Sequence[Any]) -> float:
        """A metric, from the terms of all documents."""

    @abstractmethod
    def direction(self, name: str) -> bool | None:
        """Whether a higher value of a metric is better; None where neither direction is."""

    @property
    @abstractmethod
    def results_block(self) -> dict[str, Any]:
        """What the results say beside the metrics; always the same object, filled once there are results."""

    # Every release

    @property
    def task_name(self) -> str:
        """The name under which the harness files the results; lm-eval before 0.4.12 asks the class for it."""
        return str(self.config.task)

    def download(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing to do: documents are read when they are first needed."""

    def has_training_docs(self) -> bool:
        return False

    def has_validation_docs(self) -> bool:
        return False

    def has_test_docs(self) -> bool:
        return True

    def construct_requests(self, doc: Any, ctx: Any, **_kwargs: Any) -> list[Instance]:
        raise NotImplementedError("requests are built in build_all_requests")

    def instance(self, doc: dict[str, Any], doc_id: int, arguments: tuple[Any, ...]) -> Instance:
        """A request; 0.4 reads name, document and repeats from `metadata`, 0.5 has a field for each."""
        name = self.task_name
        return Instance(
            request_type=self.OUTPUT_TYPE,
            doc=doc,
            arguments=arguments,
            idx=0,
            metadata=(name, doc_id, 1),
            task_name=name,
            doc_id=doc_id,
            repeats=1,
        )

    def process_results(self, doc: dict[str, Any], results: Sequence[str]) -> dict[str, Any]:
        """The document's own terms of all metrics."""
        terms = {self._instead: BYPASSED} if self._instead else self.document_terms(doc, results[0])
        self._names = tuple(terms)
        return terms

    def override_metric(self, metric_name: str) -> None:
        """With ``--predict_only`` the harness wants no metric but this one, which is none."""
        self._instead = metric_name

    def higher_is_better(self) -> dict[str, bool | None]:
        """The direction of each metric of the run, None for those that have none."""
        return {name: self.direction(name) for name in self._names if not name.endswith("_stderr")}

    def dump_config(self) -> dict[str, Any]:
        """The task's configuration; once measured, with everything needed to read and repeat the numbers.

        lm-eval before 0.4.12 asks for the configuration ahead of the run and writes it after it. Until then, and
        with ``--predict_only``, the block is empty.
        """
        config: dict[str, Any] = super().dump_config()
        config["l2m"] = self.results_block
        # The harness' logger for Weights & Biases goes through this list for every task whose samples are logged.
        config.setdefault("metric_list", [])
        return config

    # 0.4

    def aggregation(self) -> dict[str, Callable[[Sequence[Any]], float]]:
        """A function for each metric that `process_results` gave."""
        return {name: partial(self._value, name) for name in self._names}

    def _value(self, name: str, items: Sequence[Any]) -> float:
        return BYPASSED if name == self._instead else self.aggregated(name, items)

    # 0.5

    def process_instances(self) -> None:
        super().process_instances()
        newer_releases.log_answers_as_before(self._instances or [])

    def aggregate(self, bootstrap_iters: int | None = None) -> tuple[dict[str, float], int]:
        """All metrics with our own standard errors, and the number of documents.

        The harness' own would resample each metric's terms, of which ours is no mean.
        """
        columns = newer_releases.columns(self._scorers)
        table = {f"{name},none": self._value(name, items) for name, items in columns.items()}
        return table, max(map(len, columns.values()), default=0)
