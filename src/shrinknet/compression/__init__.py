"""Compression: tensorflow-model-optimization applied to a slim network, reported in the same table as exports."""

from shrinknet.compression.compressing import METHODS, compress

__all__ = ["METHODS", "compress"]
