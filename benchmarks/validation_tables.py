"""The tables of docs/validation.md and the text around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from validation_quantities import Quantity
from validation_scenarios import LENGTHS, TWO_POINT_SCENARIOS

Row = tuple[str, int, dict[str, Quantity], float]


def table(rows: Sequence[Row], show: Callable[[Quantity], str]) -> Iterator[str]:
    """Scenarios and documents down, quantities across."""
    names = list(dict.fromkeys(name for row in rows for name in row[2]))
    yield "| process | documents | " + " | ".join(names) + " |"
    yield "| --- " * (2 + len(names)) + "|"
    for scenario, documents, found, _ in rows:
        cells = [show(found[name]) if name in found else "" for name in names]
        yield f"| {scenario} | {documents} | " + " | ".join(cells) + " |"


def show_coverage(quantity: Quantity) -> str:
    """In percent, set in bold outside 93–97 % by more than two Monte-Carlo errors."""
    if quantity.missing() > 0.9:
        return "no fit"
    held, error = quantity.coverage()
    shown = f"{100 * held:.1f} ± {100 * error:.1f}"
    if not 0.93 - 2 * error <= held <= 0.97 + 2 * error:
        shown = f"**{shown}**"
    return shown + (f" ({100 * quantity.missing():.0f} % no fit)" if quantity.missing() > 0.005 else "")


def show_error_ratio(quantity: Quantity) -> str:
    return "" if quantity.missing() > 0.9 else f"{quantity.error_ratio():.2f}"


def show_bias(quantity: Quantity) -> str:
    return "" if quantity.missing() > 0.9 else "{:+.2f} ± {:.2f}".format(*quantity.bias())


SECTIONS = (
    (
        "Coverage of the 95 % intervals, percent",
        "Target: 93–97. Bold: outside by more than two Monte-Carlo errors.",
        show_coverage,
    ),
    (
        "Standard error over the true spread",
        "Root mean square of the standard errors, divided by the standard deviation over replicates. Target: 1.",
        show_error_ratio,
    ),
    (
        "Bias, in units of the true spread",
        "Mean over points of (estimate − truth) / spread, with its Monte-Carlo error. Below 0.2 the effect on "
        "the coverage of an interval is not visible.",
        show_bias,
    ),
)


INTRODUCTION = """\
# Are the error bars right?

Made by `python benchmarks/validation.py > docs/validation.md` (about twenty minutes on two cores; `--quick` is a
part of it in two minutes, and `tests/test_validation.py` asserts its targets).

Documents are sampled from processes whose mutual information is known exactly, scored with their own exact
log-probabilities, and measured with the code of the tasks, hundreds of times. The scatter of the estimates is then
known and can be compared with their error bars. Settings are the default ones: several blocks of each length, here
spread evenly over the document, and the weighted fit. Intervals of points are Student's t intervals of the curve;
those of β, A (the amplitude) and the horizon are the fits' own. The true value of a fit is the same fit to the exact
curve, with the mean weights of the replicates; most of these curves are not power laws. The true value of vCLUB is
its own expectation, an upper bound of the information. *heavy tails*, *skewed*: the log q(y|x) of every document has
an error of its own, from Student's t with 3 degrees of freedom or a centred log-normal distribution. *clustered*: up
to four chunks of a source share an effect. "No fit" is the share of replicates whose fit has no minimum inside its
range, or too few points above the noise; they have no interval to test."""

IN_SHORT = """\
## Summary

- *Mutual information, β, A.* With 50 documents or more, the intervals of points of both estimators and of the fits to
  both curves have the promised coverage, also with heavy tails, skew and clusters; over all settings the median is
  94.5 to 95.0 %. With 20 documents they do where the terms of documents are nearly symmetric, and cover 85 to 92 %
  where a few documents carry the information (points and the amplitude of the tree, points of the skewed process; the
  Markov chain, whose terms take a handful of values). No error bar from 20 numbers can know about values that were
  not drawn.
