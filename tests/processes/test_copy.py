"""The volume law: l symbols of the left block come back in the right one."""

import numpy as np
import pytest
from tolerances import of_a_sum

from l2m_eval.errors import L2MError
from l2m_eval.processes import Copy


def test_without_noise_the_right_block_is_the_left_one_at_the_copy_point():
    process = Copy(period=64, octaves=1, symbols=10, noise=0)
    tokens = process.sample(3, 128, np.random.default_rng(1))
    np.testing.assert_array_equal(tokens[:, 64:], tokens[:, :64])
    assert process.bipartite_mi(64, 128) == pytest.approx(64 * np.log(10), rel=of_a_sum(10))  # symbols


def test_information_is_linear_in_the_split_of_two_periods():
    process = Copy(period=64, octaves=1, symbols=10, noise=0.1)
    curve = np.array([process.bipartite_mi(l, 128) for l in range(1, 128)])
    tent = np.minimum(np.arange(1, 128), np.arange(127, 0, -1))
    np.testing.assert_allclose(curve, tent * curve[0], rtol=1e-13)


def test_information_is_linear_in_length_with_all_octaves():
    process = Copy(period=1024, octaves=11, symbols=2, noise=0.1)
    lengths = 2 ** np.arange(11)
    curve = [process.bipartite_mi(l, 2 * l) for l in lengths]
    np.testing.assert_allclose(curve, (2 * lengths - 1) * process.bipartite_mi(1, 2), rtol=1e-13)
    assert process.bipartite_mi(4096, 8192) == pytest.approx(process.bipartite_mi(2048, 4096))  # saturated


def test_two_point_information_is_on_multiples_of_the_period():
    process = Copy(period=4, octaves=1, symbols=3, noise=0.2)
    assert [process.two_point_mi(d) > 0 for d in range(1, 9)] == [False] * 3 + [True] + [False] * 3 + [True]
    assert process.two_point_mi(8) < process.two_point_mi(4)


def test_a_wrong_copy_without_noise_is_impossible():
    process = Copy(period=2, octaves=1, symbols=3, noise=0)
    log_probs = process.log_probs(np.array([[0, 1, 0, 2]]))[0]
    np.testing.assert_allclose(log_probs, [-np.log(3), -np.log(3), 0, -np.inf], atol=of_a_sum(3))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"period": 12, "octaves": 4},
            "octaves: 4 is not accepted with period 12; give a period that is a multiple",
        ),
        ({"period": 64, "octaves": 7, "symbols": 100}, "symbols: 100 is not accepted with 7 octaves"),
        ({"noise": 1.5}, "noise: 1.5 is not accepted; give a number from 0 to 1"),
        ({"symbols": 1}, "symbols: 1 is not accepted"),
    ],
)
def test_mistakes(settings, says):
    with pytest.raises(L2MError) as error:
        Copy(**settings)
    assert says in str(error.value)
