"""Resume: reads the run in a folder, compares it with the run that is requested now, and repairs its journal."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Mapping
from typing import Any

from shrinknet.errors import RunError, StorageError
from shrinknet.records import Summary, Trial
from shrinknet.runs.fingerprint import differences
from shrinknet.runs.generations import Generations
from shrinknet.runs.journal import decode, encode
from shrinknet.runs.recorder import Saved, Snapshot
from shrinknet.runs.store import RunStore

ANCHOR = "anchor "  # prefix of the names of arrays that belong to the target of repairs
DATA = "data"  # the part of a run's identity that the user may change
FREE = ("warmup_patience",)  # settings that may change: what is decided stays, and a warm-up that goes on heeds them
_LOG = logging.getLogger("shrinknet")


def read_saved(store: RunStore, states: Generations, summary: Summary | None = None) -> Saved | None:
    """The newest intact checkpoint; None if there is none, or if the only one is damaged.

    Args:
        summary: the summary of the run, if it is finished.

    Raises:
        RunError: there are two and both are damaged, or they were written by another version.
    """
    found = states.read()
    tell(states.damage)
    if found is None:
        if states.files > 1:
            raise RunError(
                f"Both checkpoints in {store.path} are damaged, so the run cannot be resumed. Restore a copy of one, "
                "choose another folder, or pass force=True (--force): the old folder is then renamed, and the run "
                "starts over."
            )
        return None
    facts, arrays = found
    try:
        began = {name: dict(facts["run"][name]) for name in ("config", "identity", "environment")}
        snapshot = Snapshot(
            warmup=tuple((int(step), float(score)) for step, score in facts["warmup"]),
            baseline=None if facts["baseline"] is None else float(facts["baseline"]),
            trials=tuple(decode(record, store.path) for record in facts["trials"]),
            position={str(name): int(number) for name, number in facts["position"].items()},
            decided=dict(facts["engine"]),
            results=tuple(map(str, facts["results"])),
            elapsed=float(facts["elapsed"]),
            anchor=int(facts["anchor"]),
            latency=None if facts["latency"] is None else float(facts["latency"]),
            guards={str(name): float(score) for name, score in facts.get("guards", {}).items()},
        )
        anchor = {name.removeprefix(ANCHOR): array for name, array in arrays.items() if name.startswith(ANCHOR)}
        arrays = {name: array for name, array in arrays.items() if not name.startswith(ANCHOR)}
        return Saved(began, snapshot, arrays, summary, anchor or None)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RunError(
            f"The checkpoints in {store.path} cannot be read ({error!r}): expected those of this version of "
            "shrinknet. Use the version that wrote them, or choose another folder."
        ) from error


def compare(
    store: RunStore,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    *,
    strict: bool,
    new_data: bool,
    limits: Collection[str] = (),
) -> None:
    """Refuses to continue if the folder contains a different run, and warns of a different environment.

    Args:
        old, new: configuration, identity and environment of the run in the folder, and of the requested one.
        strict: refuse a different environment too; new_data: allow different data.
        limits: names of settings that may differ.

    Raises:
        RunError: they differ; the message names every difference.
    """
    free = {*limits, *FREE}
    found = differences(*({k: v for k, v in run["config"].items() if k not in free} for run in (old, new)))
    for what, parts in new["identity"].items():
        if what != DATA or not new_data:
            found += differences(old["identity"].get(what, {}), parts)
    if found:
        anew = (
            " The weights differ: a script that builds its model without a fixed seed creates different weights each "
            "time. Save the model once and load it from the file."
            if any(one.startswith("weights:") for one in found)
            else ""
        )
        raise RunError(
            f"The run in {store.path} started with other settings, model or data: {'; '.join(found)}. Use the same "
            "again, choose another folder, or pass force=True (--force): the old folder is then renamed, and a new "
            "run starts." + anew
        )
    other = differences(old["environment"], new["environment"])
    if other and strict:
        raise RunError(
            f"The run in {store.path} started in another environment and would not end in the same bits: "
            f"{'; '.join(other)}. Resume it in that environment, or without strict=True (--strict)."
        )
    if other:
        _LOG.warning("The run started in another environment, so its last bits may differ: %s.", "; ".join(other))


def mend_journal(store: RunStore, trials: tuple[Trial, ...]) -> None:
    """Makes the journal agree with the checkpoint: a kill between the two writes leaves it one row short.

    Raises:
        RunError: the two belong to different runs.
        StorageError: the disk is full or fails.
    """
    try:
        store.journal.check()
        rows = [encode(trial) for trial in store.trials()]
    except StorageError:
        raise
    except RunError as error:
        aside = store.journal.set_aside()
        tell([f"{error} It was renamed to {aside.name}, and a new one is written from the checkpoint"])
        rows = []
    expected = [encode(trial) for trial in trials]
    both = min(len(rows), len(expected))
    if rows[:both] != expected[:both]:
        raise RunError(
            f"The journal and the checkpoint in {store.path} contain different trials, so they belong to two runs. "
            "Restore files that belong together, choose another folder, or pass force=True (--force) to start over."
        )
    if len(rows) > len(expected):
        tell([f"The journal has {len(rows)} trials, the checkpoint {len(expected)}: the others are repeated"])
    if rows != expected:
        store.journal.replace(trials)


def summary_of(store: RunStore, facts: Mapping[str, Any]) -> Summary | None:
    """The summary of a run if it is finished and all of its files are intact; otherwise None."""
    if not facts.get("finished"):
        return None
    try:
        for name, digest in facts["files"].items():
            if not store.has(name) or store.digest(name) != digest:
                tell([f"{store.path / name} is missing or damaged, and is written again"])
                return None
        return Summary.from_dict(facts["summary"])
    except (RunError, LookupError, TypeError, AttributeError):
        return None


def stored_seed(folder: str | os.PathLike[str] | None) -> int | None:
    """The seed of the run in a folder; None if there is no run."""
    if folder is None:
        return None
    with contextlib.suppress(RunError):
        store = RunStore(folder)
        for read in (lambda: store.read_json("run"), lambda: (Generations(store, "state").read() or ({},))[0]["run"]):
            with contextlib.suppress(RunError, LookupError, TypeError):
                seed = read()["config"]["seed"]
                if isinstance(seed, int):
                    return seed
    return None


def tell(damage: list[str]) -> None:
    """Warns of what is damaged, and says that the run continues."""
    for sentence in damage:
        _LOG.warning("%s; the run continues from what is intact.", sentence.rstrip("."))
