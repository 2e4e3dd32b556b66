"""Counts of token pairs: those of a dictionary, whatever the parts, the disk and the processes."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_sources import zipf

from l2m_eval.estimators.entropy import entropy_estimator
from l2m_eval.estimators.two_point import pair_counts
from l2m_eval.estimators.two_point.curve import two_point_mutual_information
from l2m_eval.estimators.two_point.estimation import PairEstimation
from l2m_eval.estimators.two_point.marginal_counts import pair_marginals, token_counts
from l2m_eval.estimators.two_point.pair_counts import PairKeys, count_pairs, plan
from l2m_eval.estimators.two_point.token_sequences import TokenSequences, write_token_sequences

random_documents = st.lists(st.lists(st.integers(0, 6), max_size=25), min_size=1, max_size=8).filter(any)


def dictionary_counts(documents, distance, group, left_out=None):
    tally = Counter()
    for document, its_group in zip(documents, group, strict=True):
        if its_group != left_out:
            tally.update(zip(document[:-distance], document[distance:], strict=True))
    return tally


@settings(max_examples=60)
@given(random_documents, st.integers(1, 3), st.sampled_from(["grassberger", "plugin", "miller_madow"]))
def test_counts_are_those_of_a_dictionary_with_and_without_each_group(documents, groups, method):
    sequences = TokenSequences.from_documents(documents)
    group = np.arange(len(documents)) % min(groups, len(documents))
    load = token_counts(sequences, group, 7).sum(axis=0)
    distances = [1, 2, 5]
    # A jackknife takes differences, and Grassberger's parity term has no place in them.
    contribution = entropy_estimator(method).without_parity.contribution
    for distance, counted in zip(
        distances, count_pairs(sequences, distances, load, group=group, method=method), strict=True
    ):
        tally = dictionary_counts(documents, distance, group)
        assert dict(zip(counted.counts, counted.multiplicities, strict=True)) == Counter(tally.values())
        whole = contribution(np.array(list(tally.values()), dtype=int)).sum()
        if group.max() > 0:
            for left_out, change in enumerate(counted.change_without):
                rest = dictionary_counts(documents, distance, group, left_out)
                expected = contribution(np.array(list(rest.values()), dtype=int)).sum() - whole
                assert change == pytest.approx(expected, abs=1e-9)  # sums of numbers of order 100


@settings(max_examples=60)
@given(random_documents, st.integers(1, 3))
def test_marginals_are_those_of_the_pairs(documents, groups):
    sequences = TokenSequences.from_documents(documents)
    group = np.arange(len(documents)) % min(groups, len(documents))
    distances = [1, 3, 4, 30]
    marginals = pair_marginals(sequences, group, token_counts(sequences, group, 7), distances)
    for distance, (firsts, seconds) in zip(distances, marginals, strict=True):
        expected = defaultdict(int)
        for document, its_group in zip(documents, group, strict=True):
            for x, y in zip(document[:-distance], document[distance:], strict=True):
                expected["first", its_group, x] += 1
                expected["second", its_group, y] += 1
        for name, counts in (("first", firsts), ("second", seconds)):
            for (g, token), count in np.ndenumerate(counts):
                assert count == expected[name, g, token]


@pytest.fixture
def small_pieces(monkeypatch):
    """Chunks, blocks and scratch so small that a small corpus meets all their edges."""
    monkeypatch.setattr(pair_counts, "CHUNK", 1000)
    monkeypatch.setattr(pair_counts, "BLOCK", 64)
    monkeypatch.setattr(pair_counts, "FIXED_MEMORY", 0)


@pytest.fixture
def uneven_documents():
    rng = np.random.default_rng(4)
    lengths = [0, 1, 2, 50, 7000, 3, 900, 12_000, 1001, 5]
    return [rng.choice(300, size=n, p=zipf(300)) for n in lengths]


@pytest.mark.parametrize("groups", [1, 7])
def test_parts_add_up_to_the_whole(small_pieces, uneven_documents, groups):
    sequences = TokenSequences.from_documents(uneven_documents)
    group = np.arange(10) % groups
    load = token_counts(sequences, group, 300).sum(axis=0)
    distances = [1, 2, 700]
    whole = count_pairs(sequences, distances, load, group=group)
    keys = PairKeys(300, groups)
    for memory in (keys.bytes_per_row, 2 * keys.bytes_per_row, 60_000):
        parts = plan(load, distances, keys, memory)
        assert len(parts) > 1
        assert any(part.row for part in parts) == (load.max() * 12 > memory)
        for one, other in zip(
            whole, count_pairs(sequences, distances, load, group=group, memory=memory), strict=True
        ):
            np.testing.assert_array_equal(one.counts, other.counts)
            np.testing.assert_array_equal(one.multiplicities, other.multiplicities)
            # the same sums in another order: rounding
            np.testing.assert_allclose(one.change_without, other.change_without, rtol=1e-10, atol=1e-7)


def test_large_vocabularies_are_packed_without_loss():
    rng = np.random.default_rng(5)
    documents = [rng.integers(262_144 - 40, 262_144, size=500) for _ in range(3)]
    sequences = TokenSequences.from_documents(documents)
    group = np.arange(3)
    load = token_counts(sequences, group, 262_144).sum(axis=0)
    (counted,) = count_pairs(sequences, [2], load, group=group)
    tally = dictionary_counts([d.tolist() for d in documents], 2, group)
    assert dict(zip(counted.counts, counted.multiplicities, strict=True)) == Counter(tally.values())


def test_disk_memory_and_processes_give_the_same_numbers(tmp_path, uneven_documents):
    distances = [1, 2, 16, 700]
    in_memory = two_point_mutual_information(uneven_documents, distances)
    on_disk = write_token_sequences(iter(uneven_documents), tmp_path / "tokens")
    for other in (
        two_point_mutual_information(on_disk, distances),
        two_point_mutual_information(on_disk, distances, PairEstimation(processes=2)),
        two_point_mutual_information(uneven_documents, distances, PairEstimation(processes=2)),
    ):
        for name in ("mi", "uncorrected", "null", "null_spread", "pairs", "standard_error"):
            # parts are summed in another order: rounding
            np.testing.assert_allclose(getattr(other, name), getattr(in_memory, name), rtol=1e-9, atol=1e-10)


def test_pairs_do_not_cross_documents():
    rng = np.random.default_rng(6)
    documents = [rng.integers(0, 4, size=10) for _ in range(400)]
    curve = two_point_mutual_information(documents, [3, 9])
    np.testing.assert_array_equal(curve.pairs, [7 * 400, 400])
