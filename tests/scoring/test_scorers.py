"""Every scorer gives the same log-probabilities, and they are the model's own."""

import json

import numpy as np
import pytest
import torch
import transformers
from lm_eval.models.huggingface import HFLM
from models_and_windows import (
    ARCHITECTURES,
    ROUNDING,
    bipartite_windows,
    build,
    sums_of,
    windows_of_many_shapes,
)
from tolerances import FLOAT32, of_a_sum

from l2m_eval.errors import L2MError
from l2m_eval.scoring import huggingface, score_requests
from l2m_eval.scoring.answer import choose_scorer
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.huggingface import HuggingFaceScorer
from l2m_eval.scoring.portable import PortableScorer
from l2m_eval.scoring.scorer import sums_between_cuts
from l2m_eval.scoring.windows import (
    Window,
)


def test_the_hf_scorer_gives_the_models_own_log_probabilities(lm, plain_sums):
    windows = windows_of_many_shapes(320)
    scorer = choose_scorer(lm)
    assert isinstance(scorer, HuggingFaceScorer)
    assert scorer._chunked
    for window, sums in zip(windows, sums_of(scorer, windows), strict=True):
        assert sums == pytest.approx(plain_sums(lm.model, window), abs=ROUNDING)


def test_the_portable_scorer_agrees(lm):
    """But for the harness, which adds the log-probabilities of a piece in float32."""
    windows = windows_of_many_shapes(320, seed=1)
    fast, portable = sums_of(HuggingFaceScorer(lm), windows), sums_of(PortableScorer(lm), windows)
    for one, other in zip(fast, portable, strict=True):
        added = of_a_sum(40, np.abs(one).max(), FLOAT32)
        assert one == pytest.approx(other, abs=ROUNDING + added)


@pytest.mark.parametrize("batch_size", [1, 2, 8, "auto"])
def test_the_batch_size_does_not_change_the_scores(tiny_llama, lm, batch_size):
    other = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=batch_size, dtype="float32")
    windows = windows_of_many_shapes(320, seed=2)
    for one, two in zip(
        sums_of(HuggingFaceScorer(lm), windows), sums_of(HuggingFaceScorer(other), windows), strict=True
    ):
        assert one == pytest.approx(two, abs=ROUNDING)


def test_positions_in_chunks_are_the_same_positions(lm, monkeypatch):
    windows = windows_of_many_shapes(320, seed=3)
    whole = sums_of(HuggingFaceScorer(lm), windows)
    monkeypatch.setattr(huggingface, "LOGITS_BYTES", 4 * 320 * 3)  # three positions at a time
    for one, other in zip(whole, sums_of(HuggingFaceScorer(lm), windows), strict=True):
        assert one == pytest.approx(other, abs=ROUNDING)


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
        assert sums == pytest.approx(plain_sums(model, window), abs=ROUNDING)


def test_a_model_without_a_separable_body_is_scored_whole(lm, monkeypatch, caplog):
    def no_body(_model):
        raise TypeError("no body module")

    windows = windows_of_many_shapes(320, seed=5)
    expected = sums_of(HuggingFaceScorer(lm), windows)
    monkeypatch.setattr(huggingface, "body_of", no_body)
    scorer = HuggingFaceScorer(lm)
    assert not scorer._chunked
    assert "cannot be run apart" in caplog.text
    for one, other in zip(expected, sums_of(scorer, windows), strict=True):
        assert one == pytest.approx(other, abs=ROUNDING)


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
        assert one == pytest.approx(other, abs=ROUNDING)
    assert max(sizes) > 1


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
    scored = HuggingFaceScorer.__call__
    monkeypatch.setattr(
        HuggingFaceScorer, "__call__", lambda self, ws, *rest: seen.append(ws) or scored(self, ws, *rest)
    )
    answers = score_requests(lm, [Request(windows), Request(windows[::-1])], progress=False)
    assert [id(window) for window in seen[-1]] == [id(window) for window in windows]
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


def test_the_gguf_backend_which_sends_text_is_told_how_hf_reads_the_file():
    from lm_eval.models.gguf import GGUFLM

    with pytest.raises(L2MError, match="--model hf --model_args pretrained=FOLDER,gguf_file=FILE"):
        Encoder(GGUFLM(base_url="http://127.0.0.1:1"))


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
        assert one == pytest.approx(other, abs=ROUNDING)
    assert scorer._chunked
    assert scorer._shares_prefixes
    assert type(scorer._model.model).__name__ == "LlamaModel"  # the body is back in its place
