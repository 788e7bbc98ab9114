"""Points: states of a run between the uncut network and the last one, kept so that any of them can be cut out later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shrinknet.errors import RunError
from shrinknet.files.models import open_model
from shrinknet.network.checkpoint import weights_from_arrays
from shrinknet.records import Cost, Trial
from shrinknet.runs.folder import point_name
from shrinknet.runs.store import RunStore

SPACING = 0.02  # share of the uncut network's multiply-adds between two points


def is_point(uncut: int, accepted: Sequence[Trial]) -> bool:
    """Whether the state after the last of the accepted trials is kept: it saves enough more than the point before.

    Args:
        uncut: multiply-adds of the uncut network.
    """
    kept, last = uncut, False
    for trial in accepted:
        last = kept - trial.multiply_adds >= SPACING * uncut
        kept = trial.multiply_adds if last else kept
    return last


def points(uncut: int, trials: Sequence[Trial]) -> list[Trial]:
    """The accepted trials whose states are kept."""
    accepted = [trial for trial in trials if trial.accepted]
    return [trial for number, trial in enumerate(accepted) if is_point(uncut, accepted[: number + 1])]


def net_at(folder: str | Path, share: float, *, trust: bool = False) -> Any:
    """The switched network of a run at an earlier point: the most accurate of those that cost no more than asked for.

    It is as it was in the run: repaired, and trained as far as its trials were, but without the final training.

    Args:
        folder: of a run that came to its end; share: of the uncut network's multiply-adds, in (0, 1).
        trust: see `open_model`.

    Raises:
        RunError: the folder holds no finished run, or no point is that small.
    """
    store = RunStore(folder)
    facts = store.read_json("run")
    if not facts.get("finished"):
        raise RunError(f"The run in {store.path} has not come to its end. Repeat its command, then ask again.")
    uncut = Cost.from_dict(facts["cost_before"]).multiply_adds
    known = [trial for trial in points(uncut, store.trials()) if store.has(f"{point_name(trial.number)}.npz")]
    fitting = [trial for trial in known if trial.multiply_adds <= share * uncut]
    if not fitting:
        smallest = (
            f"the smallest has {min(t.multiply_adds for t in known) / uncut:.1%}" if known else "it has no points"
        )
        raise RunError(f"No point of the run in {store.path} has {share:.1%} of the multiply-adds or less: {smallest}.")
    higher = facts["score"]["higher_is_better"]
    best = max(fitting, key=lambda trial: (trial.score if higher else -trial.score, trial.multiply_adds))
    net = open_model(store.path / "switched.keras", trust=trust)
    weights_from_arrays(net, store.read_arrays(point_name(best.number)))
    return net
