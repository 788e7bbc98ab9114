"""`shrinknet doctor`: checks whether everything is installed and works."""

from __future__ import annotations

import click

from shrinknet.cli.exits import CHECK_FAILED
from shrinknet.cli.output import json_option, load_keras, show, working


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Show versions, hardware and optional packages, and try a small cut. Exit code 1 if a check fails."""
    with working():
        load_keras()
        from shrinknet.cli.checks import as_text, examine

        findings = examine()
    show(findings, as_text(findings), as_json=as_json)
    if not findings["ok"]:
        context.exit(CHECK_FAILED)
