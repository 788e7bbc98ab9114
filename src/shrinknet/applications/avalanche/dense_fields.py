"""Fields: what a tensor of a window classifier becomes when the network is applied to a whole image at once.

A window's tensor t has a value t[i, j, c]. In the whole image there is one tensor T for all windows, and the value of
the window whose upper left corner lies at pixel p is T at p + (i, j) * step. A pooling with stride 2 does not halve T:
it doubles the step, because the next window, one pixel on, needs the values between. This is the "à trous" form of
dense prediction (arXiv:1412.4526).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

Pair = tuple[int, int]


class NotDense(Exception):
    """An operation has no exact form over whole images; the message says why. Callers get a ModelError."""


@dataclass(frozen=True)
class Field:
    """Where the values of a window lie in the tensor of the whole image.

    Attributes:
        form: how the window's tensor is laid out: "map" (height, width, channels), "rows" (height, width * channels)
            or "vector" (height * width * channels).
        extent: height and width of the window's tensor, whatever its form.
        channels: of the whole image's tensor.
        step: pixels from one value to the next.
        margin: rows and columns that the whole image's tensor has beyond those of the image; (extent - 1) * step of
            them are needed.
    """

    form: str
    extent: Pair
    channels: int
    step: Pair
    margin: Pair

    @property
    def folded(self) -> bool:
        """Whether values at several places count as channels to whoever reads the window's tensor."""
        return (self.form == "vector" and self.extent != (1, 1)) or (self.form == "rows" and self.extent[1] != 1)


@dataclass(frozen=True)
class Sliding:
    """A kernel that slides over two axes: what convolutions and poolings have in common.

    Attributes:
        size, stride, dilation: of the kernel, for each axis.
        padding: "valid" or "same".
    """

    size: Pair
    stride: Pair
    dilation: Pair
    padding: str = "valid"

    def over(self, field: Field, channels: int, form: str = "map") -> tuple[Field, Pair]:
        """The field that comes out, and the dilation of the kernel over the whole image.

        Raises:
            NotDense: the kernel pads a window.
        """
        extent, margin, dilation = [], [], []
        for size, stride, spread, values, step, more in zip(
            self.size, self.stride, self.dilation, field.extent, field.step, field.margin, strict=True
        ):
            span = (size - 1) * spread
            if self._pads(values, span + 1, stride):
                raise NotDense(
                    f'its padding="{self.padding}" puts zeros around every window where the image goes on, so that a '
                    "value depends on which window it is computed for"
                )
            extent.append((values - span - 1) // stride + 1)
            margin.append(more - span * step)
            dilation.append(spread * step)
        steps = (field.step[0] * self.stride[0], field.step[1] * self.stride[1])
        return Field(form, _pair(extent), channels, steps, _pair(margin)), _pair(dilation)

    def _pads(self, values: int, span: int, stride: int) -> bool:
        """Whether anything is put around `values` values; "same" does so only where the kernel does not fit."""
        if self.padding not in ("valid", "same"):
            raise NotDense(f'its padding="{self.padding}" has no form over whole images')
        return self.padding == "same" and (-(-values // stride) - 1) * stride + span > values


def together(fields: Sequence[Field]) -> tuple[Field, list[Pair]]:
    """Fields of several tensors that are merged, cut to what all of them have.

    Returns:
        The first field with the common margin, and how many rows and columns each tensor loses at its end.

    Raises:
        NotDense: their values lie at different places.
    """
    first = fields[0]
    for field in fields[1:]:
        if (field.form, field.extent) != (first.form, first.extent):
            raise NotDense(
                f"it merges tensors of {first.extent[0]} x {first.extent[1]} and {field.extent[0]} x {field.extent[1]} "
                "values a window, and spreading one over the other depends on the window"
            )
        if field.step != first.step:
            raise NotDense(f"it merges branches whose values lie {first.step} and {field.step} pixels apart")
    margin = _pair([min(field.margin[axis] for field in fields) for axis in (0, 1)])
    cuts = [_pair([field.margin[axis] - margin[axis] for axis in (0, 1)]) for field in fields]
    return replace(first, margin=margin), cuts


def _pair(values: Sequence[Any]) -> Pair:
    return int(values[0]), int(values[1])
