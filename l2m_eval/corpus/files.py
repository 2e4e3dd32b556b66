"""The files that a user's paths and globs name."""

from __future__ import annotations

import glob
import logging
import os
import re
from pathlib import Path

from l2m_eval.errors import L2MError

logger = logging.getLogger(__name__)


def matching_files(patterns: tuple[str, ...]) -> list[Path]:
    """Files that the paths and globs name, sorted, each once, under whatever names and links it is found.

    A path that exists is taken literally, whatever brackets or stars are in it; everything else is a glob. A folder
    that the ``datasets`` library saved (`save_to_disk`) counts as one file.

    Raises:
        L2MError: a pattern that matches no file, or names another folder.
    """
    files: dict[Path, Path] = {}
    for pattern in patterns:
        for path in _matched(pattern):
            itself = path.resolve()
            if itself not in files or itself == _absolute(path):  # rather its own name than that of a link
                files[itself] = path
    return sorted(files.values(), key=_absolute)


def literal_or_glob(pattern: str | Path) -> list[Path]:
    """The paths that a pattern names: itself where it exists, whatever brackets or stars are in it, else as a glob.

    Raises:
        ValueError, RuntimeError, re.error: a NUL, a user that there is not, or a range of letters that is none.
    """
    expanded = str(Path(pattern).expanduser())
    if os.path.lexists(expanded):
        return [Path(expanded)]
    return sorted(Path(path) for path in glob.glob(expanded, recursive=True))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _matched(pattern: str) -> list[Path]:
    try:
        matched = literal_or_glob(pattern)
    except (ValueError, RuntimeError, re.error) as error:  # a NUL, a user that there is not
        raise L2MError(f"corpus: {pattern!r} is not a path: {error}") from error
    found = [path for path in matched if path.is_file() or is_saved_dataset(path)]
    if found:
        return found
    if any(path.is_dir() for path in matched):
        raise L2MError(f"corpus: {pattern!r} is a folder; name its files, for example {pattern}/*.txt")
    raise L2MError(
        f"corpus: no file matches {pattern!r} (looked from {Path.cwd().name}/); give a path or glob of "
        ".txt, .jsonl, .csv or .parquet files, pg19, wikipedia, or hub:OWNER/NAME"
    )


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk`: a dataset, or one for each split."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def size_on_disk(files: list[Path]) -> int:
    """Bytes of the files, and of the files in the folders among them."""
    parts = [part for file in files for part in (file.rglob("*") if file.is_dir() else [file])]
    return sum(part.stat().st_size for part in parts)
