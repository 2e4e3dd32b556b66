"""Every scorer gives the same log-probabilities, and they are the model's own."""

import json

import numpy as np
import pytest
import torch
import transformers
from lm_eval.models.huggingface import HFLM

from l2m_eval.errors import L2MError
from l2m_eval.scoring import base, huggingface, memory, score_requests
from l2m_eval.scoring.base import PortableScorer, choose_scorer, sums_between_cuts
from l2m_eval.scoring.huggingface import SHARED_TOKENS, HuggingFaceScorer, next_batch
from l2m_eval.scoring.memory import CPU_TOKENS, TokenBudget
from l2m_eval.scoring.tokens import Encoder
from l2m_eval.settings import DEFAULT_LENGTHS
from l2m_eval.windows import (
    Tree,
    Window,
    bipartite_cells,
    conditional_window,
    right_block_windows,
    share_beginnings,
)


def no_bar(_tokens):
    pass


def windows_of_many_shapes(vocabulary, seed=0, longest=40):
    rng = np.random.default_rng(seed)
    windows = []
    for _ in range(12):
        context = np.concatenate([[0], rng.integers(2, vocabulary, rng.integers(0, longest // 2))])
        target = rng.integers(2, vocabulary, rng.integers(1, longest - len(context)))
        cuts = {len(target), int(rng.integers(1, len(target) + 1))}
        windows.append(Window(context, target, tuple(sorted(cuts)), "random"))
    return sorted(windows, key=lambda w: -len(w))


def sums_of(scorer, windows):
    return [scored.sums for scored in scorer(windows, no_bar)]


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=4, dtype="float32")


def test_the_hf_scorer_gives_the_models_own_log_probabilities(lm, plain_sums):
    windows = windows_of_many_shapes(320)
    scorer = choose_scorer(lm)
    assert isinstance(scorer, HuggingFaceScorer)
    assert scorer._chunked
    for window, sums in zip(windows, sums_of(scorer, windows), strict=True):
        # float32 log-softmax against float64: 1e-6 a token
        assert sums == pytest.approx(plain_sums(lm.model, window), abs=1e-4)


def test_the_portable_scorer_agrees_to_a_thousandth_of_a_nat(lm):
    windows = windows_of_many_shapes(320, seed=1)
    fast, portable = sums_of(HuggingFaceScorer(lm), windows), sums_of(PortableScorer(lm), windows)
    for one, other in zip(fast, portable, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 2, 8, "auto"])
def test_the_batch_size_does_not_change_the_scores(tiny_llama, lm, batch_size):
    other = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=batch_size, dtype="float32")
    windows = windows_of_many_shapes(320, seed=2)
    for one, two in zip(
        sums_of(HuggingFaceScorer(lm), windows), sums_of(HuggingFaceScorer(other), windows), strict=True
    ):
        assert one == pytest.approx(two, abs=1e-4)


def test_positions_in_chunks_are_the_same_positions(lm, monkeypatch):
    windows = windows_of_many_shapes(320, seed=3)
    whole = sums_of(HuggingFaceScorer(lm), windows)
    monkeypatch.setattr(huggingface, "LOGITS_BYTES", 4 * 320 * 3)  # three positions at a time
    for one, other in zip(whole, sums_of(HuggingFaceScorer(lm), windows), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


ARCHITECTURES = {
    "llama": {"num_key_value_heads": 2},
    "gemma2": {"head_dim": 8, "num_key_value_heads": 2, "final_logit_softcapping": 3.0, "sliding_window": 8},
    "gemma3_text": {"head_dim": 8, "num_key_value_heads": 2, "sliding_window": 8},
    "cohere": {"logit_scale": 0.25, "num_key_value_heads": 2},
    "cohere2": {"logit_scale": 0.25, "num_key_value_heads": 2, "sliding_window": 8},
    "granite": {"logits_scaling": 4.0, "num_key_value_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gpt_neox": {},
    "phi": {},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2, "num_key_value_heads": 2},
    "mistral": {"sliding_window": 8, "num_key_value_heads": 2},
    "mamba": {"state_size": 4},
    "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "expand": 2},
    "rwkv": {"attention_hidden_size": 32, "context_length": 128},
    "jamba": {"num_key_value_heads": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2,
              "use_mamba_kernels": False, "mamba_d_state": 4},
}  # fmt: skip


def build(family):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    common = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    config = AutoConfig.for_model(family, **{**common, **ARCHITECTURES[family]})
    return AutoModelForCausalLM.from_config(config).float().eval()


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_head_is_the_models_own(family, tokenizer_folder, plain_sums):
    """Soft-capping, scaling, tied heads, biases: the chunked head must be exact on each architecture."""
    from transformers import AutoTokenizer

    model = build(family)
    lm = HFLM(
        pretrained=model,
        tokenizer=AutoTokenizer.from_pretrained(tokenizer_folder),
        batch_size=4,
        device="cpu",
    )
    windows = windows_of_many_shapes(320, seed=4)
    scorer = HuggingFaceScorer(lm)
    assert scorer._chunked
    for window, sums in zip(windows, sums_of(scorer, windows), strict=True):
        # 1e-5 nats a token, up to 40 tokens
        assert sums == pytest.approx(plain_sums(model, window), abs=4e-4)


def test_a_model_without_a_separable_body_is_scored_whole(lm, monkeypatch, caplog):
    def no_body(_model):
        raise TypeError("no body module")

    windows = windows_of_many_shapes(320, seed=5)
    expected = sums_of(HuggingFaceScorer(lm), windows)
    monkeypatch.setattr(huggingface, "_body", no_body)
    scorer = HuggingFaceScorer(lm)
    assert not scorer._chunked
    assert "cannot be run apart" in caplog.text
    for one, other in zip(expected, sums_of(scorer, windows), strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_out_of_memory_halves_the_batch_and_loses_nothing(lm, monkeypatch):
    windows = windows_of_many_shapes(320, seed=6)
    expected = sums_of(HuggingFaceScorer(lm), windows)
    scorer = HuggingFaceScorer(lm)
    score, sizes = scorer._score, []

    def limited(batch):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return score(batch)

    monkeypatch.setattr(scorer, "_score", limited)
    for one, other in zip(expected, sums_of(scorer, windows), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert max(sizes) > 1


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
    trees = share_beginnings(bipartite_windows(documents, DEFAULT_LENGTHS, 4096), SHARED_TOKENS)
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


def bipartite_windows(documents, lengths, vocabulary):
    """All windows of the bipartite measurement with the default estimators, longest first."""
    rng = np.random.default_rng(8)
    texts = rng.integers(2, vocabulary, (documents, max(lengths)))
    cells = bipartite_cells(lengths, (2,))
    windows = []
    for number, text in enumerate(texts):
        windows += [
            conditional_window(text, cells, 0, "x"),
            *right_block_windows(None, text, cells, 0, "x"),
            *right_block_windows(text, texts[number ^ 1], cells, 0, "x"),
        ]
    return sorted(windows, key=lambda w: -len(w))


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
    assert scorer._shares_beginnings is (family in SHARING)
    for window, scored in zip(windows, answers, strict=True):
        assert scored.sums == pytest.approx(plain_sums(model, window), abs=4e-4)  # 1e-5 a token
    whole, fed = sum(map(len, windows)), sum(scored.tokens for scored in answers)
    # Contexts of 1 + 2, 4, 8, 16, 32 tokens, the last of which is read again.
    assert whole - fed == (4 * (2 + 4 + 8 + 16 + 32) if family in SHARING else 0)


def test_frequencies_that_follow_the_length_share_nothing(tokenizer_folder, monkeypatch):
    """With dynamic rotary embeddings the state of a beginning depends on how long the input is."""
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
    windows = bipartite_windows(2, (8, 16, 32, 64), 320)
    assert sum(scored.tokens for scored in scorer(windows, no_bar)) == sum(map(len, windows))


def test_a_document_costs_under_6400_tokens_where_beginnings_are_shared():
    windows = bipartite_windows(2, DEFAULT_LENGTHS, 4096)
    trees = share_beginnings(windows, SHARED_TOKENS)
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


def test_sums_between_cuts():
    assert sums_between_cuts(np.array([1.0, 2.0, 3.0, 4.0]), (1, 3, 4)).tolist() == [1.0, 5.0, 4.0]


class Request:
    """Scores one piece of text."""

    def __init__(self, windows):
        self._windows = windows

    def plan(self, _encoder):
        return self

    @property
    def windows(self):
        return self._windows

    def record(self, scores):
        return json.dumps([float(s.sum()) for s in scores])


def test_equal_windows_are_scored_once(lm, monkeypatch):
    windows = windows_of_many_shapes(320, seed=7)[:3]
    seen = []
    scorer = choose_scorer(lm)
    monkeypatch.setattr(
        base, "choose_scorer", lambda _lm: lambda ws, bar: seen.append(len(ws)) or scorer(ws, bar)
    )
    answers = score_requests(lm, [Request(windows), Request(windows[::-1])], progress=False)
    assert seen == [3]
    assert json.loads(answers[0]) == json.loads(answers[1])[::-1]


def test_a_window_that_does_not_fit_is_an_error_before_the_run(lm):
    window = Window(np.zeros(1, np.int64), np.ones(200, np.int64), (200,), "a long one")
    with pytest.raises(
        L2MError, match=r"window of a long one has 201 tokens with its prefix, the model reads 129"
    ):
        score_requests(lm, [Request([window])], progress=False)


def test_log_probabilities_that_are_no_numbers_name_the_window(tiny_llama):
    broken = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=1, dtype="float32")
    with torch.no_grad():
        broken.model.lm_head.weight[5] = float("nan")
    with pytest.raises(L2MError, match="NaN log-probability in the window of random"):
        score_requests(broken, [Request(windows_of_many_shapes(320)[:1])], progress=False)


def test_text_that_spells_a_special_token_is_scored_as_text(lm):
    encoder = Encoder(lm)
    ids = encoder.encode("before <|bos|> after <|eos|>", "document")
    assert not {0, 1} & set(ids.tolist())
    assert lm.tokenizer.decode(ids.tolist()) == "before <|bos|> after <|eos|>"


def test_no_special_token_is_added(lm):
    encoder = Encoder(lm)
    assert encoder.prefix == 0
    ids = encoder.encode("plain text", "document")
    assert lm.tokenizer.decode(ids.tolist()) == "plain text"


def test_a_model_without_bos_starts_from_eos_and_without_either_says_so(tiny_llama):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu")
    lm.tokenizer.bos_token = None
    assert Encoder(lm).prefix == 1
    lm.tokenizer.eos_token = None
    with pytest.raises(L2MError, match="neither a BOS nor an EOS"):
        Encoder(lm)


def test_backends_without_token_log_likelihoods_get_one_sentence():
    from lm_eval.models.dummy import DummyLM

    with pytest.raises(L2MError, match="DummyLM gives no token-level log-likelihoods"):
        score_requests(DummyLM(), [], progress=False)


def test_a_tokenizer_with_more_tokens_than_the_model_is_found_out(tiny_llama):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu")
    lm.tokenizer.add_tokens(["zebra"])
    with pytest.raises(L2MError, match=r"gives token id 320 .*, the model knows 320 tokens"):
        Encoder(lm).encode("a zebra", "document")


PLACEMENTS = {
    "parallelize": {"parallelize": True},
    "one place": {"device_map": {"": "cpu"}},
    # Weights that are loaded from disk whenever their layer runs: hooks around every module, head included.
    "layers and head on disk": {
        "device_map": {
            "model.embed_tokens": "cpu",
            "model.rotary_emb": "cpu",
            "model.layers.0": "cpu",
            "model.layers.1": "disk",
            "model.norm": "disk",
            "lm_head": "disk",
        }
    },
}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_model_that_is_spread_by_a_device_map_gives_the_same_scores(
    tiny_llama, lm, tmp_path, placement, monkeypatch
):
    if placement == "parallelize" and transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 cannot load weights for the disk with the safetensors of today")
    monkeypatch.setattr(huggingface, "SHARED_TOKENS", 3)
    spread = HFLM(
        pretrained=str(tiny_llama),
        device="cpu",
        batch_size=4,
        dtype="float32",
        offload_folder=str(tmp_path),
        **PLACEMENTS[placement],
    )
    windows = bipartite_windows(4, (8, 16, 32, 64), 320)
    scorer = HuggingFaceScorer(spread)
    for one, other in zip(sums_of(HuggingFaceScorer(lm), windows), sums_of(scorer, windows), strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert scorer._chunked
    assert scorer._shares_beginnings
    assert type(scorer._model.model).__name__ == "LlamaModel"  # the body is back in its place
