"""Figures and section of smaller states: what is drawn and told is what was measured."""

from dataclasses import replace

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pytest
from planted_states import STATE_LENGTHS, STATES, planted_state_curve, write_state

import l2m_eval
from l2m_eval.errors import L2MError
from l2m_eval.report.build import make_report
from l2m_eval.report.figures.smaller_state import byte_unit, families_of
from l2m_eval.results.load import load_results


@pytest.fixture(scope="module")
def curve():
    return planted_state_curve()[0]


def drawn(ax, name):
    """Points and both ends of the error bars of one line."""
    bars = next(c for c in ax.containers if c.get_label().startswith(name))
    return np.array(bars.lines[0].get_xydata()).T


def test_each_panel_has_the_shares_of_one_length_by_bytes_of_the_state(curve):
    panels = l2m_eval.plot_kept_information(curve)
    assert [ax.get_title("left") for ax in panels] == ["L = 256", "L = 1,024", "L = 4,096"]
    for at, ax in enumerate(panels):
        sizes, kept = drawn(ax, "bits")
        # 9 and 5 bits a number, scales included, and the 16 of the whole state.
        assert sizes == pytest.approx(np.array([5, 9, 16]) * 192 * STATE_LENGTHS[at] / 2 / 8 / 1024**2)
        assert kept == pytest.approx([1 - 2**-3, 1 - 2**-7, 1])
        _, kept = drawn(ax, "window")
        dropping = [w for w in (4, 16, 64, 256) if w - 1 < STATE_LENGTHS[at] / 2]
        assert kept == pytest.approx([*(1 - np.exp(-w / STATE_LENGTHS[at] ** 0.5) for w in dropping), 1])
        assert ax.get_xscale() == "log"


def test_the_needed_state_stands_beside_the_whole_one_and_the_growth_of_the_information(curve):
    ax = l2m_eval.plot_needed_state(curve)
    lengths, sizes = drawn(ax, "window, L^0.")
    assert lengths == pytest.approx(STATE_LENGTHS)
    assert sizes * 1024**2 * 8 == pytest.approx([one.value for one in curve.needed["window"].sizes])
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert lines["whole state"].get_ydata() * 1024**2 * 8 == pytest.approx(curve.bits)
    # The planted information is 3·L^0.5 in every document.
    growth = lines["growth of the information, L^0.50"].get_ydata()
    assert growth[-1] / growth[0] == pytest.approx((4096 / 256) ** 0.5)
    other = l2m_eval.plot_needed_state({"m": curve}, beta={"m": 0.3})
    assert any(line.get_label().endswith("L^0.30") for line in other.get_lines())


def test_what_cannot_be_drawn_is_one_line(curve):
    contexts = planted_state_curve(states=("context8", "context16"))[0]
    assert families_of(contexts) == ()
    with pytest.raises(L2MError, match="whose sizes are known; measure states such as bits4"):
        l2m_eval.plot_kept_information(contexts)
    with pytest.raises(L2MError, match="no needed state is known; measure two states of a family"):
        l2m_eval.plot_needed_state(replace(curve, needed={}))
    with pytest.raises(L2MError, match="axes: 1 given for 3 lengths"):
        l2m_eval.plot_kept_information(curve, l2m_eval.plot_needed_state(curve))
    shorter = replace(curve, lengths=(2, 4, 8))
    with pytest.raises(L2MError, match="they have different lengths"):
        l2m_eval.plot_kept_information({"a": curve, "b": shorter})


def test_the_report_has_the_section_its_figures_and_its_numbers(tmp_path, curve):
    write_state(tmp_path, "some/model")
    report = make_report(load_results(tmp_path))
    section = next(one for one in report.sections if one.name == "smaller-state")
    assert [figure.name for figure in section.figures] == [
        "smaller-state-some-model-kept",
        "smaller-state-some-model-needed",
    ]
    assert all(len(figure.sentences) <= 2 for figure in section.figures)
    needed, kept = section.tables
    assert len(kept.rows) == 3 * (1 + len(STATES))
    sizes = {(row[1].text, row[2].text): row[-3].value for row in needed.rows}
    assert sizes["4,096", "window"] == pytest.approx(curve.needed["window"].sizes[-1].value / 8)


def test_a_report_of_shorter_prompts_alone_has_tables_and_no_figure_of_sizes(tmp_path):
    write_state(tmp_path, "some/model", states=("context8", "context16"))
    report = make_report(load_results(tmp_path))
    section = next(one for one in report.sections if one.name == "smaller-state")
    assert section.figures == ()
    assert any("context8" in cell.text for row in section.tables[-1].rows for cell in row)


@pytest.mark.parametrize(
    ("bytes_", "unit"), [(100, "bytes"), (600, "KiB"), (2**20, "MiB"), (3 * 2**30, "GiB")]
)
def test_sizes_are_given_in_a_unit_of_few_digits(bytes_, unit):
    divisor, name = byte_unit(bytes_)
    assert name == unit
    assert 0.5 <= bytes_ / divisor < 1024
