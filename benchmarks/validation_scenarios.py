"""What `validation.py` repeats: processes, what is done to their records, and the records themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from l2m_eval.processes import (
    Copy,
    HiddenMarkov,
    Markov,
    Renewal,
    SantaFe,
    TokenProcess,
    Tree,
)
from l2m_eval.scoring.windows import bipartite_cells
from l2m_eval.settings import BipartiteSettings

SEED = 20250
DOCUMENTS = (20, 50, 200)
LENGTHS = (4, 8, 16, 32, 64, 128, 256, 512)
DISTANCES = (1, 2, 4, 8, 16, 32, 64, 128)

FAR = 4.0  # times the information at the longest length: what the state of the horizon can hold
AT_ONCE = 2000  # documents scored at a time


@dataclass(frozen=True)
class Scenario:
    """A process, and what is done to its records to make them as uncomfortable as real ones.

    Attributes:
        name: Shown in the tables.
        process: Where documents come from; also the model.
        lengths: Total lengths L of the bipartite curve.
        tail: ``"none"``; ``"heavy"``: every document's log q(y|x) has an error of its own from Student's t with
            3 degrees of freedom, of half the curve's height; ``"skewed"``: a centred log-normal one.
        chunks: Chunks per source document. Above 1, chunks of a source share an effect of half the curve's
            height, and every third source has one chunk only.
        loss: Whether the loss curve's fit has a power law to find.
        blocks: Setting of the task: ``"auto"``, its default, or 1, the published measurement.
    """

    name: str
    process: TokenProcess
    lengths: tuple[int, ...] = LENGTHS
    tail: str = "none"
    chunks: int = 1
    loss: bool = False
    blocks: str | int = "auto"


_LAW = SantaFe(beta=0.75)
SCENARIOS = (
    Scenario("Santa Fe, β 0.5", SantaFe(beta=0.5), loss=True),
    Scenario("Santa Fe, β 0.75", _LAW, loss=True),
    Scenario("Santa Fe, β 0.75, flips 0.4", SantaFe(beta=0.75, flip_rate=0.4), loss=True),
    Scenario("Santa Fe, β 0.9", SantaFe(beta=0.9), loss=True),
    Scenario("Markov", Markov()),
    Scenario("hidden Markov", HiddenMarkov(), lengths=(4, 6, 8, 10)),
    Scenario("copy", Copy(period=256, octaves=9)),
    Scenario("tree, 2 symbols", Tree(symbols=2), lengths=(4, 8, 16)),
    Scenario("renewal", Renewal()),
    Scenario("Santa Fe, heavy tails", _LAW, tail="heavy"),
    Scenario("Santa Fe, skewed", _LAW, tail="skewed"),
    Scenario("Santa Fe, clustered", _LAW, chunks=4),
)


@dataclass(frozen=True)
class TwoPointScenario:
    """Documents for pair counting.

    Attributes:
        name, process: Shown in the tables; what documents are sampled from.
        length: Tokens of a document.
        null: What is subtracted as bias, see `two_point_mutual_information`.
        promised: Whether there are enough pairs for the dependence: see the text above the last tables.
    """

    name: str
    process: TokenProcess
    length: int = 512
    null: str = "shuffle"
    promised: bool = True


_REPEATING = Markov()  # 64 states, each kept for ten steps on average: 4096 cells, few independent pairs
_COPYING = Copy(period=128, octaves=8)  # 65,536 cells, strong dependence at every distance
TWO_POINT_SCENARIOS = (
    TwoPointScenario("Santa Fe, 50 facts, β 0.5, flips 0.4", SantaFe(beta=0.5, facts=50, flip_rate=0.4)),
    TwoPointScenario("Santa Fe, 4096 facts, β 0.75", _LAW),
    TwoPointScenario("Markov, 8 states", Markov(states=8, persistence=0.5)),
    TwoPointScenario("Markov, 8 states, shift", Markov(states=8, persistence=0.5), null="shift"),
    TwoPointScenario("hidden Markov, 4 states", HiddenMarkov()),
    TwoPointScenario("hidden Markov, 4 states, shift", HiddenMarkov(), null="shift"),
    TwoPointScenario("renewal", Renewal()),
    TwoPointScenario("tree, 4 symbols", Tree(symbols=4)),
    TwoPointScenario("Markov, 64 states, shuffle", _REPEATING, promised=False),
    TwoPointScenario("Markov, 64 states, shift", _REPEATING, null="shift", promised=False),
    TwoPointScenario("copy, 256 symbols, shuffle", _COPYING, promised=False),
    TwoPointScenario("tree, 16 symbols, shuffle", Tree(), promised=False),
)


# Records


def exact_sums(
    process: TokenProcess, tokens: np.ndarray, numbers: Mapping[int, int], ratio: int = 2
) -> dict[str, np.ndarray]:
    """What a perfect model's record of each document holds: sums of log p, (documents, lengths) each.

    Beside them ``losses``, log p of every token. `tokens`: (documents, longest). Documents 2k and 2k + 1 are each
    other's partners. `numbers`: blocks of each length, whose mean is a document's sum. They are spread evenly from
    the first token on, at multiples of their length, where those of a tree hold a whole tree. A run draws their
    places.
    """
    partner = np.arange(len(tokens)) ^ 1
    columns: dict[str, list[np.ndarray]] = {"conditional": [], "marginal": [], "crossed": []}
    for total, number in numbers.items():
        left = total // ratio
        starts = np.arange(number) * tokens.shape[1] // number // total * total
        blocks = tokens[:, starts[:, None] + np.arange(total)]  # (documents, number, total)
        own, others = blocks[..., left:], blocks[partner][..., left:]

        def mean_of(sequences: np.ndarray, behind: int) -> np.ndarray:
            log_probs = process.log_probs(sequences.reshape(-1, sequences.shape[-1]))[:, behind:]
            return log_probs.sum(axis=1).reshape(len(tokens), -1).mean(axis=1)

        columns["conditional"].append(mean_of(blocks, left))
        columns["marginal"].append(mean_of(own, 0))
        columns["crossed"].append(mean_of(np.concatenate([blocks[..., :left], others], axis=-1), left))
    sums = {name: np.stack(values, axis=1) for name, values in columns.items()}
    return sums | {"losses": process.log_probs(tokens).astype(np.float32)}


def draw(scenario: Scenario, documents: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sums and log-probabilities (documents, longest, float32) of `documents` documents of a scenario."""
    rng = np.random.default_rng([SEED, seed])
    longest = max(scenario.lengths)
    numbers = bipartite_settings(scenario).block_numbers
    parts = []
    for start in range(0, documents, AT_ONCE):
        tokens = scenario.process.sample(min(AT_ONCE, documents - start), longest, rng)
        parts.append(exact_sums(scenario.process, tokens, numbers))
    sums = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    losses = sums.pop("losses")
    curve = exact_curve(scenario)
    if scenario.tail != "none":
        shape = (documents, 1 + len(curve))
        noise = (
            stats.t(3).rvs(shape, random_state=rng)
            if scenario.tail == "heavy"
            else np.exp(rng.normal(size=shape)) - math.exp(0.5)
        )
        sums["conditional"] += curve * (0.5 * noise[:, :1] + 0.25 * noise[:, 1:])
    if scenario.chunks > 1:
        effect = rng.normal(size=(documents, 1))[source_of(scenario, documents)]
        sums["conditional"] += 0.5 * curve * effect
    disturbed = scenario.tail != "none" or scenario.chunks > 1
    return sums, losses[:0] if disturbed else losses


