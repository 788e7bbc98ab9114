"""Generations: two files that are written in turn, so that one of them is whole whatever happens to the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from shrinknet.errors import RunError
from shrinknet.records import finite
from shrinknet.runs.store import RunStore

_FACTS, _NUMBER = "facts", "generation"


class Generations:
    """Arrays with facts about them, the last two of them on disk: `<name>-0.npz` and `<name>-1.npz`.

    Args:
        store: the run's folder; name: of the files.

    Attributes:
        damage: why files could not be believed when they were read; empty when all were sound.
        files: how many files there were when they were read.
    """

    def __init__(self, store: RunStore, name: str) -> None:
        self.store = store
        self.name = name
        self.damage: list[str] = []
        self.files = 0
        self._last = 0  # number of the newest generation that is whole

    def write(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Adds a generation in the place of the older one; it is on the disk when this returns.

        Raises:
            StorageError: the disk is full or fails; both generations before stand.
        """
        text = json.dumps(finite({_NUMBER: self._last + 1, **facts})).encode()
        members = {_FACTS: np.frombuffer(text, np.uint8), **{f"state/{name}": array for name, array in arrays.items()}}
        self.store.write_arrays(self._file(self._last + 1), members)
        self._last += 1

    def read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Facts and arrays of the newest generation that is whole; None where there is none."""
        found, self.damage, self.files = {}, [], 0
        for slot in (0, 1):
            if self.store.has(f"{self._file(slot)}.npz"):
                self.files += 1
                try:
                    facts, arrays = self._read(slot)
                    found[facts[_NUMBER]] = facts, arrays
                except RunError as error:
                    self.damage.append(str(error))
        if not found:
            return None
        self._last = max(found)
        return found[self._last]

    def _read(self, slot: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        members = self.store.read_arrays(self._file(slot))
        try:
            facts = json.loads(members.pop(_FACTS).tobytes())
            if not isinstance(facts[_NUMBER], int) or facts[_NUMBER] % 2 != slot:
                raise ValueError(f"generation {facts[_NUMBER]} in the place of another")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise RunError(f"{self._file(slot)}.npz holds something else than a checkpoint ({error!r}).") from error
        return facts, {name.removeprefix("state/"): array for name, array in members.items()}

    def _file(self, number: int) -> str:
        return f"{self.name}-{number % 2}"
