"""Saved harness results, read back with types: what `lm_eval run --output_path` wrote about l2m tasks.

`load_results` takes a results file, a folder of them or a glob. One `Results` is one task of one run: who was
measured (`Run`), how (settings, sample, versions), and the curves. Where the run was made with ``--log_samples``
the documents' own records are there too, from which every figure can be recomputed.
"""

from __future__ import annotations

import glob
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from l2m_eval.condition.verdict import Verdict
from l2m_eval.corpus.files import literal_or_glob
from l2m_eval.errors import L2MError
from l2m_eval.measurements.context_use import ContextUse
from l2m_eval.measurements.curves import BipartiteCurve, FittedPositionCurve, FittedTwoPointCurve
from l2m_eval.measurements.kl import KLCurve
from l2m_eval.measurements.saved_part import SavedPart
from l2m_eval.measurements.smaller_state import StateCurve
from l2m_eval.results.run import (
    BIPARTITE,
    CONDITION,
    CONTEXT_USE,
    KL,
    POSITION,
    STATE,
    TWO_POINT,
    DocumentRecords,
    Results,
    Run,
    as_written,
)
from l2m_eval.settings import TASK_KINDS
from l2m_eval.statistics.estimate import as_float

__all__ = ["DocumentRecords", "Results", "Run", "latest", "load_results"]

Paths = str | Path | Sequence[str | Path]

# The newest version of each schema that this module reads.
VERSIONS = {kind.curves: kind.version for kind in TASK_KINDS}
OUR_REQUESTS = "l2m_"  # how the output type of a task of ours begins, also where it left no block
_ACCEPTED = "give a results file of `lm_eval run --output_path`, a folder with such files, or a glob"


