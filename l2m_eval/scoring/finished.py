"""Windows that are scored already, on disk: what a run that was cut off need not do again.

With the harness' ``--use_cache PATH`` every batch is stored when it is done, in one transaction. The batches of a
run follow from its windows and settings alone, so a run that continues forms the same ones, takes those that are
stored whole and scores the others: its numbers are those of a run that was never interrupted, to the last bit.
(With ``--batch_size auto`` on a GPU batches follow from free memory too; numbers then agree to rounding.)
Rows carry the model's fingerprint and the window's token ids, so that nothing of another model, tokenizer,
precision, corpus or setting is ever taken for this run's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.scoring.rotary import fixed_up_to
from l2m_eval.scoring.scorer import Scored
from l2m_eval.scoring.windows import Window

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
WAIT_SECONDS = 60.0  # for another process that writes to the same file
SAMPLED_WEIGHTS = 64  # of each tensor, evenly spread: any training step changes some of them


class FinishedWindows:
    """A file of scores by model and window. Safe to share between processes; a damaged one is set aside.

    Args:
        path: The file; made when it does not exist.
        model: Fingerprint of the model, and its description for people (`model_fingerprint`).

    Raises:
        L2MError: the file can be neither read nor made.
    """

    def __init__(self, path: Path, model: tuple[str, str]):
        self.path = path
        self._model, description = model
        self._full = False
        try:
            self._connection = _opened(path)
        except sqlite3.OperationalError as error:
            raise L2MError(
                f"use_cache: {path.name} cannot be opened ({error}); give a path in a folder that can be written"
            ) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            aside = _set_aside(path)
            logger.warning(
                "l2m-eval: use_cache: %s is damaged (%s); it is kept as %s and a new one is begun",
                path.name,
                error,
                aside.name,
            )
            self._connection = _opened(path)
        self._tell_of_others(description)
        self._write("INSERT OR IGNORE INTO models VALUES (?, ?)", [(self._model, description)])

    def get(self, windows: Sequence[Window]) -> list[Scored] | None:
        """The scores of all these windows, or None where one is missing or was not stored whole."""
        found = []
        for window in windows:
            key = _window_key(window)
            try:
                row = self._connection.execute(
                    "SELECT sums, tokens, digest FROM finished WHERE model = ? AND window = ?",
                    (self._model, key),
                ).fetchone()
            except (sqlite3.DatabaseError, UnicodeDecodeError):  # a damaged page; the window is scored again
                return None
            if row is None:
                return None
            sums, tokens, digest = row
            if not isinstance(sums, bytes) or digest != _digest(self._model, key, sums, tokens):
                return None
            found.append(Scored(np.frombuffer(sums, np.float64), tokens))
        return found

    def put(self, answers: Sequence[tuple[Window, Scored]]) -> None:
        """Store the scores of a batch, all or none. A disk that is full costs the continuation, not the run.

        What is not finite is not kept: the run ends with it, and the next one is to ask again.
        """
        rows = []
        for window, scored in answers:
            if not np.isfinite(scored.sums).all():
                continue
            key, data = _window_key(window), np.asarray(scored.sums, np.float64).tobytes()
            rows.append(
                (self._model, key, data, scored.tokens, _digest(self._model, key, data, scored.tokens))
            )
        self._write("INSERT OR REPLACE INTO finished VALUES (?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._connection.close()

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        if self._full:
            return
        try:
            with self._connection:
                self._connection.executemany(statement, rows)
        except sqlite3.DatabaseError as error:
            self._full = True
            logger.warning(
                "l2m-eval: use_cache: %s cannot be written (%s); the run continues, but nothing more is stored",
                self.path.name,
                error,
            )

    def _tell_of_others(self, description: str) -> None:
        known = dict(self._connection.execute("SELECT model, description FROM models"))
        if known and self._model not in known:
            others = "; ".join(sorted(set(map(str, known.values()))))
            logger.warning(
                "l2m-eval: use_cache: %s holds scores of another model or precision (%s), which are not used for %s",
                self.path.name,
                others[:300],
                description,
            )


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=WAIT_SECONDS)
    # A damaged file may hold text that is none, even what SQLite says about it.
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(state)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(f"its version is {version}, this plugin's is {SCHEMA_VERSION}")
        with connection:
            connection.execute("CREATE TABLE IF NOT EXISTS models (model TEXT PRIMARY KEY, description TEXT)")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS finished "
                "(model TEXT, window TEXT, sums BLOB, tokens INTEGER, digest TEXT, PRIMARY KEY (model, window))"
            )
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        _check_columns(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_columns(connection: sqlite3.Connection) -> None:
    """Raise `sqlite3.DatabaseError` for tables that are not ours."""
    try:
        connection.execute("SELECT model, window, sums, tokens, digest FROM finished LIMIT 0").fetchall()
        connection.execute("SELECT model, description FROM models").fetchall()
    except sqlite3.OperationalError as error:
        raise sqlite3.DatabaseError(str(error)) from error


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged{number}")).exists():
        number += 1
    path.rename(aside)
    # a journal belongs to the damaged file and must not be played into the new one
    for journal in (path.with_name(path.name + "-journal"), path.with_name(path.name + "-wal")):
        journal.unlink(missing_ok=True)
    return aside


def _window_key(window: Window) -> str:
    hasher = hashlib.sha256()
    for array in (window.context, window.target, np.asarray(window.cuts)):
        data = np.asarray(array, np.int64).tobytes()
        hasher.update(len(data).to_bytes(8, "little") + data)
    if window.state:
        hasher.update(window.state.encode())
    return hasher.hexdigest()


def _digest(model: str, key: str, sums: bytes, tokens: int) -> str:
    return hashlib.sha256(f"{model} {key} {tokens} ".encode() + sums).hexdigest()


def finished_windows(lm: Any) -> FinishedWindows | None:
    """The file beside the harness' own cache, where the run was given one with ``--use_cache``."""
    harness_cache = getattr(getattr(lm, "cache_hook", None), "dbdict", None)
    filename = getattr(harness_cache, "filename", None)
    if not filename or filename == ":memory:":
        return None
    return FinishedWindows(Path(filename).with_suffix(".l2m.db"), model_fingerprint(lm))


