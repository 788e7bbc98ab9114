"""What the calibration data say about the network, as plain arrays: the equations of its readers, and signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shrinknet.filters import Filter


@dataclass(frozen=True, slots=True, eq=False)
class Equations:
    """One reader, or one group of a grouped convolution, as a regression of its outputs on its columns.

    The outputs are X W, with a row of X for each sampled place of the calibration data. Where the reader can add a
    constant to its outputs, X is taken around its mean: the constant is then never removed and costs nothing.

    A reader with very many columns comes in a cheaper form, as if its taps were independent: a column for each
    channel, and an output for each of its filters and taps (arXiv:2602.23795).

    Attributes:
        layer: path of the reader.
        moments: X'X / rows on the channels that are enabled, float64, shape (columns, columns), symmetric.
        kernel: W, float64, shape (columns, outputs), zeros where a column reads a disabled channel.
        reads: name of a group that can be cut -> the columns that go with it, int, shape (columns of the group,).
        makes: name of a group that can be cut -> the outputs that go with it, int.
        weights: how much the loss minds an error in each output, shape (outputs,): the mean square of its gradient;
            None where that was not asked for.
    """

    layer: str
    moments: np.ndarray
    kernel: np.ndarray
    reads: Mapping[Filter, np.ndarray]
    makes: Mapping[Filter, np.ndarray]
    weights: np.ndarray | None = None


class Signal(NamedTuple):
    """What the readers of a group see of it on the calibration data, mean over all samples, places and readers.

    Attributes:
        size: mean absolute value, from 0.
        zeros: share of values that are exactly 0, in [0, 1].
    """

    size: float
    zeros: float
