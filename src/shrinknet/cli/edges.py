"""`shrinknet minimize edges` and `shrinknet demo`: an edge detector learns from photographs and is shrunk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from shrinknet.cli.output import json_option, load_keras, show, working
from shrinknet.cli.values import PACE, TARGET, WIDTHS
from shrinknet.runs.lock import refuse_if_held

# Some two minutes on two cores, and large enough to show the method.
DEMO: dict[str, Any] = {
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
    "--run",
    "run_dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/edges"),
    show_default=True,
    help="Folder that holds the run: journal, models, page.",
)
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of photographs to learn from.  [default: those that come with scikit-image]",
)
@click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="What to do about a photograph that cannot be used; those that are skipped are listed.")  # fmt: skip
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
@click.option(
    "--strategy",
    default="cosine-max",
    show_default=True,
    help="What chooses the filters: a name that `shrinknet strategies` lists, or a .py file.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.98,
    show_default=True,
    help="Share of the reference score that a cut must keep; higher is stricter.",
)
@click.option(
    "--reference",
    type=click.Choice(["last", "baseline"]),
    default="last",
    show_default=True,
    help="The score to compare with: of the last kept cut, or of the uncut network after warm-up.",
)
@click.option(
    "--warmup-steps",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="Training steps before the first trial.",
)
@click.option(
    "--warmup-patience",
    type=click.IntRange(min=1),
    help="End the warm-up early, after this many tenths of it without a better score.",
)
@click.option(
    "--steps", type=click.IntRange(min=0), default=2_000, show_default=True, help="Training steps in each trial."
)
@click.option(
    "--pace", type=PACE, default="one", show_default=True, help="Filters cut at once: one, a number, or adaptive."
)
@click.option("--target", type=TARGET, help="Stop at this number of filters left, or at this share, such as 0.5.")
@click.option("--max-trials", type=click.IntRange(min=1), help="Stop after this number of trials.")
@click.option("--max-seconds", type=click.FloatRange(min=0, min_open=True), help="Stop after this many seconds.")
@click.option(
    "--min-filters", type=click.IntRange(min=1), default=1, show_default=True, help="Filters that every layer keeps."
)
@click.option("--seed", type=int, help="The same seed gives the same run, bit for bit.  [default: a new one]")
@click.option("--force", is_flag=True, help="Where --run holds another run, set that beside and begin anew.")
@click.option("--strict", is_flag=True, help="Refuse to go on with other versions, threads or devices.")
@click.option("--new-data", is_flag=True, help="Go on with other photographs than the run began with.")
@json_option
def edges(as_json: bool, run_dir: Path, **options: Any) -> None:
    """Shrink an edge detector: it learns edge maps of photographs, and loses the filters that it can do without.

    Prints the table before/after on photographs it has not seen, and the path of the page that tells the run. A run
    that was interrupted, however that came, goes on when the same command is given again.
    """
    with working():
        refuse_if_held(run_dir)
        load_keras()
        from shrinknet.applications.edges.run import minimize_edges

        record = minimize_edges(run_dir=run_dir, **options).to_dict()
    show(record, before_after(record), as_json=as_json)


@click.command()
@click.option(
    "--run",
    "run_dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder that holds the run: journal, models, page.",
)
@click.option("--force", is_flag=True, help="Where --run holds another run, set that beside and begin anew.")
@json_option
@click.pass_context
def demo(context: click.Context, /, **options: Any) -> None:
    """See it work: `minimize edges` with small settings, in a few minutes on two cores."""
    context.invoke(edges, **options, **DEMO)


def before_after(record: Mapping[str, Any]) -> str:
    """The table before/after of a run, and where its model and page lie, as text."""
    from shrinknet.records import Measurement, Summary

    accepted = sum(trial["accepted"] for trial in record["trials"])
    summary = Summary(
        before=Measurement(**record["before"]),
        after=Measurement(**record["after"]),
        accepted=accepted,
        rejected=len(record["trials"]) - accepted,
        stopped=record.get("stopped", ""),
        control_score=record["control_score"],
    )
    skipped = "".join(f"\nskipped {reason}" for reason in record.get("skipped", {}).values())
    return f"{summary}\n\nmodel  {record['model']}\npage   {record['page']}{skipped}"
