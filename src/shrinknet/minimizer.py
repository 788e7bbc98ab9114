"""The one function that most users call: `minimize`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from shrinknet.checks import at_least, flag, one_of
from shrinknet.engine.data import Arrays, Feed, first_batch, read_data, steps_of_an_epoch
from shrinknet.engine.targets import check_inputs, check_targets
from shrinknet.errors import DataError, OptionError
from shrinknet.loop.accepting import check_model, refuse_measuring, refuse_rates
from shrinknet.loop.goals import Target, unit_of
from shrinknet.loop.loop import minimize_network
from shrinknet.loop.notebook import Notebook
from shrinknet.loop.options import LIMITS, Options, check_keywords, gather
from shrinknet.loop.pace import Pace, Spec, make_pace
from shrinknet.loop.presets import AUTO, BASELINE, filled
from shrinknet.loop.progress import Lines, Progress
from shrinknet.loop.rates import trial_optimizer
from shrinknet.loop.result import Result, finish
from shrinknet.loop.scoring import Mode, Score
from shrinknet.loop.settings import Final, RunFolder, Scope, Stop, Training, Warmup
from shrinknet.loop.workbench import Data, Workbench
from shrinknet.network.optimizers import fresh_copy
from shrinknet.network.switching import switched
from shrinknet.repair import Fold, Refit, repair_settings
from shrinknet.runs.fingerprint import identity, of_function, of_setting, of_strategy
from shrinknet.runs.folder import FolderRecorder
from shrinknet.runs.lock import refuse_if_held
from shrinknet.runs.recorder import NoRecorder, Recorder
from shrinknet.runs.resume import stored_seed
from shrinknet.strategies import Strategy, load_strategy
from shrinknet.strategies.memory import Memory

if TYPE_CHECKING:
    import os


def minimize(
    model: Any,
    train_data: Any,
    validation_data: Any,
    *,
    target: Target | None = None,
    threshold: float | Mapping[str, float] | None = None,
    max_drop: float | Mapping[str, float] | None = None,
    score: Score = None,
    mode: Mode = "auto",
    strategy: str | Strategy | None = None,
    repair: str | Refit | Fold | None = AUTO,
    run_dir: str | os.PathLike[str] | RunFolder | None = None,
    seed: int | None = None,
    preset: str = "default",
    reference: str | None = BASELINE,
    pace: Spec | None = None,
    warmup_steps: int | Warmup | None = None,
    steps: int | Training | None = None,
    final_steps: int | Final | None = None,
    stop: int | Stop | None = None,
    scope: str | Scope | None = None,
    batch_size: int = 32,
    validation_steps: int | None = None,
    test_data: Any = None,
    test_steps: int | None = None,
    control: bool = False,
    latency: bool = True,
    callbacks: Sequence[Any] = (),
    verbose: str | int = "auto",
    **details: Any,
) -> Result:
    """Finds the smallest network that still solves the task, and cuts it out.

    With a target, the network is cut down to it in a few rounds, repaired after each, and trained at the end. With a
    threshold, cuts are kept as long as they keep that share of the score. With both, it ends at whatever comes first.
    With neither, the threshold is 0.98.

    The main arguments:

    Args:
        model: a compiled, trained Keras model; it is not changed.
        train_data, validation_data: arrays (x, y) or (x, y, sample_weight), a tf.data.Dataset, a PyDataset; a
            generator for training only.
        target: what the network shall cost: a dictionary with the keys "filters", "parameters", "multiply_adds",
            "bytes", "latency" (of the LiteRT file on this machine, a share of today's), "latency_ms", such as
            {"multiply_adds": 0.5}. A float below 1 is a share of the uncut network, anything else a number. A plain
            number means filters.
        threshold: share of the reference score that a cut must keep, in (0, 1]; higher is stricter.
        max_drop: instead of a share, how much worse than the reference a score may be, in its own unit; for scores that
            can be zero or negative, as R2. A score has one of the two.
        score: name of a compiled metric, "loss", or a function of the model; None: the first compiled metric, else
            the loss. With a list of them, every one guards a cut; the first is the score that is reported. `threshold`,
            `max_drop` and `mode` are then for all, or dictionaries such as {"accuracy": 0.98, "auc": 0.95}.
        mode: "max": higher is better, "min": lower is better, "auto": told by the metric or its name.
        strategy: a name that `shrinknet strategies` lists, a path to a .py file, or a `Strategy`; None: "refit".
        repair: what follows a cut before any training: "refit" (least squares on calibration data), "fold" (no data),
            a `Refit` or `Fold` with settings, None: nothing; "auto": "refit".
        run_dir: folder for checkpoints, journal, models and page; None: nothing is written. An interrupted run,
            however it was interrupted, continues after its last decided trial when the same call is made again, and
            ends in the same bits; a finished one answers at once, or goes further if its limits were raised.
        seed: of the order of the data and the strategy; the same seed gives the same bits on the same machine. The
            model's own seeds are the user's. None: the run folder's, or a random one.

    The others; None stands for what the preset says:

    Args:
        preset: "default"; "thesis": one filter at a time by cosine-max, no repair, 10,000 steps of warm-up, 2,000 in
            each trial, compared with the last kept score (B. Jenei, Szeged 2018).
        reference: "baseline": the score after the warm-up, which bounds the total loss; "last": that after the last
            accepted cut.
        pace: what is tried at once: "one", a number of filters, "adaptive" (doubling, halves after a rejection),
            "bisect" or a `Bisect` (large steps first, halved after a rejection), "rounds" or `Rounds` (equal steps up
            to the target); "auto": rounds for a target without a threshold, else bisect.
        warmup_steps: training steps before the first trial, or a `Warmup`; 0 suits a trained model.
        steps: training steps in each trial at most, or a `Training`; None: an epoch, between 50 and 500.
        final_steps: training steps of the network that is left, with a rate that falls to 0, or a `Final`; None: five
            epochs; more of small data, up to 500 steps or 20 epochs; 5,000 at most.
        stop: the number of trials to stop after, or a `Stop`.
        scope: "filters" or "layers", what is cut; or a `Scope`. A strategy sees a layer as its first filter;
            "sequential", "random" and "ablation" suit. Filters follow in a second run, on the model that is left.
        batch_size: samples a batch, for arrays.
        validation_steps, test_steps: use only the first so many batches of the validation or test data, each time the
            same; None: all. Data that never end need it.
        test_data: arrays, a tf.data.Dataset or a PyDataset that no decision sees, for the summary.
        control: also train the uncut network for as many steps, for comparison.
        latency: measure the latency of both networks in LiteRT for the summary, a second or two each.
        callbacks: Keras callbacks; objects with `on_trial_begin(number)` or `on_trial_end(trial)`. For a Keras callback
            the warm-up, each trial and the final training are one training each. `val_*` is measured at the end of an
            epoch, between `on_test_begin` and `on_test_end`, if a callback may look at it. With hooks for batches, of
            training or tests, Keras's slower `fit` trains. Callbacks with a state, as EarlyStopping, restart when a
            run is resumed.
        verbose: "auto": a progress bar on a terminal; 0: nothing; 1 or 2: a line a trial.
        details: fields of the objects above, each as a keyword: warmup_patience; trial_optimizer, reset, schedule,
            train, checks, distill, compact; final_optimizer, final_distill; max_trials, max_seconds; candidates,
            min_filters, only, never, round_to; force, strict, new_data.

    Returns:
        The slim model, the trials, and the table before/after. After Ctrl-C: what was decided so far.

    Raises:
        ModelError, DataError, ScoreError, OptionError, StrategyError: see their sentences.
        NotEquivalentError: the slim network would not compute the same; nothing is returned.
        RunError: the run folder holds another run, or is being written by another process.
        StorageError: the disk is full or fails; what was decided before is kept.

    Example:
        >>> short = {"warmup_steps": 20, "steps": 5, "max_trials": 2, "final_steps": 5}
        >>> result = minimize(model, (x, y), (x, y), threshold=0.9, seed=1, **short)
        >>> result.model.count_params() == result.summary.after.parameters
        True
    """
    asked = Asked.of(
        preset, details, target=target, threshold=threshold, max_drop=max_drop, strategy=strategy, repair=repair,
        reference=reference, pace=pace, warmup_steps=warmup_steps, steps=steps, final_steps=final_steps, stop=stop,
        scope=scope, run_dir=run_dir,
    )  # fmt: skip
    _check_others(
        batch_size=batch_size, validation_steps=validation_steps, test_steps=test_steps, seed=seed, control=control,
        latency=latency, callbacks=callbacks, verbose=verbose,
    )  # fmt: skip
    refuse_rates(callbacks, asked.options)
    folder = asked.folder
    if folder is not None:
        refuse_if_held(folder.path)
    seed = _settled(seed, folder)
    chosen = asked.make_strategy(seed)
    check_model(model)
    feeds = _feeds(batch_size, training=(train_data, None), validation=(validation_data, validation_steps),
                   test=(test_data, test_steps))  # fmt: skip
    net, data = _network_and_data(model, feeds)
    options = asked.options.with_steps(steps_of_an_epoch(data.train))
    # A copy, since callbacks may lower the rate in the warm-up, and a run that is resumed after it would not know.
    own = fresh_copy(net.optimizer) if options.final.steps else net.optimizer
    optimizer, ships = trial_optimizer(options.training, own)
    refuse_measuring(optimizer or own)
    config = {
        **asked.to_dict(options, optimizer), "seed": seed, "batch_size": batch_size, "mode": mode, "control": control,
        "validation_steps": validation_steps,
        "score": [of_function(one) for one in score] if isinstance(score, list | tuple) else of_function(score),
    }  # fmt: skip
    with _recorder(folder) as recorder, Progress(hidden=verbose != "auto") as progress:
        saved = recorder.begin(config, lambda: identity(model, (data.train, data.validation), data.test), LIMITS)
        bench = Workbench(
            net, data, seed, score=score, mode=mode, scope=options.scope, callbacks=callbacks, progress=progress,
            repair=options.repair if isinstance(options.repair, Refit) else None,
            steps_ahead=options.warmup.steps + (options.training.steps or 0),
            decided=saved.snapshot.decided if saved else None,
            results=saved.snapshot.results if saved else None,
        )  # fmt: skip
        bench.ships = ships
        if verbose in (1, 2):
            bench.callbacks = [*callbacks, Lines(bench.scorer.name)]
        notebook = Notebook(bench, recorder, saved)
        outcome = minimize_network(notebook, chosen, asked.make_pace(), options, optimizer)
        return finish(notebook, outcome, options, own=own, control=control, latency=latency)


def check_options(**options: Any) -> None:
    """Refuses what `minimize` would refuse of these of its arguments, before any data is read.

    Raises:
        OptionError: an argument is unknown or has a value outside of its range; StrategyError: no such strategy.
    """
    signature = inspect.signature(minimize)
    known = {name: one.default for name, one in signature.parameters.items() if one.default is not one.empty}
    given = {**known, **{name: value for name, value in options.items() if name in known}}
    details = {name: value for name, value in options.items() if name not in known}
    _check_others(**{name: given[name] for name in OTHERS})
    Asked.of(given["preset"], details, **{name: given[name] for name in PRESET_ARGUMENTS}).make_strategy(0)


OTHERS = ("batch_size", "validation_steps", "test_steps", "seed", "control", "latency", "callbacks", "verbose")
PRESET_ARGUMENTS = ("target", "threshold", "max_drop", "strategy", "repair", "reference", "pace", "warmup_steps",
                    "steps", "final_steps", "stop", "scope", "run_dir")  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What the user asked for, complete and checked; see `minimize`.

    Attributes:
        options: of the loop; folder: of the run; strategy, pace: as given, or as the preset says.
    """

    options: Options
    folder: RunFolder | None
    strategy: Any
    pace: Spec

    @classmethod
    def of(cls, preset: str, details: Mapping[str, Any], **given: Any) -> Asked:
        """Fills in what the user left open."""
        check_keywords(details)
        values, details = filled(preset, given, details)

        def gathered(name: str, kind: type) -> Any:
            return gather(name, kind, values[name], details)

        options = Options(
            threshold=values["threshold"],
            max_drop=values["max_drop"],
            reference=values["reference"],
            target=values["target"],
            repair=repair_settings(values["repair"]),
            warmup=gathered("warmup_steps", Warmup),
            training=gathered("steps", Training),
            final=gathered("final_steps", Final),
            stop=gathered("stop", Stop),
            scope=gathered("scope", Scope),
        )
        if options.scope.candidates == "layers":
            options = replace(options, repair=None)  # a layer that is passed by has no readers of its own
        asked = cls(options, gathered("run_dir", RunFolder), values["strategy"], values["pace"])
        asked.make_pace()
        return asked

    def to_dict(self, options: Options, optimizer: Any) -> dict[str, Any]:
        """What decides what the run computes, in plain values: `options` complete, and what the trials train with."""
        strategy, patience = _apart(self.strategy)
        return {
            **options.to_dict(),
            "strategy": of_strategy(strategy),
            "patience": patience,
            "pace": str(self.pace),
            "trial_optimizer": of_setting(None if options.training.optimizer is None else optimizer),
            "final_optimizer": of_setting(options.final.optimizer),
        }

    def make_pace(self) -> Pace:
        """A new one."""
        return make_pace(self.pace, has_goals=bool(self.options.goals), decides=self.options.decides)

    def make_strategy(self, seed: int) -> Strategy:
        """A new one; "refit" counts what the target counts."""
        chosen = self.strategy
        if chosen == "refit":
            chosen = ("refit", {"saves": unit_of(self.options.goals)})
        return load_strategy(chosen, seed=seed)


def _apart(strategy: Any) -> tuple[Any, Any]:
    """A strategy without its patience, which only says how long it searches; and that, None if it was not given."""
    if not isinstance(strategy, tuple):
        memories = [value for value in getattr(strategy, "__dict__", {}).values() if isinstance(value, Memory)]
        return strategy, memories[0].patience if memories else None
    if "patience" not in strategy[1]:
        return strategy, None
    name, parameters = strategy
    rest = {key: value for key, value in parameters.items() if key != "patience"}
    return (name, rest) if rest else name, parameters["patience"]


def _settled(seed: int | None, folder: RunFolder | None) -> int:
    """The seed that was asked for, that of the run in the folder, or a random one."""
    if seed is None:
        seed = stored_seed(folder.path if folder else None)
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)


