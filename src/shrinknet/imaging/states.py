"""States of a network in pictures: which network, what is drawn, of which layer; and their names in files."""

from __future__ import annotations

from typing import NamedTuple

STATES = {"early": "after a few steps", "before": "after warm-up", "after": "at the end"}


class Picture(NamedTuple):
    """The content of a picture.

    Attributes:
        state: "early", "before" or "after"; kind: "mask", "map" or "output".
        layer: path of the layer; empty for an output.

    Example:
        >>> Picture("before", "map", "body/conv2").key
        'before/map/body/conv2'
        >>> Picture.of("before/map/body/conv2").layer
        'body/conv2'
    """

    state: str
    kind: str
    layer: str = ""

    @property
    def key(self) -> str:
        """The name of its array in a file."""
        return "/".join(part for part in self if part)

    @property
    def file(self) -> str:
        """The name of its picture file, without suffix."""
        return "-".join(part.replace("/", ".") for part in (self.kind, self.layer, self.state) if part)

    @classmethod
    def of(cls, key: str) -> Picture:
        """The inverse of `key`."""
        state, kind, *layer = key.split("/", 2)
        return cls(state, kind, *layer)


class Kernel(NamedTuple):
    """A layer's kernel in one state; named `before/<path>` in files."""

    state: str
    layer: str

    @property
    def key(self) -> str:
        """The name of its array in a file."""
        return f"{self.state}/{self.layer}"

    @classmethod
    def of(cls, key: str) -> Kernel:
        """The inverse of `key`."""
        state, _, layer = key.partition("/")
        return cls(state, layer)
