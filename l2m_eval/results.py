"""Saved harness results, read back with types: what `lm_eval run --output_path` wrote about tasks of ours.

`load_results` takes a results file, a folder of them or a glob. One `Results` is one task of one run: who was
measured (`Run`), how (settings, sample, versions), and the curves. Where the run was made with ``--log_samples``
the documents' own records are there too, from which every figure can be recomputed.
"""

from __future__ import annotations

import glob
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2m_eval.condition import Verdict
from l2m_eval.errors import L2MError
from l2m_eval.saved_curves import (
    Block,
    Estimate,
    SavedBipartiteCurve,
    SavedPositionCurve,
    SavedPositionFit,
    SavedTwoPointCurve,
    SavedTwoPointFit,
    as_float,
    bipartite_curves_of,
    position_curve_of,
    two_point_curves_of,
)

if TYPE_CHECKING:
    from l2m_eval.measurements.bipartite import BipartiteCurve

__all__ = [
    "DocumentRecords",
    "Estimate",
    "Results",
    "Run",
    "SavedBipartiteCurve",
    "SavedPositionCurve",
    "SavedPositionFit",
    "SavedTwoPointCurve",
    "SavedTwoPointFit",
    "latest",
    "load_results",
]

Array = NDArray[np.float64]
Paths = str | Path | Sequence[str | Path]

BIPARTITE, TWO_POINT, POSITION, CONDITION = "bipartite", "two_point", "position_nll", "condition"
KL = "kl"  # of its curve only the metrics and the block are read
# The newest version of each schema that this module reads.
VERSIONS = {BIPARTITE: 1, TWO_POINT: 1, POSITION: 1, CONDITION: 1, KL: 1}
OUR_REQUESTS = "l2m_"  # how the output type of a task of ours begins, also where it left no block
_ACCEPTED = "give a results file of `lm_eval run --output_path`, a folder with such files, or a glob"


@dataclass(frozen=True, eq=False)
class Run:
    """One run of the harness: who was measured, when, and with what.

    Attributes:
        path: The results file.
        backend: The harness' name of the model class: ``hf``, ``vllm``, ``local-completions`` ...
        model: What was measured: the pretrained path or id, or the backend's name where there is none.
        model_args: As given.
        date: When it started, UTC; None where the file does not say.
        seconds: Wall-clock of the whole run, NaN where the file does not say.
        parameters, dtype, revision, max_length: Of the model; None or empty where unknown.
        chat_template, system_instruction: As the harness recorded them; our tasks measure plain text.
        harness: Version of lm-eval.
        config: The file's ``config``, as it is: batch size, device, limit, seeds.
    """

    path: Path
    backend: str
    model: str
    model_args: Mapping[str, Any]
    date: datetime | None
    seconds: float
    parameters: int | None
    dtype: str
    revision: str
    max_length: int | None
    chat_template: str | None
    system_instruction: str | None
    harness: str
    config: Mapping[str, Any]

    @property
    def label(self) -> str:
        """A short name: the last part of a path, a hub id as it is."""
        local = self.model.startswith(("/", ".", "~", "\\")) or self.model.count("/") > 1
        return self.model.rstrip("/\\").replace("\\", "/").rpartition("/")[2] if local else self.model

    def __str__(self) -> str:
        return f"{self.label} ({self.backend})"


@dataclass(frozen=True, eq=False)
class DocumentRecords:
    """The documents of a run and what the model answered for each, from the samples log.

    Attributes:
        path: The samples log.
        docs: Where each document is from, with ``index``; sorted by it.
        records: The sums that everything is computed from, in the same order.
    """

    path: Path
    docs: tuple[Mapping[str, Any], ...]
    records: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.docs)

    @cached_property
    def identity(self) -> tuple[tuple[Any, Any, Any], ...]:
        """Equal for runs over the same documents, wherever their files lay: name, place and hash of each."""
        return tuple((doc.get("document"), doc.get("offset"), doc.get("sha256")) for doc in self.docs)


