"""The options and the output that all `shrinknet minimize ...` commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from shrinknet.cli.output import json_option, load_keras, show, working
from shrinknet.cli.values import FORMATS, PACE, PARAMETER, RATE, TARGET
from shrinknet.runs.lock import refuse_if_held

_WHOLE = click.IntRange(min=0)
Option = Callable[..., Any]
_OPEN = ("batch_size", "trial_optimizer", "final_optimizer", "schedule", "train", "checks", "compact", "only", "never")


def minimize_options(**defaults: Any) -> Callable[[Any], Any]:
    """Adds the options for the parameters of `minimize` to a command.

    Args:
        defaults: by parameter, where they differ from those of `minimize`.
    """

    def option(name: str, kind: Any, help: str, default: Any = None, **settings: Any) -> Any:
        default = defaults.get(name, default)
        flags = settings.pop("flags", f"--{name.replace('_', '-')}")
        return click.option(flags, name, type=kind, default=default, show_default=default is not None, help=help,
                            **settings)  # fmt: skip

    options = [*_deciding(option), *_training(option), *_limits(option), *_output(option)]

    def add(command: Any) -> Any:
        for one in reversed(options):
            command = one(command)
        return command

    return add


def _deciding(option: Option) -> list[Any]:
    """Which filters are cut, how the network is repaired, and what decides."""
    return [
        option("preset", click.Choice(["default", "thesis"]), "Defaults for the other options: what works best today, "
               "or the process of the thesis.", "default"),
        option("target", TARGET, "What the network may cost: multiply-adds=0.5, parameters=20000, bytes=0.3, "
               "latency=0.5, latency-ms=4; several separated by commas; or a number or share of filters."),
        option("threshold", click.FloatRange(0, 1, min_open=True), "Share of the reference score that a cut must keep; "
               "higher is stricter.  [default: 0.98 without a target]"),
        option("max_drop", click.FloatRange(min=0), "Instead of a share: how much worse the score may become, "
               "in its own unit."),
        option("strategy", str, "How filters are chosen: a name that `shrinknet strategies` lists, or a .py file.  "
               "[default: refit]"),
        option("strategy_options", PARAMETER, "A parameter of the strategy, such as relative=true; may be repeated.",
               flags="--strategy-option", multiple=True),
        option("repair", click.Choice(["auto", "refit", "fold", "none"]), "What follows a cut, before any training: "
               "least squares on calibration data, folding without data, or nothing.", "auto"),
        option("reference", click.Choice(["last", "baseline"]), "The score to compare with: that of the last kept cut, "
               "or of the uncut network after the warm-up.  [default: baseline]"),
        option("score", str, "The compiled metric that decides, or loss; of several, separated by commas, a cut must "
               "keep all, and the first is reported.  [default: the first metric]"),
        option("mode", click.Choice(["auto", "max", "min"]), "Whether a higher score is better.", "auto"),
    ]  # fmt: skip


def _training(option: Option) -> list[Any]:
    """How the network is trained, and for how long."""
    return [
        option("warmup_steps", _WHOLE, "Training steps before the first trial.  [default: 0]"),
        option("warmup_patience", click.IntRange(min=1), "End the warm-up early, after this many tenths of it without "
               "a better score."),
        option("steps", _WHOLE, "Training steps in each trial, at most.  [default: an epoch, from 50 to 500]"),
        option("final_steps", _WHOLE, "Training steps of the network that is left.  [default: five epochs; more of "
               "small data, up to 500 steps or 20 epochs; 5,000 at most]"),
        option("trial_optimizer", RATE, "Optimizer of the trials: a name such as adam, or a learning rate.  "
               "[default: the model's own]"),
        option("final_optimizer", RATE, "Optimizer of the final training.  [default: that of the trials]"),
        option("schedule", click.Choice(["cosine", "constant"]), "The learning rate within a trial: falling to 0, or "
               "as it is.  [default: cosine]"),
        option("trial_training", click.Choice(["when-needed", "always"]), "Whether to train in a trial that is good "
               "enough without.  [default: when-needed]"),
        option("checks", click.IntRange(min=1), "How often the training of a trial is scored; it ends early when it is "
               "good enough, or cannot become so.  [default: 4]"),
        option("compact", click.Choice(["auto", "always", "never"]), "Whether trials train the small network in place "
               "of the switched one: where that saves time, or not.  [default: auto]"),
        click.option("--reset/--no-reset", default=True, show_default=True,
                     help="Whether to reset the optimizer for each trial."),
        option("batch_size", click.IntRange(min=1), "Samples per batch.  [default: that of the task]"),
        option("validation_steps", click.IntRange(min=1), "Score only this many batches of the validation data.  "
               "[default: all]"),
        click.option("--control/--no-control", default=True, show_default=True,
                     help="Also train the uncut network for as many steps, for comparison."),
    ]  # fmt: skip


def _limits(option: Option) -> list[Any]:
    """What may be cut, how much at once, and when the run ends."""
    return [
        option("pace", PACE, "Filters cut at once: one, a number, adaptive, bisect, rounds.  [default: rounds for a "
               "target alone, else bisect]"),
        option("max_trials", click.IntRange(min=1), "Stop after this number of trials."),
        option("max_seconds", click.FloatRange(min=0, min_open=True), "Stop after this many seconds."),
        option("candidates", click.Choice(["filters", "layers"]), "What to cut: filters, or whole layers.", "filters"),
        option("only", str, "Cut only layers of this name or pattern; may be repeated.", multiple=True),
        option("never", str, "Cut nothing in layers of this name or pattern; may be repeated.", multiple=True),
        option("min_filters", _WHOLE, "Filters that every layer keeps; 0: residual branches can be removed.", 1),
        option("round_to", click.IntRange(min=1), "Keep a multiple of this number of filters in each layer.", 1),
    ]  # fmt: skip


def _output(option: Option) -> list[Any]:
    """Where results go, and how an interrupted run continues."""
    return [
        option("run_dir", click.Path(file_okay=False, path_type=Path), "Folder for the run: journal, models, page.",
               flags="--run"),
        click.option("--latency/--no-latency", default=True, show_default=True,
                     help="Whether to measure the latency of both networks in LiteRT for the summary."),
        option("formats", FORMATS, "Formats of the exported files, separated by commas; see `shrinknet export`.",
               "keras,litert"),
        option("seed", _WHOLE, "The same seed gives the same run, bit for bit.  [default: a new one]"),
        click.option("--force", is_flag=True, help="If --run contains another run, rename it and start over."),
        click.option("--strict", is_flag=True, help="Refuse to continue with other versions, threads or devices."),
        click.option("--new-data", is_flag=True, help="Continue with data other than those the run began with."),
        json_option,
    ]  # fmt: skip


def run_and_show(
    run: Callable[..., Any],
    *,
    as_json: bool,
    run_dir: Path,
    text: Callable[[Mapping[str, Any]], str] | None = None,
    **options: Any,
) -> None:
    """Runs a minimization and prints the result.

    Args:
        run: takes `run_dir` and the options, and returns a `Finished`; called after Keras is loaded.
        text: the record as text; None: `before_after`.
        options: those of `minimize_options` and of the command.
    """
    parameters = dict(options.pop("strategy_options", ()))
    if parameters:
        options["strategy"] = (options["strategy"] or "refit", parameters)
    options["train"] = options.pop("trial_training", None)
    for name in _OPEN:
        if not options.get(name):
            options.pop(name, None)
    if "," in (options.get("score") or ""):
        options["score"] = [name.strip() for name in options["score"].split(",")]
    if options.get("repair") == "none":
        options["repair"] = None
    with working():
        refuse_if_held(run_dir)
        load_keras()
        record = run(run_dir=run_dir, **options).to_dict()
    show(record, (text or before_after)(record), as_json=as_json)


def before_after(record: Mapping[str, Any]) -> str:
    """The before/after table of a run and the paths of its model and page, as text."""
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
