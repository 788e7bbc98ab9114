"""All settings of the loop, and the keywords of `minimize` that are fields of one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from shrinknet.checks import at_least, one_of, share
from shrinknet.criterion import Criterion
from shrinknet.errors import OptionError
from shrinknet.loop.goals import Goal, Target, goals_of
from shrinknet.loop.scoring import Scorer
from shrinknet.loop.settings import Final, RunFolder, Scope, Stop, Training, Warmup
from shrinknet.repair import Fold, Refit


@dataclass(frozen=True)
class Options:
    """The settings of the loop; see `minimize`."""

    threshold: float | Mapping[str, float] | None = None
    max_drop: float | Mapping[str, float] | None = None
    reference: str = "baseline"
    target: Target | None = None
    repair: Refit | Fold | None = None
    warmup: Warmup = field(default_factory=Warmup)
    training: Training = field(default_factory=Training)
    final: Final = field(default_factory=Final)
    stop: Stop = field(default_factory=Stop)
    scope: Scope = field(default_factory=Scope)

    def __post_init__(self) -> None:
        for threshold in _each(self.threshold):
            share("threshold", threshold, "the share of the score to keep")
        for drop in _each(self.max_drop):
            at_least("max_drop", drop, 0, whole=False)
        if _overlap(self.threshold, self.max_drop):
            raise OptionError(
                f"Expected threshold or max_drop for a score, not both; received threshold={self.threshold!r} and "
                f"max_drop={self.max_drop!r}. Leave one out, or name in a dictionary the scores that are exceptions."
            )
        one_of("reference", self.reference, ("last", "baseline"))
        goals_of(self.target)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What the network shall cost; empty: as little as the score allows."""
        return goals_of(self.target)

    @property
    def decides(self) -> bool:
        """Whether the score decides; otherwise every cut up to the target is kept."""
        return self.threshold is not None or self.max_drop is not None

    def criterion(self, scorer: Scorer) -> Criterion:
        """What a cut must keep.

        Raises:
            OptionError: thresholds by name do not fit the scores.
        """
        names = [one.name for one in (scorer, *scorer.guards)]
        named = {name for given in (self.threshold, self.max_drop) if isinstance(given, Mapping) for name in given}
        plain = any(given is not None and not isinstance(given, Mapping) for given in (self.threshold, self.max_drop))
        missing = [name for name in names if self.decides and not plain and name not in named]
        if missing or not named <= set(names):
            raise OptionError(
                f"Expected a threshold or a max_drop for each of the scores {', '.join(names)}; received "
                f"{', '.join(sorted(named))}."
            )
        own, *guards = (
            Criterion(threshold, one.higher_is_better, drop)
            for one in (scorer, *scorer.guards)
            for threshold, drop in (self._bounds(one.name),)
        )
        return replace(own, guards=dict(zip(names[1:], guards, strict=True)))

    def _bounds(self, name: str) -> tuple[float | None, float | None]:
        """The threshold and the max_drop of a score, one of them None."""
        threshold, drop = _for(self.threshold, name), _for(self.max_drop, name)
        if threshold is None or drop is None:
            return threshold, drop
        return (threshold, None) if isinstance(self.threshold, Mapping) else (None, drop)

    def with_steps(self, epoch: int) -> Options:
        """A copy with the steps that were left open filled in.

        Args:
            epoch: steps that one epoch of the training data takes.
        """
        training, final = self.training, self.final
        if training.steps is None:
            training = replace(training, steps=min(max(epoch, 50), 500))
        if final.steps is None:
            final = replace(final, steps=min(max(5 * epoch, min(500, 20 * epoch)), 5_000))
        return replace(self, training=training, final=final)

    def to_dict(self) -> dict[str, Any]:
        """The settings that determine what a run computes, in plain values; optimizers are left to the caller."""
        plain = {name: _plain(getattr(self, name)) for name in ("threshold", "max_drop", "reference")}
        plain["target"] = dict(self.target) if isinstance(self.target, Mapping) else self.target
        plain |= {"warmup_steps": self.warmup.steps, "steps": self.training.steps, "final_steps": self.final.steps}
        plain["repair"] = self.repair and {"kind": type(self.repair).__name__.lower(), **asdict(self.repair)}
        objects = {"warmup_steps": self.warmup, "steps": self.training, "final_steps": self.final,
                   "stop": self.stop, "scope": self.scope}  # fmt: skip
        fields = {
            name: _plain(getattr(objects[parameter], field))
            for name, (parameter, _, field) in KEYWORDS.items()
            if parameter in objects and not name.endswith("_optimizer")
        }
        return {**plain, **fields}


