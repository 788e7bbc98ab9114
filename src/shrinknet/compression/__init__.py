"""Compression: what tensorflow-model-optimization does to a slim network, in the same table as every export."""

from shrinknet.compression.compressing import METHODS, compress

__all__ = ["METHODS", "compress"]
