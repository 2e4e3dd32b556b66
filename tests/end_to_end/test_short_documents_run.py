"""Short documents beside long ones: each length is measured on the documents that hold it, and on nothing else."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from lm_eval.models.huggingface import HFLM

from l2m_eval.errors import L2MError
from l2m_eval.estimators.bipartite import clustered_mean
from l2m_eval.measurements.bipartite import bipartite_curves, document_terms
from l2m_eval.measurements.context_use import context_use
from l2m_eval.results.difference import compare_quantity
from l2m_eval.results.run import DocumentRecords, Results, Run
from l2m_eval.settings import BipartiteSettings, ContextUseSettings, read_settings

LENGTHS = [16, 64, 128]
# Documents of so many bytes: at 8 bytes a token the first kind holds 128 tokens, the second 64, the last none.
KINDS = {"long": (1040, 6), "half": (600, 5), "short": (300, 4)}
BIPARTITE, CONTEXTS = "l2m_bipartite_text", "l2m_context_use_text"


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=8, dtype="float32", max_length=128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("mixed")
    for kind, (size, count) in KINDS.items():
        for number in range(count):
            rng = random.Random(f"{kind} {number}")
            text = " ".join("".join(rng.choices("aeioubdfgkl", k=rng.randint(1, 7))) for _ in range(size))[
                :size
            ]
            (made / f"{kind}{number}.txt").write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def told(folder):
    return {"corpus": f"{folder}/*.txt", "documents": 20, "lengths": LENGTHS, "blocks": 1}


@pytest.fixture(scope="module")
def kept(evaluate, lm, told):
    return evaluate(lm, BIPARTITE, short_documents="keep", **told)


@pytest.fixture(scope="module")
def dropped(evaluate, lm, told):
    return evaluate(lm, BIPARTITE, **told)


def records(run):
    return [sample["doc"] for sample in run.samples], [
        json.loads(s["filtered_resps"][0]) for s in run.samples
    ]


def settings_of(kind, run):
    known = {name for name in kind.__dataclass_fields__ if name not in ("process_settings", "model_context")}
    return read_settings(kind, {k: v for k, v in run.block["settings"].items() if k in known})


def test_the_longest_length_is_that_of_a_run_without_short_documents(kept, dropped):
    assert set(kept.metrics) == set(dropped.metrics)
    for name, value in dropped.metrics.items():
        if name.endswith(("@0128", "@0128_stderr")):
            assert kept.metrics[name] == value, name


def test_each_length_has_its_own_documents_in_the_results(kept, dropped):
    for curve in kept.block["curves"]:
        assert curve["documents"] == [11, 11, 6]
        groups = [6, 6, 6] if curve["name"] == "direct" else None
        assert groups is None or curve["clusters_each"] == [11, 11, 6]
    vclub = next(curve for curve in kept.block["curves"] if curve["name"] == "vclub")
    assert vclub["clusters_each"] == [5, 5, 3]  # pairs of long documents, a pair and a triple of shorter ones
    for curve in dropped.block["curves"]:
        assert curve["documents"] == [6, 6, 6]
    assert kept.block["sample"]["documents"] == 11
    assert {doc.get("holds", 128) for (doc,) in ([s["doc"]] for s in kept.samples)} == {64, 128}


def test_each_length_is_the_mean_of_the_documents_that_hold_it(kept):
    docs, answers = records(kept)
    settings = settings_of(BipartiteSettings, kept)
    terms = document_terms(answers, docs, settings)
    for name, values in terms.items():
        clusters = np.array([doc["group" if name == "vclub" else "source"] for doc in docs])
        for column, length in enumerate(LENGTHS):
            holds = np.array([doc.get("holds", 128) >= length for doc in docs])
            np.testing.assert_array_equal(~np.isnan(values[:, column]), holds)
            alone = clustered_mean(values[holds][:, [column]], clusters[holds])
            assert kept.metrics[f"{name}_mi@{length:04d}"] == pytest.approx(alone.value[0], rel=1e-12)
            error = kept.metrics[f"{name}_mi@{length:04d}_stderr"]
            assert error == pytest.approx(alone.standard_error[0], rel=1e-12)


def test_partners_hold_the_same_lengths_and_the_control_variate_has_mean_zero_at_each(kept):
    docs, answers = records(kept)
    place = {doc["index"]: doc for doc in docs}
    for doc in docs:
        for partner in doc["partner_index"]:
            assert place[partner].get("holds") == doc.get("holds")
    plain = read_settings(BipartiteSettings, {"lengths": LENGTHS, "control_variate": False})
    with_variate = document_terms(answers, docs, read_settings(BipartiteSettings, {"lengths": LENGTHS}))[
        "vclub"
    ]
    without = np.stack(
        [np.nan_to_num(with_variate), np.nan_to_num(document_terms(answers, docs, plain)["vclub"])]
    )
    assert without[0].sum(axis=0) == pytest.approx(without[1].sum(axis=0), rel=1e-9)


def test_curves_are_recomputed_from_the_samples_log(kept):
    docs, answers = records(kept)
    seed = kept.block["settings"]["seed"]
    anew = bipartite_curves(answers, docs, settings_of(BipartiteSettings, kept), seed)
    assert json.dumps([curve.to_json() for curve in anew]) == json.dumps(kept.block["curves"])


def results_of(run, model, change):
    """Results with their documents, of a model whose log q(y|x) is `change` times a document's own number larger."""
    docs, answers = records(run)
    answers = [
        {
            **one,
            "conditional": [
                value + change * (1 + len(doc["document"]) + doc["offset"] % 7)
                for value in one["conditional"]
            ],
        }
        for doc, one in zip(docs, answers, strict=True)
    ]
    settings = run.block["settings"]
    curves = bipartite_curves(answers, docs, settings_of(BipartiteSettings, run), settings["seed"])
    return Results(
        Run.unsaved(model), model, "bipartite", "l2m-eval/bipartite/1", settings, run.block["sample"], {}, (), {}, {},
        bipartite=tuple(curves), documents=DocumentRecords(Path(model), tuple(docs), tuple(answers)),
    )  # fmt: skip