- *Horizon*, the length at which the law fills a fixed state (here one that holds four times the information at the
  longest length). Its interval covers at every number of documents, but for the skewed process with 20 (89.5 %), and
  is occasionally slightly wide. All numbers are for its logarithm, and lengths beyond 10^36 tokens are set to that
  end. The exact curves of the Markov chain and of the tree never fill a state, so they have no horizon to cover.
- *Loss.* The bins and the context gain have the promised coverage. The exponent of the loss curve is harder: with
  200 documents of 512 tokens, a quarter to a half of the fits have no minimum inside the range, and the others are
  too low by half a spread to a whole one. The intervals are wide enough to account for this; an exponent from the
  loss needs thousands of documents.
- *Two-point.* Intervals cover where the null is right, and are slightly too wide (by a fifth) where there are many
  pairs and I is tiny. Where neighbouring tokens repeat each other, the null of shuffled tokens leaves a bias of one
  to two standard errors at large distances, which the shifted null removes. Points of the renewal process below the
  noise are skewed and cover 86 to 88 % with 20 and 50 documents. For a curve that is not a power law, α depends on
  which points are above the noise.
- *Pairing*, several blocks and the weighted fit save documents by the factors in the last table."""

LIMITS = """\
The null of shuffled tokens is exact for independent tokens and close where dependence is weak. It fails in two
ways, both where there are few pairs for the number of cells. Neighbours that repeat each other reduce the effective
number of pairs, which leaves a bias that the shuffled text does not have (`null="shift"` does have it). Strong
dependence leaves fewer cells to be sampled, and thus a bias other than the one either null subtracts. Leaving out
groups of documents reveals this bias: about half of it where most pairs have been seen once. Where it is
distinguishable from zero, the error includes it: the errors below are then larger than the spread, as they should
be. This is no cure: with 20 documents, the intervals of the chain under the null of shuffled tokens still miss most
points, and each of these rows has a larger error than another null or more documents would give."""


def report(
    bipartite: Sequence[Row],
    two_point: Sequence[Row],
    needed: Mapping[str, Sequence[tuple[str, float, float]]],
) -> Iterator[str]:
    """The tables as Markdown lines. `needed`: documents for 1 % on β, by how many blocks a chunk serves."""
    yield INTRODUCTION
    yield from ("", IN_SHORT)
    beyond = {scenario.name for scenario in TWO_POINT_SCENARIOS if not scenario.promised}
    promised = [row for row in two_point if row[0] not in beyond]
    for title, note, show in SECTIONS:
        yield from ("", f"## {title}", "", note, "")
        yield from table(bipartite, show)
        yield ""
        yield from table(promised, show)
    limits = [
        (name, documents, {key: value for key, value in found.items() if "points" in key}, difference)
        for name, documents, found, difference in two_point
        if name in beyond
    ]
    if limits:
        yield from ("", "## Where two-point estimates keep a bias", "", LIMITS)
        for title, _, show in SECTIONS:
            yield from ("", f"{title}:", "")
            yield from table(limits, show)
    yield from ("", "## Documents for a 1 % standard error of β", "")
    yield (
        f"Santa Fe, β 0.75, L = {LENGTHS[0]} … {LENGTHS[-1]}. Partners are included where they are needed. The "
        "published measurement has one block, loglog, and independent marginals or no control variate."
    )
    yield from ("", f"| estimator, fit | {' | '.join(needed)} |", "| --- |" + " ---: |" * len(needed))
    for rows in zip(*needed.values(), strict=True):
        yield (
            f"| {rows[0][0]} | "
            + " | ".join(f"{count:,.0f} ± {error:,.0f}" for _, count, error in rows)
            + " |"
        )
    difference = max(row[3] for row in bipartite)
    yield from ("", f"Largest difference between these sums and the records of a run: {difference:.1e} nats.")
