"""``l2m-eval reproduce``: the paper's experiments, run again."""

from __future__ import annotations

import argparse
import time
from typing import Any

from l2m_eval.cli.command import add_command


def add_parser(commands: Any) -> None:
    """Add the command to ``l2m-eval``."""
    parser = add_command(
        commands,
        "reproduce",
        run,
        summary="train small models on a known process and measure their exact divergence from it",
        description="The paper's synthetic experiment: transformers and Mamba models of several state sizes are "
        "trained on a process with a known sub-volume law, separately for each length, and their exact KL "
        "per token is measured at every position. Models with a fixed state fall behind with length. An interrupted "
        "run continues where it stopped. The figures need the extra 'figures'.",
        examples=[
            "l2m-eval reproduce synthetic --scale laptop --output reproduced",
            "l2m-eval reproduce synthetic --config my.yaml --variant tokens --output reproduced",
        ],
    )
    parser.add_argument("experiment", choices=["synthetic"], help="what to run")
    parser.add_argument(
        "--scale",
        default="laptop",
        metavar="PRESET",
        help="laptop (the default: two cores, twenty minutes), laptop-gaussian (the same in real values), "
        "gpu (one GPU, half an hour), paper (a GPU for a day)",
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="your own plan, in the form of the presets")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        help="run only this variant: tokens or gaussian; may be repeated",
    )
    parser.add_argument(
        "--model", action="append", default=[], help="run only this model of the plan; may be repeated"
    )
    parser.add_argument("--output", default="reproduced", metavar="FOLDER", help="default: reproduced")
    parser.add_argument("--cpu", action="store_true", help="do not use accelerators")
    parser.add_argument(
        "--processes",
        type=int,
        help="number of simultaneous trainings; default: one per core (at most four) without an accelerator, else "
        "one",
    )
    parser.add_argument(
        "--figures-only",
        action="store_true",
        help="draw the figures from the results in the folder, without training",
    )


def run(parsed: argparse.Namespace) -> int:
    """Train what is not trained yet, print the table, draw the figures."""
    from pathlib import Path

    from l2m_eval.errors import L2MError
    from l2m_eval.experiments.plan import read_plan
    from l2m_eval.experiments.results import load_results, results_table

    output = Path(parsed.output)
    start = time.perf_counter()
    if parsed.figures_only:
        results = load_results(output)
    else:
        variants = read_plan(parsed.config or parsed.scale)
        names = [variant.name for variant in variants]
        models = [plan.name for variant in variants for plan in variant.models]
        for option, wanted, known in (("variant", parsed.variant, names), ("model", parsed.model, models)):
            for name in wanted:
                if name not in known:
                    accepted = ", ".join(dict.fromkeys(known))
                    raise L2MError(f"{option}: {name!r} is not in the plan; accepted: {accepted}")
        from l2m_eval.experiments.synthetic import run_variant

        processes = _processes(parsed.processes, parsed.cpu)
        results = []
        for variant in variants:
            if not parsed.variant or variant.name in parsed.variant:
                results += run_variant(
                    variant,
                    output,
                    cpu=parsed.cpu,
                    processes=processes,
                    progress=not parsed.quiet,
                    models=parsed.model,
                )
    print("\n".join(results_table(results)))
    for file in _figures(results, output):
        print(f"\n{file}")
    if not parsed.figures_only:
        trained = sum(result.seconds for result in results)
        print(f"\n{time.perf_counter() - start:.0f} s; all models one after the other: {trained:.0f} s.")
    return 0


def _processes(asked: int | None, cpu: bool) -> int:
    import os

    import torch

    from l2m_eval.errors import L2MError

    if asked is not None and asked < 1:
        raise L2MError(f"processes: {asked} is not accepted; give an integer from 1")
    if asked is not None:
        return asked
    return 1 if torch.cuda.is_available() and not cpu else min(4, os.cpu_count() or 1)


def _figures(results: Any, output: Any) -> list[Any]:
    """The figures, one per variant; none, with a note, where matplotlib is missing."""
    import logging
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        logging.getLogger(__name__).warning("l2m-eval: no figures: pip install 'l2m-eval[figures]'")
        return []
    from l2m_eval.experiments.figures import draw_results

    return [
        draw_results([r for r in results if r.variant == name], output / f"reproduce_{name}.svg")
        for name in dict.fromkeys(result.variant for result in results)
    ]
