"""Saved harness results, read back with types: what `lm_eval run --output_path` wrote about tasks of ours.

`load_results` takes a results file, a folder of them or a glob. One `Results` is one task of one run: who was
measured (`Run`), how (settings, sample, versions), and the curves. Where the run was made with ``--log_samples``
the documents' own records are there too, from which every figure can be recomputed.
"""

from __future__ import annotations

import glob
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2m_eval.condition import Verdict
from l2m_eval.errors import L2MError

if TYPE_CHECKING:
    from l2m_eval.measurements.bipartite import BipartiteCurve

Array = NDArray[np.float64]
Interval = tuple[float, float]
Paths = str | Path | Sequence[str | Path]

BIPARTITE, TWO_POINT, POSITION, CONDITION = "bipartite", "two_point", "position_nll", "condition"
# The newest version of each schema that this module reads.
VERSIONS = {BIPARTITE: 1, TWO_POINT: 1, POSITION: 1, CONDITION: 1}
REQUEST_TYPES = ("l2m_logprobs", "l2m_generate")  # how a task of ours is known when it left no block
_ACCEPTED = "give a results file of `lm_eval run --output_path`, a folder with such files, or a glob"
_UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and 95 % interval; NaN where unknown."""

    value: float
    standard_error: float = math.nan
    interval: Interval = _UNKNOWN


@dataclass(frozen=True, eq=False)
class SavedBipartiteCurve:
    """I(L) of one estimator at one ratio, nats, and its fit I = amplitude · L^beta over the total length L.

    Attributes:
        name: As in the metrics: ``direct``, ``vclub``, ``direct_r3`` ...
        estimator, ratio: Which estimator; total length over the left block's.
        lengths: Total lengths in tokens, shape (n,).
        mi, standard_error: Nats, shape (n,).
        bytes: Mean bytes of text that the lengths cover, shape (n,); None where the run did not keep them.
        clusters: Groups of documents that the errors rest on.
        beta, amplitude: Of the fit; NaN where none was possible.
        fit: ``loglog`` or ``wls``.
        not_positive: Lengths whose estimate is not positive.
        exact, beta_exact: Of a known process; None otherwise.
    """

    name: str
    estimator: str
    ratio: int
    lengths: Array
    mi: Array
    standard_error: Array
    bytes: Array | None
    clusters: int
    beta: Estimate
    amplitude: Estimate
    fit: str
    not_positive: tuple[int, ...]
    exact: Array | None
    beta_exact: float | None


@dataclass(frozen=True)
class SavedTwoPointFit:
    """One form fitted to a two-point curve: amplitude · d^(-alpha), or that plus an offset.

    Attributes:
        form: ``power_law`` or ``power_law_with_offset``.
        alpha, amplitude, offset: NaN where not fitted.
        distances: Those used.
        reason: Why there is no fit; empty where there is one.
    """

    form: str
    alpha: Estimate
    amplitude: Estimate
    offset: Estimate
    distances: tuple[int, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class SavedTwoPointCurve:
    """I(d) between tokens at distance d, nats; every array has shape (n,), `interval` (n, 2).

    Attributes:
        name: ``two_point`` of the text, ``two_point_generated`` of what the model writes.
        distances: In tokens.
        mi, standard_error, interval: The corrected estimate.
        uncorrected: Before the null was subtracted.
        null, null_spread: Of shuffled tokens.
        floor: Below it a value cannot be told from zero.
        pairs: Token pairs counted.
        documents, groups: What the errors rest on.
        exact: Of a known process; None otherwise.
        fits: The forms tried.
    """

    name: str
    distances: Array
    mi: Array
    standard_error: Array
    interval: Array
    uncorrected: Array
    null: Array
    null_spread: Array
    floor: Array
    pairs: Array
    documents: int
    groups: int
    exact: Array | None
    fits: tuple[SavedTwoPointFit, ...]


@dataclass(frozen=True)
class SavedPositionFit:
    """nll = entropy_rate + amplitude · t^(exponent - 1); `exponent` is the β that the loss implies.

    `bins` names the bins used; `reason` says why there is no fit, empty where there is one.
    """

    entropy_rate: Estimate
    amplitude: Estimate
    exponent: Estimate
    bins: tuple[str, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class SavedPositionCurve:
    """Loss by position, in bins of positions; every array has shape (n,).

    Attributes:
        names, first, last: Of the bins, positions from 1, both ends included.
        nll, standard_error: Nats a token.
        tokens: Tokens in each bin, over all documents.
        bits_per_byte, bits_per_byte_error, bytes_per_token: Of the bin.
        byte_position: Mean bytes of text up to the middle of the bin.
        documents, clusters: What the errors rest on.
        exact: Of a known process; None otherwise.
        overall: Mean loss over all positions, nats a token; `overall_bits_per_byte` the same in bits a byte.
        context_gain: What the last bin gains over an early one, nats a token; None where not computed.
        fit: None where none was tried.
    """

    names: tuple[str, ...]
    first: Array
    last: Array
    nll: Array
    standard_error: Array
    tokens: Array
    bits_per_byte: Array
    bits_per_byte_error: Array
    bytes_per_token: Array
    byte_position: Array
    documents: int
    clusters: int
    exact: Array | None
    overall: Estimate | None
    overall_bits_per_byte: Estimate | None
    context_gain: Estimate | None
    fit: SavedPositionFit | None


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
        return self.settings.get("seed")

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
    path = Path(given).expanduser()
    if path.is_file():
        return [path], False
    if path.is_dir():
        # The harness calls them results_DATE.json, unless its --output_path named a .json file.
        return sorted(path.rglob("results_*.json")) or sorted(path.rglob("*.json")), True
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
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
    except (json.JSONDecodeError, RecursionError) as error:
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
    run = _run_of(file, data)
    ours = []
    for task, config in data["configs"].items():
        if not isinstance(config, Mapping):
            continue
        block = config.get("l2m")
        if block is None and config.get("output_type") in REQUEST_TYPES:
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
        seconds=_float(data.get("total_evaluation_time_seconds")),
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
    read = _Block(block, run.path, task)
    schema = str(read.required("schema"))
    kind = _kind(schema, run.path, task)
    metrics, errors = _metrics(data["results"].get(task) or {})
    hashes = data.get("task_hashes")
    results = Results(
        run=run,
        task=task,
        kind=kind,
        schema=schema,
        settings=read.mapping("settings"),
        sample=read.mapping("sample"),
        versions=read.mapping("versions"),
        warnings=tuple(map(str, block.get("warnings") or ())),
        metrics=metrics,
        errors=errors,
        bipartite=_bipartite(read) if kind in (BIPARTITE, CONDITION) else (),
        two_point=_two_point(read) if kind == TWO_POINT else (),
        position=_position(read) if kind == POSITION else None,
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
    values = {key.partition(",")[0]: _float(value) for key, value in table.items() if "," in key}
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


# --- curves -----------------------------------------------------------------------------------------------------


def _float(value: Any) -> float:
    """A number of a results file: null, "N/A" and the like are NaN."""
    if isinstance(value, bool) or value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


class _Block:
    """A part of a results block, read with errors that say what is missing where."""

    def __init__(self, data: Any, file: Path, where: str):
        self.file, self.where = file, where
        if not isinstance(data, Mapping):
            raise self.error("is no mapping")
        self.data = data

    def error(self, what: str) -> L2MError:
        return L2MError(f"results: {self.where} in {str(self.file)!r} {what}; measure again")

    def part(self, data: Any, where: str) -> _Block:
        return _Block(data, self.file, f"{self.where}, {where}")

    def required(self, key: str) -> Any:
        if self.data.get(key) is None:
            raise self.error(f"has no {key}")
        return self.data[key]

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.data.get(key)
        return value if isinstance(value, Mapping) else {}

    def parts(self, key: str, what: str) -> list[_Block]:
        value = self.required(key)
        if not isinstance(value, list) or not value:
            raise self.error(f"has no {what}")
        return [self.part(item, f"{what} {number}") for number, item in enumerate(value, 1)]

    def array(self, key: str, count: int | None = None) -> Array:
        """Numbers, NaN for null; `count` of them."""
        values = self.required(key)
        if not isinstance(values, list) or (count is not None and len(values) != count):
            raise self.error(f"has {key} of another length than its curve")
        return np.array([_float(value) for value in values], float)

    def optional_array(self, key: str, count: int) -> Array:
        return self.array(key, count) if self.data.get(key) is not None else np.full(count, math.nan)

    def exact(self, count: int) -> Array | None:
        return self.array("exact", count) if self.data.get("exact") is not None else None

    def number(self, key: str) -> float:
        return _float(self.data.get(key))

    def count(self, key: str) -> int:
        value = self.number(key)
        return int(value) if math.isfinite(value) else 0

    def text(self, key: str) -> str:
        return str(self.data.get(key) or "")

    def interval(self, key: str) -> Interval:
        pair = self.data.get(key)
        if not isinstance(pair, list) or len(pair) != 2:
            return _UNKNOWN
        return _float(pair[0]), _float(pair[1])

    def flat_estimate(self, name: str) -> Estimate:
        """Of the keys NAME, NAME_error, NAME_interval."""
        return Estimate(self.number(name), self.number(f"{name}_error"), self.interval(f"{name}_interval"))

    def estimate(self, key: str) -> Estimate | None:
        """Of a mapping with value, standard_error, interval; None where there is none."""
        if not isinstance(self.data.get(key), Mapping):
            return None
        part = self.part(self.data[key], key)
        return Estimate(part.number("value"), part.number("standard_error"), part.interval("interval"))


def _bipartite(read: _Block) -> tuple[SavedBipartiteCurve, ...]:
    curves = []
    for part in read.parts("curves", "curve"):
        lengths = part.array("lengths")
        if len(lengths) == 0:
            raise part.error("has no lengths")
        beta_exact = part.number("beta_exact")
        curves.append(
            SavedBipartiteCurve(
                name=str(part.required("name")),
                estimator=str(part.required("estimator")),
                ratio=int(part.required("ratio")),
                lengths=lengths,
                mi=part.array("mi", len(lengths)),
                standard_error=part.array("standard_error", len(lengths)),
                bytes=part.array("bytes", len(lengths)) if part.data.get("bytes") is not None else None,
                clusters=part.count("clusters"),
                beta=part.flat_estimate("beta"),
                amplitude=part.flat_estimate("amplitude"),
                fit=part.text("fit"),
                not_positive=tuple(int(n) for n in part.data.get("not_positive") or ()),
                exact=part.exact(len(lengths)),
                beta_exact=None if math.isnan(beta_exact) else beta_exact,
            )
        )
    return tuple(curves)


def _two_point(read: _Block) -> tuple[SavedTwoPointCurve, ...]:
    curves = []
    for part in read.parts("curves", "curve"):
        distances = part.array("distances")
        n = len(distances)
        intervals = part.data.get("interval") or [[None, None]] * n
        curves.append(
            SavedTwoPointCurve(
                name=str(part.required("name")),
                distances=distances,
                mi=part.array("mi", n),
                standard_error=part.array("standard_error", n),
                interval=np.array([[_float(low), _float(high)] for low, high in intervals]).reshape(n, 2),
                uncorrected=part.optional_array("uncorrected", n),
                null=part.optional_array("null", n),
                null_spread=part.optional_array("null_spread", n),
                floor=part.optional_array("floor", n),
                pairs=part.optional_array("pairs", n),
                documents=part.count("documents"),
                groups=part.count("groups"),
                exact=part.exact(n),
                fits=tuple(_two_point_fit(part.part(fit, "fit")) for fit in part.data.get("fits") or ()),
            )
        )
    return tuple(curves)


def _two_point_fit(part: _Block) -> SavedTwoPointFit:
    return SavedTwoPointFit(
        form=part.text("form"),
        alpha=part.flat_estimate("alpha"),
        amplitude=part.flat_estimate("amplitude"),
        offset=part.flat_estimate("offset"),
        distances=tuple(int(d) for d in part.data.get("distances") or ()),
        reason=part.text("reason"),
    )


def _position(read: _Block) -> SavedPositionCurve:
    part = read.part(read.required("curve"), "curve")
    bins = part.parts("bins", "bin")
    n = len(bins)
    return SavedPositionCurve(
        names=tuple(str(b.required("name")) for b in bins),
        first=np.array([float(b.required("first")) for b in bins]),
        last=np.array([float(b.required("last")) for b in bins]),
        nll=part.array("nll", n),
        standard_error=part.array("standard_error", n),
        tokens=part.optional_array("tokens", n),
        bits_per_byte=part.optional_array("bits_per_byte", n),
        bits_per_byte_error=part.optional_array("bits_per_byte_error", n),
        bytes_per_token=part.optional_array("bytes_per_token", n),
        byte_position=part.optional_array("byte_position", n),
        documents=part.count("documents"),
        clusters=part.count("clusters"),
        exact=part.exact(n),
        overall=part.estimate("overall"),
        overall_bits_per_byte=part.estimate("overall_bits_per_byte"),
        context_gain=part.estimate("context_gain"),
        fit=_position_fit(part.part(part.data["fit"], "fit")) if part.data.get("fit") is not None else None,
    )


def _position_fit(part: _Block) -> SavedPositionFit:
    return SavedPositionFit(
        entropy_rate=part.flat_estimate("entropy_rate"),
        amplitude=part.flat_estimate("amplitude"),
        exponent=part.flat_estimate("exponent"),
        bins=tuple(map(str, part.data.get("bins") or ())),
        reason=part.text("reason"),
    )