def _each(value: Any) -> Sequence[Any]:
    """A value that holds for all scores, or those by name; none: nothing."""
    if isinstance(value, Mapping):
        return list(value.values())
    return [] if value is None else [value]


def _overlap(one: Any, other: Any) -> bool:
    """Whether a score has a value in both. A plain value is for all scores that a dictionary does not name."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return not one.keys().isdisjoint(other)
    return not isinstance(one, Mapping) and not isinstance(other, Mapping) and None not in (one, other)


def _for(value: float | Mapping[str, float] | None, name: str) -> float | None:
    return value.get(name) if isinstance(value, Mapping) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


# Keywords of `minimize` that are a field of one of the objects: the keyword -> (its parameter, class, field).
KEYWORDS: Mapping[str, tuple[str, type, str]] = {
    "warmup_patience": ("warmup_steps", Warmup, "patience"),
    "trial_optimizer": ("steps", Training, "optimizer"),
    "reset": ("steps", Training, "reset"),
    "schedule": ("steps", Training, "schedule"),
    "train": ("steps", Training, "train"),
    "checks": ("steps", Training, "checks"),
    "distill": ("steps", Training, "distill"),
    "compact": ("steps", Training, "compact"),
    "final_distill": ("final_steps", Final, "distill"),
    "final_optimizer": ("final_steps", Final, "optimizer"),
    "max_trials": ("stop", Stop, "trials"),
    "max_seconds": ("stop", Stop, "seconds"),
    "candidates": ("scope", Scope, "candidates"),
    "min_filters": ("scope", Scope, "min_filters"),
    "only": ("scope", Scope, "only"),
    "never": ("scope", Scope, "never"),
    "round_to": ("scope", Scope, "round_to"),
    "force": ("run_dir", RunFolder, "force"),
    "strict": ("run_dir", RunFolder, "strict"),
    "new_data": ("run_dir", RunFolder, "new_data"),
}


def gather(parameter: str, kind: type, value: Any, keywords: Mapping[str, Any]) -> Any:
    """The object for a parameter that takes a plain value, an object, or None, with the keywords that belong to it.

    Args:
        parameter: its name, such as "steps"; kind: the class of its object, such as `Training`.
        value: an object of that class, the value of its first field, or None.
        keywords: others of `minimize`; those of other parameters are passed over.

    Raises:
        OptionError: a field is given twice, or has a value outside of its range.
    """
    own = {field: keywords[name] for name, (of, _, field) in KEYWORDS.items() if of == parameter and name in keywords}
    if isinstance(value, kind):
        if own:
            names = ", ".join(name for name, (of, _, _) in KEYWORDS.items() if of == parameter and name in keywords)
            raise OptionError(
                f"Expected {names} inside of the {kind.__name__} that {parameter} is; received both. Write "
                f"{kind.__name__}(..., {', '.join(own)}=...)."
            )
        return value
    if value is None:
        return kind(**own) if kind is not RunFolder else None
    return kind(**{fields(kind)[0].name: value, **own})


def check_keywords(keywords: Mapping[str, Any]) -> None:
    """Refuses keywords that `minimize` does not know.

    Raises:
        OptionError: names the nearest known one, and all.
    """
    from difflib import get_close_matches

    for name in keywords:
        if name not in KEYWORDS:
            near = get_close_matches(name, KEYWORDS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise OptionError(
                f"minimize has no argument {name!r}.{hint} Besides those of its signature it takes "
                f"{', '.join(KEYWORDS)}."
            )


# Settings that may change when a run is resumed: they only say how far it goes.
LIMITS = ("target", "max_trials", "max_seconds", "patience")
