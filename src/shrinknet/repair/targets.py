"""Targets: what a reader's outputs shall be, given what becomes of them behind it.

Two things are known there. Where the output is added to a residual stream, the stream has its own errors, and what
counts is the sum (as in channel pruning, arXiv:1707.06168, section 3.4). Where a ReLU comes next, it hides how negative
an output is (as in arXiv:1411.4229).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from keras import ops

from shrinknet.repair.readers import Reader
from shrinknet.repair.reference import Reference, mean_of


@dataclass(frozen=True, eq=False)
class Behind:
    """What becomes of the outputs y of a reader: scale x y + offset, and what is added to them.

    Attributes:
        scale, offset: of the normalization, float32, shape (groups, 1, outputs); 1 and 0 where there is none.
    """

    scale: np.ndarray
    offset: np.ndarray

    @classmethod
    def of(cls, reader: Reader, reference: Reference) -> Behind:
        """As the network has it now; a mean that stands in for a bias is that of the reference."""
        groups, outputs = reader.makes.shape
        norm = reader.norm
        if norm is None:
            return cls(np.ones((groups, 1, outputs), "float32"), np.zeros((groups, 1, outputs), "float32"))
        deviation = np.sqrt(ops.convert_to_numpy(norm.moving_variance).astype("float32") + norm.epsilon)
        gamma = 1.0 if norm.gamma is None else ops.convert_to_numpy(norm.gamma).astype("float32")
        beta = 0.0 if norm.beta is None else ops.convert_to_numpy(norm.beta).astype("float32")
        mean = (mean_of(reader) if reader.has_bias else reference.means[reader.path]).reshape(-1)
        scale = gamma / deviation
        shape = (groups, 1, outputs)
        return cls(scale.reshape(shape), (beta - mean * scale).reshape(shape))

    def made_up(self, y: np.ndarray, before: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Outputs that give the sum which `y` gave with `before`, now that it is `now` that they are added to."""
        return y + (before - now) * self._undone

    def seen(self, y: np.ndarray, made: np.ndarray, beside: np.ndarray | float) -> np.ndarray:
        """Targets in front of a ReLU, of which only what it shows counts.

        Where both the target `y` and what is `made` so far are hidden, what is made is right as it is; where only the
        target is, 0 behind the ReLU is wanted.
        """
        level = self.offset + beside
        hidden, hides = self.scale * y + level < 0, self.scale * made + level < 0
        return np.where(hidden, np.where(hides, made, -level * self._undone), y).astype("float32")

    @property
    def _undone(self) -> np.ndarray:
        """1 / scale; 0 for outputs that the normalization scales down to almost nothing."""
        small = np.abs(self.scale) <= 1e-3 * np.abs(self.scale).max()
        return np.where(small, 0, 1 / np.where(small, 1, self.scale)).astype("float32")