def _recorder(folder: RunFolder | None) -> Recorder:
    if folder is None:
        return NoRecorder()
    return FolderRecorder(folder.folder, force=folder.force, strict=folder.strict, new_data=folder.new_data)


def _feeds(batch_size: int, **given: tuple[Any, int | None]) -> dict[str, Feed]:
    """The data by what they are called in messages; given are their names, and how many batches of them to use."""
    feeds = {}
    for name, (data, steps) in given.items():
        if name == "test" and data is None:
            if steps is not None:
                raise OptionError("Expected test_steps only together with test_data; received no test_data.")
            continue
        what = f"{name} data"
        feeds[what] = read_data(data, batch_size, what, endless=name == "training", steps=steps)
    if not getattr(feeds["validation data"], "repeatable", True):
        raise DataError(
            "The validation data are a generator, which can be read only once. Expected arrays, a tf.data.Dataset or a "
            "keras.utils.PyDataset."
        )
    return feeds


def _network_and_data(model: Any, feeds: Mapping[str, Feed]) -> tuple[Any, Data]:
    """A switched copy of the model, and the data, which are checked against it."""
    net = switched(model)
    for what, feed in feeds.items():
        check_inputs(net, first_batch(feed), what)
        check_targets(net, feed.arrays if isinstance(feed, Arrays) else first_batch(feed), what)
    return net, Data(feeds["training data"], feeds["validation data"], feeds.get("test data"))


def _check_others(
    *, batch_size: Any, validation_steps: Any, test_steps: Any, seed: Any, control: Any, latency: Any, callbacks: Any,
    verbose: Any,
) -> None:  # fmt: skip
    at_least("batch_size", batch_size, 1)
    at_least("validation_steps", validation_steps, 1, optional=True)
    at_least("test_steps", test_steps, 1, optional=True)
    at_least("seed", seed, 0, optional=True)
    flag("control", control)
    flag("latency", latency)
    one_of("verbose", verbose, ("auto", 0, 1, 2, False, True))
    if not isinstance(callbacks, Sequence):
        raise OptionError(f"Expected callbacks to be a list; received {type(callbacks).__name__}.")
    for callback in callbacks:
        told = hasattr(callback, "on_trial_begin") or hasattr(callback, "on_trial_end")
        if not (told or isinstance(callback, keras.callbacks.Callback)):
            raise OptionError(
                "Expected each callback to be a keras.callbacks.Callback, or to have on_trial_begin or on_trial_end; "
                f"received {callback!r}."
            )


__all__ = ["Result", "minimize"]
