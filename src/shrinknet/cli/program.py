"""The program `shrinknet`: the list of its commands."""

from __future__ import annotations

import logging
import sys

import click

from shrinknet import __version__
from shrinknet.cli.avalanche import avalanche, avalanche_data, avalanche_prediction
from shrinknet.cli.data import data
from shrinknet.cli.doctor import doctor
from shrinknet.cli.edges import demo, edges
from shrinknet.cli.exits import EPILOG, Program
from shrinknet.cli.experiment import experiment
from shrinknet.cli.model import model
from shrinknet.cli.models import compress, cost, export, plan, slim
from shrinknet.cli.predict import predict
from shrinknet.cli.report import report
from shrinknet.cli.status import status
from shrinknet.cli.steel import steel
from shrinknet.cli.steel_prediction import predict_steel
from shrinknet.cli.strategies import strategies

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Program, context_settings=_SETTINGS, epilog=EPILOG)
@click.version_option(__version__, prog_name="shrinknet")
@click.option("-v", "--verbose", is_flag=True, help="Report decisions and measurements on stderr.")
def program(verbose: bool) -> None:
    """Make trained Keras networks physically smaller: remove filters as long as the score allows it.

    Results go to stdout, messages and progress to stderr. With --json, stdout is one JSON object and nothing else.
    """
    if verbose:
        logger = logging.getLogger("shrinknet")
        logger.addHandler(logging.StreamHandler(sys.stderr))
        logger.setLevel(logging.INFO)


@program.group()
def minimize() -> None:
    """Train a network and shrink it: cuts are tried one after another, each kept or rolled back."""


minimize.add_command(edges)
minimize.add_command(steel)
predict.add_command(predict_steel)
minimize.add_command(model)
minimize.add_command(avalanche)
data.add_command(avalanche_data)
predict.add_command(avalanche_prediction)
for command in (
    demo,
    plan,
    slim,
    cost,
    export,
    compress,
    predict,
    report,
    status,
    data,
    experiment,
    strategies,
    doctor,
):
    program.add_command(command)


def main() -> None:
    """The entry point of the console script and `python -m shrinknet`; ends the process with the exit code."""
    program(prog_name="shrinknet")
