"""``l2m-eval state``: exact counts of configurations, statements, growth, and mistakes in one line."""

from __future__ import annotations

import json

import pytest

from l2m_eval.cli import main as cli


@pytest.fixture
def state(capsys):
    """Run ``l2m-eval state`` in this process: exit code, stdout, stderr."""

    def run(*arguments):
        code = cli.main(["state", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def as_json(state):
    def run(*arguments):
        code, out, err = state(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return run


@pytest.fixture
def written(tmp_path):
    """A configuration written to a folder of the family's name, as a download would be."""

    def write(family, **settings):
        from transformers import AutoConfig

        folder = tmp_path / family
        AutoConfig.for_model(family, dtype="bfloat16", **settings).save_pretrained(folder)
        return folder

    return write


WIDE = {"hidden_size": 64, "num_attention_heads": 4, "vocab_size": 128, "intermediate_size": 64}

# Family, settings, elements at 100 and 1000 tokens, in closed form from the settings.
CASES = [
    (
        "llama",
        {**WIDE, "num_hidden_layers": 3, "num_key_value_heads": 2},
        [2 * 3 * 2 * 16 * n for n in (100, 1000)],
    ),
    (
        "mistral",
        {**WIDE, "num_hidden_layers": 3, "num_key_value_heads": 2, "sliding_window": 65},
        [2 * 3 * 2 * 16 * 64] * 2,
    ),
    (
        "gemma2",
        {**WIDE, "num_hidden_layers": 4, "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 65},
        [2 * 2 * 16 * (2 * n + 2 * 64) for n in (100, 1000)],
    ),
    (
        "mamba",
        {"hidden_size": 64, "num_hidden_layers": 3, "state_size": 8, "vocab_size": 128},
        [3 * 128 * 12] * 2,
    ),
    (
        "lfm2",
        {
            **WIDE,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "layer_types": ["conv", "full_attention", "conv"],
            "block_auto_adjust_ff_dim": False,
        },
        [2 * 2 * 16 * n + 2 * 64 * 3 for n in (100, 1000)],
    ),
]


@pytest.mark.parametrize(("family", "settings", "elements"), CASES, ids=[case[0] for case in CASES])
def test_a_written_configuration_is_counted_exactly(as_json, written, family, settings, elements):
    found = as_json(written(family, **settings), "--lengths", "100,1000")
    assert found["schema"] == "l2m-eval/state/1"
    assert found["model"] == family
    assert found["total_elements"] == elements
    assert sum(map(sum, found["elements"].values())) == sum(elements)


def test_the_latent_of_deepseek_v3_is_576_a_token_and_layer(as_json, written):
    folder = written("deepseek_v3")
    found = as_json(folder / "config.json", "--lengths", "4096")
    assert found["total_elements"] == [61 * 576 * 4096]
    assert list(found["elements"]) == ["compressed latent"]
    assert found["growth"]["slope_per_token"] == 61 * 576


def test_growth_saturation_constant_and_slope_are_said(state, written):
    _, out, _ = state(written("mistral", **CASES[1][1]), "--lengths", "10,1000")
    assert "layers 0–2: sliding window, 64 elements per token up to 64 tokens (bfloat16)" in out
    assert "does not grow from 64 tokens on: 12,288 elements" in out
    assert "γ = 0 at large lengths" in out
    assert "saturates at 64 tokens" in out
    _, out, _ = state(written("lfm2", **CASES[4][1]), "--lengths", "10,1000")
    assert "grows linearly: 384 + 64 · L elements" in out
    assert "γ = 1 at large lengths" in out
    assert "constant part 384 elements; slope 64 elements a token" in out
    assert "layers 0, 2: convolution" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["1,000", "64,000", "384", "64,384", "125.8", "KiB", "1,030,144"] in lines


def test_a_statement_is_a_formula_a_mapping_or_a_file(as_json, tmp_path):
    assert as_json("--statement", "2*32*min(L, 100)", "--lengths", "10,1000")["total_elements"] == [640, 6400]
    mapping = "{formula: 2*layers*L, layers: 4, bits: 8}"
    found = as_json("--statement", mapping, "--lengths", "10")
    assert (found["total_elements"], found["total_bytes"]) == ([80], [80])
    (tmp_path / "mine.yaml").write_text("constant: 5000\nbits: 32\n")
    found = as_json("--statement", tmp_path / "mine.yaml", "--lengths", "10")
    assert (found["model"], found["total_bytes"]) == ("mine", [20000])
    (tmp_path / "table.json").write_text('{"table": {"1": 10, "1000": 20}, "name": "tabled"}')
    found = as_json("--statement", tmp_path / "table.json", "--lengths", "1,1000")
    assert (found["model"], found["total_elements"]) == ("tabled", [10, 20])


def test_json_is_strict_where_something_is_unknown(as_json):
    found = as_json("--statement", "{table: {10: 5, 20: 6}}", "--lengths", "10,20")
    assert found["growth"]["asymptotic_exponent"] is None


def test_quiet_leaves_the_notes_out(state, written):
    folder = written("llama", **CASES[0][1], max_position_embeddings=64)
    assert "Note: the model is configured for 64 tokens." in state(folder)[1]
    assert "Note" not in state(folder, "--quiet")[1]


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_figure_is_drawn(state, tmp_path, ending):
    file = tmp_path / f"state.{ending}"
    assert state("--statement", "64*min(L, 100) + L", "--figure", file)[0] == 0
    assert file.stat().st_size > 2000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "model: give either a MODEL or a --statement"),
        (["gpt2", "--statement", "L"], "model: give either a MODEL or a --statement"),
        (["./nothing"], "model: './nothing' does not exist"),
        (["--statement", "nothing.yaml"], "state: there is no file 'nothing.yaml'"),
        (["--statement", "64*layers*L"], "formula: unknown name 'layers'"),
        (["--statement", "__import__('os').system('true')"], "formula: call in"),
        (["--statement", "L.__class__"], "formula: attribute in"),
        (["--statement", "[x for x in (1,)]"], "formula: "),
        (["--statement", "{formula: L, formulae: 2}"], "formulae: not in the formula"),
        (["--statement", "{"], "state: '{' is neither JSON nor YAML"),
        (["--statement", "9**9**9*L"], "formula: "),
        (["--statement", "10**12*L", "--lengths", "1000000"], "overflows at L = 1000000"),
        (["--statement", "L", "--lengths", "ten"], "lengths: 'ten' is not a number of tokens"),
        (["--statement", "L", "--lengths", "0"], "lengths: [0] are not numbers of tokens"),
        (["--statement", "L", "--lengths", "1" * 30], "lengths: "),
        (["--statement", "L", "--figure", "state.bmp"], "figure: 'state.bmp'"),
        (["--statement", "L", "--figure", "no/folder/state.svg"], "in a folder that exists"),
    ],
)
def test_a_mistake_is_one_line(state, arguments, says):
    code, out, err = state(*arguments)
    assert (code, out) == (3, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_model_without_a_cache_is_told_to_state_its_size(state, written):
    folder = written("openai-gpt", n_embd=64, n_layer=2, n_head=4, vocab_size=128)
    code, _, err = state(folder)
    assert code == 3
    assert "returns no history state" in err
    assert "declare the size yourself" in err


def test_a_hub_id_that_is_out_of_reach_is_one_line(state):
    code, _, err = state("nobody/nothing-of-this-name")
    assert code == 3
    assert err.startswith(
        "l2m-eval: error: model: the configuration of 'nobody/nothing-of-this-name' cannot be read"
    )
    assert err.count("\n") == 1
