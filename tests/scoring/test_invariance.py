"""The same text has the same log-probabilities, however it is batched, padded, ordered, split or computed.

On a transformer, on models with a recurrent state, and on a hybrid, all with weights large enough that what a
token's log-probability is depends on what stands far before it (`test_the_models_read_their_context`): models as
they are initialised predict nearly the same after every context, and agree whatever is done wrong.

Windows are cut after every token here, so that errors cannot cancel in a sum.
"""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_eval.models.huggingface import HFLM
from tolerances import FLOAT32, of_a_log_probability

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.scoring import huggingface, score_requests
from l2m_eval.scoring.huggingface import HuggingFaceScorer
from l2m_eval.scoring.sampling import SampleRequest, _OwnDraws, sample_requests
from l2m_eval.scoring.windows import Window
from l2m_eval.settings import GeneratedSettings, read_settings

VOCABULARY = 320
# The same sums in another order, in float32.
SAME_ARITHMETIC = of_a_log_probability()
# What the settings of a family are beside the common ones, and by how much its weights are multiplied.
ARCHITECTURES = {
    "llama": ({"num_key_value_heads": 2}, 8),
    "mamba": ({"state_size": 4}, 2),
    "mamba2": (
        {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "expand": 2, "chunk_size": 16},
        4,
    ),
    # One attention and one Mamba layer, mixtures of experts.
    "jamba": (
        {
            "num_key_value_heads": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 2,
            "mamba_d_state": 4,
            "use_mamba_kernels": False,
        },
        8,
    ),
}
WITH_ATTENTION = ("llama", "jamba")


def build(family, attention=None):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    particular, factor = ARCHITECTURES[family]
    config = AutoConfig.for_model(
        family,
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=1,
        **particular,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).float().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
                module.weight.mul_(factor)
    return model


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def loaded(tokenizer):
    """The harness' LM of a model, on a device."""

    def load(model, device="cpu", batch_size=4, **arguments):
        return HFLM(
            pretrained=model.to(device),
            tokenizer=tokenizer,
            device=device,
            batch_size=batch_size,
            **arguments,
        )

    return load


@pytest.fixture(scope="module", params=ARCHITECTURES)
def lm(request, loaded):
    return loaded(build(request.param))


def every_token(context, target, label="random"):
    return Window(context, target, tuple(range(1, len(target) + 1)), label)


@st.composite
def window_lists(draw, most=8):
    """Windows of random lengths from two texts, some of which begin as others do; each at most 41 tokens."""
    texts = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(2, VOCABULARY, (2, 40))
    windows = []
    for _ in range(draw(st.integers(1, most))):
        one, other = draw(st.permutations([0, 1]))
        split = draw(st.integers(0, 20))
        end = draw(st.integers(split + 1, 40))
        same = draw(st.booleans())  # the target goes on where the context ends, or is of the other text
        target = texts[one if same else other, split:end]
        windows.append(every_token(np.concatenate([[0], texts[one, :split]]), target))
    return windows


def random_windows(seed=0, count=6):
    rng = np.random.default_rng(seed)
    windows = [
        every_token(
            np.concatenate([[0], rng.integers(2, VOCABULARY, rng.integers(0, 20))]),
            rng.integers(2, VOCABULARY, rng.integers(1, 21)),
        )
        for _ in range(count)
    ]
    return sorted(windows, key=lambda window: -len(window))


class Request:
    """Asks for windows and answers with their log-probabilities, token by token."""

    def __init__(self, windows):
        self.windows = windows

    def plan(self, _encoder):
        return self

    def record(self, scores):
        return json.dumps([sums.tolist() for sums in scores])


def scores(lm, windows):
    """Log-probabilities of every target token of every window, one after the other, each window a request."""
    answers = score_requests(lm, [Request([window]) for window in windows], progress=False)
    return np.concatenate([json.loads(answer)[0] for answer in answers])


def scores_one_by_one(lm, windows):
    """The same, each window read alone and whole."""
    return np.concatenate([scores(lm, [window]) for window in windows])


def scorer_scores(scorer, windows):
    return np.concatenate([answer.sums for answer in scorer(windows, lambda _tokens: None)])


@pytest.fixture
def short_beginnings(monkeypatch):
    """Beginnings of three tokens are read once, where otherwise it takes `SHARED_TOKENS`."""
    monkeypatch.setattr(huggingface, "SHARED_TOKENS", 3)


