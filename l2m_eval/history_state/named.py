"""History states as users name them: a folder, a configuration, a hub id, a formula, or a file that declares one."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState, history_state_size
from l2m_eval.history_state.formula import FUNCTIONS

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_OLLAMA_NAME = re.compile(r"[A-Za-z0-9][\w.-]*:[\w.-]+")  # explained where configurations are read
LARGEST_DECLARATION_BYTES = 2**22  # of a configuration or declaration; one of the hub has a few thousand
ACCEPTED = (
    "a model's folder, config.json or GGUF file, a hub id, a formula such as '64*min(L, 4096)', a file or mapping "
    "with formula, table or constant"
)


def named_history_state(
    name: str, lengths: Sequence[int], *, trust_remote_code: bool = False, label: str = "", dtype: str = ""
) -> HistoryState:
    """dim z(L) of what a user named on a command line or in a setting.

    A folder, or a JSON file with a ``model_type``, is a configuration; any other file is a declaration in YAML or
    JSON; text in braces is such a declaration itself; a formula in L alone is one; the rest is a hub id.

    Args:
        name: As typed.
        lengths: Numbers of tokens.
        trust_remote_code: For a configuration, allow an architecture whose code comes with it.
        label: What to call the model instead.
        dtype: For a configuration, in which the model runs, where that is not what it says.

    Raises:
        L2MError: nothing of the kind, or as `history_state_size`.
    """
    source = state_source(name)
    if isinstance(source, Mapping):
        return history_state_size(source, lengths, name=label)
    return history_state_size(
        source, lengths, trust_remote_code=trust_remote_code, name=label or short_name(source), dtype=dtype
    )


def short_name(source: str) -> str:
    """A model's folder without the path to it; a hub id as it is."""
    path = Path(source).expanduser()
    if not path.exists():
        return source
    whole = path.resolve()
    return whole.parent.name if whole.name == "config.json" else whole.stem if whole.is_file() else whole.name


def state_source(name: str) -> str | Mapping[str, Any]:
    """What `history_state_size` takes for it: a declaration, or a path or hub id.

    Raises:
        L2MError: a file that is neither, or text that is none of what is accepted.
    """
    if not name.strip():
        raise L2MError(f"state: {name!r}; give {ACCEPTED}")
    no_path = ""
    try:
        path = Path(name).expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long for one, a NUL, a user that there is not
        folder = file = False
        no_path = str(error)
    if folder:
        return str(path)
    if file and path.suffix == ".gguf":
        return str(path)
    if file:
        content = _mapping(_text_of(path), repr(name))
        return str(path) if _is_configuration(content) else {"name": path.stem, **content}
    if name.lstrip().startswith("{"):
        content = _mapping(name, repr(name[:60]))
        what = content.get("formula") or ("a constant" if "constant" in content else "a table")
        return {"name": what, **content}
    if _is_formula_in_length(name):
        return {"formula": name, "name": name}
    if no_path:
        raise L2MError(f"state: {name[:200]!r} is not a path ({no_path}); give {ACCEPTED}")
    if name.endswith((".json", ".yaml", ".yml", ".gguf")):
        raise L2MError(f"state: there is no file {name!r}; give {ACCEPTED}")
    if _HUB_ID.fullmatch(name) or _OLLAMA_NAME.fullmatch(name) or name.startswith((".", "/", "~")):
        return name
    return {"formula": name, "name": name}  # with names in it, which its check will complain about


def _is_configuration(content: Mapping[str, Any]) -> bool:
    """Whether a file is a model's, or one of those beside it that a reader of configurations explains."""
    declares = {"formula", "table", "constant"} & set(content)
    beside = {"peft_type", "base_model_name_or_path", "tokenizer_class", "added_tokens_decoder", "n_layers"}
    return bool({"model_type", "ssm_cfg"} & set(content)) or (not declares and bool(beside & set(content)))


def _is_formula_in_length(text: str) -> bool:
    """Whether it is an expression with no names but L and the functions; a hub id has others."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError):
        return False
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names <= {"L", *FUNCTIONS}


def _text_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_DECLARATION_BYTES + 1)
    except OSError as error:
        raise L2MError(f"state: {str(file)!r} cannot be read: {error.strerror or error}") from error
    if len(data) > LARGEST_DECLARATION_BYTES:
        raise L2MError(
            f"state: {str(file)!r} has more than {LARGEST_DECLARATION_BYTES:,} bytes, so it declares no state; "
            f"give {ACCEPTED}"
        )
    return data.decode("utf-8", errors="replace")


def _mapping(text: str, where: str) -> Mapping[str, Any]:
    """JSON or YAML of one mapping."""
    import yaml

    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        try:
            content = yaml.safe_load(text)
        except (
            yaml.YAMLError,
            ValueError,
            RecursionError,
        ) as error:  # dates and numbers that are none, too deep
            problem = str(getattr(error, "problem", "") or "not YAML")
            raise L2MError(f"state: {where} is neither JSON nor YAML ({problem}); give {ACCEPTED}") from error
    if not isinstance(content, Mapping):
        raise L2MError(f"state: {where} holds no mapping; give {ACCEPTED}")
    return content
