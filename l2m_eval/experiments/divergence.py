"""The exact divergence of a trained model from its process, at every position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from l2m_eval.experiments.plan import EvaluationPlan
from l2m_eval.experiments.training import EVALUATION
from l2m_eval.measurements.kl import full_kl, gaussian_kl, sampled_kl
from l2m_eval.processes import TokenProcess, ValueProcess
from l2m_eval.statistics.arrays import Array, Integers

# From tokens (documents, length) to log q over the vocabulary at every position, (documents, length, vocabulary).
Predictions = Callable[[Integers], Array]


def evaluation_documents(
    process: TokenProcess | ValueProcess, plan: EvaluationPlan, longest: int, seed: int
) -> NDArray[Any]:
    """Documents that no model has seen, (documents, longest); the same for all models of a variant."""
    return process.sample(plan.documents, longest, np.random.default_rng([seed, EVALUATION]))


def token_predictions(model: Any, vocabulary_size: int) -> Predictions:
    """log q at every position of a causal language model whose inputs begin with the start id."""

    def predict(tokens: Integers) -> Array:
        starts = np.full((len(tokens), 1), vocabulary_size)
        inputs = torch.from_numpy(np.concatenate([starts, tokens[:, :-1]], axis=1))
        with torch.inference_mode():
            logits = model(input_ids=inputs.to(model.device), use_cache=False).logits
        log_q = torch.log_softmax(logits.float(), dim=-1)[..., :vocabulary_size]
        return log_q.double().cpu().numpy()

    return predict


def token_divergence(
    process: TokenProcess, predict: Predictions, documents: Integers, plan: EvaluationPlan
) -> tuple[Array, str]:
    """KL terms of every position, (documents, length), and how they were taken: ``full`` or ``sampled``."""
    cells = documents.size * process.vocabulary_size
    full = cells <= plan.most_cells
    terms = []
    for start in range(0, len(documents), plan.batch):
        tokens = documents[start : start + plan.batch]
        log_q = predict(tokens)  # (batch, length, vocabulary)
        if full:
            terms.append(full_kl(process.predictions(tokens), log_q))
        else:
            chosen = np.take_along_axis(log_q, tokens[..., None], axis=2)[..., 0]
            terms.append(sampled_kl(process.log_probs(tokens), chosen))
    return np.concatenate(terms), "full" if full else "sampled"


def gaussian_divergence(
    process: ValueProcess, model: Any, documents: Array, plan: EvaluationPlan
) -> tuple[Array, str]:
    """KL terms of every position, (documents, length), between the two predicted normal distributions."""
    means, deviations = process.predictions(documents)
    device = next(model.parameters()).device
    terms = []
    for start in range(0, len(documents), plan.batch):
        rows = slice(start, start + plan.batch)
        values = torch.tensor(documents[rows], dtype=torch.float32, device=device)
        with torch.inference_mode():
            prediction = model(values)
        mean, log_deviation = (prediction[name].double().cpu().numpy() for name in ("mean", "log_deviation"))
        terms.append(gaussian_kl(means[rows], deviations, mean, np.exp(log_deviation)))
    return np.concatenate(terms), "full"
