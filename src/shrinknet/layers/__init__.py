"""Switched layers: Keras layers whose kernels treat the slices that read disabled channels as zero."""

from shrinknet.layers import convolution, dense, normalisation, others
from shrinknet.layers.base import Switchboard, Switched, follow_rules, switched_class

__all__ = ["Switchboard", "Switched", "convolution", "dense", "normalisation", "others", "switched_class"]

follow_rules()  # only after the imports above have defined the counterparts of Keras's own layers
