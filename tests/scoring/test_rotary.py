"""A window's score does not depend on what else is scored, whatever the model's rotary frequencies depend on."""

import copy
import json

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from tolerances import of_a_log_probability, of_log_probabilities
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from l2m_eval.corpus.chunks import Chunk, Sample
from l2m_eval.corpus.documents import WholeCorpus
from l2m_eval.errors import L2MError
from l2m_eval.measurements.bipartite import BipartiteRequest
from l2m_eval.scoring import choose_scorer, huggingface, score_requests
from l2m_eval.scoring.portable import PortableScorer
from l2m_eval.scoring.rotary import RotaryFrequencies, fixed_up_to
from l2m_eval.scoring.windows import Window
from l2m_eval.settings import BipartiteSettings, read_settings

VOCABULARY = 320
# Where the frequencies of "dynamic" and "longrope" begin to change: tokens read.
THRESHOLD = 32
# The same sums in another order, in float32, with log-probabilities of up to 20 nats.
SAME_ARITHMETIC = of_a_log_probability()

PARTICULAR = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": THRESHOLD},
    "longrope": {
        "short_factor": [1.0, 1.2, 1.4, 1.6],
        "long_factor": [2.0, 4.0, 8.0, 16.0],
        "original_max_position_embeddings": THRESHOLD,
    },
    "llama3": {
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": THRESHOLD,
    },
    "proportional": {"partial_rotary_factor": 0.5},
}
FOLLOW_LENGTH = {"dynamic", "longrope"}


def build(rope_type):
    """A Llama whose log-probabilities depend on what stands far before."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    # "dynamic" changes beyond the positions that the model was made for, the others within them.
    positions = THRESHOLD if rope_type == "dynamic" else 4 * THRESHOLD
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        rope_parameters={"rope_type": rope_type, "rope_theta": 10000.0, **PARTICULAR[rope_type]},
    )
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
                module.weight.mul_(8)
    return model


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture(scope="module")
def loaded(tokenizer):
    def load(model, batch_size=4):
        return HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            device="cpu",
            batch_size=batch_size,
            max_length=4 * THRESHOLD,
        )

    return load


def by_definition(model, window):
    """Token by token from the whole logits in float64, of a model that has read nothing before."""
    fresh = copy.deepcopy(model)
    ids = torch.from_numpy(np.concatenate([window.context, window.target]))[None]
    with torch.no_grad():
        log_probs = fresh(ids[:, :-1]).logits[0].double().log_softmax(-1)
    return log_probs.gather(-1, ids[0, 1:, None])[-len(window.target) :, 0].numpy()


def windows_around_the_threshold():
    """Windows that begin alike, of lengths below, at and above the threshold; some lengths occur twice."""
    text, other = np.random.default_rng(5).integers(2, VOCABULARY, (2, 100))
    ends = [10, 20, THRESHOLD - 1, THRESHOLD, THRESHOLD + 1, THRESHOLD + 1, 60, 60, 61, 100]
    made = []
    for number, end in enumerate(ends):
        scored = (text, other)[number % 2]
        context = np.concatenate([[0], text[: end // 2]])
        target = scored[end // 2 : end]
        made.append(Window(context, target, tuple(range(1, len(target) + 1)), f"to {end}"))
    return made


def test_every_rope_type_of_transformers_is_here():
    assert set(PARTICULAR) == set(ROPE_INIT_FUNCTIONS)


@pytest.mark.parametrize("rope_type", PARTICULAR)
def test_a_windows_score_does_not_depend_on_its_company(rope_type, loaded, monkeypatch):
    monkeypatch.setattr(huggingface, "SHARED_TOKENS", 3)
    model = build(rope_type)
    windows = windows_around_the_threshold()
    expected = [by_definition(model, window) for window in windows]
    if rope_type in FOLLOW_LENGTH:  # the first tokens of the longest window, read alone, are others
        first = Window(windows[-1].context[:6], windows[-1].context[6:20], tuple(range(1, 15)), "first")
        whole = Window(first.context, np.concatenate([first.target, windows[-1].target]), (14,), "whole")
        moved = by_definition(model, first) - by_definition(model, whole)[:14]
        assert np.abs(moved).max() > 100 * SAME_ARITHMETIC
    rng = np.random.default_rng(6)
    for batch_size in (1, 3, 16):
        scorer = choose_scorer(loaded(model, batch_size))
        for chosen in (range(len(windows)), rng.permutation(len(windows))[:4], [0]):
            order = sorted(chosen, key=lambda i: -len(windows[i]))
            for i, scored in zip(
                order, scorer([windows[i] for i in order], lambda _tokens: None), strict=True
            ):
                assert scored.sums == pytest.approx(expected[i], abs=SAME_ARITHMETIC), (batch_size, i)


@pytest.mark.parametrize("rope_type", PARTICULAR)
def test_where_the_length_begins_to_matter_is_known(rope_type, loaded):
    limit = THRESHOLD if rope_type in FOLLOW_LENGTH else None
    assert RotaryFrequencies(build(rope_type)).fixed_up_to == limit
    assert fixed_up_to(loaded(build(rope_type))) == limit


def test_a_configuration_inside_another_is_looked_into():
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    text = build("dynamic").config
    vision = {
        "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 8, "patch_size": 4, "projection_dim": 16,
    }  # fmt: skip
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text))
    assert RotaryFrequencies(model).fixed_up_to == THRESHOLD


def request(text, lengths):
    chunk = Chunk("a document", 0, 0, 0, text, len(text))
    other = Chunk("another", 1, 1, 0, text[::-1], len(text))
    given = {"lengths": lengths, "ratios": [2, 3], "documents": 2, "blocks": 1}
    settings = read_settings(BipartiteSettings, given)
    whole = WholeCorpus(settings, seed=0, length=max(lengths), read=2, size=2 * len(text))
    return BipartiteRequest(
        settings, Sample((chunk, other), (0,), ((1,),), 2, 0, 1, whole, max(lengths)), chunk, (other,), True
    )


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope", "linear"])
def test_a_longer_length_beside_it_changes_no_term(rope_type, loaded):
    """Each point of a curve is that of a run which measures this length alone."""
    lm = loaded(build(rope_type))
    text = "Some words of a text, in sentences. They go on for a while, and then they end. " * 12
    lengths = [12, 24, 48, 96]
    together = json.loads(score_requests(lm, [request(text, lengths)], progress=False)[0])
    for length in lengths:
        alone = json.loads(score_requests(lm, [request(text, [length])], progress=False)[0])
        for column, cell in enumerate(alone["cells"]):
            place = together["cells"].index(cell)
            for key in ("conditional", "marginal"):
                assert together[key][place] == pytest.approx(alone[key][column], abs=of_log_probabilities(64))
            assert together["crossed"][0][place] == pytest.approx(
                alone["crossed"][0][column], abs=of_log_probabilities(64)
            )


def test_a_backend_that_reads_piece_by_piece_refuses_such_windows(loaded):
    lm = loaded(build("dynamic"))
    short, long = windows_around_the_threshold()[0], windows_around_the_threshold()[-1]
    scorer = PortableScorer(lm)
    assert np.isfinite(scorer([short], lambda _tokens: None)[0].sums).all()
    with pytest.raises(
        L2MError, match=r"follow the length of the input beyond 32 tokens, .* 101 tokens of to 100"
    ):
        scorer([long], lambda _tokens: None)