@dataclass(frozen=True, eq=False)
class Results:
    """One task of one run.

    Attributes:
        run: Who was measured, when, with what.
        task: Name of the task.
        kind: `BIPARTITE`, `TWO_POINT`, `POSITION` or `CONDITION`.
        schema: As written, for example ``l2m-eval/bipartite/1``.
        settings: As used, with ``seed`` and ``corpus``.
        sample: ``documents``, ``documents_requested``, ``source_documents`` ...
        versions: Of the packages used.
        warnings: What the run warned about.
        metrics, errors: The results table: values and standard errors by metric name, NaN where unknown.
        bipartite, two_point, position, verdict: What the kind has; empty or None otherwise.
        task_hash: Equal for equal documents; empty without ``--log_samples``.
        documents: The records of each document, where the samples log lies beside the results file.
        block: The whole block as written, for what has no field here.
    """

    run: Run
    task: str
    kind: str
    schema: str
    settings: Mapping[str, Any]
    sample: Mapping[str, Any]
    versions: Mapping[str, str]
    warnings: tuple[str, ...]
    metrics: Mapping[str, float]
    errors: Mapping[str, float]
    bipartite: tuple[SavedBipartiteCurve, ...] = ()
    two_point: tuple[SavedTwoPointCurve, ...] = ()
    position: SavedPositionCurve | None = None
    verdict: Verdict | None = None
    task_hash: str = ""
    documents: DocumentRecords | None = None
    block: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def seed(self) -> int | None:
        """The sample's seed."""
        seed = self.settings.get("seed")
        return seed if isinstance(seed, int) and seed >= 0 else None

    @property
    def corpus(self) -> str:
        """What was measured on, as given."""
        given = self.settings.get("corpus") or ()
        return given if isinstance(given, str) else ", ".join(map(str, given))

    def __str__(self) -> str:
        return f"{self.task} of {self.run.label} ({self.run.path.name})"

    def curve(self, name: str) -> SavedBipartiteCurve:
        """The bipartite curve of this name.

        Raises:
            L2MError: there is none; the ones that are there are named.
        """
        for curve in self.bipartite:
            if curve.name == name:
                return curve
        there = ", ".join(curve.name for curve in self.bipartite)
        if not there:
            raise L2MError(
                f"results: {str(self.run.path)!r} holds no bipartite curve ({self.task} measures something else); "
                "give results of l2m_bipartite or l2m_condition"
            )
        raise L2MError(f"curve: {name!r} is not in {str(self.run.path)!r}; it has {there}")

    def recomputed_curves(self) -> list[BipartiteCurve] | None:
        """The bipartite curves computed anew from the documents' records, with their resamples; None without them.

        They are those of the run to the last digit: the same terms, seed and resamples.
        """
        if self.documents is None or not self.bipartite:
            return None
        from l2m_eval.measurements.bipartite import bipartite_curves

        with _as_written(self.documents.path):
            return bipartite_curves(
                self.documents.records, self.documents.docs, self._task_settings, self.seed or 0
            )

    def bipartite_terms(self, name: str) -> tuple[Array, list[Any]] | None:
        """Each document's term of a curve, (documents, n), and the documents' clusters; None without records."""
        if self.documents is None:
            return None
        from l2m_eval.measurements.bipartite import document_terms

        curve, settings = self.curve(name), self._task_settings
        docs, records = self.documents.docs, self.documents.records
        with _as_written(self.documents.path):
            columns = [i for i, cell in enumerate(records[0]["cells"]) if cell[0] == curve.ratio]
            shared = curve.estimator == "vclub" or settings.marginal == "independent"
            terms = document_terms(records, docs, settings)[curve.estimator][:, columns]
            return terms, [doc["group" if shared else "source"] for doc in docs]

    @cached_property
    def _task_settings(self) -> Any:
        from dataclasses import fields

        from l2m_eval.settings import BipartiteSettings, read_settings

        known = {f.name for f in fields(BipartiteSettings) if "read" in f.metadata}
        return read_settings(BipartiteSettings, {k: v for k, v in self.settings.items() if k in known})


# --- finding and reading ----------------------------------------------------------------------------------------


def load_results(paths: Paths, *, documents: bool = True) -> tuple[Results, ...]:
    """Every task of ours in these harness results, in the order of the paths, within one by date.

    Args:
        paths: A results file, a folder (searched with all folders below it), a glob, or several of these.
        documents: Attach each document's records where a samples log lies beside the results file.

    Raises:
        L2MError: nothing found, a file that is no complete JSON, only tasks of others, a newer schema, or
            results without a curve.
    """
    given = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not given:
        raise L2MError(f"results: none given; {_ACCEPTED}")
    found: list[Results] = []
    foreign: dict[Path, list[str]] = {}
    for one in given:
        loaded: list[Results] = []
        files, searched = _files(one)
        for file in files:
            data = _read_json(file, searched)
            if data is None:
                continue
            ours = _tasks_of(file, data, documents)
            if ours is None:
                continue
            loaded += ours
            if not ours:
                foreign[file] = sorted(data["results"])
        loaded.sort(key=lambda r: (r.run.date is None, r.run.date or 0, str(r.run.path)))
        found += loaded
    if found:
        return tuple(_each_once(found))
    if foreign:
        file, names = next(iter(foreign.items()))
        others = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        raise L2MError(
            f"results: {str(file)!r} holds results of {others}, none of an l2m task; run for example "
            "lm_eval run --tasks l2m_bipartite --output_path FOLDER"
        )
    raise L2MError(f"results: no harness results in {', '.join(map(repr, map(str, given)))}; {_ACCEPTED}")


