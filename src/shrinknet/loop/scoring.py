"""Score: what decides about a cut; its name, its direction, and the ratio of a new score to the reference."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from shrinknet.criterion import ratio
from shrinknet.errors import ScoreError

_LOG = logging.getLogger("shrinknet")
OneScore = str | Callable[[Any], float] | None
Score = OneScore | Sequence[OneScore]
Mode = str | Mapping[str, str]

_HIGHER = ("acc", "auc", "precision", "recall", "f1", "fbeta", "iou", "dice", "r2", "similarity", "specificity",
           "sensitivity", "psnr", "ssim", "score", "true_positives", "true_negatives", "cosine_similarity")  # fmt: skip
_LOWER = ("loss", "error", "entropy", "mse", "mae", "mape", "msle", "rmse", "hinge", "poisson", "divergence",
          "false_positives", "false_negatives", "distance", "logcosh")  # fmt: skip


@dataclass(frozen=True)
class Scorer:
    """How a network is scored.

    Attributes:
        name: of a compiled metric, "loss", or of the user's function.
        higher_is_better: its direction.
        function: the user's own `function(model) -> float`; None: a compiled metric.
        guards: other scores that a cut must keep as well.
    """

    name: str
    higher_is_better: bool
    function: Callable[[Any], float] | None = None
    guards: tuple[Scorer, ...] = ()

    def with_guards(self, net: Any, results: Callable[[], Mapping[str, Any]]) -> tuple[float, dict[str, float]]:
        """The score of a network and those of the guards by name; the compiled metrics are evaluated once at most."""
        once = functools.cache(results)
        return self(net, once), {guard.name: guard(net, once) for guard in self.guards}

    def __call__(self, net: Any, results: Callable[[], Mapping[str, Any]]) -> float:
        """The score of a network; `results()` evaluates the compiled metrics and is called only if needed.

        Raises:
            ScoreError: it is not one number.
        """
        value = results()[self.name] if self.function is None else self.function(net)
        array = np.asarray(value) if not isinstance(value, Mapping) else np.empty(2)
        if array.size != 1 or array.dtype.kind not in "fiub":
            what = f"{array.size} numbers" if array.dtype.kind in "fiub" else type(value).__name__
            raise ScoreError(
                f"The score {self.name!r} gives {what}, and a score is one number: average it where it is compiled, as "
                "F1Score(average='macro'), or score by a function of the model."
            )
        return float(array.reshape(()))

    def ratio(self, score: float, reference: float) -> float:
        """See `Criterion.ratio`."""
        return ratio(score, reference, self.higher_is_better)

    def warn_of(self, score: float | None, max_drop: float | None) -> None:
        """Says before the warm-up that a score as it is now could not decide, and what to do."""
        if score is not None and max_drop is None and math.isfinite(score) and score <= 0:
            _LOG.warning(
                "The score %s is %.4g now. If it is not above zero after the warm-up, no ratio can be taken of it: "
                "give max_drop=, how much worse it may become in its own unit, or another score that is positive.",
                self.name, score,
            )  # fmt: skip

    def check_baseline(self, score: float, max_drop: float | None = None) -> None:
        """Refuses a score that no ratio can be taken of.

        Raises:
            ScoreError: it is not finite, or zero or negative without a `max_drop`.
        """
        if max_drop is not None and math.isfinite(score):
            return
        if not math.isfinite(score):
            what = "is not a finite number: the training diverged, or data or weights are not finite"
        elif score < 0:
            what = "is negative, and a ratio of scores would have no meaning: give max_drop=, or score by a function "
            what += "that is positive"
        elif score == 0:
            what = "is zero, and nothing can be compared with it: train longer, give max_drop=, or choose another score"
        else:
            return
        raise ScoreError(f"Expected a positive score {self.name!r} after the warm-up; received {score}, which {what}.")


def make_scorer(score: Score, mode: Mode, net: Any, results: Collection[str]) -> Scorer:
    """The scorer for what the user asked for.

    Args:
        score: name of a compiled metric, "loss", a function of the model, or None: the first compiled metric, else
            the loss. Of several, the first is the score, and the others are its guards.
        mode: "max", "min", or "auto": by the metric's own word for its direction, then by its name; for all of several,
            or by their names.
        results: the names of what an evaluation returns.

    Raises:
        ScoreError: a name is not among the results or there twice, or a direction cannot be told.
    """
    several = list(score) if isinstance(score, Sequence) and not isinstance(score, str) else [score]
    if not several:
        raise ScoreError("Expected at least one score; received an empty list.")
    modes = mode if isinstance(mode, Mapping) else {}
    names = [of if isinstance(of, str) else getattr(of, "__name__", type(of).__name__) for of in several]
    if len(set(names)) < len(names) or not set(modes) <= set(names):
        raise ScoreError(
            f"Expected scores with different names, and a mode only for them; received the scores {', '.join(names)}"
            + (f" and modes for {', '.join(modes)}." if modes else ".")
        )
    each = [modes.get(name, "auto") if isinstance(mode, Mapping) else mode for name in names]
    first, *guards = (_one_scorer(*pair, net, results) for pair in zip(several, each, strict=True))
    return replace(first, guards=tuple(guards))


def _one_scorer(score: OneScore, mode: str, net: Any, results: Collection[str]) -> Scorer:
    if mode not in ("auto", "max", "min"):
        raise ScoreError(f"Expected mode to be 'auto', 'max' or 'min'; received {mode!r}.")
    if callable(score):
        name = getattr(score, "__name__", type(score).__name__)
        return Scorer(name, mode == "max" if mode != "auto" else _direction(name, None), score)
    known = list(results)
    if score is None:
        score = next((name for name in known if name != "loss" and not name.endswith("_loss")), "loss")
    if score not in results:
        raise ScoreError(
            f"There is no score named {score!r}; this model has {', '.join(known)}. Compile it with that metric, or "
            "hand over a function of the model."
        )
    if mode != "auto":
        return Scorer(score, mode == "max")
    return Scorer(score, _direction(score, _metric_named(net, score)))


def _metric_named(net: Any, name: str) -> Any:
    metrics = [metric for parent in net.metrics for metric in (parent, *getattr(parent, "metrics", ()))]
    return next((metric for metric in metrics if metric.name == name), None)


def _direction(name: str, metric: Any) -> bool:
    word = getattr(metric, "_direction", None)  # Keras's metrics know theirs: "up" or "down"
    if word in ("up", "down"):
        return bool(word == "up")
    found = [higher for higher, parts in ((False, _LOWER), (True, _HIGHER)) if any(p in name.lower() for p in parts)]
    if not found:
        raise ScoreError(
            f"Cannot tell whether a higher {name!r} is better: say mode='max' (higher is better) or mode='min'."
        )
    return found[0]
