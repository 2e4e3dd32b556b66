"""Are results what their own documents say? Hashes of the samples log, and every curve computed anew from it.

For results that others have measured: a results file can be written by hand, the sums of every document less easily,
and the two must agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l2m_eval.fields import readers
from l2m_eval.measurements.context_use import context_use
from l2m_eval.measurements.kl import kl_from_records
from l2m_eval.measurements.position import position_curve
from l2m_eval.results.run import DocumentRecords, Results, as_written
from l2m_eval.settings import ContextUseSettings, read_settings

RECOMPUTED, DIFFERS, NOT_CHECKED = "recomputed", "differs", "not checked"
# Sums are added in another order where a log is read on another machine; fits multiply what that changes.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Verified:
    """What a check of results found.

    Attributes:
        status: `RECOMPUTED`, every number follows from the log; `DIFFERS`; or `NOT_CHECKED`.
        findings: What differs, or why there was no check.
    """

    status: str
    findings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.status}: {'; '.join(self.findings)}" if self.findings else self.status


def verify(one: Results) -> Verified:
    """Check one task of one run against its samples log.

    Raises:
        L2MError: a log that is not as the tasks write it.
    """
    if one.documents is None:
        return Verified(NOT_CHECKED, ("no samples log (--log_samples)",))
    told = one.sample.get("documents")
    findings = []
    if isinstance(told, int) and told != len(one.documents):
        findings.append(f"{told} documents in the results, {len(one.documents)} in the samples log")
    with as_written(one.documents.path):
        findings += _hashes(one, one.documents)
        pairs = _recomputed(one, one.documents)
    for name, saved, anew in pairs:
        a, b = np.asarray(saved, float), np.asarray(anew, float)
        if a.shape != b.shape:
            findings.append(f"{name}: {a.size} points in the results, {b.size} from the samples log")
        elif not np.allclose(a, b, rtol=_ROUNDING, atol=_ROUNDING, equal_nan=True):
            at = int(np.argmax(np.nan_to_num(np.abs(a - b), nan=np.inf)))
            findings.append(f"{name}: {a.flat[at]:.6g} in the results, {b.flat[at]:.6g} from the samples log")
    if findings:
        return Verified(DIFFERS, tuple(findings))
    if not pairs:
        return Verified(
            NOT_CHECKED, ("the samples log does not hold what this task's numbers are made from",)
        )
    return Verified(RECOMPUTED)


def _recomputed(one: Results, documents: DocumentRecords) -> list[tuple[str, Any, Any]]:
    """Names, what the results say, and what the documents' records give."""
    docs, records = documents.docs, documents.records
    if one.bipartite:
        anew = {curve.name: curve for curve in one.recomputed_curves() or ()}
        pairs: list[tuple[str, Any, Any]] = []
        for curve in one.bipartite:
            other = anew.get(curve.name)
            mi, beta = ([], np.nan) if other is None else (other.mi, other.beta.value)
            pairs += [(f"{curve.name}_mi", curve.mi, mi), (f"{curve.name}_beta", [curve.beta.value], [beta])]
        return pairs
    if one.position is not None:
        position = position_curve(records, docs)
        ours, theirs = one.position, position
        return [
            ("nll", ours.nll, theirs.nll),
            ("bits_per_byte", [ours.overall_bits_per_byte.value], [theirs.overall_bits_per_byte.value]),
            ("context_gain", [ours.context_gain.value], [theirs.context_gain.value]),
        ]
    if one.kl is not None:
        return [("kl", one.kl.kl, kl_from_records(records, docs).kl)]
    if one.context_use is not None:
        known = readers(ContextUseSettings)
        settings = read_settings(ContextUseSettings, {k: v for k, v in one.settings.items() if k in known})
        use = context_use(records, docs, settings, one.seed or 0)
        return [("information", one.context_use.curve.information, use.curve.information)]
    return []


def _hashes(one: Results, documents: DocumentRecords) -> list[str]:
    """The harness' hashes, as far as the log holds what they are made from."""
    samples = [
        json.loads(line) for line in documents.path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    findings = []
    for sample in samples:
        doc = sample["doc"]
        if "doc_hash" in sample and "begins" in doc and _hash_of(doc) != sample["doc_hash"]:
            findings.append(f"the hash of document {doc['index']} is not that of what the log says of it")
            break
    parts = ("doc_hash", "prompt_hash", "target_hash")
    if one.task_hash and all(part in sample for sample in samples for part in parts):
        joined = "".join(sample[part] for sample in samples for part in parts)
        if hashlib.sha256(joined.encode()).hexdigest() != one.task_hash:
            findings.append("the hash of the documents is not that of the samples log")
    return findings


def _hash_of(doc: Mapping[str, Any]) -> str:
    text = json.dumps(doc, indent=2, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def worst(found: Sequence[Verified]) -> Verified:
    """Of several: a difference before what was not checked before what was recomputed."""
    return next(one for status in (DIFFERS, NOT_CHECKED, RECOMPUTED) for one in found if one.status == status)
