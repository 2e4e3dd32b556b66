"""The sketch by which nearly identical documents are recognised."""

from __future__ import annotations

import random

import numpy as np
import pytest

from l2m_eval.corpus import repeated


@pytest.mark.parametrize("at_once", [1, 31, 32, 1000])
def test_a_sketch_does_not_depend_on_how_much_is_read_at_once(monkeypatch, at_once):
    text = "".join(random.Random(1).choices("abc ü", k=3000))
    whole = repeated.sketch(text)
    monkeypatch.setattr(repeated, "_PLACES_AT_ONCE", at_once)
    assert len(whole) == repeated.SKETCH
    assert np.array_equal(repeated.sketch(text), whole)


@pytest.mark.parametrize("text", ["", "a", "a" * 31, "a" * 100_000, "ab" * 50_000])
def test_too_little_or_too_repetitive_text_has_no_sketch(text):
    assert len(repeated.sketch(text)) == 0
