"""`shrinknet strategies`: lists the strategies."""

from __future__ import annotations

import click

from shrinknet.cli.output import json_option, show, working


@click.command()
@json_option
def strategies(as_json: bool) -> None:
    """List the strategies, by name: built in, installed plug-ins, and the folder SHRINKNET_STRATEGIES."""
    with working():
        from shrinknet.strategies import strategies as known

        rows = [{"name": name, "summary": listed.summary} for name, listed in known().items()]
    width = max(len(row["name"]) for row in rows)
    show({"strategies": rows}, "\n".join(f"{row['name']:<{width}}  {row['summary']}" for row in rows), as_json=as_json)
