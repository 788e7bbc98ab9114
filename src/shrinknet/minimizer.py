"""The one function that most users call: `minimize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from shrinknet.checks import is_number
from shrinknet.engine.data import Arrays, check_inputs, check_targets, first_batch, read_data
from shrinknet.errors import DataError, ModelError, OptionError
from shrinknet.loop.loop import Minimization
from shrinknet.loop.options import Options
from shrinknet.loop.pace import Pace
from shrinknet.loop.progress import Progress
from shrinknet.loop.result import Result, finish
from shrinknet.loop.scoring import Score
from shrinknet.network.optimizers import other_optimizer
from shrinknet.network.switches import switched
from shrinknet.runs.fingerprint import identity, of_function, of_setting, of_strategy
from shrinknet.runs.lock import refuse_if_held
from shrinknet.runs.recorder import Recorder
from shrinknet.runs.resume import stored_seed
from shrinknet.strategies import Strategy, load_strategy

if TYPE_CHECKING:
    import os


def minimize(
    model: Any,
    train_data: Any,
    validation_data: Any,
    *,
    score: Score = None,
    mode: str = "auto",
    strategy: str | Strategy = "cosine-max",
    threshold: float = 0.98,
    reference: str = "last",
    warmup_steps: int = 10_000,
    warmup_patience: int | None = None,
    steps: int = 2_000,
    pace: str | int = "one",
    target: int | float | None = None,
    max_trials: int | None = None,
    max_seconds: float | None = None,
    min_filters: int = 1,
    candidates: str = "filters",
    trial_optimizer: Any = None,
    reset: bool = True,
    batch_size: int = 32,
    test_data: Any = None,
    control: bool = False,
    run_dir: str | os.PathLike[str] | None = None,
    force: bool = False,
    strict: bool = False,
    new_data: bool = False,
    seed: int | None = None,
    callbacks: Sequence[Any] = (),
    verbose: str | int = "auto",
) -> Result:
    """Finds the smallest network that still solves the task, and cuts it out.

    Args:
        model: a compiled Sequential or Functional Keras model; it is not changed.
        train_data, validation_data: arrays (x, y) or (x, y, sample_weight), a tf.data.Dataset, a PyDataset; a
            generator for training only.
        score: name of a compiled metric, "loss", or a function of the model; None: the first compiled metric, else
            the loss.
        mode: "max": higher is better, "min": lower is better, "auto": told by the metric or its name.
        strategy: a name that `shrinknet strategies` lists, a path to a .py file, or a `Strategy`.
        threshold: share of the reference score that a cut must keep, in (0, 1]; higher is stricter.
        reference: "last": the score after the last accepted cut; "baseline": that after the warm-up, which bounds the
            total loss.
        warmup_steps: training steps before the first trial; steps: training steps in each trial.
        warmup_patience: end the warm-up after this many tenths of it without a better score; None: never.
        pace: filters tried at once: "one", a number, or "adaptive".
        target: stop at this number (int) or share (float) of filters left.
        max_trials, max_seconds: stop after so many trials, or so long; the trial under way is finished.
        min_filters: filters that every layer keeps; 0: a residual branch can be emptied, and is then taken out.
        candidates: "filters", or "layers": convolutions and dense layers between tensors of one shape, each a candidate
            of its own that is bypassed and taken out. A strategy sees a layer as its first filter; "sequential",
            "random" and "ablation" suit. Filters follow in a second run, on the model that is left.
        trial_optimizer: what the trials train with: an optimizer or its name; a learning rate or a schedule, as
            `keras.optimizers.schedules.CosineDecay(1e-3, steps)`, for the model's own. None: the model's own.
        reset: whether the optimizer begins each trial as new: slots, momentum, and the schedule's steps.
        batch_size: samples a batch, for arrays.
        test_data: arrays, a tf.data.Dataset or a PyDataset that no decision sees, for the summary.
        control: also train the uncut network for as many steps, for comparison.
        run_dir: folder for checkpoints, journal, models and page; None: nothing is written. A run that was interrupted,
            however that came, goes on after its last decided trial when the same call is made again, and ends in the
            same bits; one that is finished answers at once.
        force: where the folder holds another run, set that beside and begin anew; otherwise it is refused.
        strict: refuse to go on with other versions, threads or devices; otherwise they are a warning.
        new_data: go on with other data than the run began with; otherwise they are refused.
        seed: of the order of the data and the strategy; the same seed gives the same bits on the same machine. The
            model's own seeds are the user's. None: the run folder's, or a random one.
        callbacks: Keras callbacks, told of epochs; objects with `on_trial_begin(number)` or `on_trial_end(trial)`.
        verbose: "auto": a progress bar on a terminal; 0: nothing; 1: a line a trial.

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
    options = Options(
        threshold, reference, warmup_steps, warmup_patience, steps, target, max_trials, max_seconds, min_filters,
        candidates, reset,
    )  # fmt: skip
    paces = Pace(pace)
    _check_numbers(batch_size, seed)
    _check_callbacks(callbacks)
    if run_dir is not None:
        refuse_if_held(run_dir)
    if seed is None:
        seed = stored_seed(run_dir)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    chosen = load_strategy(strategy, seed=seed)
    _check_model(model)
    feeds = [
        read_data(train_data, batch_size, "training data"),
        read_data(validation_data, batch_size, "validation data"),
    ]
    if not getattr(feeds[1], "repeatable", True):
        raise DataError(
            "The validation data are a generator, which can be read only once. Expected arrays, a tf.data.Dataset or a "
            "keras.utils.PyDataset."
        )
    test = None if test_data is None else read_data(test_data, batch_size, "test data")
    net = switched(model)
    for feed, what in zip([*feeds, test], ("training", "validation", "test"), strict=True):
        if feed is not None:
            check_inputs(net, first_batch(feed), f"{what} data")
            check_targets(net, feed.arrays if isinstance(feed, Arrays) else first_batch(feed))
    progress = Progress() if verbose == "auto" else None
    if trial_optimizer is not None:
        trial_optimizer = other_optimizer(trial_optimizer, net.optimizer)
    run = Minimization(
        net, feeds, test, options, paces, chosen, seed, callbacks, progress, int(verbose == 1), trial_optimizer
    )
    config = {
        **options.__dict__,
        "strategy": of_strategy(strategy),
        "pace": "adaptive" if paces.adaptive else paces.count,
        "seed": seed,
        "batch_size": batch_size,
        "mode": mode,
        "score": of_function(score),
        "control": control,
        "trial_optimizer": of_setting(trial_optimizer),
    }
    with Recorder.open(run_dir, force=force, strict=strict, new_data=new_data) as recorder:
        recorder.begin(config, lambda: identity(model, feeds, test))
        try:
            run.prepare(score, mode, recorder)
            run.run()
            return finish(run, control)
        finally:
            if progress is not None:
                progress.close()


def _check_numbers(batch_size: Any, seed: Any) -> None:
    if not (is_number(batch_size, whole=True) and batch_size >= 1):
        raise OptionError(f"Expected batch_size to be a whole number of at least 1; received {batch_size!r}.")
    if not (seed is None or (is_number(seed, whole=True) and seed >= 0)):
        raise OptionError(f"Expected seed to be a whole number of at least 0, or None; received {seed!r}.")


def _check_callbacks(callbacks: Any) -> None:
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
                f"The weights {variable.path} of model {model.name} are not all finite numbers. Mend them first."
            )


__all__ = ["Result", "minimize"]
