"""What every property rests on: a valid object or one line of ours, and the values that are drawn."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

from hypothesis import strategies as st

from l2m_eval.errors import L2MError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "results"


@contextlib.contextmanager
def valid_or_one_line() -> Iterator[None]:
    """Fails for any exception but an `L2MError` of one printable line."""
    message = "fine"
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except L2MError as error:
        message = str(error)
    finally:
        logging.disable(logging.NOTSET)
    assert message.strip()
    assert len(message.splitlines()) == 1
    assert len(message) < 2100


numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63), 10**400, 1e308, -0.0])
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
