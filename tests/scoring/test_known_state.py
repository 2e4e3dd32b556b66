"""A model whose weights are the law of a process: what a window keeps is exactly what its tokens say."""

import math

import numpy as np
import pytest
import torch
from test_through_states import loaded, scores
from tolerances import of_log_probabilities
from transformers import GPT2Config, GPT2LMHeadModel

from l2m_eval.estimators.smaller_state import kept_information
from l2m_eval.processes.copy import Copy
from l2m_eval.scoring.huggingface import HuggingFaceScorer
from l2m_eval.scoring.windows import Window

PERIOD, SYMBOLS, NOISE = 16, 4, 0.1
WINDOWS = (4, 8, 12)
DOCUMENTS = 400


@pytest.fixture(scope="module")
def process():
    """Each token is the one 16 before it, with noise: the right block of 16 repeats the left one."""
    return Copy(period=PERIOD, octaves=1, symbols=SYMBOLS, noise=NOISE)


@pytest.fixture(scope="module")
def knowing():
    """One layer that attends to the token that the next one repeats, or, where it is out of view, to the start.

    Written by hand, since a trained model learns as much as the processor's rounding lets it. The residual stream
    holds the token, the position and the copied token, each as one of several coordinates that is 1.
    """
    length, start = 2 * PERIOD + 1, SYMBOLS
    config = GPT2Config(
        vocab_size=SYMBOLS + 1, n_positions=length, n_embd=64, n_layer=1, n_head=1, bos_token_id=start,
        eos_token_id=start, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, tie_word_embeddings=False,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    width = config.n_embd
    token = torch.arange(SYMBOLS + 1)
    position = SYMBOLS + 1 + torch.arange(length)
    copied = SYMBOLS + 1 + length + token

    def undo(norm, ones):
        """The norm of a vector with this many ones and zeros elsewhere gives the vector back."""
        mean = ones / width
        norm.weight.fill_(math.sqrt(mean - mean**2 + config.layer_norm_epsilon))
        norm.bias.fill_(mean)

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        layer = model.transformer.h[0]
        undo(layer.ln_1, ones=2)
        undo(model.transformer.ln_f, ones=3)
        model.transformer.wte.weight[token, token] = 1
        model.transformer.wpe.weight[torch.arange(length), position] = 1
        query, key, value = layer.attn.c_attn.weight.split(width, dim=1)
        # Attention divides by the root of the width: 100 for the token that is repeated, 50 for the start, 0 else.
        sharpness = 100 * math.sqrt(width)
        key[position, torch.arange(length)] = 1
        query[position[PERIOD:], torch.arange(1, length - PERIOD + 1)] = sharpness
        query[position, 0] = sharpness / 2
        value[token, token] = 1
        layer.attn.c_proj.weight[token, copied] = 1
        # The copy against each of the others; behind a copied start all symbols are alike. The start never comes.
        ratio = (1 - NOISE + NOISE / SYMBOLS) / (NOISE / SYMBOLS)
        model.lm_head.weight[token[:SYMBOLS], copied[:SYMBOLS]] = math.log(ratio)
        model.lm_head.weight[start, token] = -100
    return model.eval()


def test_a_window_keeps_what_its_tokens_say_and_loses_the_information_of_the_others(
    process, knowing, tokenizer_folder
):
    """Of each document to rounding; in the mean I(16; 32) − I(w; w + 16), within the errors of the sample."""
    start = np.array([SYMBOLS])
    documents = process.sample(DOCUMENTS, 2 * PERIOD, np.random.default_rng(2))
    states = ["full", *(f"sinks1+window{w}" for w in WINDOWS)]
    windows = []
    for number, tokens in enumerate(documents):
        x, y = tokens[:PERIOD], tokens[PERIOD:]
        windows += [Window(np.append(start, x), y, (PERIOD,), f"{number}", state) for state in states]
        windows.append(Window(start, y, (PERIOD,), f"{number}"))
    scorer = HuggingFaceScorer(loaded(knowing, tokenizer_folder, batch_size=100))
    found = scores(scorer, sorted(windows, key=lambda window: -len(window)))
    terms = {
        state: np.array(
            [[found[f"{n}", state].sums[0] - found[f"{n}", ""].sums[0]] for n in range(DOCUMENTS)]
        )
        for state in states
    }
    # log p(y | x) − log p(y) of each token of y, whose marginal is uniform.
    said = process.log_probs(documents)[:, PERIOD:] + math.log(SYMBOLS)
    rounding = of_log_probabilities(PERIOD, sums=2, layers=1)
    np.testing.assert_allclose(terms["full"][:, 0], said.sum(axis=1), atol=rounding)
    for window in WINDOWS:
        smaller = terms[f"sinks1+window{window}"]
        np.testing.assert_allclose(smaller[:, 0], said[:, -window:].sum(axis=1), atol=rounding)
        kept = kept_information(terms["full"], smaller, np.arange(DOCUMENTS))
        lost = process.bipartite_mi(PERIOD, 2 * PERIOD) - process.bipartite_mi(window, window + PERIOD)
        assert abs(kept.lost[0] - lost) < 4.5 * kept.lost_error[0]
