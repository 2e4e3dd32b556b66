"""The entropy of the n-gram correction is the corpus', however little of it is measured."""

import pytest
from lm_eval.models.huggingface import HFLM

from l2m_eval.corpus.chunks import draw_sample
from l2m_eval.estimators.entropy import ngram_entropy
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.harness.tokenizer_only import TokenizerOnlyLM
from l2m_eval.processes import Markov
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.settings import BipartiteSettings, read_settings


def sample_of(corpus, documents, **settings):
    settings = read_settings(BipartiteSettings, {"corpus": corpus, "documents": documents, **settings})
    return draw_sample(settings, settings.longest, 1, pairing=settings.pairing)


def test_it_is_that_of_all_documents_counted_once(tiny_llama, text_folder):
    lm = HFLM(pretrained=str(tiny_llama), device="cpu", batch_size=1)
    encoder, calls = Encoder(lm), []
    plain = encoder.encode
    encoder.encode = lambda *args, **named: calls.append(args) or plain(*args, **named)
    texts = [file.read_text(encoding="utf-8") for file in sorted(text_folder.glob("*.txt"))]
    truth = ngram_entropy([plain(text, "") for text in texts], 2)
    for documents in (2, 4):
        sample = sample_of(f"{text_folder}/*.txt", documents, lengths=[8, 16])
        assert encoder.ngram_entropy(sample.whole, 2) == truth
    assert len(calls) == len(texts)


def test_of_a_known_process_it_is_the_process_own():
    """A Markov chain's: H_2 is its stationary entropy and one conditional entropy more."""
    process = Markov(states=4, persistence=0.5)
    settings = {"process": "markov", "states": 4, "persistence": 0.5, "lengths": [256]}
    found = Encoder(OracleLM(process="markov", states=4, persistence=0.5)).ngram_entropy(
        sample_of("process", 400, **settings).whole, 2
    )
    exact = process.mean_nll(2).sum()
    # jackknife over 32 groups: t with 31 degrees of freedom, 5 is 2 in 10^5
    assert abs(found.value - exact) < 5 * found.standard_error
    assert found.standard_error < 0.01


@pytest.mark.slow
def test_of_the_books_it_is_not_that_of_the_chunks(shared):
    """Counted on the chunks of 2 and of 8 documents H_2 is 0.97 and 0.37 nats lower, with errors of 0.01."""
    encoder = Encoder(TokenizerOnlyLM(str(shared / "models" / "books-llama-5m")))
    found = {}
    for documents in (2, 8):
        sample = sample_of(f"{shared}/corpora/books/*.txt", documents)
        found[documents] = encoder.ngram_entropy(sample.whole, 2)
        chunks = ngram_entropy([encoder.encode(chunk.text, chunk.label) for chunk in sample.chunks], 2)
        assert found[documents].value - chunks.value > 0.2
    assert found[2] == found[8]
    assert 0.05 < found[2].standard_error < 0.3  # 33 books still show a bias
