"""Fixtures of the report's tests: two models with planted curves, and a browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from l2m_eval.results.load import Results, load_results

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside this one
import chromium
from planted_runs import planted, write_bipartite


@pytest.fixture
def two_models(tmp_path: Path) -> tuple[Results, ...]:
    """Two models over the same documents: one curve grows, the other hardly."""
    write_bipartite(tmp_path / "out", "grows", planted(0.4, seed=1))
    write_bipartite(tmp_path / "out", "flat", planted(0.05, seed=2))
    return load_results([tmp_path / "out" / "grows", tmp_path / "out" / "flat"])


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    """A real headless Chromium."""
    executable = chromium.find()
    if executable is None:
        pytest.skip("no Chromium (apt-get install chromium-headless-shell, or L2M_CHROMIUM=/path/to/it)")
    running = chromium.Browser(executable, tmp_path_factory.mktemp("chromium"))
    yield running
    running.close()
