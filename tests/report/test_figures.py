"""Figures: what is drawn is what was measured, and labels from files do no harm."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from planted_runs import LENGTHS, planted, write_bipartite

import l2m_eval
from l2m_eval.condition.law import ScalingLaw, published_law
from l2m_eval.errors import L2MError
from l2m_eval.estimators.position import PositionFit, position_bins
from l2m_eval.estimators.two_point.fit import TwoPointFit
from l2m_eval.history_state import history_state_size
from l2m_eval.measurements.curves import BipartiteCurve, FittedPositionCurve, FittedTwoPointCurve
from l2m_eval.report.figures.axes import round_numbers
from l2m_eval.report.figures.style import COLUMN_WIDTH, literal, series
from l2m_eval.report.figures.svg import inline_svg, png_bytes, svg_text
from l2m_eval.results.load import load_results
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.power_law import PowerLaw


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def power_law(exponent=0.5, amplitude=2.0, **changes):
    x = np.array(LENGTHS, float)
    fit = PowerLaw(
        Estimate(amplitude), Estimate(exponent, 0.01, (exponent - 0.02, exponent + 0.02)), "loglog", len(x), 9, (),
        np.empty((0, 2)),
    )  # fmt: skip
    values = {
        "estimator": "direct", "ratio": 2, "lengths": x.astype(int), "mi": amplitude * x**exponent,
        "standard_error": 0.1 * np.ones(len(x)), "clusters": 9, "fit": fit,
    }  # fmt: skip
    return BipartiteCurve(**(values | changes))


def two_point_fit(form, exponent, amplitude, offset, distances, reason=""):
    return TwoPointFit(form, Estimate(amplitude), Estimate(exponent), Estimate(offset), distances, reason)


def two_point(**changes):
    d = np.array([1, 2, 4, 8])
    unknown = np.full(4, np.nan)
    values = {
        "name": "two_point", "distances": d, "mi": 1.1 * d**-0.9, "standard_error": 0.01 * np.ones(4),
        "interval": np.full((4, 2), np.nan), "uncorrected": unknown, "null": unknown, "null_spread": unknown,
        "floor": np.full(4, 0.05), "pairs": np.full(4, 1e6), "documents": 5, "groups": 5, "exact": None,
        "estimator": "", "marginals": "", "null_method": "", "shuffles": 0, "seed": 0, "bias": unknown,
        "replicates": np.empty((0, 4)), "scatter": unknown,
        "fits": (two_point_fit("power_law", 0.9, 1.1, np.nan, (1, 2, 4, 8)),),
    }  # fmt: skip
    return FittedTwoPointCurve(**(values | changes))


def position(**changes):
    bins = position_bins(15)
    first, last = (np.array([getattr(b, end) for b in bins], float) for end in ("first", "last"))
    values = {
        "bins": bins, "nll": 2 + 3 * first**-0.5,
        "standard_error": 0.1 * np.ones(4), "tokens": last - first + 1, "bits_per_byte": np.full(4, 1.5),
        "bits_per_byte_error": np.full(4, 0.1), "bytes_per_token": np.full(4, 3.0), "byte_position": 3 * last,
        "documents": 9, "clusters": 9, "exact": None, "overall": Estimate(3.0, 0.1),
        "overall_bits_per_byte": Estimate(np.nan), "context_gain": Estimate(np.nan),
        "cluster_sums": np.empty((0, 4)), "cluster_tokens": np.empty((0, 4)),
        "fit": PositionFit(
            Estimate(2.0), Estimate(3.0), Estimate(0.5), tuple(b.name for b in bins[1:]), 0, 0
        ),
    }  # fmt: skip
    return FittedPositionCurve(**(values | changes))


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def labels_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_points_and_error_bars_are_those_of_the_curve():
    curve = power_law()
    ax = l2m_eval.plot_bipartite({"m": curve}, fit=False)
    (container,) = ax.containers
    np.testing.assert_allclose(container.lines[0].get_xdata(), curve.lengths)
    np.testing.assert_allclose(container.lines[0].get_ydata(), curve.mi)
    (bars,) = container.lines[2]
    heights = [segment[1][1] - segment[0][1] for segment in bars.get_segments()]
    np.testing.assert_allclose(heights, 2 * curve.standard_error)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_new_figure_has_the_width_of_a_column():
    figure = l2m_eval.plot_bipartite(power_law()).figure
    assert figure.get_size_inches()[0] == COLUMN_WIDTH == 3.3


def test_every_sibling_draws_on_the_axes_it_is_given_and_returns_them():
    _, axes = plt.subplots(1, 6)
    state = history_state_size({"formula": "64*L"}, [1, 2, 4])
    law = ScalingLaw(2.0, 0.5, "test")
    curve = {"m": power_law()}
    drawn = [
        l2m_eval.plot_bipartite(curve, axes[0]),
        l2m_eval.plot_two_point({"m": two_point()}, axes[1]),
        l2m_eval.plot_position_nll({"m": position()}, axes[2]),
        l2m_eval.plot_fit_residuals(curve, axes[3]),
        l2m_eval.plot_state_against_law({"m": state}, law, axes[4]),
        l2m_eval.plot_mi_against_state(curve, {"m": state}, axes[5]),
    ]
    assert drawn == list(axes)
    assert all(ax.has_data() and ax.get_xlabel() and ax.get_ylabel() for ax in axes)


def test_the_callers_settings_of_matplotlib_stay_as_they_were():
    before = dict(matplotlib.rcParams)
    l2m_eval.plot_bipartite({"m": power_law()})
    assert dict(matplotlib.rcParams) == before


def test_the_fit_is_drawn_as_the_power_law_and_its_exponent_named():
    ax = l2m_eval.plot_bipartite({"m": power_law(0.5, 2.0)})
    fit = max(ax.get_lines(), key=lambda line: len(line.get_xdata()))
    np.testing.assert_allclose(fit.get_ydata(), 2 * fit.get_xdata() ** 0.5)
    assert labels_of(ax) == ["m, β = 0.50 (0.48 to 0.52)"]


def test_the_band_of_a_fit_comes_from_the_documents_and_is_narrower_than_its_parts(tmp_path):
    """At the middle of the lengths exponent and amplitude err against each other."""
    write_bipartite(tmp_path / "with", "m", planted(0.4, shared=0.0))
    write_bipartite(tmp_path / "without", "m", planted(0.4, shared=0.0), log=False)
    (with_log,), (without,) = load_results(tmp_path / "with"), load_results(tmp_path / "without")
    bands = l2m_eval.plot_bipartite(with_log).collections
    filled = [c for c in bands if type(c).__name__ == "FillBetweenPolyCollection"]
    assert len(filled) == 1
    vertices = filled[0].get_paths()[0].vertices
    curve = with_log.curve("direct")
    middle = np.sqrt(LENGTHS[0] * LENGTHS[-1])
    near = vertices[np.abs(np.log(vertices[:, 0] / middle)) < 0.06]
    width = near[:, 1].max() / near[:, 1].min()
    corners = (curve.amplitude.interval[1] / curve.amplitude.interval[0]) * middle ** (
        curve.beta.interval[1] - curve.beta.interval[0]
    )
    assert 1 < width < corners
    none = l2m_eval.plot_bipartite(without).collections
    assert not [c for c in none if type(c).__name__ == "FillBetweenPolyCollection"]


def test_exact_curves_and_published_laws_are_drawn():
    exact = np.array(LENGTHS, float) ** 0.6
    ax = l2m_eval.plot_bipartite({"m": power_law(exact=exact)}, references=["pg19-llama-3.1-405b-direct"])
    np.testing.assert_allclose(lines_of(ax)["exact"].get_ydata(), exact)
    (label,) = [label for label in lines_of(ax) if label.startswith("PG19")]
    law = published_law("pg19-llama-3.1-405b-direct")
    line = lines_of(ax)[label]
    np.testing.assert_allclose(line.get_ydata(), law.amplitude * line.get_xdata() ** law.exponent)


def test_values_that_are_not_positive_make_a_linear_axis():
    ax = l2m_eval.plot_bipartite({"m": power_law(mi=np.array([-0.5, 1, 2, 3, 4, 5.0]), exponent=np.nan)})
    assert ax.get_yscale() == "linear"


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"ratio": 3}, "ratio: 2 for a, 3 for b"), ({"estimator": "vclub"}, "estimator: 'direct' for a")],
)
def test_curves_of_different_meaning_are_not_overlaid(changes, named):
    with pytest.raises(L2MError, match=named):
        l2m_eval.plot_bipartite({"a": power_law(), "b": power_law(**changes)})


def test_bytes_that_were_not_recorded_are_not_made_up():
    with pytest.raises(L2MError, match="do not say how many bytes"):
        l2m_eval.plot_bipartite({"m": power_law()}, unit="bytes")
    ax = l2m_eval.plot_bipartite({"m": power_law(bytes=4.0 * np.array(LENGTHS))}, unit="bytes")
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xdata(), 4 * np.array(LENGTHS))


def test_the_noise_floor_is_shaded_up_to_its_value():
    ax = l2m_eval.plot_two_point({"m": two_point()})
    (shade,) = [c for c in ax.collections if c.get_label() == "noise floor"]
    assert shade.get_paths()[0].vertices[:, 1].max() == pytest.approx(0.05)


def test_a_fit_made_before_the_null_was_subtracted_is_drawn_without_its_offset():
    unfitted = two_point_fit("power_law", np.nan, np.nan, np.nan, (), "too few")
    fit = two_point_fit("power_law_with_offset", 0.9, 1.1, 0.2, (1, 2, 4, 8))
    curve = two_point(fits=(unfitted, fit))
    law = 1.1 * np.array([1.0, 8.0]) ** -0.9
    for uncorrected, offset in ((curve.mi + 0.2, 0.0), (curve.mi, 0.2)):
        ax = l2m_eval.plot_two_point({"m": two_point(fits=(unfitted, fit), uncorrected=uncorrected)})
        drawn = max(ax.get_lines(), key=lambda line: len(line.get_xdata())).get_ydata()
        np.testing.assert_allclose(drawn[[0, -1]], law + offset)


def test_two_point_values_that_are_not_positive_are_counted_not_drawn():
    curve = two_point(mi=np.array([1.0, 0.5, -0.01, 0.2]))
    ax = l2m_eval.plot_two_point({"m": curve}, fit=False)
    assert ax.containers[0].lines[0].get_xdata().tolist() == [1, 2, 8]
    assert "m, 1 not positive" in labels_of(ax)


def test_positions_may_be_bytes_and_losses_bits_per_byte():
    curve = position()
    ax = l2m_eval.plot_position_nll({"m": curve}, unit="bytes", per="byte")
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xdata(), curve.byte_position)
    np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), curve.bits_per_byte)
    assert ax.get_ylabel() == "loss (bits per byte)"


def test_the_horizon_is_marked_where_the_state_meets_the_required_line():
    """A constant state of S elements of 16 bits holds S·16·ln 2 nats, which 2·√L reaches at (S·8·ln 2)²."""
    state = history_state_size({"constant": 4}, [1, 2, 4])
    ax = l2m_eval.plot_state_against_law({"m": state}, ScalingLaw(2.0, 0.5, "test"))
    (star,) = [line for line in ax.get_lines() if line.get_marker() == "*"]
    assert star.get_xdata()[0] == pytest.approx((4 * 8 * np.log(2)) ** 2, rel=1e-3)
    (required,) = [line for line in ax.get_lines() if line.get_label().startswith("required")]
    at_horizon = np.interp(star.get_xdata()[0], required.get_xdata(), required.get_ydata())
    assert at_horizon == pytest.approx(star.get_ydata()[0], rel=0.01)  # between points of a grid of 400


def test_information_is_drawn_against_the_state_after_the_left_block():
    state = history_state_size({"formula": "64*L"}, [1, 2, 4])
    ax = l2m_eval.plot_mi_against_state({"m": power_law()}, {"m": state})
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xdata(), 64 * np.array(LENGTHS) / 2)


def test_residuals_are_those_of_the_shapes():
    ax = l2m_eval.plot_fit_residuals({"m": power_law()})
    drawn = {label.partition(":")[0]: line for label, line in lines_of(ax).items() if ":" in label}
    assert set(drawn) == {"power law", "logarithm", "straight line", "saturation"}
    np.testing.assert_allclose(drawn["power law"].get_ydata(), 0, atol=0.05)


@pytest.mark.parametrize("name", ["$\\frac{", "_hidden", "a\nb", "x" * 300, "", "<script>", "日本語", "\x00"])
def test_any_name_of_a_model_can_be_drawn(name, recwarn):
    ax = l2m_eval.plot_bipartite({name: power_law(), "other": power_law(0.3)})
    document = svg_text(ax.figure)
    assert png_bytes(ax.figure).startswith(b"\x89PNG")
    assert not recwarn.list  # nothing that a reader of the report could do about it
    assert "<script" not in document
    assert len(labels_of(ax)) == 2
    assert max(map(len, labels_of(ax))) < 70


def test_markup_in_a_name_does_not_reach_the_page():
    ax = l2m_eval.plot_bipartite({'--><script>alert(1)</script>"': power_law()})
    inline = inline_svg(svg_text(ax.figure), "f", 'shows "<b>"')
    assert "script" not in inline
    assert 'aria-label="shows &quot;&lt;b&gt;&quot;"' in inline


def test_two_figures_of_one_page_share_no_identifiers():
    import re

    document = svg_text(l2m_eval.plot_bipartite({"m": power_law()}).figure)
    first, second = (
        set(re.findall(r'\bid="([^"]+)"', inline_svg(document, name, "x"))) for name in ("a", "b")
    )
    assert first
    assert not first & second
    inline = inline_svg(document, "a", "x")
    referred = set(re.findall(r'href="#([^"]+)"', inline)) | set(re.findall(r"url\(#([^)]+)\)", inline))
    assert referred <= first


def test_the_same_figure_is_the_same_file():
    first, second = (svg_text(l2m_eval.plot_bipartite({"m": power_law()}).figure) for _ in range(2))
    assert first == second


def test_series_differ_in_more_than_colour():
    looks = [(series(i).marker, str(series(i).line)) for i in range(6)]
    assert len(set(looks)) == 6
    assert len({series(i).marker for i in range(6)}) == 6


def test_labels_keep_both_ends_of_a_long_name():
    assert literal("start" + "x" * 100 + "end", 20).startswith("start")
    assert literal("start" + "x" * 100 + "end", 20).endswith("end")
    assert len(literal("start" + "x" * 100 + "end", 20)) == 20


def test_any_part_of_a_logarithmic_axis_has_round_ticks_with_room_between_them():
    """From a tenth of a per cent to twelve decades: two or more, in the range, none closer than eight even ones.

    Eight labels of 7 pt fit above each other in a figure of column width.
    """
    for low in (1.0, 4.05, 5.3, 7.9, 0.00023, 2140.75):
        for span in (1.001, 1.01, 1.1, 1.3, 1.7, 2, 3, 5, 10, 30, 100, 500, 1e4, 1e7, 1e12):
            ticks = round_numbers(low, low * span, 8)
            assert len(ticks) >= 2, (low, span)
            assert low * (1 - 1e-6) <= ticks[0] < ticks[-1] <= low * span * (1 + 1e-6)
            assert np.diff(np.log(ticks)).min() >= 0.9 * np.log(span) / 8 * (1 - 1e-9), (low, span)


def test_labels_of_a_narrow_axis_differ_and_reach_over_all_of_it():
    """vCLUB's curves of half a decade, and a loss that changes by a few per cent."""
    values = np.array([5.0, 7.5, 9, 11, 13, 17.0])
    ax = l2m_eval.plot_bipartite({"m": power_law(mi=values, exponent=np.nan)})
    ax.figure.canvas.draw()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    at = np.array(ax.get_yticks())
    assert len(set(labels)) == len(labels) >= 4
    assert all(labels)
    low, high = ax.get_ylim()
    assert np.log(at.max() / at.min()) > 0.6 * np.log(high / low)


def test_an_error_bar_to_zero_does_not_stretch_the_axis_to_it():
    curve = power_law(standard_error=np.array([0.1, 0.1, 0.1, 0.1, 0.1, 100.0]))
    ax = l2m_eval.plot_bipartite({"m": curve})
    assert ax.get_ylim()[0] >= curve.mi.min() / 3


def test_horizons_are_named_once_each_and_not_over_each_other():
    states = {name: history_state_size({"constant": size}, [1, 2, 4]) for name, size in
              (("a", 4), ("b", 4), ("c", 5))}  # fmt: skip
    ax = l2m_eval.plot_state_against_law(states, ScalingLaw(2.0, 0.5, "test"))
    ax.figure.canvas.draw()
    told = [text for text in ax.texts if text.get_text().startswith("horizon")]
    assert len(told) == 2
    first, second = (text.get_window_extent() for text in told)
    assert not first.overlaps(second)


def test_nothing_to_draw_is_one_line():
    with pytest.raises(L2MError, match="none of the results holds"):
        l2m_eval.plot_bipartite([])
