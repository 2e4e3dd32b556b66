"""Published formats: what other people's libraries and schemas read back is what was measured."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import subprocess

import jsonschema
import pytest
import yaml
from huggingface_hub import eval_result_entries_to_yaml
from planted_runs import (
    EXAMPLES,
    planted,
    write_bipartite,
    write_context_use,
    write_position,
    write_two_point,
)
from run_every_eval_ever import every_eval_ever

from l2m_eval.cli.main import main
from l2m_eval.errors import L2MError
from l2m_eval.report.published import FORMATS, Publication, hub_entries, paper_tables, publish
from l2m_eval.results.headline import quantities_of
from l2m_eval.results.load import load_results

hub = pytest.importorskip("huggingface_hub")

# What evaleval/every_eval_ever's eval.schema.json (version 0.3.0) asks of the parts that we write, restated: required
# fields, types, and names of which nothing else may stand beside them.
TEXT, NUMBER = {"type": "string"}, {"type": "number"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
SOURCE = {
    "oneOf": [
        {
            "required": ["dataset_name", "source_type", "hf_repo"],
            "properties": {"source_type": {"const": "hf_dataset"}, "hf_repo": TEXT,
                           "samples_number": {"type": "integer"}},
        },
        {"required": ["dataset_name", "source_type"], "properties": {"source_type": {"const": "other"}}},
    ]
}  # fmt: skip
METRIC = {
    "required": ["lower_is_better"],
    "properties": {
        "lower_is_better": {"type": "boolean"},
        "metric_id": TEXT,
        "metric_name": TEXT,
        "metric_unit": TEXT,
        "evaluation_description": TEXT,
        "additional_details": TEXTS,
        "metric_parameters": {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        },
        "score_type": False,  # "continuous" would need bounds of the score, which these numbers do not have
    },
}
SCORE = {
    "required": ["score"],
    "properties": {
        "score": NUMBER,
        "uncertainty": {
            "type": "object",
            "properties": {
                "standard_error": {"required": ["value"], "properties": {"value": NUMBER, "method": TEXT}},
                "confidence_interval": {
                    "required": ["lower", "upper"],
                    "properties": {"lower": NUMBER, "upper": NUMBER, "confidence_level": NUMBER},
                },
                "num_samples": {"type": "integer"},
            },
            "additionalProperties": False,
        },
    },
}
EVERY_EVAL_EVER = {
    "type": "object",
    "required": ["schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info",
                 "eval_library", "evaluation_results"],
    "additionalProperties": False,
    "properties": {
        "schema_version": TEXT,
        "evaluation_id": TEXT,
        "evaluation_timestamp": TEXT,
        "retrieved_timestamp": {"type": "string", "pattern": "^[0-9]+$"},
        "source_metadata": {
            "required": ["source_type", "source_organization_name", "evaluator_relationship"],
            "properties": {
                "source_type": {"enum": ["documentation", "evaluation_run"]},
                "source_organization_name": TEXT,
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
            },
        },
        "model_info": {
            "required": ["name", "id", "additional_details"],
            # Its validator asks for these two beside the schema.
            "properties": {"additional_details": {
                **TEXTS,
                "required": ["deployment_type", "model_availability"],
                "properties": {
                    "deployment_type": {"enum": ["self_deployed", "externally_managed", "unknown"]},
                    "model_availability": {"enum": ["open_weights", "closed_weights", "unknown"]},
                },
            }},
        },
        "eval_library": {
            "required": ["name", "version"],
            "properties": {"name": TEXT, "version": TEXT, "additional_details": TEXTS},
        },
        "evaluation_results": {
            "type": "array",
            "items": {
                "required": ["evaluation_name", "source_data", "metric_config", "score_details"],
                "properties": {
                    "evaluation_name": TEXT,
                    "evaluation_timestamp": TEXT,
                    "source_data": SOURCE,
                    "metric_config": METRIC,
                    "score_details": SCORE,
                    "generation_config": {
                        "properties": {
                            "generation_args": {
                                "properties": {"execution_command": TEXT}, "additionalProperties": False
                            }
                        }
                    },
                },
            },
        },
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def llama():
    return load_results(EXAMPLES / "results" / "books-llama-5m")


def test_the_hubs_library_parses_the_entries_that_it_wrote(llama):
    about = Publication(dataset="me/books", source="https://example.org/report")
    entries = hub_entries(llama, about)
    read = hub.parse_eval_result_entries(yaml.safe_load(publish(llama, "hub", about)))
    assert read == entries
    assert eval_result_entries_to_yaml(read) == yaml.safe_load(publish(llama, "hub", about))
    beta = next(one for one in read if one.task_id == "l2m_direct_beta")
    assert beta.value == pytest.approx(0.2865288, abs=1e-6)  # six digits are written
    assert "0.287 ± 0.016; 95 % interval 0.256 to 0.324" in beta.notes
    assert "48 documents, seed 1234" in beta.notes
    assert len(read) == len(quantities_of(llama))


def test_a_corpus_of_the_hub_is_named_and_another_needs_a_name(tmp_path, llama):
    with pytest.raises(L2MError, match=r"no dataset of the hub, .* give --dataset OWNER/NAME"):
        publish(llama, "hub")
    file = write_bipartite(tmp_path, "m", planted(0.4))
    data = json.loads(file.read_text())
    data["configs"]["l2m_bipartite_text"]["l2m"]["settings"]["corpus"] = ["pg19"]
    file.write_text(json.dumps(data))
    pg19 = load_results(tmp_path)
    assert {one["dataset"]["id"] for one in yaml.safe_load(publish(pg19, "hub"))} == {"emozilla/pg19-test"}
    sources = [r["source_data"] for r in json.loads(publish(pg19, "eee"))["evaluation_results"]]
    assert {(s["source_type"], s["hf_repo"], s["hf_split"]) for s in sources} == {
        ("hf_dataset", "emozilla/pg19-test", "test")
    }


def test_every_eval_ever_accepts_the_record_and_has_the_errors(llama):
    record = json.loads(publish(llama, "eee", Publication(name="me/model", relationship="first_party")))
    jsonschema.validate(record, EVERY_EVAL_EVER)
    assert record["model_info"]["developer"] == "me"
    found = {one["metric_config"]["metric_name"]: one for one in record["evaluation_results"]}
    for quantity in quantities_of(llama):
        score = found[quantity.name]["score_details"]
        assert score["score"] == quantity.estimate.value
        if math.isfinite(quantity.estimate.standard_error):
            assert score["uncertainty"]["standard_error"]["value"] == quantity.estimate.standard_error
        assert score["uncertainty"]["num_samples"] == quantity.documents
    assert found["bits_per_byte"]["metric_config"]["lower_is_better"]
    assert not found["direct_beta"]["metric_config"]["lower_is_better"]
    assert "neither" in found["two_point_alpha"]["metric_config"]["additional_details"]["direction"]
    assert "at least" in found["effective_context"]["metric_config"]["additional_details"]["bound"]


@pytest.mark.parametrize("model", ["books-llama-5m", "check/books-llama-5m"])
def test_the_validator_of_every_eval_ever_accepts_the_record(tmp_path, model):
    """The second model has an endless horizon, which JSON has no number for."""
    record = tmp_path / "data" / "l2m-eval" / "me" / "model" / "3f0d5a0e-7a0a-4a53-9c39-5f1b2c9a1c11.json"
    record.parent.mkdir(parents=True)
    record.write_text(
        publish(load_results(EXAMPLES / "results" / model), "eee", Publication(name="me/model"))
    )
    answer = every_eval_ever("validate", record, "--format", "json")
    (one,) = json.loads(answer.stdout)
    assert one["errors"] == []
    assert one["valid"]


def test_csv_has_every_digit_of_every_model():
    results = load_results([EXAMPLES / "results" / name for name in ("books-llama-5m", "books-swa64-5m")])
    rows = list(csv.DictReader(io.StringIO(publish(results, "csv"))))
    assert {row["model"] for row in rows} == {"books-llama-5m", "books-swa64-5m"}
    for one in (r for r in results if r.bipartite):
        row = next(r for r in rows if (r["model"], r["quantity"]) == (one.run.label, "direct_beta"))
        assert float(row["value"]) == one.curve("direct").beta.value
        assert row["command"].startswith("lm_eval run --model hf")


def test_tables_for_papers_have_models_down_and_numbers_across():
    results = load_results(EXAMPLES / "results")
    tables = paper_tables(results)
    assert len(tables) == 2  # books and the process
    latex = publish(results, "latex")
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 2
    for table, block in zip(
        tables, latex.split(r"\begin{table}")[1:], strict=True
    ):  # fewer models than numbers
        rows = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert len(rows) == len(table.columns)
        assert {row.count(" & ") for row in rows} == {len(table.rows)}
    row = next(line for line in latex.splitlines() if line.strip().startswith(r"$\beta$"))
    assert r" & 0.287 $\pm$ 0.016 & 0.145 $\pm$ 0.014 & $-$0.045 $\pm$ 0.044 \\" in row


@pytest.mark.parametrize("models", [1, 3, 12])
def test_latex_compiles_and_no_table_is_wider_than_its_page(tmp_path, models):
    """With the plainest document class, whatever the models and the corpus are called."""
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex (apt-get install texlive-latex-base texlive-latex-recommended)")
    names = [r"50%_of&\x{y}~^$#", "<a|b>-7B …“é”²", "日本語"] + [f"m-{i}" for i in range(models)]
    for name in names[:models]:
        write_bipartite(tmp_path / "out", name, planted(0.4), claimed_context=4096, document="ä_50%")
        write_position(tmp_path / "p", name, 3.0)
        write_two_point(tmp_path / "t", name)
        write_context_use(tmp_path / "c", name, 20.0)
    latex = publish(load_results([tmp_path / part for part in ["out", "p", "t", "c"]]), "latex")
    assert (latex.count(r"\begin{tabular}") > 1) == (models > 1)  # long names and many models: in parts
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + latex + "\\end{document}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").is_file()
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert "Overfull" not in log
    assert "Missing character" not in log


def test_markup_in_a_name_is_text_in_every_format(tmp_path):
    name = r"<script>_50%&\x{y}</script>"
    write_bipartite(tmp_path, name, planted(0.4))
    results = load_results(tmp_path)
    about = Publication(name=name)
    assert "<script>" not in publish(results, "markdown", about)
    assert r"$<$script$>$\_50\%\&\textbackslash{}x\{y\}" in publish(results, "latex", about)
    assert json.loads(publish(results, "eee", about))["model_info"]["name"] == name
    assert (
        yaml.safe_load(publish(results, "model-index", about).split("---")[1])["model-index"][0]["name"]
        == name
    )


def test_the_command_prints_or_writes_every_format(tmp_path, capsys):
    write_bipartite(tmp_path / "out", "m", planted(0.4))
    for form in FORMATS:
        arguments = ["publish", str(tmp_path / "out"), "--format", form, "--dataset", "me/d"]
        assert main(arguments) == 0
        beta = r"$\beta$" if form == "latex" else "direct_beta"
        assert beta in capsys.readouterr().out.replace(r"\_", "_")
        file = tmp_path / "new" / form
        assert main([*arguments, "-o", str(file)]) == 0
        assert beta in file.read_text().replace(r"\_", "_")


@pytest.mark.parametrize(
    ("form", "model", "message"),
    [("eee", None, "say with --model"), ("csv", "c", "'c' is not in these results; they are of a, b")],
)
def test_a_format_of_one_model_needs_a_choice(tmp_path, form, model, message):
    for name in ("a", "b"):
        write_bipartite(tmp_path, name, planted(0.4))
    with pytest.raises(L2MError, match=message):
        publish(load_results(tmp_path), form, Publication(model=model))
