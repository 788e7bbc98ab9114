"""`shrinknet report`: the page of a run."""

from __future__ import annotations

from pathlib import Path

import click

from shrinknet.cli.output import json_option, load_keras, show, working


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def report(run: Path, as_json: bool) -> None:
    """Write the page of the run folder RUN: one self-contained HTML file. Prints its path."""
    with working():
        load_keras()
        from shrinknet.report import write_page

        page = str(write_page(run))
    show({"page": page}, page, as_json=as_json)
