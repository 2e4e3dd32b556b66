"""Where the blocks of a chunk begin, and that a document's sums are the means over its blocks."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tolerances import of_a_sum

from l2m_eval.corpus.blocks import block_places
from l2m_eval.corpus.chunks import SENTENCE_END, Chunk, draw_sample
from l2m_eval.errors import L2MError
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.harness.preflight import cost_of_lengths
from l2m_eval.measurements.bipartite import BipartiteRequest
from l2m_eval.processes import make_process
from l2m_eval.scoring.answer import score_requests
from l2m_eval.scoring.encoder import Encoder
from l2m_eval.settings import BipartiteSettings, read_settings

N = 2048
SENTENCES = (
    "It was a dark night. Nobody came; the rain fell on and on. “Who is there?” he asked! Then: nothing. "
)


def settings(**given):
    return read_settings(BipartiteSettings, {"corpus": "process", "process": "markov", **given})


def chunk(text, document=0):
    return Chunk("a document", document, 0, 0, text, len(text))


def prose(size):
    return (SENTENCES * (1 + size // len(SENTENCES)))[:size]


def starts(places, length):
    return sorted(place.start for place in places if length in place.lengths)


def test_by_default_short_lengths_have_many():
    numbers = settings(lengths="4:2048").block_numbers
    assert numbers == {4: 14, 8: 12, 16: 9, 32: 8, 64: 6, 128: 5, 256: 4, 512: 1, 1024: 1, 2048: 1}
    assert [k for k, n in settings(lengths="64:8192").block_numbers.items() if n > 1] == [64, 128, 256]
    assert settings(lengths="2048:131072").block_numbers[2048] == 8
    # Every number that it can give has room: N / L of 8 and more.
    for length in range(1, 257):
        given = read_settings(BipartiteSettings, {"lengths": [2 * length, 4096]})
        assert given.block_numbers[2 * length] <= (4096 + 2 * length) // (4 * length)
    assert settings(lengths="4:2048", blocks=1).block_numbers == dict.fromkeys(numbers, 1)
    assert settings(lengths="512:2048", blocks=3).block_numbers == {512: 2, 1024: 1, 2048: 1}
    assert settings(lengths="512:2048", blocks={"512": 2}).block_numbers == {512: 2, 1024: 1, 2048: 1}


@pytest.mark.parametrize("blocks", ["auto", 10**6])
@pytest.mark.parametrize("lengths", ["4:2048", [6, 10, 100, 334, 1000]])
def test_blocks_of_a_length_never_overlap_and_begin_with_sentences(blocks, lengths):
    """However many fit: the number that is accepted is one for which there is always room."""
    asked = settings(lengths=lengths, blocks=blocks)
    text = prose(8 * asked.longest)
    beginnings = {0, *(found.end() for found in SENTENCE_END.finditer(text))}
    for document in range(5):
        places = block_places(chunk(text, document), asked.block_numbers, asked.longest, seed=1)
        for length, number in asked.block_numbers.items():
            found = starts(places, length)
            size = len(text) * length // asked.longest
            assert len(found) == number
            assert all(b - a >= size for a, b in pairwise(found))
            assert found[0] >= 0
            assert found[-1] + size <= len(text)
        if blocks == "auto":
            assert {place.start for place in places} <= beginnings


def test_words_of_a_process_are_never_cut():
    asked = settings(lengths=[4, 16, 64], blocks=10**6, documents=4)
    sample = draw_sample(asked, 64, 3, pairing="mutual")
    for one in sample.chunks:
        whole = one.text.split()
        for place in block_places(one, asked.block_numbers, 64, seed=3)[1:]:
            assert one.text[place.start - 1] == " "
            words = place.of(one).text.split()
            at = len(one.text[: place.start].split())
            assert words == whole[at : at + len(words)]
            assert len(words) >= place.lengths[-1]


def test_they_follow_from_the_seed_and_the_chunk_alone():
    numbers, text = settings(lengths="4:2048").block_numbers, prose(8 * N)
    one = block_places(chunk(text), numbers, N, seed=1)
    assert block_places(chunk(text), numbers, N, seed=1) == one
    assert block_places(chunk(text), numbers, N, seed=2) != one
    assert block_places(chunk(text, document=1), numbers, N, seed=1) != one


def test_all_of_a_chunk_is_reached():
    """The further blocks lie anywhere: in every tenth of a chunk, over a hundred chunks."""
    numbers = {8: 2, N: 1}
    text = prose(8 * N)
    places = [block_places(chunk(text, d), numbers, N, seed=0)[1].start for d in range(300)]
    # 300 in ten parts, but for sentences; none empty but once in 10^12.
    assert np.unique(np.array(places) * 10 // len(text)).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"blocks": 0}, 'blocks: 0 is not accepted; give an integer from 1 to 67,108,864, "auto", or a table'),
        ({"blocks": "many"}, "blocks: 'many' is not accepted"),
        ({"blocks": {}}, "blocks: {} is not accepted"),
        ({"blocks": {"32": 2}}, "blocks: 32 is not measured; give numbers of blocks of [512, 1024, 2048]"),
        ({"blocks": {"512": 3}}, "blocks: 3 of 512 tokens do not fit a chunk of 2,048 apart from each other, at"),
        ({"blocks": {"512": "x"}}, "blocks: 'x' is not accepted"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(given, says):
    with pytest.raises(L2MError) as error:
        settings(lengths="512:2048", **given)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_documents_sums_are_the_means_over_its_blocks():
    """Each block measured alone, as the only one of a chunk that begins where it does."""
    asked = settings(lengths=[4, 16, 64], documents=2, blocks={4: 4, 16: 2})
    sample = draw_sample(asked, 64, 5, pairing="mutual")
    ours, theirs = sample.chunks
    lm = OracleLM("markov")

    def scored(settings, chunk, partner):
        request = BipartiteRequest(settings, sample, chunk, (partner,), True)
        return json.loads(score_requests(lm, [request], progress=False)[0])

    together = scored(asked, ours, theirs)
    assert together["blocks"] == [4, 2, 1]
    numbers = asked.block_numbers
    places = [block_places(one, numbers, 64, sample.whole.seed) for one in (ours, theirs)]
    for column, length in enumerate(numbers):
        single = replace(asked, lengths=(length,), blocks=1)
        alone = [
            scored(single, mine.of(ours), other.of(theirs))
            for mine, other in zip(*places, strict=True)
            if length in mine.lengths
        ]
        for key in ("conditional", "marginal"):
            mean = np.mean([one[key][0] for one in alone])
            assert together[key][column] == pytest.approx(mean, abs=of_a_sum(abs(mean), 64))
        for key in ("crossed", "partner_marginal"):
            mean = np.mean([one[key][0][0] for one in alone])
            assert together[key][0][column] == pytest.approx(mean, abs=of_a_sum(abs(mean), 64))


def test_a_block_whose_text_has_too_few_tokens_is_left_out():
    """Only further ones: a document whose own beginning is too short is an error, as ever."""
    asked = settings(lengths=[4, 64], documents=2, blocks={4: 4})
    sample = draw_sample(asked, 64, 5, pairing="mutual")
    ours, theirs = sample.chunks
    word = len(ours.text) // 64
    text = ours.text[: 64 * word] + " " * (576 * word)  # nine tenths of it are empty
    short = replace(ours, text=text, size=len(text), pieces={})
    request = BipartiteRequest(asked, sample, short, (theirs,), True)
    record = json.loads(score_requests(OracleLM("markov"), [request], progress=False)[0])
    assert record.get("blocks", [1, 1])[0] < 4
    empty = replace(short, text=text[word:], size=len(text) - word, pieces={})
    with pytest.raises(L2MError, match=r"gives 63 tokens under this tokenizer, 64 are needed"):
        score_requests(OracleLM("markov"), [replace(request, chunk=empty)], progress=False)


def test_the_line_before_a_run_says_what_it_takes_and_what_the_corpus_holds():
    """Tokens as the windows of a document add up to, read in full; documents by eight bytes a token."""
    asked = settings(lengths=[4, 16, 64], documents=2, blocks={4: 4})
    sample = draw_sample(asked, 64, 5, pairing="mutual")
    request = BipartiteRequest(asked, sample, sample.chunks[0], (sample.chunks[1],), False)
    windows = request.plan(Encoder(OracleLM("markov"))).windows
    assert asked.tokens_read == sum(map(len, windows))
    given = read_settings(BipartiteSettings, {"lengths": [4, 16, 64], "documents": 7, "blocks": {4: 4}})
    line = cost_of_lengths(given, [600, 512, 511, 200, 31])
    each = asked.tokens_read
    assert f"at most {each:,} tokens a document, {7 * each:,} for 7 documents" in line
    assert "of 5 documents of the corpus 4 hold all lengths up to 16 tokens, 2 hold 64 tokens" in line
    assert "corpus" not in cost_of_lengths(given, None)


@pytest.mark.parametrize(("name", "step"), [("tree", None), ("santa_fe_recall", 2), ("markov", 1)])
def test_blocks_of_a_process_begin_where_they_are_distributed_as_at_its_beginning(name, step):
    """In a tree a block within a subtree of its own, of questions and answers at a question, else anywhere."""
    asked = settings(process=name, lengths="4:256", documents=8)
    sample = draw_sample(asked, asked.longest, 3, pairing="mutual")
    process, seen = make_process(name), set()
    for one in sample.chunks:
        for place in block_places(one, asked.block_numbers, asked.longest, seed=3, process=process)[1:]:
            at = len(one.text[: place.start].split())
            assert at % (step or place.lengths[-1]) == 0
            seen.add(at)
    assert len(seen) > 8
    if step == 1:
        assert any(at % 2 for at in seen)


@pytest.mark.parametrize("name", ["tree", "santa_fe_recall"])
def test_several_blocks_of_a_process_that_is_not_stationary_keep_its_exact_value(name):
    """At L = 4, by the run's own sums: within five errors. Blocks at any place are off by more, or impossible."""
    asked = settings(process=name, lengths="4:64", documents=1000, estimators=["direct"], blocks={4: 8})
    sample = draw_sample(asked, 64, 5, pairing="none")
    requests = [BipartiteRequest(asked, sample, one, (), False) for one in sample.chunks]
    records = [json.loads(record) for record in score_requests(OracleLM(name), requests, progress=False)]
    assert all(record["blocks"][0] == 8 for record in records)
    terms = np.array([record["conditional"][0] - record["marginal"][0] for record in records])
    error = terms.std(ddof=1) / np.sqrt(len(terms))
    assert abs(terms.mean() - make_process(name).bipartite_mi(2, 4)) < 5 * error
