"""Batches keep to their memory and shared beginnings are read once, and neither changes a score."""

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from models_and_windows import (
    ARCHITECTURES,
    ROUNDING,
    bipartite_windows,
    build,
    no_bar,
    windows_of_many_shapes,
)

from l2m_eval.errors import L2MError
from l2m_eval.scoring import huggingface, memory
from l2m_eval.scoring.answer import choose_scorer
from l2m_eval.scoring.huggingface import SHARED_TOKENS, HuggingFaceScorer, next_batch
from l2m_eval.scoring.memory import CPU_TOKENS, TokenBudget
from l2m_eval.scoring.windows import (
    Tree,
    Window,
    share_prefixes,
)
from l2m_eval.settings import DEFAULT_LENGTHS


def empty_windows(lengths):
    return [Window(np.zeros(1, np.int64), np.zeros(n - 1, np.int64), (n - 1,), "") for n in lengths]


def test_batches_keep_to_the_budget_and_waste_little():
    rng = np.random.default_rng(0)
    lengths = sorted(rng.choice([2049, 1025, 513, 257, 129, 65, 33, 17, 9, 5], 2000).tolist(), reverse=True)
    trees = [Tree(window) for window in empty_windows(lengths)]
    padded = 0
    while trees:
        batch = next_batch(trees, CPU_TOKENS)
        assert len(batch) * len(batch[0].trunk) <= CPU_TOKENS
        padded += len(batch) * len(batch[0].trunk)
        trees = trees[len(batch) :]
    assert padded <= 1.05 * sum(lengths)


@pytest.mark.parametrize("documents", [8, 48, 200])
def test_padding_is_under_five_percent_on_the_default_settings(documents):
    padded = tokens = 0
    trees = share_prefixes(bipartite_windows(documents, DEFAULT_LENGTHS, 4096), SHARED_TOKENS)
    while trees:
        batch = next_batch(trees, CPU_TOKENS)
        for windows in [[t.trunk for t in batch], *zip(*(t.branches for t in batch), strict=True)]:
            padded += len(windows) * len(windows[0])
            tokens += sum(map(len, windows))
        trees = trees[len(batch) :]
    assert tokens <= padded <= 1.05 * tokens


def test_one_window_is_scored_even_where_it_exceeds_the_budget():
    window = empty_windows([100])[0]
    assert len(next_batch([Tree(window), Tree(window)], 10)) == 1


def test_trees_of_different_shapes_are_not_read_side_by_side():
    trunk, branch = empty_windows([100, 20])
    assert len(next_batch([Tree(trunk, (branch,)), Tree(trunk, (branch,)), Tree(trunk)], 1000)) == 2


# Every layer attends to all tokens, so that the state of a beginning can be cut out of a longer one.
SHARING = {"llama", "cohere", "granite", "gpt2", "gpt_neox", "phi", "mixtral"}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_beginning_that_is_read_once_gives_the_same_scores(
    family, tokenizer_folder, monkeypatch, plain_sums
):
    from transformers import AutoTokenizer

    monkeypatch.setattr(huggingface, "SHARED_TOKENS", 3)
    model = build(family)
    lm = HFLM(
        pretrained=model,
        tokenizer=AutoTokenizer.from_pretrained(tokenizer_folder),
        batch_size=2,
        device="cpu",
    )
    windows = bipartite_windows(4, (4, 8, 16, 32, 64), 320)
    scorer = HuggingFaceScorer(lm)
    answers = scorer(windows, no_bar)
    assert scorer._shares_prefixes is (family in SHARING)
    for window, scored in zip(windows, answers, strict=True):
        assert scored.sums == pytest.approx(plain_sums(model, window), abs=ROUNDING)
    whole, fed = sum(map(len, windows)), sum(scored.tokens for scored in answers)
    # Contexts of 1 + 2, 4, 8, 16, 32 tokens, the last of which is read again.
    assert whole - fed == (4 * (2 + 4 + 8 + 16 + 32) if family in SHARING else 0)


