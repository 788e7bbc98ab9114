"""`shrinknet experiment`: the experiments of the thesis, and their progress while they run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from shrinknet.cli.output import json_option, load_keras, show, working

NAMES = (
    "correlations",
    "drop-gain",
    "strategies",
    "avalanche",
    "probes",
    "steel",
    "steel-eda",
)  # as QUESTIONS, whose import would load NumPy


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option(
    "--preset",
    type=click.Choice(["smoke", "laptop", "paper"]),
    help="Size: seconds, half an hour on one core, or the thesis's numbers.  [default: smoke, or that of --config]",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with changes to the preset.",
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting, such as steps=500 or 'images=[\"VOC2012\"]'; may be repeated.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results; finished repetitions in it are not trained again.  [default: runs/NAME-PRESET]",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of parallel processes with one thread each; the results are the same.",
)
@click.option("--cluster", metavar="ADDRESS", help="Use the workers of this Dask scheduler instead.")
@json_option
def experiment(
    name: str,
    preset: str | None,
    config: Path | None,
    sets: tuple[str, ...],
    out: Path | None,
    jobs: int,
    cluster: str | None,
    as_json: bool,
) -> None:
    """Repeat an experiment of the thesis, or of the reports on avalanches and steel plates.

    It trains what is missing, prints the table, and writes figures and page.

    It can be stopped at any moment, even by kill -9; the same command resumes it, with the same result.
    """
    with working():
        if jobs == 1 and cluster is None:
            load_keras()  # this process will train: suppress TensorFlow's startup messages
        from shrinknet.experiments import question
        from shrinknet.experiments.settings import load_settings

        asked = question(name)
        settings, chosen = load_settings(asked.settings, preset, config, sets)
        from shrinknet.experiments.frame import run

        with _Bar(name, "repetitions" if settings.units == settings.repetitions else "steps") as bar:
            folder = Path("runs") / f"{name}-{chosen}" if out is None else out
            result = run(asked, settings, folder, preset=chosen, jobs=jobs, cluster=cluster, tell=bar.tell)
    show(result.to_dict(), str(result), as_json=as_json)


class _Bar:
    """Repetitions done and time left: redrawn in place on a terminal, otherwise one line each."""

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what
        self._live = sys.stderr.isatty()
        self._drawn = False

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        if self._drawn and self._live:
            click.echo(err=True)

    def tell(self, done: int, total: int, left: float | None) -> None:
        """Shows the progress of the experiment."""
        text = line(self._name, done, total, left, self._what)
        click.echo(f"\r\x1b[2K{text}" if self._live else text, err=True, nl=not self._live)
        self._drawn = True


def line(name: str, done: int, total: int, left: float | None, what: str = "repetitions") -> str:
    """The progress as text.

    Example:
        >>> line("correlations", 7, 20, 754.0)
        'correlations  [########----------------]  7/20 repetitions  about 13 min left'
    """
    marks = 24 * done // total
    parts = [name, f"[{'#' * marks}{'-' * (24 - marks)}]", f"{done}/{total} {what}"]
    if left:
        parts.append(f"about {_duration(left)} left")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