def test_the_models_read_their_context(lm):
    """Other tokens, ten and more before, move a log-probability by far more than any tolerance here."""
    rng = np.random.default_rng(3)
    target, *contexts = rng.integers(2, VOCABULARY, (3, 20))
    one, other = (
        scores(lm, [every_token(np.concatenate([[0], context]), target)])[10:] for context in contexts
    )
    assert np.abs(one - other).mean() > 100 * SAME_ARITHMETIC


# Fixtures of a function are used on purpose: the patched constant is the same for all examples.
examples = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@examples
@given(windows=window_lists(), batch_size=st.integers(1, 9), data=st.data())
def test_batch_size_order_and_company_change_nothing(lm, short_beginnings, windows, batch_size, data):
    """Any batch size and any order of documents, against each window alone; beginnings shared where they can be."""
    alone = scores_one_by_one(lm, windows)
    order = data.draw(st.permutations(range(len(windows))))
    lm.batch_size_per_gpu = batch_size
    try:
        together = score_requests(lm, [Request([windows[i]]) for i in order], progress=False)
    finally:
        lm.batch_size_per_gpu = 4
    placed = [json.loads(together[order.index(i)])[0] for i in range(len(windows))]
    assert np.concatenate(placed) == pytest.approx(alone, abs=SAME_ARITHMETIC)


@examples
@given(windows=window_lists(), processes=st.integers(2, 4))
def test_windows_dealt_to_several_processes_have_the_same_scores(lm, short_beginnings, windows, processes):
    """What each process would be given, document by document in turn as the harness deals them."""
    whole = score_requests(lm, [Request([window]) for window in windows], progress=False)
    for rank in range(min(processes, len(windows))):
        share = [Request([window]) for window in windows[rank::processes]]
        for own, same in zip(score_requests(lm, share, progress=False), whole[rank::processes], strict=True):
            assert json.loads(own)[0] == pytest.approx(json.loads(same)[0], abs=SAME_ARITHMETIC)


def test_what_stands_in_the_padding_is_never_read(lm, monkeypatch):
    windows = random_windows(seed=1)
    monkeypatch.setattr(huggingface, "PADDING", 1)  # however much of a batch it is
    expected = scores(lm, windows)
    original = HuggingFaceScorer._token_log_probs
    padded = []

    def with_other_padding(self, ids, rows, positions, *rest):
        ids = ids.clone()
        for row in range(len(ids)):
            read = int(positions[rows == row].max()) + 1
            padded.append(ids.shape[1] - read)
            ids[row, read:] = torch.randint(2, VOCABULARY, (padded[-1],))
        return original(self, ids, rows, positions, *rest)

    monkeypatch.setattr(HuggingFaceScorer, "_token_log_probs", with_other_padding)
    assert scores(lm, windows) == pytest.approx(expected, abs=SAME_ARITHMETIC)
    assert sum(padded) > 10


def test_the_tokenizers_side_of_padding_changes_no_bit(lm):
    windows = random_windows(seed=2)
    found = {}
    given = lm.tokenizer.padding_side
    for side in ("left", "right"):
        lm.tokenizer.padding_side = side
        found[side] = scores(lm, windows)
    lm.tokenizer.padding_side = given
    assert found["left"].tolist() == found["right"].tolist()