def test_frequencies_that_follow_the_length_share_nothing(tokenizer_folder, monkeypatch):
    """Over its threshold, with dynamic frequencies, the state of a beginning depends on how long the input is."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    monkeypatch.setattr(huggingface, "SHARED_TOKENS", 3)
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32, rope_parameters=rope,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2, device="cpu")
    scorer = HuggingFaceScorer(lm)
    windows = bipartite_windows(2, (64, 128), 320)
    assert sum(scored.tokens for scored in scorer(windows, no_bar)) == sum(map(len, windows))


def test_a_document_costs_under_6400_tokens_where_beginnings_are_shared():
    windows = bipartite_windows(2, DEFAULT_LENGTHS, 4096)
    trees = share_prefixes(windows, SHARED_TOKENS)
    fed = sum(len(t.trunk) + sum(len(b) - len(b.context) + 1 for b in t.branches) for t in trees)
    assert fed / 2 == 8207 - (64 + 128 + 256 + 512 + 1024)


class TestTokenBudget:
    """Batches grow while memory has room for twice as much, and never again after it had not."""

    @pytest.fixture
    def budget(self, monkeypatch):
        def make(free, bytes_per_token, tokens=1000, fixed=False):
            state = {"tokens": 0}
            monkeypatch.setattr(memory, "_used_and_free", lambda _device: (10**6, free))
            monkeypatch.setattr(memory, "_peak", lambda _device: 10**6 + bytes_per_token * state["tokens"])
            made = TokenBudget(torch.device("cpu"), tokens, fixed)

            def run(tokens):
                made.before_batch()
                state["tokens"] = tokens
                made.after_batch(tokens)
                return made.tokens

            return made, run

        return make

    def test_it_grows_up_to_what_a_cpu_gains_from(self, budget):
        made, run = budget(free=10**12, bytes_per_token=1)
        assert [run(made.tokens) for _ in range(5)] == [2000, 4000, 8000, CPU_TOKENS, CPU_TOKENS]

    def test_it_stops_where_memory_has_no_room_for_twice_as_much(self, budget):
        made, run = budget(free=10**6, bytes_per_token=100)
        sizes = [run(made.tokens) for _ in range(6)]
        # 4000 tokens take 400 kB of the megabyte that is free; 8000 would take 800 kB, over the share of 0.7.
        assert sizes == [2000, 4000, 4000, 4000, 4000, 4000]

    def test_a_batch_that_did_not_fill_it_says_nothing(self, budget):
        _, run = budget(free=10**12, bytes_per_token=1)
        assert run(300) == 1000

    def test_a_given_batch_size_is_kept(self, budget):
        _, run = budget(free=10**12, bytes_per_token=1, fixed=True)
        assert run(1000) == 1000

    def test_after_running_out_it_is_half_and_does_not_grow(self, budget, caplog):
        made, run = budget(free=10**12, bytes_per_token=1)
        made.out_of_memory(batch=4, longest=200)
        assert made.tokens == 400
        assert run(400) == 400
        assert "batches of at most 400 tokens" in caplog.text

    def test_a_single_window_without_room_is_an_error(self, budget):
        made, _ = budget(free=10**12, bytes_per_token=1)
        with pytest.raises(L2MError, match="no memory for a single window of 1000 tokens"):
            made.out_of_memory(batch=1, longest=1000)


def test_the_peak_of_a_batch_is_seen():
    """On the device at hand: a tensor of 200 MB raises the peak by about as much."""
    device = torch.device("cpu")
    used, free = memory._used_and_free(device)
    memory._reset_peak(device)
    torch.ones(50_000_000)
    assert memory._peak(device) - used > 150e6
    assert free > 0


def test_an_automatic_batch_size_is_remembered_between_tasks(tiny_llama):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size="auto", dtype="float32")
    windows = windows_of_many_shapes(320, seed=9)
    choose_scorer(lm)(windows, no_bar)
    grown = choose_scorer(lm)._budget.tokens
    assert grown > max(map(len, windows))
    choose_scorer(lm)(windows[-3:], no_bar)
    assert choose_scorer(lm)._budget.tokens >= grown
