"""Windows behind smaller states: the whole state gives what one pass gives, and dropped entries are masked ones."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM
from tolerances import of_log_probabilities
from transformers import AutoTokenizer

from l2m_eval.errors import L2MError
from l2m_eval.scoring import score_requests
from l2m_eval.scoring.finished import FinishedWindows, model_fingerprint
from l2m_eval.scoring.huggingface import HuggingFaceScorer
from l2m_eval.scoring.portable import PortableScorer
from l2m_eval.scoring.windows import Window, share_contexts

sys.path.append(str(Path(__file__).resolve().parents[1] / "history_state"))
from tiny_models import VOCABULARY, tiny_model

READ, SCORED = 40, 12
ROUNDING = of_log_probabilities(SCORED, layers=8)  # the deepest models here have six layers
ALL = ("full", "bits16", "bits4", "bits2", "window8", "sinks4+window8", "window64")


def no_bar(_tokens):
    pass


def loaded(model, tokenizer_folder, **arguments):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    return HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", **{"batch_size": 3, **arguments})


def texts(count, read=READ, seed=0):
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, (count, read + SCORED))
    return [(row[:read], row[read:]) for row in tokens]


def windows_of(contexts, states):
    found = [
        Window(context, target, (5, SCORED), f"text {number}", state)
        for number, (context, target) in enumerate(contexts)
        for state in states
    ]
    return sorted(found, key=lambda window: -len(window))


def scores(scorer, windows, finished=None):
    answers = scorer(windows, no_bar, finished)
    return {(w.label, w.state): answer for w, answer in zip(windows, answers, strict=True)}


@pytest.fixture(scope="module")
def llama():
    model = tiny_model("llama")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # random weights as initialised hardly look at what stands before
    return model


@pytest.fixture(scope="module")
def scorer(llama, tokenizer_folder):
    return HuggingFaceScorer(loaded(llama, tokenizer_folder))


@pytest.fixture(scope="module")
def reference(scorer):
    return scores(scorer, windows_of(texts(4), ALL))


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt2", "mamba", "mamba2", "jamba", "falcon_h1"])
def test_the_whole_state_gives_what_one_pass_gives(family, tokenizer_folder, plain_sums):
    model = tiny_model(family)
    states = ("full", "bits16", "bits3", "window8", "window64")
    found = scores(HuggingFaceScorer(loaded(model, tokenizer_folder)), windows_of(texts(2), states))
    for number, (context, target) in enumerate(texts(2)):
        plain = plain_sums(model, Window(context, target, (5, SCORED), ""))
        label = f"text {number}"
        assert found[label, "full"].sums[:-1] == pytest.approx(plain, abs=ROUNDING)
        # A window that holds all that was read drops nothing, and is the same arithmetic.
        assert found[label, "window64"].sums.tolist() == found[label, "full"].sums.tolist()
        # Sixteen bits round by 2^-16 of a row's largest number, three by 1/6 of it.
        kept = np.abs(found[label, "bits16"].sums[:-1] - plain).max()
        assert kept < 2**-8 * np.abs(found[label, "bits3"].sums[:-1] - plain).max() + ROUNDING
        assert (
            found[label, "bits3"].sums[-1] < found[label, "bits16"].sums[-1] < found[label, "full"].sums[-1]
        )
        if "mamba" in family:  # a recurrent state has no entries of tokens
            assert found[label, "window8"].sums.tolist() == found[label, "full"].sums.tolist()
        else:
            assert found[label, "window8"].sums[-1] < found[label, "full"].sums[-1]


def hidden_from(queries_from, first, last, length, own_window=None):
    """By hand: additive mask (1, 1, T, T) where queries from one on see the first keys and the last before them."""
    seen = torch.tril(torch.ones(length, length, dtype=torch.bool))
    if own_window is not None:
        seen &= ~torch.tril(torch.ones(length, length, dtype=torch.bool), -own_window)
    seen[queries_from:, first : queries_from - last + 1] = False
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]


def masked_sums(model, context, target, mask):
    ids = torch.from_numpy(np.concatenate([context, target]))[None]
    with torch.no_grad():
        log_probs = torch.log_softmax(model(ids, attention_mask=mask).logits.double(), -1)[0]
    values = [log_probs[t - 1, ids[0, t]].item() for t in range(len(context), ids.shape[1])]
    return np.add.reduceat(values, [0, 5])


@pytest.mark.parametrize(("name", "sinks", "window"), [("window8", 0, 8), ("sinks4+window8", 4, 8)])
def test_dropped_entries_are_masked_attention(llama, reference, name, sinks, window):
    for number, (context, target) in enumerate(texts(4)):
        # The last token of the context is the first that does not see what was dropped.
        mask = hidden_from(READ - 1, sinks, window, READ + SCORED)
        found = reference[f"text {number}", name].sums[:-1]
        assert found == pytest.approx(masked_sums(llama, context, target, mask), abs=ROUNDING)
        whole = reference[f"text {number}", "full"].sums[:-1]
        assert np.abs(found - whole).max() > 100 * ROUNDING  # the mask says something


def test_dropped_entries_are_masked_attention_beside_sliding_windows(tokenizer_folder):
    """Gemma 3: layers of full attention and of windows of 8, each under its own mask."""
    model = tiny_model("gemma3_text")
    found = scores(HuggingFaceScorer(loaded(model, tokenizer_folder)), windows_of(texts(2), ["window5"]))
    masks = {
        "full_attention": hidden_from(READ - 1, 0, 5, READ + SCORED),
        "sliding_attention": hidden_from(READ - 1, 0, 5, READ + SCORED, own_window=8),
    }
    for number, (context, target) in enumerate(texts(2)):
        by_hand = masked_sums(model, context, target, masks)
        assert found[f"text {number}", "window5"].sums[:-1] == pytest.approx(by_hand, abs=ROUNDING)


@pytest.mark.parametrize("library", ["quanto", "hqq"])
def test_quantised_caches_of_transformers_are_gone_on_from(library, scorer):
    """Something is lost, the size is that of what is kept, batches do not matter; 40 entries make whole groups."""
    pytest.importorskip({"quanto": "optimum.quanto", "hqq": "hqq"}[library])
    found = scores(scorer, windows_of(texts(3, READ + 1), ["full", f"{library}4", f"{library}2"]))
    for number in range(3):
        whole, four, two = (
            found[f"text {number}", name].sums for name in ("full", f"{library}4", f"{library}2")
        )
        assert min(np.abs(four - whole)[:-1].max(), np.abs(two - whole)[:-1].max()) > ROUNDING
        # Integers, and a scale and an offset in float32 for each of 64 numbers.
        assert [four[-1], two[-1]] == [whole[-1] * (bits + 1) / 32 for bits in (4, 2)]
    alone = scores(scorer, windows_of(texts(1, READ + 1), [f"{library}4"]))
    assert alone["text 0", f"{library}4"].sums == pytest.approx(
        found["text 0", f"{library}4"].sums, abs=ROUNDING
    )


def test_a_state_does_not_depend_on_which_others_are_made(scorer, reference):
    for state in ("full", "bits2", "sinks4+window8"):
        alone = scores(scorer, windows_of(texts(4), [state]))
        for key, answer in alone.items():
            assert answer.sums == pytest.approx(reference[key].sums, abs=ROUNDING)


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_the_batch_size_does_not_change_the_scores(llama, tokenizer_folder, reference, batch_size):
    other = HuggingFaceScorer(loaded(llama, tokenizer_folder, batch_size=batch_size))
    ordinary = [Window(context, target, (SCORED,), "") for context, target in texts(2, seed=1)]
    windows = sorted(windows_of(texts(4), ALL) + ordinary, key=lambda window: -len(window))
    for key, answer in scores(other, windows).items():
        if key[1]:
            assert answer.sums == pytest.approx(reference[key].sums, abs=ROUNDING)


def test_a_context_is_read_once_for_all_states(llama, tokenizer_folder):
    scorer = HuggingFaceScorer(loaded(llama, tokenizer_folder))
    scores(scorer, windows_of(texts(1), ["bits4", "window8"]))  # what is asked once of a model
    shapes = []
    hook = llama.model.register_forward_pre_hook(
        lambda _module, _arguments, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    try:
        answers = scores(scorer, windows_of(texts(3), ALL))
    finally:
        hook.remove()
    assert shapes == [(3, READ - 1)] + [(3, SCORED)] * len(ALL)
    # As everywhere the last token counts too, though it is predicted and not read.
    assert sum(answer.tokens for answer in answers.values()) == 3 * (READ - 1 + len(ALL) * (SCORED + 1))


def test_texts_of_one_context_and_other_targets_are_trees_of_their_own():
    (context, target), _ = texts(2)
    windows = [Window(context, target, (SCORED,), "", state) for state in ("full", "bits4")]
    windows.append(Window(context, target[:-1], (SCORED - 1,), "", "full"))
    trees = share_contexts(windows)
    assert [[w.state for w in (tree.trunk, *tree.branches)] for tree in trees] == [
        ["bits4", "full"],
        ["full"],
    ]
    assert trees[0].shape != trees[1].shape


def test_running_out_of_memory_costs_no_state(scorer, llama, tokenizer_folder, reference, monkeypatch):
    other = HuggingFaceScorer(loaded(llama, tokenizer_folder, batch_size=4))
    read = other.read

    def too_much(windows, *arguments, **named):
        if len(windows) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return read(windows, *arguments, **named)

    monkeypatch.setattr(other, "read", too_much)
    for key, answer in scores(other, windows_of(texts(4), ALL)).items():
        assert answer.sums == pytest.approx(reference[key].sums, abs=ROUNDING)


def test_finished_windows_are_known_by_their_state(scorer, reference, tmp_path, monkeypatch):
    finished = FinishedWindows(tmp_path / "run.l2m.db", model_fingerprint(scorer._lm))
    windows = windows_of(texts(4), ALL)
    first = scores(scorer, windows, finished)
    monkeypatch.setattr(scorer, "_score", None)  # nothing is scored again
    again = scores(scorer, windows, finished)
    for key, answer in first.items():
        assert again[key].sums.tolist() == answer.sums.tolist()
        assert answer.sums == pytest.approx(reference[key].sums, abs=ROUNDING)


def test_in_half_precision_the_whole_state_is_one_pass_to_its_rounding(tokenizer_folder):
    model = tiny_model("llama").bfloat16()
    scorer = HuggingFaceScorer(loaded(model, tokenizer_folder))
    found = scores(scorer, windows_of(texts(2), ["full", "bits8", ""]))
    for number in range(2):
        plain = found[f"text {number}", ""].sums
        assert found[f"text {number}", "full"].sums[:-1] == pytest.approx(plain, abs=SCORED * scorer.rounding)
        # 16 bits of a number, 8 and a scale of 16 for each of the 16 numbers of a row.
        assert found[f"text {number}", "bits8"].sums[-1] == found[f"text {number}", "full"].sums[-1] * 9 / 16


@pytest.mark.parametrize(
    ("family", "state", "message"),
    [
        ("rwkv", "bits4", r"states: the state of RwkvForCausalLM cannot be changed: .*context256"),
        ("opt", "bits4", r"OPTForCausalLM cannot be changed: its head cannot be run apart from its body"),
        ("bloom", "sinks4+window8", r"distances by the entries of its cache, so that sinks cannot be kept"),
        ("deepseek_v32", "bits4", r"DynamicIndexedLayer is a layer of a kind that cannot be changed here"),
    ],
)
def test_a_model_whose_state_cannot_be_changed_is_refused_in_one_line(
    family, state, message, tokenizer_folder
):
    scorer = HuggingFaceScorer(loaded(tiny_model(family), tokenizer_folder))
    with pytest.raises(L2MError, match=message) as refused:
        scores(scorer, windows_of(texts(1), [state]))
    assert "\n" not in str(refused.value)


def test_a_backend_that_gives_no_state_is_refused_before_anything_is_scored(llama, tokenizer_folder):
    lm = loaded(llama, tokenizer_folder)
    lm._l2m_scorer = PortableScorer(lm)
    [window] = windows_of(texts(1), ["bits4"])

    class Request:
        windows = (window,)

        def plan(self, _encoder):
            return self

    with pytest.raises(
        L2MError, match=r"states: bits4 needs the state of the model, which HFLM does not give"
    ):
        score_requests(lm, [Request()])
