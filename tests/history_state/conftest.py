"""Fixtures of the history-state tests: tiny models, and the real ones where they are."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _tiny_models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_models", Path(__file__).with_name("tiny_models.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("tiny_models", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module that builds tiny random models of any family."""
    return _tiny_models()


@pytest.fixture(scope="session")
def real_models() -> Path:
    """Folder of the trained models that some tests use; they are not part of the project."""
    shared = Path(os.environ.get("L2M_SHARED", Path(__file__).parents[2].parent / "shared"))
    if not (shared / "models").is_dir():
        pytest.skip(f"no trained models at {shared / 'models'}; set L2M_SHARED to the folder that holds them")
    return shared / "models"