def load_results(paths: Paths, *, documents: bool = True) -> tuple[Results, ...]:
    """Every l2m task in these harness results, in the order of the paths, and by date within a path.

    Args:
        paths: A results file, a folder (searched with all folders below it), a glob, or several of these.
        documents: Attach each document's records where a samples log lies beside the results file.

    Raises:
        L2MError: nothing found, a file that is not complete JSON, only tasks of others, a newer schema, or
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
    """The newest of several results of the same task with the same model and settings, in their original order."""
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
        matches = literal_or_glob(given)
    except (OSError, ValueError, RuntimeError, re.error) as error:  # a NUL, a user that there is not
        raise L2MError(f"results: {str(given)!r} is not a path: {error}; {_ACCEPTED}") from error
    if not matches:
        what = "no file matches" if glob.has_magic(str(given)) else "there is no"
        raise L2MError(f"results: {what} {str(given)!r}; {_ACCEPTED}")
    named = matches == [Path(given).expanduser()] and matches[0].is_file()
    return [file for match in matches for file in _files_at(match)], not named


def _files_at(path: Path) -> list[Path]:
    """A file itself; of a folder those that the harness wrote, with all folders below it."""
    if not path.is_dir():
        return [path]
    # The harness calls them results_DATE.json, unless its --output_path named a .json file.
    return sorted(path.rglob("results_*.json")) or sorted(path.rglob("*.json"))


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
            f"results: {str(file)!r} is not complete JSON: {message}{where}; the run may have been stopped "
            "while writing: measure again"
        ) from error
    shaped = isinstance(data, dict) and isinstance(data.get("results"), dict)
    if not shaped or not isinstance(data.get("configs"), dict):
        if searched:
            return None
        raise L2MError(
            f"results: {str(file)!r} is not a results file of the harness (no results and configs); {_ACCEPTED}"
        )
    return dict(data)


def _tasks_of(file: Path, data: Mapping[str, Any], documents: bool) -> list[Results] | None:
    """The tasks of ours in one file.

    Raises:
        L2MError: also for whatever is not shaped as the tasks write it, since a file may hold anything.
    """
    with as_written(file):
        return _read_tasks(file, data, documents)


def _read_tasks(file: Path, data: Mapping[str, Any], documents: bool) -> list[Results] | None:
    run = _run_of(file, data)
    ours = []
    for task, config in data["configs"].items():
        if not isinstance(config, Mapping):
            continue
        block = config.get("l2m")
        if (block is None or block == {}) and str(config.get("output_type")).startswith(OUR_REQUESTS):
            raise L2MError(
                f"results: {str(file)!r} contains no curve of {task} (a run with --predict_only, or one that "
                "failed); measure again"
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
        special_tokens=_special_tokens(data),
    )


def _special_tokens(data: Mapping[str, Any]) -> dict[str, str]:
    """From text to identifier, of the special tokens that the harness records: ``["</s>", "2"]``."""
    pairs = [data.get(f"tokenizer_{name}_token") for name in ("pad", "eos", "bos")]
    return {
        str(pair[0]): str(pair[1])
        for pair in pairs
        if isinstance(pair, list) and len(pair) == 2 and None not in pair and "None" not in pair
    }


def _model_args(given: Any) -> dict[str, Any]:
    """Model arguments as a mapping; older files hold ``"a=1,b=2"``."""
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, str):
        return {}
    pairs = (part.partition("=") for part in given.split(",") if "=" in part)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _results_of(run: Run, task: str, block: Any, data: Mapping[str, Any], documents: bool) -> Results:
    read = SavedPart(block, run.path, task)
    schema = str(read.required("schema"))
    kind = _kind(schema, run.path, task)
    settings = read.mapping("settings")
    if not isinstance(settings.get("corpus") or "", (str, list)):
        raise read.error("has settings whose corpus is not a name")
    metrics, errors = _metrics(data["results"].get(task) or {})
    hashes = data.get("task_hashes")
    curves = read.parts("curves", "curve") if kind in (BIPARTITE, CONDITION, TWO_POINT) else []
    curve = read.part(read.required("curve"), "curve") if kind in (POSITION, KL, STATE) else None
    return Results(
        run=run,
        task=task.rpartition("::")[2],  # lm-eval 0.5 names a member of a group GROUP::TASK
        kind=kind,
        schema=schema,
        settings=settings,
        sample=read.mapping("sample"),
        versions=read.mapping("versions"),
        warnings=tuple(map(str, block.get("warnings") or ())),
        metrics=metrics,
        errors=errors,
        directions=_directions(data.get("higher_is_better"), task),
        bipartite=tuple(map(BipartiteCurve.from_json, curves)) if kind in (BIPARTITE, CONDITION) else (),
        two_point=tuple(map(FittedTwoPointCurve.from_json, curves)) if kind == TWO_POINT else (),
        position=FittedPositionCurve.from_json(curve) if kind == POSITION and curve else None,
        kl=KLCurve.from_json(curve) if kind == KL and curve else None,
        state=StateCurve.from_json(curve) if kind == STATE and curve else None,
        context_use=ContextUse.from_json(block) if kind == CONTEXT_USE else None,
        verdict=Verdict.from_json(read.required("check"), str(run.path)) if kind == CONDITION else None,
        task_hash=str(hashes.get(task) or "") if isinstance(hashes, Mapping) else "",
        documents=_documents(run.path, task) if documents else None,
        block=block,
    )


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


def _directions(table: Any, task: str) -> dict[str, bool | None]:
    of_task = table.get(task) if isinstance(table, Mapping) else None
    if not isinstance(of_task, Mapping):
        return {}
    return {str(name): value for name, value in of_task.items() if value is None or isinstance(value, bool)}


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
                f"results: line {number} of {str(log)!r} is not a complete sample of {task}; remove the file, or "
                "measure again"
            ) from error
    order = sorted(range(len(docs)), key=lambda i: docs[i]["index"])
    return (
        DocumentRecords(log, tuple(docs[i] for i in order), tuple(records[i] for i in order))
        if docs
        else None
    )
