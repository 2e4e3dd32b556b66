"""What scorers are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from l2m_eval.scoring.windows import Window


@pytest.fixture(scope="session")
def plain_sums() -> Callable[[torch.nn.Module, Window], np.ndarray]:
    """Sums of log-probabilities by the definition: one window, the whole logits, float64."""

    def sums(model: torch.nn.Module, window: Window) -> np.ndarray:
        ids = torch.from_numpy(np.concatenate([window.context, window.target]))[None]
        with torch.no_grad():
            log_probs = torch.log_softmax(model(ids).logits.double(), -1)[0]
        start = len(window.context)
        values = [log_probs[t - 1, ids[0, t]].item() for t in range(start, ids.shape[1])]
        return np.add.reduceat(values, [0, *window.cuts[:-1]])

    return sums


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4, dtype="float32")
