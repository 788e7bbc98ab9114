"""`shrinknet minimize model`: any saved, compiled Keras model, on arrays in .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shrinknet.cli.arrays import read_pairs
from shrinknet.cli.minimizing import minimize_options, run_and_show
from shrinknet.cli.models import array_file, model_argument, trust_option


@click.command()
@model_argument
@click.option("--train", type=array_file, required=True, help="Training data: arrays x and y, .npz.")
@click.option(
    "--validation", type=array_file, required=True, help="Data that decide about each cut: arrays x and y, .npz."
)
@click.option("--test", type=array_file, help="Data that influence no decision: arrays x and y, .npz.")
@trust_option
@minimize_options(run_dir=Path("runs/model"))
def model(model: Path, train: Path, validation: Path, test: Path | None, trust: bool, **options: Any) -> None:
    """Shrink the Keras model in MODEL, a .keras or .h5 file of a compiled model.

    Prints the before/after table and the path of the page of the run. Repeat the command to resume an interrupted run.
    """

    def run(run_dir: Path, seed: int | None, **given: Any) -> Any:
        from shrinknet.applications.file import file_task
        from shrinknet.applications.running import run_task

        def make(_: int) -> Any:
            return file_task(model, read_pairs(train), read_pairs(validation), read_pairs(test), trust=trust)

        return run_task(make, run_dir, seed=seed, **given)

    run_and_show(run, **options)
