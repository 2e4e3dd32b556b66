"""Configurations of GGUF files, from their header alone: no weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from l2m_eval.errors import L2MError
from l2m_eval.history_state.forward import DECLARE


def gguf_configuration(file: Path) -> tuple[Any, tuple[str, ...]]:
    """The configuration that transformers reads from the header of a GGUF file, and a note on what it is.

    Raises:
        L2MError: the package ``gguf`` is missing, the file is none or is cut off, or its architecture is not known.
    """
    from transformers import AutoConfig

    from l2m_eval.history_state.released import quiet

    try:
        with file.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise L2MError(f"model: {str(file)!r} cannot be read: {error.strerror or error}") from error
    if magic != b"GGUF":
        raise L2MError(
            f"model: {str(file)!r} is not a GGUF file (it does not begin with GGUF); give one, or a config.json"
        )
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise L2MError(
            "model: a GGUF file is read with the package gguf; pip install 'l2m-eval[gguf]'"
        ) from error
    try:
        with quiet():
            config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if "not supported" in text:
            raise L2MError(
                f"model: transformers does not read the architecture of {str(file)!r} from GGUF files "
                f"({text.rstrip('.')}); give the model's config.json, or {DECLARE}"
            ) from error
        raise L2MError(
            f"model: the header of {str(file)!r} cannot be read, the file may be cut off: {text[:300]}; download it "
            "again, or give the model's config.json"
        ) from error
    return config, ("read from the header of a GGUF file",)
