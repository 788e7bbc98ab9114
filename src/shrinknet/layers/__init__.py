"""Switched layers: Keras layers whose kernels treat the slices that read disabled channels as zero."""

from shrinknet.layers import convolution, counting, dense, normalisation, others, reductions
from shrinknet.layers.base import Switchboard, Switched, follow_rules, switched_class

__all__ = ["Switchboard", "Switched", "convolution", "counting", "dense", "normalisation", "others", "reductions",
           "switched_class"]  # fmt: skip

follow_rules()  # only after the imports above have defined the counterparts of Keras's own layers
