"""Models and tokenizers that do not fit together, or answer what no model should: a correct number, or one line."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from tolerances import of_log_probabilities

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.errors import L2MError
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.measurements.position import PositionRequest
from l2m_eval.scoring import memory, score_requests
from l2m_eval.scoring.answer import choose_scorer
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.scoring.huggingface import HuggingFaceScorer
from l2m_eval.scoring.portable import PerTokenScorer, PortableScorer
from l2m_eval.scoring.windows import Window
from l2m_eval.settings import PositionSettings, read_settings

ROUNDING = of_log_probabilities(32)  # the longest texts here
TEXT = "Some words of a text, in sentences. They go on for a while, and then they end. " * 3


def no_bar(_tokens):
    pass


def chunk(text=TEXT):
    return Chunk("a document", 0, 0, 0, text, len(text))


def request(length=16, text=TEXT, **settings):
    return PositionRequest(read_settings(PositionSettings, {"length": length, **settings}), chunk(text))


def windows(vocabulary=320, count=5):
    rng = np.random.default_rng(3)
    targets = [rng.integers(2, vocabulary, 4 + n) for n in range(count, 0, -1)]
    return [Window(np.zeros(1, np.int64), target, (2, len(target)), "a window") for target in targets]


@pytest.fixture
def llama(tiny_llama):
    return HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=2, dtype="float32")


@pytest.fixture
def padded(tokenizer_folder, tmp_path):
    """A model of 384 tokens with a tokenizer of 320, as vocabularies padded to a multiple of 64 or 128 are."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=384, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    for file in tokenizer_folder.iterdir():
        shutil.copy(file, tmp_path)
    return HFLM(pretrained=str(tmp_path), device="cpu", batch_size=2, dtype="float32")


# --- vocabularies -------------------------------------------------------------------------------------------------


def test_a_vocabulary_larger_than_the_tokenizers_takes_its_share_of_probability(padded, plain_sums):
    many = windows()
    assert isinstance(choose_scorer(padded), HuggingFaceScorer)
    for window, scored in zip(many, choose_scorer(padded)(many, no_bar), strict=True):
        assert scored.sums == pytest.approx(plain_sums(padded.model, window), abs=ROUNDING)


def test_a_head_smaller_than_the_embeddings_is_right_below_it_and_refuses_beyond(llama, plain_sums):
    """Models with tokens that are only read (pictures, sound) predict fewer than they embed."""
    head = torch.nn.Linear(32, 300, bias=False)
    head.weight.data.copy_(llama.model.lm_head.weight.data[:300])
    llama.model.set_output_embeddings(head)
    low, high = windows(300), windows(320)
    high[0].target[1] = 310
    for window, scored in zip(low, choose_scorer(llama)(low, no_bar), strict=True):
        assert scored.sums == pytest.approx(plain_sums(llama.model, window), abs=ROUNDING)
    with pytest.raises(L2MError, match="it predicts 300 tokens, the text has token id 310"):
        choose_scorer(llama)(high, no_bar)


# --- tokenizers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lossy(llama):
    """A tokenizer that lowers case and knows five words: its tokens do not give the text back."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "<unk>": 1, "some": 2, "words": 3, "of": 4, "a": 5, "text": 6}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    llama.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>", clean_up_tokenization_spaces=False
    )
    return llama


def test_a_tokenizer_that_does_not_round_trip_is_measured_on_its_own_tokens(lossy, plain_sums):
    """The unknown token is a token like any other, and a token's bytes are those of the text, not of its spelling."""
    text = "SOME Words ｏｆ a Text, größer. " * 8
    made = request(text=text)
    (window,) = made.plan(Encoder(lossy)).windows
    assert window.target[:8].tolist() == [2, 3, 4, 5, 6, 1, 1, 1]
    record = json.loads(score_requests(lossy, [made], progress=False)[0])
    assert sum(record["sums"]) == pytest.approx(plain_sums(lossy.model, window).sum(), abs=ROUNDING)
    ends = Encoder(lossy).byte_ends(chunk(text), 8)
    assert ends.tolist() == [4, 10, 17, 19, 24, 25, 34, 35]  # fullwidth letters have three bytes each