def model_fingerprint(lm: Any) -> tuple[str, str]:
    """A digest of everything about a harness LM that its log-probabilities depend on, and its name for people.

    A model in this process is known by its configuration, precision and a sample of its weights; one behind an
    interface only by what it is called there.
    """
    model: Any = getattr(lm, "model", None)
    name = type(lm).__name__
    hasher = hashlib.sha256(name.encode())
    if hasattr(model, "named_parameters") and hasattr(model, "config"):
        attention = getattr(model.config, "_attn_implementation", None)
        precision = f"{getattr(model, 'dtype', None)}, {getattr(lm, 'mixed_precision_dtype', None)}"
        # where the files lie does not matter, nor which version wrote them
        config = {
            k: v
            for k, v in model.config.to_dict().items()
            if k not in ("_name_or_path", "transformers_version")
        }
        hasher.update(json.dumps(config, sort_keys=True, default=str).encode())
        hasher.update(f"{attention} {precision} {lm.device.type}".encode())
        if fixed_up_to(lm) is not None:  # until 0.1 such windows were not read at their own length
            hasher.update(b"frequencies of a window's own length")
        for key, parameter in model.named_parameters():
            hasher.update(f"{key} {tuple(parameter.shape)} {parameter.dtype}".encode())
            if parameter.device.type != "meta":  # weights kept on disk are not read for this
                flat = parameter.detach().reshape(-1)
                hasher.update(flat[:: max(1, len(flat) // SAMPLED_WEIGHTS)].float().cpu().numpy().tobytes())
        path = str(getattr(model.config, "_name_or_path", "")) or name
        return hasher.hexdigest(), f"{path}, {precision.split(',')[0].removeprefix('torch.')}"
    facts = {
        key: value if isinstance(value, (str, int, float, bool)) else repr(value)
        for key, value in sorted(vars(lm).items())
        if isinstance(value, (str, int, float, bool)) or key in ("process", "model_args")
        if not any(word in key for word in _WITHOUT_EFFECT)
    }
    hasher.update(json.dumps(facts, sort_keys=True).encode())
    return hasher.hexdigest(), f"{name} {facts.get('model') or facts.get('process') or ''}".strip()


# Attributes of an LM that its log-probabilities do not depend on, or that are secret.
_WITHOUT_EFFECT = (
    "key",
    "header",
    "batch",
    "rank",
    "world",
    "seed",
    "concurrent",
    "retries",
    "timeout",
    "progress",
)
