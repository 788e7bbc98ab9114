"""Switched layers: Keras's own layers, whose kernels count the slices that read disabled channels as zero."""

from shrinknet.layers.base import Switchboard, Switched, switched_class
from shrinknet.layers.convolution import SwitchedConv1D, SwitchedConv2D, SwitchedConv3D
from shrinknet.layers.dense import SwitchedDense

__all__ = [
    "Switchboard",
    "Switched",
    "SwitchedConv1D",
    "SwitchedConv2D",
    "SwitchedConv3D",
    "SwitchedDense",
    "switched_class",
]