def test_a_tokenizer_without_a_token_for_padding_needs_none(llama):
    llama.tokenizer.pad_token = None
    one, several = request(8), request(32)
    alone = [score_requests(llama, [r], progress=False)[0] for r in (one, several)]
    together = score_requests(llama, [one, several], progress=False)
    for a, b in zip(alone, together, strict=True):
        assert json.loads(a)["sums"] == pytest.approx(json.loads(b)["sums"], abs=ROUNDING)


def test_a_tokenizer_without_any_start_can_be_given_one(llama, tiny_llama):
    llama.tokenizer.bos_token = llama.tokenizer.eos_token = None
    with pytest.raises(L2MError, match=r"neither a BOS nor an EOS token .*,prefix_token_id=ID"):
        score_requests(llama, [request()], progress=False)
    given = HFLM(pretrained=str(tiny_llama), device="cpu", dtype="float32", prefix_token_id=7)
    given.tokenizer.bos_token = given.tokenizer.eos_token = None
    (window,) = request().plan(Encoder(given)).windows
    assert window.context.tolist() == [7]


@pytest.mark.parametrize("mark", ["<|endoftext|>", "<tool_call>", "[INST]", "<｜User｜>"])
@pytest.mark.parametrize("special", [True, False])
def test_no_mark_in_a_text_becomes_a_control_token(llama, mark, special):
    """Special tokens are split as text; marks that are added but not declared special cannot be, and are refused."""
    from tokenizers import AddedToken

    llama.tokenizer.add_tokens([AddedToken(mark, special=special)], special_tokens=special)
    number = llama.tokenizer.convert_tokens_to_ids(mark)
    text = f"before {mark} after. " * 20
    assert number in llama.tokenizer(text)["input_ids"]  # what must not happen
    if special:
        (window,) = request(48, text=text).plan(Encoder(llama)).windows
        assert number not in window.target
        assert text.startswith(
            llama.tokenizer.decode(window.target.tolist(), clean_up_tokenization_spaces=False)[:40]
        )
    else:
        with pytest.raises(L2MError, match=rf"the special token id {number} \(.*remove it from the text"):
            score_requests(llama, [request(48, text=text)], progress=False)


def test_marks_that_the_model_wrote_itself_are_its_own(llama):
    llama.model.resize_token_embeddings(384)
    llama.tokenizer.add_tokens(["<tool_call>"])
    assert Encoder(llama).encode("so <tool_call> it", "sample 0", by_model=True).tolist().count(320) == 1


def test_elements_of_html_are_text_where_a_tokenizer_has_tokens_for_them(llama):
    llama.model.resize_token_embeddings(384)
    llama.tokenizer.add_tokens(["<td>", "</td>", "<h1>"])
    (window,) = request(8, text="<td>cell</td><h1>" * 20).plan(Encoder(llama)).windows
    assert {320, 321, 322} <= set(window.target.tolist())


def test_added_tokens_that_are_text_stay_tokens(llama):
    llama.model.resize_token_embeddings(384)
    llama.tokenizer.add_tokens(["        ", "sentences"])
    (window,) = request(8, text="sentences        sentences " * 20).plan(Encoder(llama)).windows
    assert window.target[:3].tolist() == [321, 320, 321]


class LikeMistralCommon:
    """What transformers' tokenizer over mistral-common accepts, and what is a method there."""

    def __init__(self, inner):
        self.inner = inner
        self.all_special_ids, self.unk_token_id = inner.all_special_ids, None
        self.bos_token_id, self.eos_token_id = inner.bos_token_id, inner.eos_token_id

    def added_tokens_decoder(self):
        return {}

    def decode(self, ids):
        return self.inner.decode(ids)

    def __call__(self, text, add_special_tokens=True, split_special_tokens=False, **settings):
        if split_special_tokens or settings:
            raise ValueError("`MistralCommonBackend` does not support `split_special_tokens`.")
        return {"input_ids": self.inner(text, split_special_tokens=True)["input_ids"]}