def results_in_memory(
    task: str,
    block: Mapping[str, Any],
    docs: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    model: str,
) -> Results:
    """Results of a run that is not written yet, as they will be read: the task's block, and its documents."""
    plain = json.loads(json.dumps(block))
    read = Block(plain, Path(), task)
    run = Run(Path(), "", model, {}, None, math.nan, None, "", "", None, None, None, "", {})
    return Results(
        run=run,
        task=task,
        kind=BIPARTITE,
        schema=str(read.required("schema")),
        settings=read.mapping("settings"),
        sample=read.mapping("sample"),
        versions={},
        warnings=(),
        metrics={},
        errors={},
        bipartite=bipartite_curves_of(read),
        documents=DocumentRecords(Path(), tuple(docs), tuple(records)),
        block=plain,
    )


def latest(results: Sequence[Results]) -> tuple[Results, ...]:
    """Of several results of the same task with the same model and settings the newest, in their first order."""
    newest: dict[str, Results] = {}
    for one in results:
        key = json.dumps(
            [one.run.backend, one.run.model_args, one.task, one.settings], default=str, sort_keys=True
        )
        before = newest.get(key)
        if before is None or _date_key(one) >= _date_key(before):
            newest[key] = one
    return tuple(newest.values())


def _date_key(results: Results) -> float:
    return results.run.date.timestamp() if results.run.date else -math.inf


def _each_once(results: Sequence[Results]) -> list[Results]:
    return list({(one.run.path.resolve(), one.task): one for one in results}.values())


def _files(given: str | Path) -> tuple[list[Path], bool]:
    """Files to read, and whether they were searched for (then files of other kinds may be among them)."""
    try:
        path = Path(given).expanduser()
        if path.is_file():
            return [path], False
        matches = (
            [] if path.is_dir() else sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        )
    except (
        OSError,
        ValueError,
        RuntimeError,
        re.error,
    ) as error:  # too long, a NUL, a user that there is not
        raise L2MError(f"results: {str(given)!r} is no path: {error}; {_ACCEPTED}") from error
    if path.is_dir():
        # The harness calls them results_DATE.json, unless its --output_path named a .json file.
        return sorted(path.rglob("results_*.json")) or sorted(path.rglob("*.json")), True
    if matches:
        inside = [_files(match) for match in matches]
        return [file for files, _ in inside for file in files], True
    what = "no file matches" if glob.has_magic(str(path)) else "there is no"
    raise L2MError(f"results: {what} {str(given)!r}; {_ACCEPTED}")


