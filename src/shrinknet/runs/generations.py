"""Generations: two files that are written alternately, so that one is intact whatever happens to the other."""

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
    """Arrays with facts about them; the last two generations are on disk: `<name>-0.npz` and `<name>-1.npz`.

    Args:
        store: the run folder; name: the name of the files.

    Attributes:
        damage: what was wrong with damaged files when they were read; empty if all were intact.
        files: how many files existed when they were read.
    """

    def __init__(self, store: RunStore, name: str) -> None:
        self.store = store
        self.name = name
        self.damage: list[str] = []
        self.files = 0
        self._last = 0  # number of the newest intact generation

    def write(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Writes a new generation over the older of the two; it is on the disk when this returns.

        Raises:
            StorageError: the disk is full or fails; both previous generations are intact.
        """
        text = json.dumps(finite({_NUMBER: self._last + 1, **facts})).encode()
        members = {_FACTS: np.frombuffer(text, np.uint8), **{f"state/{name}": array for name, array in arrays.items()}}
        self.store.write_arrays(self._file(self._last + 1), members)
        self._last += 1

    def read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Facts and arrays of the newest intact generation; None if there is none."""
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
                raise ValueError(f"generation {facts[_NUMBER]} is in the wrong file")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise RunError(f"{self._file(slot)}.npz is not a checkpoint ({error!r}).") from error
        return facts, {name.removeprefix("state/"): array for name, array in members.items()}

    def _file(self, number: int) -> str:
        return f"{self.name}-{number % 2}"
