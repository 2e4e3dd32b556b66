"""Two real models that perplexity cannot tell apart, on real books (SCIENCE.md §7)."""

import pytest

TASK = "l2m_bipartite_text"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measure(lm_eval, shared):
    def run(model, **metadata):
        done = lm_eval(
            "--model", "hf", "--model_args", f"pretrained={shared / 'models' / model}", "--device", "cpu",
            "--batch_size", "8", "--tasks", TASK,
            metadata={"corpus": f"{shared}/corpora/books/*.txt", "documents": 48, **metadata},
        )  # fmt: skip
        assert done.code == 0, done.stderr
        return done.metrics(TASK)

    return run


def test_full_attention_keeps_gaining_and_a_window_does_not(measure):
    full, window = measure("books-llama-5m"), measure("books-swa64-5m")
    # Other chunks than the table's: within three of its standard errors (1.1 and 0.7).
    assert full["direct_mi@2048"] == pytest.approx(18.2, abs=3.3)
    assert 0.5 < full["direct_mi@2048_stderr"] < 2
    assert window["direct_mi@2048"] == pytest.approx(8.7, abs=2.1)
    assert window["direct_mi@2048_stderr"] < 1
    assert full["vclub_mi@2048"] == pytest.approx(50, abs=15)
    assert full["vclub_mi@2048_stderr"] < 6
    # Flat from the window on, against a curve that grows.
    assert abs(window["direct_mi@2048"] - window["direct_mi@0256"]) < 3 * window["direct_mi@2048_stderr"]
    assert full["direct_mi@2048"] - full["direct_mi@0256"] > 4 * full["direct_mi@2048_stderr"]
    assert full["direct_beta"] - window["direct_beta"] > 4 * full["direct_beta_stderr"]


def test_independent_marginals_as_published_hide_it(measure):
    published = measure("books-llama-5m", marginal="independent", correction="ngram", control_variate=False)
    assert 20 < published["direct_mi@2048_stderr"] < 70
