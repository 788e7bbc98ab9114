"""`shrinknet status`: the progress of a run, read without changing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shrinknet.cli.output import json_option, show


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def status(run: Path, as_json: bool) -> None:
    """Show the progress of the run in the folder RUN: whether a process is writing it, its trials, what is left."""
    record = of_run(run)
    lines = [f"{name.replace('_', ' '):<16} {'-' if value is None else value}" for name, value in record.items()]
    show(record, "\n".join(lines), as_json=as_json)


def of_run(run: Path) -> dict[str, Any]:
    """The progress of a run according to its files, as plain JSON types.

    Raises:
        RunError: the folder is not a run folder, or is damaged.
    """
    from shrinknet.runs.lock import holder
    from shrinknet.runs.store import RunStore

    store = RunStore(run)
    facts, trials = store.read_json("run"), store.trials()
    accepted = [trial for trial in trials if trial.accepted]
    last = trials[-1] if trials else None
    state = "finished" if facts.get("finished") else "running" if holder(run) else "interrupted"
    return {
        "state": state,
        "process": holder(run),
        "baseline": facts.get("baseline"),
        "trials": len(trials),
        "kept": len(accepted),
        "score": accepted[-1].score if accepted else facts.get("baseline"),
        "filters_left": last.filters_left if last else None,
        "parameters": last.parameters if last else None,
        "multiply_adds": last.multiply_adds if last else None,
        "seconds_in_trials": round(sum(trial.seconds for trial in trials), 1),
        "stopped": facts.get("stopped") or None,
    }
