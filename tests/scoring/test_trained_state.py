"""A small model trained on a process: what a window loses is the exact information of unequal blocks."""

import numpy as np
import pytest
import torch
from test_through_states import loaded, scores
from transformers import GPT2Config, GPT2LMHeadModel

from l2m_eval.estimators.smaller_state import kept_information
from l2m_eval.processes.copy import Copy
from l2m_eval.scoring.huggingface import HuggingFaceScorer
from l2m_eval.scoring.windows import Window

pytestmark = pytest.mark.slow
PERIOD, BLOCK = 16, 16
WINDOWS = (4, 8, 12)
STEPS, BATCH, DOCUMENTS = 1500, 64, 400


@pytest.fixture(scope="module")
def process():
    """Each token is the one 16 before it, with noise: the right block of 16 repeats the left one."""
    return Copy(period=PERIOD, octaves=1, symbols=4, noise=0.1)


@pytest.fixture(scope="module")
def trained(process):
    """One layer, whose entries know their own token alone; texts behind hidden ones are part of its training.

    A model that never met a text without its beginning is misled by a dropped entry, and loses more than the entry
    carried. The start token (the last id) always stays in view.
    """
    start, length = process.vocabulary_size, 2 * BLOCK + 1
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=start + 1, n_positions=length, n_embd=64, n_layer=1, n_head=2, bos_token_id=start,
        eos_token_id=start, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        tokens = torch.from_numpy(process.sample(BATCH, 2 * BLOCK, rng))
        inputs = torch.cat([torch.full((BATCH, 1), start), tokens], dim=1)
        seen = torch.ones_like(inputs)
        # The positions of the hidden tokens stay those of the text.
        hidden = torch.from_numpy(rng.integers(0, BLOCK + 1, BATCH) * rng.integers(0, 2, BATCH))
        seen[torch.arange(length)[None] <= hidden[:, None]] = 0
        seen[:, 0] = 1
        positions = torch.arange(length)[None].expand(BATCH, -1)
        logits = model(inputs[:, :-1], attention_mask=seen[:, :-1], position_ids=positions[:, :-1]).logits
        # What is hidden predicts nothing from itself; the token behind it is predicted from the start token.
        counts = seen[:, :-1].bool()
        loss = torch.nn.functional.cross_entropy(logits[counts], inputs[:, 1:][counts])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def test_a_window_loses_the_information_of_the_tokens_that_it_drops(process, trained, tokenizer_folder):
    """I(16; 32) − I(w; w + 16), the rest of which the model's divergence and the errors explain."""
    start = process.vocabulary_size
    states = ["full", *(f"sinks1+window{w}" for w in WINDOWS)]
    windows = []
    for number, tokens in enumerate(process.sample(DOCUMENTS, 2 * BLOCK, np.random.default_rng(2))):
        x, y = tokens[:BLOCK], tokens[BLOCK:]
        windows += [Window(np.append(start, x), y, (BLOCK,), f"{number}", state) for state in states]
        windows.append(Window(np.array([start]), y, (BLOCK,), f"{number}"))
    scorer = HuggingFaceScorer(loaded(trained, tokenizer_folder, batch_size=100))
    found = scores(scorer, sorted(windows, key=lambda window: -len(window)))
    terms = {
        state: np.array(
            [[found[f"{n}", state].sums[0] - found[f"{n}", ""].sums[0]] for n in range(DOCUMENTS)]
        )
        for state in states
    }
    exact = process.bipartite_mi(BLOCK, 2 * BLOCK)
    whole = terms["full"]
    # The divergence of the trained model, in nats of the block: it has learnt all but a twentieth.
    divergence = 0.05 * exact
    error = whole.std(ddof=1) / np.sqrt(DOCUMENTS)
    assert abs(whole.mean() - exact) < 4.5 * error + divergence
    for window in WINDOWS:
        kept = kept_information(whole, terms[f"sinks1+window{window}"], np.arange(DOCUMENTS))
        lost = exact - process.bipartite_mi(window, window + BLOCK)
        assert abs(kept.lost[0] - lost) < 4.5 * kept.lost_error[0] + divergence
