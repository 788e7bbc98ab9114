"""The one function that most users call: `minimize`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from shrinknet.checks import at_least, flag, one_of
from shrinknet.engine.data import Arrays, first_batch, read_data
from shrinknet.engine.targets import check_inputs, check_targets
from shrinknet.errors import DataError, ModelError, OptionError
from shrinknet.loop.loop import Notebook, minimize_network
from shrinknet.loop.options import LIMITS, Options, RunFolder, Scope, Stop, Training, Warmup, check_keywords, gather
from shrinknet.loop.pace import Pace
from shrinknet.loop.progress import Lines, Progress
from shrinknet.loop.result import Result, finish
from shrinknet.loop.scoring import Score
from shrinknet.loop.workbench import Data, Workbench
from shrinknet.network.optimizers import other_optimizer
from shrinknet.network.switching import switched
from shrinknet.runs.fingerprint import identity, of_function, of_setting, of_strategy
from shrinknet.runs.folder import FolderRecorder
from shrinknet.runs.lock import refuse_if_held
from shrinknet.runs.recorder import NoRecorder, Recorder
from shrinknet.runs.resume import stored_seed
from shrinknet.strategies import Strategy, load_strategy

if TYPE_CHECKING:
    import os


def minimize(
    model: Any,
    train_data: Any,
    validation_data: Any,
    *,
    threshold: float = 0.98,
    max_drop: float | None = None,
    target: int | float | None = None,
    score: Score = None,
    mode: str = "auto",
    strategy: str | Strategy = "cosine-max",
    run_dir: str | os.PathLike[str] | RunFolder | None = None,
    seed: int | None = None,
    reference: str = "last",
    pace: str | int = "one",
    warmup_steps: int | Warmup = 10_000,
    steps: int | Training = 2_000,
    stop: int | Stop | None = None,
    scope: str | Scope | None = None,
    batch_size: int = 32,
    test_data: Any = None,
    control: bool = False,
    callbacks: Sequence[Any] = (),
    verbose: str | int = "auto",
    **details: Any,
) -> Result:
    """Finds the smallest network that still solves the task, and cuts it out.

    The main arguments:

    Args:
        model: a compiled Sequential or Functional Keras model; it is not changed.
        train_data, validation_data: arrays (x, y) or (x, y, sample_weight), a tf.data.Dataset, a PyDataset; a
            generator for training only.
        threshold: share of the reference score that a cut must keep, in (0, 1]; higher is stricter.
        max_drop: instead of a share, how much worse than the reference a score may be, in its own unit; for scores that
            can be zero or negative, as R2.
        target: stop at this number (int) or share (float) of filters left.
        score: name of a compiled metric, "loss", or a function of the model; None: the first compiled metric, else
            the loss.
        mode: "max": higher is better, "min": lower is better, "auto": told by the metric or its name.
        strategy: a name that `shrinknet strategies` lists, a path to a .py file, or a `Strategy`.
        run_dir: folder for checkpoints, journal, models and page; None: nothing is written. An interrupted run,
            however it was interrupted, continues after its last decided trial when the same call is made again, and
            ends in the same bits; a finished one answers at once, or goes further if its limits were raised.
        seed: of the order of the data and the strategy; the same seed gives the same bits on the same machine. The
            model's own seeds are the user's. None: the run folder's, or a random one.

    The others:

    Args:
        reference: "last": the score after the last accepted cut; "baseline": that after the warm-up, which bounds the
            total loss.
        pace: filters tried at once: "one", a number, or "adaptive".
        warmup_steps: training steps before the first trial, or a `Warmup`.
        steps: training steps in each trial, or a `Training`.
        stop: the number of trials to stop after, or a `Stop`.
        scope: "filters" or "layers", what is cut; or a `Scope`. A strategy sees a layer as its first filter;
            "sequential", "random" and "ablation" suit. Filters follow in a second run, on the model that is left.
        batch_size: samples a batch, for arrays.
        test_data: arrays, a tf.data.Dataset or a PyDataset that no decision sees, for the summary.
        control: also train the uncut network for as many steps, for comparison.
        callbacks: Keras callbacks, told of epochs; objects with `on_trial_begin(number)` or `on_trial_end(trial)`.
        verbose: "auto": a progress bar on a terminal; 0: nothing; 1 or 2: a line a trial.
        details: fields of the objects above, each as a keyword: warmup_patience; trial_optimizer, reset; max_trials,
            max_seconds; candidates, min_filters; force, strict, new_data.

    Returns:
        The slim model, the trials, and the table before/after. After Ctrl-C: what was decided so far.

    Raises:
        ModelError, DataError, ScoreError, OptionError, StrategyError: see their sentences.
        NotEquivalentError: the slim network would not compute the same; nothing is returned.
        RunError: the run folder holds another run, or is being written by another process.
        StorageError: the disk is full or fails; what was decided before is kept.

    Example:
        >>> result = minimize(model, (x, y), (x, y), threshold=0.9, warmup_steps=20, steps=5, max_trials=2, seed=1)
        >>> result.model.count_params() == result.summary.after.parameters
        True
    """
    folder, options, paces = _options(
        details, threshold=threshold, max_drop=max_drop, target=target, reference=reference, pace=pace,
        warmup_steps=warmup_steps, steps=steps, stop=stop, scope=scope, run_dir=run_dir,
    )  # fmt: skip
    _check_others(batch_size=batch_size, seed=seed, control=control, callbacks=callbacks, verbose=verbose)
    if folder is not None:
        refuse_if_held(folder.path)
    if seed is None:
        seed = stored_seed(folder.path if folder else None)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    chosen = load_strategy(strategy, seed=seed)
    _check_model(model)
    net, data = _network_and_data(model, train_data, validation_data, test_data, batch_size)
    optimizer = options.training.optimizer
    optimizer = None if optimizer is None else other_optimizer(optimizer, net.optimizer)
    config = {
        **options.to_dict(),
        "strategy": of_strategy(strategy),
        "pace": "adaptive" if paces.adaptive else paces.count,
        "seed": seed,
        "batch_size": batch_size,
        "mode": mode,
        "score": of_function(score),
        "control": control,
        "trial_optimizer": of_setting(optimizer),
    }
    with _recorder(folder) as recorder, Progress(hidden=verbose != "auto") as progress:
        saved = recorder.begin(config, lambda: identity(model, (data.train, data.validation), data.test), LIMITS)
        bench = Workbench(
            net,
            data,
            seed,
            score=score,
            mode=mode,
            whole_layers=options.scope.candidates == "layers",
            callbacks=callbacks,
            progress=progress,
            steps_ahead=options.warmup.steps + options.training.steps,
            decided=saved.snapshot.decided if saved else None,
            results=saved.snapshot.results if saved else None,
        )
        if verbose in (1, 2):
            bench.callbacks = [*callbacks, Lines(bench.scorer.name)]
        notebook = Notebook(bench, recorder, saved)
        outcome = minimize_network(notebook, chosen, paces, options, optimizer)
        return finish(notebook, outcome, options, control=control)


def check_options(**options: Any) -> None:
    """Refuses what `minimize` would refuse of these of its arguments, before any data is read.

    Raises:
        OptionError: an argument is unknown or has a value outside of its range; StrategyError: no such strategy.
    """
    signature = inspect.signature(minimize)
    known = {name: one.default for name, one in signature.parameters.items() if one.default is not one.empty}
    given = {**known, **{name: value for name, value in options.items() if name in known}}
    names = (
        "threshold",
        "max_drop",
        "target",
        "reference",
        "pace",
        "warmup_steps",
        "steps",
        "stop",
        "scope",
        "run_dir",
    )
    details = {name: value for name, value in options.items() if name not in known}
    _options(details, **{name: given[name] for name in names})
    _check_others(**{name: given[name] for name in ("batch_size", "seed", "control", "callbacks", "verbose")})
    load_strategy(given["strategy"], seed=0)


def _options(details: Mapping[str, Any], **given: Any) -> tuple[RunFolder | None, Options, Pace]:
    """Where the run is kept, the settings of the loop, and the pace; see `minimize` for what is given."""
    check_keywords(details)
    options = Options(
        threshold=given["threshold"],
        max_drop=given["max_drop"],
        reference=given["reference"],
        target=given["target"],
        warmup=gather("warmup_steps", Warmup, given["warmup_steps"], details),
        training=gather("steps", Training, given["steps"], details),
        stop=gather("stop", Stop, given["stop"], details),
        scope=gather("scope", Scope, given["scope"], details),
    )
    return gather("run_dir", RunFolder, given["run_dir"], details), options, Pace(given["pace"])


def _recorder(folder: RunFolder | None) -> Recorder:
    if folder is None:
        return NoRecorder()
    return FolderRecorder(folder.folder, force=folder.force, strict=folder.strict, new_data=folder.new_data)


def _network_and_data(
    model: Any, train_data: Any, validation_data: Any, test_data: Any, batch_size: int
) -> tuple[Any, Data]:
    """A switched copy of the model, and the data, which are checked against it."""
    given = {"training data": train_data, "validation data": validation_data, "test data": test_data}
    if test_data is None:
        del given["test data"]
    feeds = {what: read_data(data, batch_size, what, endless=data is train_data) for what, data in given.items()}
    if not getattr(feeds["validation data"], "repeatable", True):
        raise DataError(
            "The validation data are a generator, which can be read only once. Expected arrays, a tf.data.Dataset or a "
            "keras.utils.PyDataset."
        )
    net = switched(model)
    for what, feed in feeds.items():
        check_inputs(net, first_batch(feed), what)
        check_targets(net, feed.arrays if isinstance(feed, Arrays) else first_batch(feed), what)
    return net, Data(feeds["training data"], feeds["validation data"], feeds.get("test data"))


def _check_others(*, batch_size: Any, seed: Any, control: Any, callbacks: Any, verbose: Any) -> None:
    at_least("batch_size", batch_size, 1)
    at_least("seed", seed, 0, optional=True)
    flag("control", control)
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


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise ModelError(f"Expected a compiled Keras model; received {type(model).__name__}.")
    if not getattr(model, "built", False):
        raise ModelError(f"The model {model.name} is not built. Start it with keras.Input(shape), or call it once.")
    if not model.compiled or model.optimizer is None:
        raise ModelError(f"The model {model.name} is not compiled. Call model.compile(optimizer, loss, metrics) first.")
    for variable in model.weights:
        value = np.asarray(variable)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelError(
                f"The weights {variable.path} of model {model.name} are not all finite numbers. Repair them first."
            )


__all__ = ["Result", "minimize"]