def test_two_models_are_compared_on_the_documents_of_each_length(kept, dropped):
    found = {}
    for name, run in (("keep", kept), ("drop", dropped)):
        pair = [results_of(run, "one", 0.1), results_of(run, "other", 0.0)]
        for quantity in ("direct_mi@128", "direct_mi@16", "direct_beta", "vclub_mi@128"):
            found[name, quantity] = compare_quantity(pair[:1], pair[1:], quantity)
    assert all(one.paired for one in found.values())
    for quantity in ("direct_mi@128", "vclub_mi@128"):
        ours, theirs = (found[name, quantity].difference for name in ("keep", "drop"))
        assert ours.value == pytest.approx(theirs.value, rel=1e-9)
        # Six documents among eleven are drawn in a number that varies, six alone are not.
        assert 0.5 < ours.standard_error / theirs.standard_error < 2
    shorter = found["keep", "direct_mi@16"]
    assert np.isfinite(found["keep", "direct_beta"].difference.standard_error)
    docs, _ = records(kept)
    shifts = [0.1 * (1 + len(doc["document"]) + doc["offset"] % 7) for doc in docs]
    assert shorter.difference.value == pytest.approx(np.mean(shifts), rel=1e-9)


def test_contexts_are_measured_where_documents_are_long_enough(evaluate, lm, folder):
    told = {"corpus": f"{folder}/*.txt", "documents": 20, "contexts": [16, 32, 96], "target": 32}
    kept = evaluate(lm, CONTEXTS, short_documents="keep", **told)
    dropped = evaluate(lm, CONTEXTS, **told)
    curve, alone = kept.block["curve"], dropped.block["curve"]
    assert curve["documents_each"] == [11, 11, 11, 6]
    assert alone["documents_each"] == [6, 6, 6, 6]
    for name in ("kept", "kept_error", "needed"):  # of the documents that have the longest context
        assert curve[name] == alone[name]
    for name in ("information", "information_error", "loss", "loss_error", "bits_per_byte"):
        assert curve[name][-1] == alone[name][-1]
    docs, answers = records(kept)
    seed = kept.block["settings"]["seed"]
    anew = context_use(answers, docs, settings_of(ContextUseSettings, kept), seed)
    assert json.dumps(anew.to_json()["curve"]) == json.dumps(curve)
    short = [n for n, doc in enumerate(docs) if "holds" in doc]
    assert all(len(answers[n]["contexts"]) == 3 for n in short)


def test_a_length_that_two_documents_hold_is_not_measured_and_it_is_said(
    evaluate, lm, folder, tmp_path, caplog
):
    for file in folder.glob("*.txt"):
        if not re.fullmatch(r"long[2-9]\.txt", file.name):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    told = {"corpus": f"{tmp_path}/*.txt", "documents": 20, "lengths": LENGTHS, "estimators": ["direct"]}
    run = evaluate(lm, BIPARTITE, short_documents="keep", **told)
    assert run.block["settings"]["lengths"] == [16, 64]
    assert run.block["curves"][0]["documents"] == [9, 9]  # two chunks of each long document
    assert "of 9 chunks measured 9 hold 64 tokens; 128 tokens or more are not measured" in caplog.text


def test_enough_long_documents_are_measured_as_if_there_were_no_short_ones(evaluate, lm, told):
    runs = [
        evaluate(lm, BIPARTITE, **{**told, "documents": 6}, short_documents=one) for one in ("keep", "drop")
    ]
    assert str(runs[0].metrics) == str(runs[1].metrics)
    assert [s["doc"] for s in runs[0].samples] == [s["doc"] for s in runs[1].samples]


@pytest.mark.parametrize(
    "settings",
    [
        {"marginal": "independent"},
        {"marginal": "mixture"},
        {"correction": "ngram"},
        {"ratios": [2, 4], "blocks": 4},
        {"blocks": "auto"},
    ],
    ids=str,
)
def test_every_estimator_leaves_out_what_documents_lack(evaluate, lm, told, settings):
    run = evaluate(lm, BIPARTITE, short_documents="keep", **{**told, **settings})
    for curve in run.block["curves"]:
        assert np.isfinite(curve["mi"]).all()
        assert curve["documents"][0] > curve["documents"][-1] >= 1


def test_mistakes_are_one_line(evaluate, lm, told):
    with pytest.raises(L2MError, match="short_documents: 'some' is not known; accepted: drop, keep"):
        evaluate(lm, BIPARTITE, short_documents="some", **told)
