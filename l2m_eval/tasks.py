"""The harness Task of the bipartite curve: documents → windows → sums → metrics.

What is measured and how it becomes curves is in `l2m_eval.measurements`; here is the harness' protocol around it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.config.task import TaskConfig
from lm_eval.filters import build_filter_ensemble

from l2m_eval import __version__, plugin
from l2m_eval.corpora import Sample, draw_sample, known_process
from l2m_eval.errors import L2MError
from l2m_eval.measurements.bipartite import (
    BipartiteCurve,
    BipartiteRequest,
    bipartite_curves,
    curve_name,
    document_terms,
)
from l2m_eval.processes import TokenProcess
from l2m_eval.scaling import fit_power_law
from l2m_eval.settings import BipartiteSettings, read_settings
from l2m_eval.windows import Cell

logger = logging.getLogger(__name__)

DEFAULT_SEED = 1234
plugin.register_request_type()
plugin.show_errors_in_one_line()


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


class BipartiteTask(Task):
    """``l2m_bipartite`` and its siblings: one class, different YAML."""

    VERSION = 1
    OUTPUT_TYPE = plugin.REQUEST_TYPE

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        config = {key: value for key, value in (config or {}).items() if key != "class"}
        self.settings = read_settings(BipartiteSettings, config.get("metadata") or {})
        known = {key: value for key, value in config.items() if key in TaskConfig.__dataclass_fields__}
        # Not Task.__init__: it would take the whole configuration for the task's name and warn about it.
        self._config = TaskConfig(**{**known, "output_type": self.OUTPUT_TYPE})
        self._instances: list[Instance] | None = None
        self._training_docs = self._fewshot_docs = None
        self._filters = [build_filter_ensemble("none", [("take_first", None)])]
        self.fewshot_rnd = None
        self._seed = DEFAULT_SEED
        self._curves: tuple[tuple[int, ...], list[BipartiteCurve]] | None = None
        self._exact_curves: dict[str, list[float]] = {}  # of a known process, by curve

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
    def sample(self) -> Sample:
        sample = draw_sample(
            self.settings, self.settings.wanted_lengths[-1], self.seed, pairing=self.settings.pairing
        )
        if self.settings.needs_partners and len(sample) < 2:
            raise L2MError(
                f"corpus: it has room for {len(sample)} document(s) with partners, two or more are needed; give more "
                "documents, or measure without partners: estimators direct, marginal paired"
            )
        return sample

    @cached_property
    def docs(self) -> list[dict[str, Any]]:
        index_of = {chunk: number for number, chunk in enumerate(self.sample.measured)}
        docs = []
        for number, (chunk_index, partners) in enumerate(
            zip(self.sample.measured, self.sample.partners, strict=True)
        ):
            chunk = self.sample.chunks[chunk_index]
            docs.append(
                {
                    "index": number,
                    "document": chunk.document,
                    "offset": chunk.offset,
                    "sha256": chunk.digest,
                    "begins": chunk.text[:80],
                    "source": chunk.source,
                    "group": chunk.group,
                    "partners": [self.sample.chunks[partner].label for partner in partners],
                    "partner_index": [index_of.get(partner, -1) for partner in partners],
                }
            )
        return docs

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
        self._instances = [
            Instance(
                request_type=self.OUTPUT_TYPE,
                doc=doc,
                arguments=(self.doc_to_text(doc), self._request(doc, measured)),
                idx=0,
                metadata=(self.config.task, doc_id, 1),
            )
            for doc_id, doc in self.doc_iterator(
                rank=rank, limit=limit, world_size=world_size, samples=samples
            )
        ]
        if not self._instances:
            raise L2MError(
                f"{self.config.task}: no document for process {rank} of {world_size}: {len(measured)} documents are "
                "measured; use fewer processes or more documents"
            )

    def _request(self, doc: Mapping[str, Any], measured: set[int]) -> BipartiteRequest:
        chunks, number = self.sample.chunks, doc["index"]
        return BipartiteRequest(
            self.settings,
            self.sample,
            chunks[self.sample.measured[number]],
            tuple(chunks[partner] for partner in self.sample.partners[number]),
            score_partners=not set(doc["partner_index"]) <= measured,
        )

    def construct_requests(self, doc: Any, ctx: Any, **_kwargs: Any) -> list[Instance]:
        raise NotImplementedError("requests are built in build_all_requests")

    # Metrics

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, Measured]:
        """A document's own terms; a vCLUB term without its control variate, which needs other documents."""
        record = json.loads(results[0])
        terms = document_terms([record], [doc], replace(self.settings, control_variate=False))
        metrics: dict[str, Measured] = {"tokens_scored": Measured(record["tokens_scored"], doc, record)}
        cells = [Cell(*cell) for cell in record["cells"]]
        own = {
            (curve_name(estimator, cell.ratio), cell.total): float(terms[estimator][0, column])
            for estimator in self.settings.estimators
            for column, cell in enumerate(cells)
        }
        for name in self._metric_names(cells):
            curve, _, total = name.partition("_mi@")
            value = own[curve, int(total)] if total else float("nan")
            metrics[name] = Measured(value, doc, record)
            if "_exact" in name or "_deviation" in name:
                continue  # exact values have no standard error, and a deviation is in units of one
            # The harness writes what a metric of this name aggregates to as the standard error of `name`.
            metrics[f"{name}_stderr"] = Measured(float("nan"), doc, record)
        return metrics

    def _metric_names(self, cells: Sequence[Cell]) -> list[str]:
        digits = max(4, len(str(max(cell.total for cell in cells))))
        names = []
        for estimator in self.settings.estimators:
            for ratio in self.settings.ratios:
                curve = curve_name(estimator, ratio)
                points = [f"{cell.total:0{digits}d}" for cell in cells if cell.ratio == ratio]
                names += [f"{curve}_mi@{point}" for point in points]
                names += [f"{curve}_beta", f"{curve}_amplitude"]
                if self.process is not None and estimator == "direct":
                    names += [f"{curve}_mi_exact@{point}" for point in points]
                    names += [f"{curve}_mi_deviation@{point}" for point in points]
                    names.append(f"{curve}_beta_exact")
        return names

    def aggregation(self) -> dict[str, Callable[[list[Measured]], float]]:
        return _Aggregations(self._aggregate)

    def higher_is_better(self) -> dict[str, bool]:
        return {}

    def _aggregate(self, name: str, items: list[Measured]) -> float:
        if name == "tokens_scored":
            return float(np.mean([float(item) for item in items]))
        wants_error = name.endswith("_stderr")
        name = name.removesuffix("_stderr")
        if "_exact" in name or "_deviation" in name:
            return self._against_exact(name, items)
        wanted, _, quantity = name.rpartition("_")
        for curve in self._estimated(items):
            if curve.name != wanted:
                continue
            if quantity.startswith("mi@"):
                point = curve.lengths.index(int(quantity[3:]))
                estimate = curve.estimate
                return float((estimate.standard_error if wants_error else estimate.value)[point])
            if quantity == "beta":
                return curve.fit.exponent_error if wants_error else curve.fit.exponent
            if quantity == "amplitude":
                return curve.fit.amplitude_error if wants_error else curve.fit.amplitude
        raise KeyError(name)

    @cached_property
    def process(self) -> TokenProcess | None:
        """The known process that the documents are sampled from, where they are."""
        return known_process(self.settings)

    def _against_exact(self, name: str, items: list[Measured]) -> float:
        """The exact value of a known process, or how many standard errors the estimate is away from it."""
        assert self.process is not None
        quantity, _, total = name.partition("@")
        name = quantity.split("_mi_")[0].removesuffix("_beta_exact")
        curve = next(curve for curve in self._estimated(items) if curve.name == name)
        if name not in self._exact_curves:
            self._exact_curves[name] = [
                self.process.bipartite_mi(length // curve.ratio, length) for length in curve.lengths
            ]
        exact = self._exact_curves[name]
        if quantity.endswith("_beta_exact"):
            _, exponent, _ = fit_power_law(
                curve.lengths, exact, curve.estimate.standard_error, curve.fit.method
            )
            return float(exponent[0])
        point = curve.lengths.index(int(total))
        if quantity.endswith("_exact"):
            return exact[point]
        return float((curve.estimate.value[point] - exact[point]) / curve.estimate.standard_error[point])

    def _estimated(self, items: list[Measured]) -> list[BipartiteCurve]:
        key = tuple(item.doc["index"] for item in items)
        if self._curves is None or self._curves[0] != key:
            records, docs = [item.record for item in items], [item.doc for item in items]
            self._curves = (key, bipartite_curves(records, docs, self.settings, self.seed))
            self._results = results_block(self, records, self._curves[1])
            self._warn(self._curves[1])
        return self._curves[1]

    def _warn(self, curves: list[BipartiteCurve]) -> None:
        for curve in curves:
            if curve.fit.not_positive:
                logger.warning(
                    "l2m-eval: %s: the estimate is not positive at L = %s; fitted by %s%s",
                    curve.name,
                    ", ".join(map(str, curve.fit.not_positive)),
                    curve.fit.method,
                    " (NaN: a logarithm needs positive values)" if curve.fit.method == "loglog" else "",
                )
            if curve.estimate.clusters < 2:
                logger.warning(
                    "l2m-eval: %s: all documents are one cluster (they share a source or partners); "
                    "no standard error can be given",
                    curve.name,
                )

    def dump_config(self) -> dict[str, Any]:
        """The task's configuration; once measured, with everything needed to read and repeat the numbers."""
        config: dict[str, Any] = super().dump_config()
        if self._curves is not None:
            config["l2m"] = self._results
        return config


class _Aggregations(dict[str, Callable[[list[Measured]], float]]):
    """An aggregation for every metric name: which names there are depends on the model's context."""

    def __init__(self, aggregate: Callable[[str, list[Measured]], float]):
        super().__init__()
        self._aggregate = aggregate

    def __missing__(self, name: str) -> Callable[[list[Measured]], float]:
        return lambda items: self._aggregate(name, items)


def results_block(
    task: BipartiteTask, records: Sequence[Mapping[str, Any]], curves: Sequence[BipartiteCurve]
) -> dict[str, Any]:
    """What the results file says beside the metrics: settings, sample, curves with intervals, versions."""
    sample = task.sample
    return {
        "schema": "l2m-eval/bipartite/1",
        "settings": {
            **asdict(task.settings),
            "seed": task.seed,
            "lengths": sorted({c[2] for c in records[0]["cells"]}),
        },
        "sample": {
            "documents": len(records),
            "documents_requested": sample.requested,
            "source_documents": len({sample.chunks[i].source for i in sample.measured}),
            "source_documents_read": sample.documents_read,
            "source_documents_too_short": sample.too_short,
            "pairs": task.settings.pairing,
        },
        "ngram_entropy": records[0].get("ngram_entropy"),
        "curves": [
            {
                "name": curve.name,
                "estimator": curve.estimator,
                "ratio": curve.ratio,
                "lengths": list(curve.lengths),
                "mi": curve.estimate.value.tolist(),
                "standard_error": curve.estimate.standard_error.tolist(),
                "clusters": curve.estimate.clusters,
                "amplitude": curve.fit.amplitude,
                "amplitude_interval": list(curve.fit.amplitude_interval),
                "beta": curve.fit.exponent,
                "beta_interval": list(curve.fit.exponent_interval),
                "fit": curve.fit.method,
                "not_positive": list(curve.fit.not_positive),
            }
            for curve in curves
        ],
        "versions": installed_versions(),
    }


def installed_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {"l2m-eval": __version__}
    for package in ("lm_eval", "torch", "transformers", "datasets", "numpy", "scipy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
