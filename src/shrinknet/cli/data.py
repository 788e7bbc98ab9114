"""`shrinknet data`: prepares photographs for training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from shrinknet.cli.output import json_option, show, working


@click.group()
def data() -> None:
    """Prepare data before training."""


@data.command()
@click.argument("images", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/edge-maps"),
    show_default=True,
    help="Folder for the edge maps, stored as PNG.",
)
@click.option("--edges", "kind", type=click.Choice(["canny", "sobel"]), default="canny", show_default=True,
              help="The kind of edge maps.")  # fmt: skip
@click.option("--low", type=click.FloatRange(min=0), default=100.0, show_default=True,
              help="Canny: an edge continues while the gradient is above this.")  # fmt: skip
@click.option("--high", type=click.FloatRange(min=0), default=200.0, show_default=True,
              help="Canny: an edge starts where the gradient is above this.")  # fmt: skip
@click.option("--sigma", type=click.FloatRange(min=0), default=0.0, show_default=True,
              help="Standard deviation of the smoothing in pixels; 0: none.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Number of threads.  [default: depends on the cores]")
@click.option("--strict", is_flag=True, help="Fail at the first photograph that cannot be used, instead of listing it.")
@json_option
def edges(images: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Compute the edge maps of all photographs in IMAGES once: folders, or roots in the layout of VOC2012.

    Without IMAGES: the photographs that come with scikit-image. Existing edge maps are kept, unless their photograph
    has changed. To train with them, pass the same folder as `cache` to an experiment.
    """
    with working():
        from shrinknet.applications.edges.prepare import prepare_edges

        with click.progressbar(length=1, label="edge maps", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

            def tell(done: int, total: int) -> None:
                bar.length = total
                bar.update(done - bar.pos)

            record = prepare_edges(images or None, progress=tell, **options).to_dict()
    show(record, _text(record), as_json=as_json)


def _text(record: dict[str, Any]) -> str:
    lines = [
        f"{record['photographs']} photographs, {record['made']} edge maps computed, {record['found']} found, "
        f"{len(record['skipped'])} skipped",
        *(f"  skipped {name}: {reason}" for name, reason in record["skipped"].items()),
        f"edges    {record['share']:.1%} of all pixels" if record["share"] is not None else "",
        f"sizes    {record['smallest']} to {record['largest']} pixels" if record["smallest"] else "",
        f"folder   {record['folder']}",
    ]
    return "\n".join(line for line in lines if line)