def _read_json(file: Path, searched: bool) -> dict[str, Any] | None:
    """The harness results in a file; None where it is something else and was not named itself."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if searched and not file.name.startswith("results"):
            return None
        raise L2MError(f"results: {str(file)!r} cannot be read ({error}); {_ACCEPTED}") from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # also a whole number of thousands of digits
        if searched and not file.name.startswith("results"):
            return None
        where, message = "", str(error)
        if isinstance(error, json.JSONDecodeError):
            where = f" at line {error.lineno}, column {error.colno} of {text.count(chr(10)) + 1} lines"
            message = error.msg
        raise L2MError(
            f"results: {str(file)!r} is no complete JSON: {message}{where}; was the run stopped while it wrote? "
            "Measure again"
        ) from error
    shaped = isinstance(data, dict) and isinstance(data.get("results"), dict)
    if not shaped or not isinstance(data.get("configs"), dict):
        if searched:
            return None
        raise L2MError(
            f"results: {str(file)!r} is no results file of the harness (no results and configs); {_ACCEPTED}"
        )
    return dict(data)


def _tasks_of(file: Path, data: Mapping[str, Any], documents: bool) -> list[Results] | None:
    """The tasks of ours in one file.

    Raises:
        L2MError: also for whatever is not shaped as the tasks write it, since a file may hold anything.
    """
    with _as_written(file):
        return _read_tasks(file, data, documents)


@contextmanager
def _as_written(file: Path) -> Iterator[None]:
    """Say in one line of ours that a file is not as the tasks write it, whatever it was that showed it."""
    try:
        yield
    except L2MError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError) as error:
        raise L2MError(
            f"results: {str(file)!r} is not as the tasks write it ({type(error).__name__}: {error}); measure again"
        ) from error


def _read_tasks(file: Path, data: Mapping[str, Any], documents: bool) -> list[Results] | None:
    run = _run_of(file, data)
    ours = []
    for task, config in data["configs"].items():
        if not isinstance(config, Mapping):
            continue
        block = config.get("l2m")
        if (block is None or block == {}) and str(config.get("output_type")).startswith(OUR_REQUESTS):
            raise L2MError(
                f"results: {str(file)!r} holds no curve of {task} (a run with --predict_only, or one that failed); "
                "measure again"
            )
        if block is not None:
            ours.append(_results_of(run, str(task), block, data, documents))
    return ours


def _run_of(file: Path, data: Mapping[str, Any]) -> Run:
    config = data.get("config")
    config = config if isinstance(config, Mapping) else {}
    backend = str(data.get("model_source") or config.get("model") or "unknown")
    arguments = _model_args(config.get("model_args"))
    model = next(
        (str(arguments[key]) for key in ("pretrained", "model", "process") if arguments.get(key)),
        str(data.get("model_name") or backend),
    )
    started = data.get("date")
    parameters = config.get("model_num_parameters")
    length = data.get("max_length")
    return Run(
        path=file,
        backend=backend,
        model=model,
        model_args=arguments,
        date=datetime.fromtimestamp(started, timezone.utc) if isinstance(started, (int, float)) else None,
        seconds=as_float(data.get("total_evaluation_time_seconds")),
        parameters=parameters if isinstance(parameters, int) and parameters > 0 else None,
        dtype=str(config.get("model_dtype") or "").removeprefix("torch."),
        revision=str(config.get("model_revision") or ""),
        max_length=length if isinstance(length, int) else None,
        chat_template=data.get("chat_template"),
        system_instruction=data.get("system_instruction"),
        harness=str(data.get("lm_eval_version") or ""),
        config=config,
    )


def _model_args(given: Any) -> dict[str, Any]:
    """Model arguments as a mapping; older files hold ``"a=1,b=2"``."""
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, str):
        return {}
    pairs = (part.partition("=") for part in given.split(",") if "=" in part)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _results_of(run: Run, task: str, block: Any, data: Mapping[str, Any], documents: bool) -> Results:
    read = Block(block, run.path, task)
    schema = str(read.required("schema"))
    kind = _kind(schema, run.path, task)
    settings = read.mapping("settings")
    if not isinstance(settings.get("corpus") or "", (str, list)):
        raise read.error("has settings whose corpus is no name")
    metrics, errors = _metrics(data["results"].get(task) or {})
    hashes = data.get("task_hashes")
    results = Results(
        run=run,
        task=task,
        kind=kind,
        schema=schema,
        settings=settings,
        sample=read.mapping("sample"),
        versions=read.mapping("versions"),
        warnings=tuple(map(str, block.get("warnings") or ())),
        metrics=metrics,
        errors=errors,
        bipartite=bipartite_curves_of(read) if kind in (BIPARTITE, CONDITION) else (),
        two_point=two_point_curves_of(read) if kind == TWO_POINT else (),
        position=position_curve_of(read) if kind == POSITION else None,
        verdict=Verdict.from_json(read.required("check"), str(run.path)) if kind == CONDITION else None,
        task_hash=str(hashes.get(task) or "") if isinstance(hashes, Mapping) else "",
        documents=_documents(run.path, task) if documents else None,
        block=block,
    )
    return results


def _kind(schema: str, file: Path, task: str) -> str:
    """The kind of a schema ``l2m-eval/KIND/NUMBER``, if this version reads it."""
    package, _, rest = schema.partition("/")
    kind, _, version = rest.rpartition("/")
    if package != "l2m-eval" or not version.isdigit():
        raise L2MError(
            f"results: {task} in {str(file)!r} has the schema {schema!r}; l2m-eval/KIND/NUMBER is read"
        )
    if int(version) > VERSIONS.get(kind, 0):
        raise L2MError(
            f"results: {task} in {str(file)!r} is written as {schema}, newer than this version reads "
            f"({', '.join(f'{known}/{number}' for known, number in VERSIONS.items())}); upgrade l2m-eval"
        )
    return kind


def _metrics(table: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    values = {key.partition(",")[0]: as_float(value) for key, value in table.items() if "," in key}
    errors = {name.removesuffix("_stderr"): v for name, v in values.items() if name.endswith("_stderr")}
    return {name: v for name, v in values.items() if not name.endswith("_stderr")}, errors


def _documents(file: Path, task: str) -> DocumentRecords | None:
    """The samples log that the same run wrote, if it is there."""
    date = file.stem.removeprefix("results_") if file.stem.startswith("results_") else file.stem[-26:]
    log = file.with_name(f"samples_{task}_{date}.jsonl")
    if not log.is_file():
        return None
    docs, records = [], []
    for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), 1):
        try:
            sample = json.loads(line)
            records.append(json.loads(sample["filtered_resps"][0]))
            docs.append(sample["doc"])
            docs[-1]["index"] + 0
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise L2MError(
                f"results: line {number} of {str(log)!r} is no complete sample of {task}; remove the file, or "
                "measure again"
            ) from error
    order = sorted(range(len(docs)), key=lambda i: docs[i]["index"])
    return (
        DocumentRecords(log, tuple(docs[i] for i in order), tuple(records[i] for i in order))
        if docs
        else None
    )