def test_a_tokenizer_that_only_resembles_the_base_class_gives_the_same_tokens(llama):
    expected = Encoder(llama).encode(TEXT, "a document")
    llama.tokenizer = LikeMistralCommon(llama.tokenizer)
    assert Encoder(llama).encode(TEXT, "a document").tolist() == expected.tolist()


# --- contexts -----------------------------------------------------------------------------------------------------


def test_a_context_shorter_than_the_length_is_named_with_what_fits(llama):
    with pytest.raises(
        L2MError, match="length: 500 is over the model's context: 128 tokens fit behind the prefix"
    ):
        score_requests(llama, [request(500)], progress=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "settings", "says"),
    [
        (
            "l2m_bipartite_text",
            {"lengths": [256, 512]},
            "lengths: 512 is over the model's context: 128 tokens",
        ),
        ("l2m_two_point_generated_text", {"length": 200}, "length: samples of 200 tokens do not fit"),
    ],
)
def test_a_task_that_does_not_fit_ends_before_anything_is_scored(
    llama, text_folder, monkeypatch, task, settings, says
):
    from lm_eval import simple_evaluate

    def never(*_args, **_kwargs):
        raise AssertionError("the model was run")

    choose_scorer(llama)
    monkeypatch.setattr(llama.model, "forward", never)
    with pytest.raises(L2MError) as error:
        simple_evaluate(
            model=llama, tasks=[task], bootstrap_iters=0,
            metadata={"corpus": f"{text_folder}/document*.txt", "documents": 3, **settings},
        )  # fmt: skip
    assert says in str(error.value)


@pytest.mark.slow
def test_the_default_lengths_shrink_to_the_smallest_context_and_no_further(tiny_llama, text_folder):
    from lm_eval import simple_evaluate

    def evaluated(context):
        lm = HFLM(pretrained=str(tiny_llama), device="cpu", dtype="float32", max_length=context)
        metadata = {"corpus": f"{text_folder}/document*.txt", "documents": 3, "chunk_bytes": 200}
        return simple_evaluate(
            model=lm, tasks=["l2m_bipartite_text"], bootstrap_iters=0, metadata=metadata
        )  # fmt: skip

    block = evaluated(9)["configs"]["l2m_bipartite_text"]["l2m"]
    assert block["curves"][0]["lengths"] == [4, 8]
    with pytest.raises(L2MError, match="context"):
        evaluated(3)


# --- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "named"), [(float("nan"), "NaN"), (float("inf"), "NaN|infinite")])
@pytest.mark.parametrize("where", ["lm_head", "embed_tokens"])
def test_weights_that_are_no_numbers_end_in_one_line(llama, value, named, where):
    weights = {name: p for name, p in llama.model.named_parameters() if where in name}
    with torch.no_grad():
        next(iter(weights.values()))[:] = value
    with pytest.raises(L2MError, match=f"model: ({named}) log-probability in the window of a document"):
        score_requests(llama, [request()], progress=False)


def test_what_is_no_number_is_not_kept_for_the_next_run(tmp_path):
    from l2m_eval.scoring.finished import FinishedWindows
    from l2m_eval.scoring.scorer import Scored

    kept = FinishedWindows(tmp_path / "cache.db", ("m", "a model"))
    good, bad = windows(count=2)
    kept.put([(good, Scored(np.array([-1.0, -2.0]), 7)), (bad, Scored(np.array([-1.0, np.nan]), 6))])
    assert kept.get([good]) is not None
    assert kept.get([bad]) is None


