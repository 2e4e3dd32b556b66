"""What our code never does, and where files and models could make it: walked through, and tried."""

from __future__ import annotations

import ast
import copy
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import requires
from pathlib import Path

import pytest

import l2m_eval
from l2m_eval.errors import L2MError
from l2m_eval.harness.tokenizer_only import TokenizerOnlyLM
from l2m_eval.history_state import history_state_size
from l2m_eval.history_state.named import named_history_state
from l2m_eval.results.load import load_results

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = Path(l2m_eval.__file__).parent
EXAMPLES = REPOSITORY / "examples" / "results"

# Modules whose loading runs what a file says.
UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "joblib",
    "cloudpickle",
    "pandas",
}
UNSAFE_NAMES = {"eval", "exec", "compile", "__import__", "input"}
UNSAFE_CALLS = {
    "os.system", "os.popen", "torch.load", "torch.save", "torch.hub.load", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "yaml.load_all", "pickle.loads", "tempfile.mktemp", "subprocess.getoutput",
}  # fmt: skip


def bipartite_results():
    """A results file of ours that holds the bipartite task."""
    files = sorted(EXAMPLES.glob("books-llama-5m/results_*.json"))
    return next(file for file in files if "l2m_bipartite_text" in json.loads(file.read_text())["results"])


def dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def offences(source: str) -> list[str]:
    """What a source text does that none of ours may, one entry for each, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if (node.module or "").partition(".")[0] in UNSAFE_MODULES else []
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            if called in UNSAFE_NAMES or called.replace("np.", "numpy.") in UNSAFE_CALLS:
                names = [called]
            for keyword in node.keywords:
                on = not (isinstance(keyword.value, ast.Constant) and keyword.value.value in (False, None))
                constant = isinstance(keyword.value, ast.Constant)
                if (
                    (keyword.arg in ("allow_pickle", "shell") and on)
                    or (keyword.arg == "trust_remote_code" and constant and on)
                    or (
                        keyword.arg in ("verify", "weights_only")
                        and constant
                        and keyword.value.value is False
                    )
                ):
                    names.append(f"{called}({keyword.arg}=...)")
        found += [f"line {node.lineno}: {name}" for name in names]
    return found


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from pickle import loads", "eval('1')", "exec(x)", "compile(x, '', 'exec')", "yaml.load(x)",
     "import yaml\nyaml.unsafe_load(x)", "torch.load(f)", "np.load(f, allow_pickle=True)",
     "np.load(f, allow_pickle=p)",
     "subprocess.run(x, shell=True)", "os.system(x)", "AutoModel.from_pretrained(x, trust_remote_code=True)",
     "requests.get(x, verify=False)", "tempfile.mktemp()", "__import__(x)"],
)  # fmt: skip
def test_the_walk_finds_what_it_looks_for(source):
    assert len(offences(source)) == 1


def test_our_code_unpickles_executes_and_trusts_nothing():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    found = {str(file.relative_to(REPOSITORY)): offences(file.read_text(encoding="utf-8")) for file in files}
    assert {file: names for file, names in found.items() if names} == {}


def test_what_is_imported_by_name_is_never_a_name_from_outside():
    """`import_module` is called with names that stand in our own code: public names' homes, the harness' modules."""
    callers = {
        file.name
        for file in PACKAGE.rglob("*.py")
        if re.search(r"\bimport_module\(", file.read_text(encoding="utf-8"))
    }
    assert callers <= {"__init__.py", "older_releases.py"}


# --- code that comes with a model -----------------------------------------------------------------------------------


@pytest.fixture
def with_code(tmp_path, tokenizer_folder):
    """A model's folder whose configuration and tokenizer name Python files of its own, which leave a mark."""
    folder = tmp_path / "model"
    folder.mkdir()
    mark = tmp_path / "was-run"
    code = f"open({str(mark)!r}, 'w').close()\n"
    (folder / "configuration_evil.py").write_text(
        code
        + "from transformers import PretrainedConfig\nclass EvilConfig(PretrainedConfig):\n    model_type = 'evil'\n"
    )
    (folder / "tokenization_evil.py").write_text(
        code
        + "from transformers import PreTrainedTokenizerFast as Fast\nclass EvilTokenizer(Fast):\n    pass\n"
    )
    (folder / "config.json").write_text(
        json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "configuration_evil.EvilConfig"}})
    )
    for file in tokenizer_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    given = json.loads((folder / "tokenizer_config.json").read_text())
    given |= {
        "tokenizer_class": "EvilTokenizer",
        "auto_map": {"AutoTokenizer": [None, "tokenization_evil.EvilTokenizer"]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(given))
    return folder, mark


@pytest.mark.parametrize("answer", [{}, {"trust_remote_code": False}])
@pytest.mark.parametrize("how", [named_history_state, history_state_size])
def test_a_configurations_code_is_not_run_unless_it_is_trusted(with_code, how, answer):
    folder, mark = with_code
    with pytest.raises(L2MError, match="comes as code beside the configuration"):
        how(str(folder), [4], **answer)
    assert not mark.exists()


@pytest.mark.parametrize("answer", [{}, {"trust_remote_code": False}, {"trust_remote_code": "false"}])
def test_a_tokenizers_code_is_not_run_unless_it_is_trusted(with_code, answer):
    folder, mark = with_code
    with pytest.raises(L2MError):
        TokenizerOnlyLM(pretrained=str(folder), **answer)
    assert not mark.exists()


def test_code_that_the_user_trusts_is_run(with_code):
    """So that the tests above cannot pass for another reason."""
    folder, mark = with_code
    with pytest.raises(L2MError):  # the configuration has no model; but it was asked
        named_history_state(str(folder), [4], trust_remote_code=True)
    assert mark.exists()


def test_a_folder_named_in_results_is_not_trusted_either(with_code, tmp_path):
    from l2m_eval.results.check import state_of

    folder, mark = with_code
    file = bipartite_results()
    data = json.loads(file.read_text())
    data["config"]["model_args"] = {"pretrained": str(folder), "trust_remote_code": True}
    (tmp_path / "results_1.json").write_text(json.dumps(data))
    results = next(one for one in load_results(tmp_path / "results_1.json") if one.bipartite)
    with pytest.raises(L2MError, match="state: that of model cannot be read"):
        state_of(results)
    assert not mark.exists()


def test_the_size_of_a_configuration_does_not_hold_us_up(tmp_path):
    """A file of a line can ask for more layers than anyone could build."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 10**9}))
    with pytest.raises(L2MError, match=r"num_hidden_layers: 1000000000 .* up to 10,000"):
        history_state_size(str(tmp_path), [4])


def test_a_configuration_that_cannot_run_at_some_length_is_one_line():
    small = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8, "vocab_size": 16,
             "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
    with pytest.raises(L2MError, match=r"cannot (run .* as it is configured|be run from its configuration)"):
        history_state_size({"model_type": "llama", **small, "sliding_window": False}, [4, 16])


# --- what is written ----------------------------------------------------------------------------------------------

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)>"


def poisoned(value, inside=""):
    """Every free text in a results file with markup in it; names that the reader must recognise stay."""
    if isinstance(value, dict):
        return {key: item if key in KEPT else poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return EVIL + value if isinstance(value, str) else value


KEPT = {
    "schema", "status", "check", "estimator", "estimators", "output_type", "marginal", "correction", "fit", "form",
    "name", "curve", "kind", "entropy_estimator", "null_correction", "pair_marginals", "beta", "alpha", "source",
    "shape",
}  # fmt: skip


class Elements(HTMLParser):
    """All elements of a page with their attributes' names, and the text of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.seen, self.scripts, self._in_script = set(), [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.seen |= {(tag, name) for name, _ in attributes} | {(tag, "")}
        self._in_script = tag == "script"

    def handle_data(self, data):
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The same report from results as they are and from those with markup in every text."""
    from l2m_eval.report.build import make_report, write_report

    made = {}
    for kind in ("plain", "evil"):
        folder = tmp_path_factory.mktemp(kind)
        for number, file in enumerate(sorted(EXAMPLES.glob("l2m-oracle/results_*.json"))):
            data = json.loads(file.read_text())
            for config in data["configs"].values():
                config["l2m"]["warnings"] = ["something"]
            if kind == "evil":
                data = poisoned(data)
                for table in ("results", "configs"):
                    data[table] = {f"{EVIL}{task}": content for task, content in data[table].items()}
                data["model_source"] = data["model_name"] = EVIL
            (folder / f"results_{number}.json").write_text(json.dumps(data))
        write_report(make_report(load_results(folder, documents=False)), folder / "report")
        made[kind] = folder / "report"
    return made


def test_no_text_of_a_results_file_becomes_an_element_of_the_page(pages):
    plain, evil = (Elements((pages[kind] / "report.html").read_text()) for kind in ("plain", "evil"))
    assert evil.scripts == plain.scripts
    assert {element for element in evil.seen if element[1].startswith("on")} == set()
    assert {tag for tag, _ in evil.seen} <= {tag for tag, _ in plain.seen}
    assert "alert(1)" in (pages["evil"] / "report.html").read_text()  # it is there, as text


def test_no_text_of_a_results_file_becomes_an_element_of_a_figure(pages):
    figures = sorted((pages["evil"] / "figures").glob("*.svg"))
    assert figures
    for figure in figures:
        tags = {tag for tag, _ in Elements(figure.read_text()).seen}
        assert tags.isdisjoint({"script", "img", "foreignobject", "iframe"})


def test_nothing_is_written_outside_the_reports_folder(pages):
    folder = pages["evil"]
    beside = [path for path in folder.parent.rglob("*") if path.is_file() and folder not in path.parents]
    assert {path.suffix for path in beside} == {".json"}  # the results themselves
    for path in folder.rglob("*"):
        assert re.fullmatch(r"[a-z0-9-]+(\.(html|json|svg|png|csv|md))?", path.name)


@pytest.mark.parametrize("task", ["../../../etc/passwd", "/etc/passwd", "a/b", "..", "a\0b"])
def test_a_task_name_does_not_lead_to_a_log_elsewhere(tmp_path, task):
    """The samples log lies beside the results file and is named after the task."""
    file = bipartite_results()
    data = copy.deepcopy(json.loads(file.read_text()))
    data["configs"] = {task: data["configs"]["l2m_bipartite_text"]}
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "results_1.json").write_text(json.dumps(data))
    try:
        (results,) = load_results(tmp_path / "inside")
    except L2MError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        assert results.documents is None


# --- what is installed --------------------------------------------------------------------------------------------


def test_the_pth_file_is_its_one_line():
    assert (REPOSITORY / "l2m_eval.pth").read_text() == (
        r'import sys; exec("try:\n import l2m_eval._autoregister\nexcept Exception:\n pass  '
        "# its folder is gone, or broken: no business of whoever starts Python"
        '")\n'
    )


def test_what_the_pth_file_imports_imports_nothing_else():
    """In an interpreter without site packages; what is imported when the harness is, is another matter."""
    script = (
        f"import os, sys; sys.path.insert(0, {str(REPOSITORY)!r}); before = set(sys.modules); "
        "import l2m_eval._autoregister; print(sorted(set(sys.modules) - before - {'__future__'}))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['l2m_eval', 'l2m_eval._autoregister']"


def test_every_dependency_of_the_tests_is_pinned():
    """What pip-audit is run on."""
    lines = [
        line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if line[:1] not in "#"
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    wanted = {
        re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", one).group()).lower()
        for one in requires("l2m-eval")
    }
    assert len(wanted) > 10
    assert wanted - pinned <= {"l2m-eval"}