def source_of(scenario: Scenario, documents: int) -> np.ndarray:
    """Source of each document: its own, or one of clusters of `chunks` chunks and, every third, a single one."""
    if scenario.chunks == 1:
        return np.arange(documents)
    sizes = np.tile([scenario.chunks, scenario.chunks, 1], documents)
    return np.repeat(np.arange(len(sizes)), sizes)[:documents]


def exact_curve(scenario: Scenario) -> np.ndarray:
    """Exact I(L/2; L), (lengths,), nats."""
    return np.array([scenario.process.bipartite_mi(total // 2, total) for total in scenario.lengths])


def bipartite_settings(scenario: Scenario, **changes: Any) -> BipartiteSettings:
    """Settings of the task that measures the scenario; 400 resamples know a standard deviation to 3.5 %."""
    estimators = ("direct", "vclub") if scenario.chunks == 1 else ("direct",)
    return BipartiteSettings(
        lengths=scenario.lengths, estimators=estimators, resamples=400, blocks=scenario.blocks, **changes
    )


def as_records(
    scenario: Scenario, sums: dict[str, np.ndarray], rows: slice
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The records and documents of one replicate, as the task's samples log has them."""
    cells = [[cell.ratio, cell.left, cell.total] for cell in bipartite_cells(scenario.lengths, (2,))]
    chosen = {name: values[rows] for name, values in sums.items()}
    count = len(chosen["conditional"])
    records = [
        {
            "cells": cells,
            "conditional": chosen["conditional"][i],
            "marginal": chosen["marginal"][i],
            "crossed": chosen["crossed"][i][None],
        }
        for i in range(count)
    ]
    source = source_of(scenario, rows.stop)[rows]  # as `draw` gave the sources their effects
    docs = [
        {"index": i, "source": int(source[i]), "group": i // 2, "partner_index": [i ^ 1]}
        for i in range(count)
    ]
    return records, docs


def task_records(scenario: Scenario, documents: int) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Records of documents of the scenario's process as a run makes them: text, windows, scorer, oracle model.

    Returns the records, and the tokens of each document in the order of the records, partners side by side.
    """
    import json

    from l2m_eval.corpus.chunks import draw_sample
    from l2m_eval.harness.oracle import OracleLM
    from l2m_eval.measurements.bipartite import BipartiteRequest
    from l2m_eval.scoring.answer import score_requests

    process = scenario.process
    settings = bipartite_settings(scenario, corpus=("process",), documents=documents, process=process.name)
    settings = replace(settings, process_settings=tuple(process.settings.items()))
    sample = draw_sample(settings, max(scenario.lengths), SEED, pairing=settings.pairing)
    oracle = OracleLM(process)
    requests = [
        BipartiteRequest(
            settings, sample, sample.chunks[chunk], tuple(sample.chunks[p] for p in partners), False
        )
        for chunk, partners in zip(sample.measured, sample.partners, strict=True)
    ]
    records = [json.loads(record) for record in score_requests(oracle, requests, progress=False)]
    place = {chunk: number for number, chunk in enumerate(sample.measured)}
    order, seen = [], set()
    for number, partners in enumerate(sample.partners):
        if number not in seen:
            order += [number, place[partners[0]]]
            seen |= {number, place[partners[0]]}
    tokens = [
        np.array(oracle.tok_encode(sample.chunks[sample.measured[number]].text)[: max(scenario.lengths)])
        for number in order
    ]
    return [records[number] for number in order], tokens


def same_as_the_task(scenario: Scenario, documents: int = 8) -> float:
    """Largest difference, nats, between the sums of `exact_sums` and of a run on the same documents.

    Of one block, whose place is the same for both, and with partners, to check all sums.
    """
    records, tokens = task_records(replace(scenario, chunks=1, blocks=1), documents)
    ours = exact_sums(scenario.process, np.stack(tokens), dict.fromkeys(scenario.lengths, 1))
    return max(
        float(np.abs(ours[name] - np.array([np.reshape(r[name], -1) for r in records])).max())
        for name in ("conditional", "marginal", "crossed")
    )
