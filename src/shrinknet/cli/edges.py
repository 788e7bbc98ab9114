"""`shrinknet minimize edges` and `shrinknet demo`: train an edge detector on photographs and shrink it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shrinknet.cli.minimizing import minimize_options, run_and_show
from shrinknet.cli.output import json_option
from shrinknet.cli.values import WIDTHS

# About two minutes on two cores, and large enough to show the method.
DEMO: dict[str, Any] = {
    "preset": "thesis",
    "crop": 96,
    "warmup_steps": 2500,
    "steps": 500,
    "strategy": "ablation",
    "threshold": 0.96,
    "reference": "baseline",
    "target": 0.7,
    "seed": 1,
}


@click.command()
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs to learn from.  [default: those that come with scikit-image]",
)
@click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="What to do with photographs that cannot be used; skipped ones are listed.")  # fmt: skip
@click.option(
    "--edges",
    type=click.Choice(["canny", "sobel"]),
    default="canny",
    show_default=True,
    help="The edge map that is learnt.",
)
@click.option(
    "--crop",
    type=click.IntRange(min=8),
    default=128,
    show_default=True,
    help="Height and width of the crops, in pixels.",
)
@click.option("--widths", type=WIDTHS, default="5,5,1", show_default=True, help="Filters of each convolution.")
@click.option(
    "--kernel",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Height and width of the masks, in pixels.",
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-3, show_default=True,
              help="Of Adam.")  # fmt: skip
@minimize_options(run_dir=Path("runs/edges"), warmup_steps=10_000)
def edges(**options: Any) -> None:
    """Shrink an edge detector: train it on photographs, and remove the filters that it does not need.

    Prints the before/after table, measured on unseen photographs, and the path of the page of the run. Repeat the
    command to resume an interrupted run.
    """

    def run(**given: Any) -> Any:
        from shrinknet.applications.edges.run import minimize_edges

        return minimize_edges(**given)

    run_and_show(run, **options)


@click.command()
@click.option(
    "--run",
    "run_dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for the run: journal, models, page.",
)
@click.option("--force", is_flag=True, help="If --run contains another run, rename it and start over.")
@json_option
@click.pass_context
def demo(context: click.Context, /, **options: Any) -> None:
    """See it work: `minimize edges` with small settings; takes a few minutes on two cores."""
    context.invoke(edges, **options, **DEMO)