SHAPES = {
    "one position less": lambda logits: logits[:, :-1],
    "positions in front, as of a trained prompt": lambda logits: torch.cat([logits[:, :3], logits], 1),
    "no batch": lambda logits: logits[0],
    "the last position alone": lambda logits: logits[:, -1:],
}


@pytest.mark.parametrize("kind", SHAPES)
def test_logits_of_another_shape_are_refused(llama, kind):
    original = llama.model.forward

    def forward(*args, **kwargs):
        output = original(*args, **kwargs)
        output.logits = SHAPES[kind](output.logits)
        return output

    llama.model.forward = forward
    with pytest.raises(L2MError, match=r"answered \(\d, \d+\) tokens with logits of shape \("):
        score_requests(llama, [request()], progress=False)


def test_a_trained_prompt_is_not_left_out(llama):
    """What PEFT puts before the input is not in the layers: the harness' own way knows it, ours would not."""
    llama.model.active_peft_config = SimpleNamespace(is_prompt_learning=True)
    assert isinstance(choose_scorer(llama), PortableScorer)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:-1],
        lambda a: [*a, a[-1]],
        lambda a: [row[:-1] for row in a],
        lambda a: [row[None] for row in a],
    ],
)
def test_a_backend_that_gives_other_shapes_per_token_is_refused(monkeypatch, change):
    lm = OracleLM(facts=8)
    assert isinstance(choose_scorer(lm), PerTokenScorer)
    original = lm.token_log_probs
    monkeypatch.setattr(lm, "token_log_probs", lambda sequences: change(original(sequences)))
    with pytest.raises(L2MError, match=r"OracleLM.token_log_probs answered \[\("):
        choose_scorer(lm)(windows(8), no_bar)


@pytest.mark.parametrize("answer", [None, (None, False), (float("nan"), False)])
def test_a_backend_that_leaves_sums_out_is_named_with_the_window(llama, monkeypatch, answer):
    scorer = PortableScorer(llama)
    monkeypatch.setattr(llama, "_l2m_scorer", scorer, raising=False)
    monkeypatch.setattr(llama, "_loglikelihood_tokens", lambda requests: [answer] * len(requests))
    with pytest.raises(L2MError, match="NaN log-probability in the window of a document"):
        score_requests(llama, [request()], progress=False)


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
    ids=lambda error: str(error)[:30] or "MemoryError",
)
def test_every_way_of_running_out_of_memory_halves_the_batch_and_loses_nothing(llama, monkeypatch, error):
    rng = np.random.default_rng(5)
    many = [Window(np.zeros(1, np.int64), rng.integers(2, 320, 6), (2, 6), "a window") for _ in range(4)]
    whole = choose_scorer(llama)(many, no_bar)
    original, failed = HuggingFaceScorer._score, []

    def sometimes(self, trees):
        if len(trees) > 1:
            failed.append(len(trees))
            raise error
        return original(self, trees)

    monkeypatch.setattr(HuggingFaceScorer, "_score", sometimes)
    again = choose_scorer(llama)(many, no_bar)
    assert failed == [2]
    for a, b in zip(whole, again, strict=True):
        assert a.sums == pytest.approx(b.sums, abs=ROUNDING)
    assert not memory.is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


@pytest.mark.parametrize(("name", "token"), [("pad_token", "!"), ("eos_token", "\n"), ("pad_token", "e")])
def test_ordinary_tokens_declared_special_are_text(tiny_llama, name, token):
    """Text reaches them by ordinary merges: it is measured, and its tokens are those without the declaration."""
    from transformers import AutoTokenizer

    plain = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=1)
    text = "Stop! he said.\n\nThen everything ended!\n"
    expected = Encoder(plain).encode(text, "text")
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_llama))
    setattr(tokenizer, name, token)
    declared = HFLM(pretrained=str(tiny_llama), tokenizer=tokenizer, device="cpu", batch_size=1)
    assert Encoder(declared).encode(text, "text").tolist() == expected.tolist()