def test_padding_on_the_left_with_its_mask_gives_the_same_scores(lm):
    """A batch as text generation pads it, through the model's own forward."""
    windows = random_windows(seed=3)
    width = max(map(len, windows))
    ids = torch.zeros((len(windows), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, width - len(window) :] = torch.from_numpy(np.concatenate([window.context, window.target]))
        mask[row, width - len(window) :] = 1
    places = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    if lm.model.config.model_type.startswith("mamba"):
        places = {}  # a recurrent state knows no positions
    with torch.no_grad():
        log_probs = lm.model(input_ids=ids, attention_mask=mask, **places).logits.log_softmax(-1)
    left = np.concatenate(
        [
            log_probs[row, :-1].gather(1, ids[row, 1:, None])[-len(window.target) :, 0]
            for row, window in enumerate(windows)
        ]
    )
    assert scores(lm, windows) == pytest.approx(left, abs=SAME_ARITHMETIC)


@pytest.mark.parametrize("family", WITH_ATTENTION)
def test_eager_attention_and_sdpa_agree(family, loaded):
    windows = random_windows(seed=4)
    found = {}
    for attention in ("eager", "sdpa"):
        model = build(family, attention)
        assert model.config._attn_implementation == attention
        found[attention] = scores(loaded(model), windows)
    assert found["eager"] == pytest.approx(found["sdpa"], abs=SAME_ARITHMETIC)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: scores are compared on CPUs alone")
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_a_gpu_gives_the_scores_of_the_cpu(family, loaded, short_beginnings, monkeypatch):
    # Convolutions take products of eleven bits unless told not to.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    windows = random_windows(seed=5)
    cpu = scores(loaded(build(family)), windows)
    # Exponentials, roots and logarithms of CUDA are right to two units in the last place, four times half a unit.
    coarser = of_a_log_probability(unit=4 * FLOAT32)
    assert scores(loaded(build(family), "cuda"), windows) == pytest.approx(cpu, abs=coarser)


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_bfloat16_differs_by_its_rounding_and_no_more(family, loaded):
    """Its numbers have 8 bits (0.4 % a rounding), of which a token's log-probability sees a few one after another.

    So the mean difference is held against the spread of the log-probabilities themselves, 2 % of which are five
    roundings; the same in float32 is four orders smaller.
    """
    windows = random_windows(seed=6, count=20)
    single = scores(loaded(build(family)), windows)
    half = scores(loaded(build(family).to(torch.bfloat16)), windows)
    differences = np.abs(half - single)
    assert 10 * SAME_ARITHMETIC < differences.mean() < 0.02 * single.std()
    # Without a common direction: the error of a sum grows like the root of its length, not like its length.
    assert abs((half - single).mean()) < 4 * (half - single).std() / len(single) ** 0.5


@pytest.mark.slow
def test_bfloat16_moves_real_mutual_information_by_less_than_the_documents_do(shared):
    """A trained model on real books: what docs/backends.md says of it, on fewer documents."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from l2m_eval.harness.registration import tasks_folder

    task, length = "l2m_bipartite_text", 2048
    metadata = {
        "corpus": f"{shared}/corpora/books/*.txt", "documents": 12, "estimators": "direct", "lengths": [256, length],
    }  # fmt: skip
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata)
    text = (shared / "corpora" / "books" / "jane-austen-emma.txt").read_text(encoding="utf-8")[50_000:60_000]
    log_probs, terms = {}, {}
    for dtype in ("float32", "bfloat16"):
        lm = HFLM(str(shared / "models" / "books-llama-5m"), device="cpu", batch_size=4, dtype=dtype)
        log_probs[dtype] = scores(
            lm, [every_token(np.zeros(1, np.int64), np.array(lm.tok_encode(text)[:2047]))]
        )
        run = simple_evaluate(
            lm, tasks=[task], task_manager=manager, metadata=metadata, bootstrap_iters=0, log_samples=True
        )
        terms[dtype] = np.array([float(sample[f"direct_mi@{length}"]) for sample in run["samples"][task]])
    moved = log_probs["bfloat16"] - log_probs["float32"]
    # 0.013 was measured on eight books; the largest of 16,376 was ten times that.
    assert 0.005 < moved.std() < 0.02
    assert np.abs(moved).max() < 0.3
    paired = terms["bfloat16"] - terms["float32"]
    count = len(paired)
    assert abs(paired.mean()) < 4 * paired.std(ddof=1) / count**0.5
    # 0.6 nats a document, where documents differ by 9: a tenth, in which their mean is as well.
    assert paired.std(ddof=1) < 0.2 * terms["float32"].std(ddof=1)


def in_bfloat16(logits):
    """Logits that have no more than bfloat16's bits, as bfloat16: some models widen what they computed in it."""
    half = logits.to(torch.bfloat16)
    assert torch.equal(half.float(), logits.float())
    return half


@pytest.mark.parametrize("whole_logits", [False, True])
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_the_log_softmax_is_in_float32_whatever_the_model_is_in(family, loaded, whole_logits):
    """Against a float32 log-softmax of the model's own bfloat16 logits; one in bfloat16 is far outside."""
    lm = loaded(build(family).to(torch.bfloat16))
    scorer = HuggingFaceScorer(lm)
    scorer._chunked = not whole_logits
    target = np.random.default_rng(7).integers(2, VOCABULARY, 32)
    ids = torch.from_numpy(np.concatenate([[0], target]))[None]
    with torch.no_grad():
        logits = in_bfloat16(lm.model(ids[:, :-1]).logits[0])
    found = scorer_scores(scorer, [every_token(ids[0, :1].numpy(), target)])
    places = (torch.arange(len(target)), torch.from_numpy(target))
    upcast = logits.float().log_softmax(-1)[places].numpy()
    not_upcast = logits.log_softmax(-1)[places].float().numpy()
    # The logits are the same to the bit (the same shapes are multiplied), so float32's own rounding remains.
    assert found == pytest.approx(upcast, abs=SAME_ARITHMETIC)
    # Log-probabilities of 4 to 8 nats lie 1/32 apart in bfloat16: half of that at worst, a quarter on average.
    assert np.abs(not_upcast - upcast).mean() > 10 * SAME_ARITHMETIC


@pytest.mark.parametrize("family", ["llama", "mamba2"])
def test_autocast_keeps_the_log_softmax_in_float32(family, loaded):
    """With `mixed_precision_dtype`, logits come in bfloat16 from weights in float32."""
    lm = loaded(build(family), mixed_precision_dtype="bfloat16")
    target = np.random.default_rng(8).integers(2, VOCABULARY, 32)
    ids = torch.from_numpy(np.concatenate([[0], target]))[None]
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = in_bfloat16(lm.model(ids[:, :-1]).logits[0])
    upcast = logits.float().log_softmax(-1)[torch.arange(len(target)), torch.from_numpy(target)]
    assert scores(lm, [every_token(ids[0, :1].numpy(), target)]) == pytest.approx(
        upcast.numpy(), abs=SAME_ARITHMETIC
    )


SAMPLED = read_settings(GeneratedSettings, {"corpus": "unread.txt", "length": 24, "distances": [1]})
BESIDE = Chunk("unread.txt", 0, 0, 0, "Words enough for two dozen tokens of any tokenizer. " * 8, 400)


def samples(lm, numbers, seed=1, batch_size=3):
    """Token ids of the model's texts of these numbers."""
    lm.batch_size_per_gpu = batch_size
    try:
        answers = sample_requests(lm, [SampleRequest(SAMPLED, BESIDE, number, seed) for number in numbers])
    finally:
        lm.batch_size_per_gpu = 4
    return [json.loads(answer)["generated"] for answer in answers]


def test_a_sample_depends_on_the_seed_and_its_number_alone(lm):
    """Not on the batch, the share of a process, `--limit`, or the state of torch's generator."""
    torch.manual_seed(0)
    all_seven = samples(lm, range(7))
    assert len({tuple(ids) for ids in all_seven}) == 7
    torch.manual_seed(99)
    for batch_size in (1, 4, 7):
        assert samples(lm, range(7), batch_size=batch_size) == all_seven
    assert samples(lm, range(1, 7, 2)) == all_seven[1::2]
    assert samples(lm, range(3)) == all_seven[:3]
    assert samples(lm, range(7), seed=2) != all_seven


def test_a_models_generation_settings_do_not_bend_its_samples(lm):
    """Penalties and cuts that a model ships with are for chatting; the text measured is its distribution's."""
    plain = samples(lm, range(3))
    given = lm.model.generation_config
    before = (given.repetition_penalty, given.do_sample, given.top_k, given.suppress_tokens)
    given.repetition_penalty, given.do_sample, given.top_k = 5.0, True, 2
    given.suppress_tokens = [plain[0][0]]
    try:
        assert samples(lm, range(3)) == plain
        assert lm.model.generation_config is given  # and are the model's again
    finally:
        given.repetition_penalty, given.do_sample, given.top_k, given.suppress_tokens = before


def test_a_sample_ends_where_the_model_ends_it(lm, monkeypatch):
    decode, decoded = lm.tok_decode, []
    monkeypatch.setattr(lm, "tok_decode", lambda ids: decoded.append(ids) or decode(ids))
    samples(lm, [0, 1])
    one, other = decoded
    end = one[-1]
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", [1, end])
    decoded.clear()
    samples(lm, [0, 1])
    assert decoded == [ids[: ids.index(end)] if end in ids else ids for ids in (one, other)]
    assert len(decoded[0]) < len(one)


def test_draws_follow_the_models_distribution():
    """Uniform numbers on a grid of n: every token is drawn n · p times, give or take the one at either end."""
    logits = 2 * torch.randn((1, 50), generator=torch.Generator().manual_seed(0))
    n = 10_000
    draws = _OwnDraws(((np.arange(n) + 0.5) / n)[:, None])
    chosen = draws(torch.zeros((n, 1), dtype=torch.long), logits.expand(n, -1)).argmax(-1)
    expected = n * logits.double().softmax(-1)[0]
    assert (torch.bincount(chosen, minlength=50) - expected).abs().max() <= 1
