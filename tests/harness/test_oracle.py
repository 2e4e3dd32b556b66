"""The oracle LM: text that round-trips, sums that are the process' own, generation that can be repeated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance

from l2m_eval.errors import L2MError
from l2m_eval.harness.oracle import OracleLM
from l2m_eval.processes import PROCESSES, SantaFe, TokenProcess, WordTokenizer

SMALL = {"process": "santa_fe", "beta": 0.75, "facts": 40, "flip_rate": 0.1}


@pytest.fixture(scope="module")
def oracle():
    return OracleLM(**SMALL)


def request(kind, *arguments):
    named = {"task_name": "test", "doc_id": 0}  # asked for from lm-eval 0.5 on
    return Instance(request_type=kind, doc={}, arguments=arguments, idx=0, **named)


@given(
    st.integers(1, 3000).flatmap(lambda size: st.tuples(st.just(size), st.lists(st.integers(0, size - 1))))
)
def test_text_and_tokens_are_one_to_one(case):
    size, ids = case
    tokenizer = WordTokenizer(size)
    text = tokenizer.decode(ids)
    assert tokenizer.encode(text) == ids
    assert tokenizer.encode(text.strip()) == ids
    assert len(text) == len(ids) * (tokenizer.width + 1)
    assert tokenizer.decode(ids[:3]) + tokenizer.decode(ids[3:]) == text


@pytest.mark.parametrize("text", ["00 zz", "0", "000", "hello world", "00, 01", "0100", "<start> <start>"])
def test_unknown_text_is_refused(oracle, text):
    with pytest.raises(L2MError, match="is not a token of this process"):
        oracle.tok_encode(text)


def test_ids_outside_the_vocabulary_are_refused(oracle):
    for ids in ([-1], [81], [3, 80]):
        with pytest.raises(L2MError, match="token id"):
            oracle.token_log_probs([ids])
    with pytest.raises(L2MError, match="token id: 81"):
        oracle.tok_decode([81])


def test_the_start_of_a_stream_is_an_id_of_its_own(oracle):
    assert oracle.prefix_token_id == oracle.eot_token_id == 80
    assert len(oracle.tokenizer) == 81
    assert oracle.tokenizer.all_special_ids == [80]
    assert oracle.tok_encode("<start> 00 01") == [80, 0, 1]
    assert oracle.tok_encode("00 01", add_special_tokens=True) == [80, 0, 1]
    assert oracle.tok_decode([80, 0, 1]) == " 00 01"
    assert oracle.max_length == 8193


def test_model_arguments_as_the_harness_passes_them():
    arguments = "process=santa_fe,beta=0.5,facts=64,flip_rate=0,seed=3,max_length=100"
    lm = OracleLM.create_from_arg_string(
        arguments, {"batch_size": "auto", "device": "cpu", "max_batch_size": None}
    )
    assert lm.process == SantaFe(0.5, 64, 0.0)
    assert (lm.seed, lm.max_length) == (3, 100)
    with pytest.raises(L2MError, match="process: 'santafe'"):
        OracleLM.create_from_arg_string("process=santafe")
    with pytest.raises(L2MError, match="fact: unknown setting"):
        OracleLM.create_from_arg_string("fact=64")


def test_a_process_may_be_given_as_made():
    process = SantaFe(facts=8)
    assert OracleLM(process).process is process
    with pytest.raises(L2MError, match="facts: 9 is not accepted beside a process"):
        OracleLM(process, facts=9)
    with pytest.raises(L2MError, match="process: 7 is not known"):
        OracleLM(7)


def test_sequences_of_all_lengths_are_scored_as_if_alone(oracle):
    rng = np.random.default_rng(1)
    sequences = [oracle.process.sample(1, n, rng)[0] for n in (1, 7, 200, 3, 90, 64)] + [[], [3, 4]]
    for sequence, log_probs in zip(sequences, oracle.token_log_probs(sequences), strict=True):
        assert log_probs.dtype == np.float64
        alone = oracle.process.log_probs(np.asarray(sequence, dtype=int)[None])[0]
        np.testing.assert_array_equal(log_probs, alone)


def test_sums_are_the_process_log_probabilities(oracle):
    tokens = oracle.process.sample(4, 30, np.random.default_rng(2))
    log_probs = oracle.process.log_probs(tokens)
    requests = [(("", ""), [oracle.prefix_token_id, *row[:10]], row[10:].tolist()) for row in tokens]
    sums = [answer[0] for answer in oracle._loglikelihood_tokens(requests)]
    np.testing.assert_allclose(sums, log_probs[:, 10:].sum(axis=1), rtol=1e-13)
    texts = [oracle.tok_decode(row) for row in tokens]
    empty_context = oracle.loglikelihood([request("loglikelihood", "", text) for text in texts])
    np.testing.assert_allclose([s for s, _ in empty_context], log_probs.sum(axis=1), rtol=1e-13)
    pairs = [(oracle.tok_decode(row[:10]), oracle.tok_decode(row[10:])) for row in tokens]
    with_context = oracle.loglikelihood([request("loglikelihood", *pair) for pair in pairs])
    np.testing.assert_allclose([s for s, _ in with_context], sums, rtol=1e-13)
    rolling = oracle.loglikelihood_rolling([request("loglikelihood_rolling", text) for text in texts])
    np.testing.assert_allclose(rolling, log_probs.sum(axis=1), rtol=1e-13)
    # As lm-eval 0.5 asks and is answered.
    later = oracle.loglikelihood_rolling([request("loglikelihood_rolling", "", text) for text in texts])
    assert later == [(total, False) for total in rolling]


@pytest.mark.parametrize("name", [name for name, kind in PROCESSES.items() if issubclass(kind, TokenProcess)])
def test_every_token_process_is_a_language_model(name):
    lm = OracleLM(process=name)
    tokens = lm.process.sample(3, 40, np.random.default_rng(4))
    texts = [lm.tok_decode(row) for row in tokens]
    assert [lm.tok_encode(text) for text in texts] == tokens.tolist()
    sums = lm.loglikelihood([request("loglikelihood", "", text) for text in texts])
    np.testing.assert_allclose([s for s, _ in sums], lm.process.log_probs(tokens).sum(axis=1), rtol=1e-12)
    greedy = lm.generate_until([request("generate_until", texts[0], {"until": [], "max_gen_toks": 3})])[0]
    assert lm.loglikelihood([request("loglikelihood", texts[0], greedy)])[0][1]


def test_rolling_cuts_at_the_models_length():
    lm = OracleLM(**SMALL, max_length=11)
    tokens = lm.process.sample(1, 25, np.random.default_rng(3))
    text = lm.tok_decode(tokens[0])
    first = lm.process.log_probs(tokens[:, :10]).sum()
    second = lm.process.log_probs(tokens[:, 9:20])[:, 1:].sum()
    third = lm.process.log_probs(tokens[:, 14:25])[:, 6:].sum()
    rolling = lm.loglikelihood_rolling([request("loglikelihood_rolling", text)])
    assert rolling[0] == pytest.approx(first + second + third, rel=1e-13)


def test_greedy_continuations_are_recognised(oracle):
    context = oracle.tok_decode([5, 5, 1])
    greedy = oracle.generate_until([request("generate_until", context, {"until": [], "max_gen_toks": 6})])[0]
    assert len(oracle.tok_encode(greedy)) == 6
    other = " 0b" + greedy[3:]
    answers = oracle.loglikelihood([request("loglikelihood", context, text) for text in (greedy, other)])
    assert [is_greedy for _, is_greedy in answers] == [True, False]


def test_generation_is_reproducible_and_stops():
    wishes = {"until": [], "max_gen_toks": 20, "do_sample": True, "temperature": 1.0}
    requests = [request("generate_until", " 00 01", wishes)] * 2

    def generate(seed):
        return OracleLM(**SMALL, seed=seed).generate_until(requests)

    first = generate(5)
    assert first == generate(5)
    assert first != generate(6)
    assert first[0] != first[1]  # repeats of a request are different samples
    stop = first[0].split()[7]
    stopped = OracleLM(**SMALL, seed=5).generate_until(
        [request("generate_until", " 00 01", {**wishes, "until": stop})]
    )[0]
    assert stopped == first[0][: first[0].index(stop)]


def test_samples_follow_the_conditional_distribution():
    lm = OracleLM(process="santa_fe", facts=4, flip_rate=0.1, seed=1)
    context, count = [0, 2, 0], 4000
    wishes = {"until": [], "max_gen_toks": 1, "do_sample": True, "temperature": 1.0}
    texts = lm.generate_until([request("generate_until", lm.tok_decode(context), wishes)] * count)
    frequency = np.bincount([lm.tok_encode(text)[0] for text in texts], minlength=8) / count
    expected = np.exp(lm.process.next_token_log_probs(np.array(context)))
    error = np.sqrt(expected * (1 - expected) / count)
    # The largest of eight deviations stays below 4.5 standard errors.
    assert (np.abs(frequency - expected) < 4.5 * error).all()
