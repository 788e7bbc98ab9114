"""Filter and Group: names for what can be cut."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shrinknet.errors import FilterError

_PATTERN = re.compile(r"(?P<layer>.+)\[(?P<index>\d+)\]")


@dataclass(frozen=True, order=True, slots=True)
class Filter:
    """One output channel of a convolution, or one unit of a dense layer.

    Attributes:
        layer: name of the layer; in a nested model the path, `body/conv2`.
        index: position on the layer's axis of output channels, from 0.

    Example:
        >>> str(Filter("conv2", 7))
        'conv2[7]'
        >>> Filter.parse("conv2[7]")
        Filter(layer='conv2', index=7)
    """

    layer: str
    index: int

    def __str__(self) -> str:
        return f"{self.layer}[{self.index}]"

    @classmethod
    def parse(cls, text: str) -> Filter:
        """The filter that prints as `text`.

        Raises:
            FilterError: `text` is not of the form `layer[index]`.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise FilterError(f"Expected a filter written as layer[index], such as conv2[7]; received {text!r}.")
        return cls(match["layer"], int(match["index"]))


@dataclass(frozen=True, slots=True)
class Group:
    """Filters that can only be cut together; named after its first producer in network order.

    Attributes:
        filters: the filters of the group in network order; a filter that can be cut alone is a group of one.
    """

    filters: tuple[Filter, ...]

    @property
    def name(self) -> Filter:
        """The filter that represents the group: the only one that is listed and asked for."""
        return self.filters[0]

    def __str__(self) -> str:
        return " + ".join(map(str, self.filters))
