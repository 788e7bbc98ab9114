"""Steel: find, classify and outline surface defects on plates, in the layout of the Severstal competition.

The names below are loaded when they are first used, so that run lengths and tables need no Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shrinknet.applications.steel.classifier import two_step_classifier
    from shrinknet.applications.steel.generation import generate
    from shrinknet.applications.steel.prediction import predict
    from shrinknet.applications.steel.regions import least_regions
    from shrinknet.applications.steel.runlengths import build_mask, build_rles, mask2rle, rle2mask
    from shrinknet.applications.steel.segmentation import unet
    from shrinknet.applications.steel.table import master_table, read

__all__ = [
    "build_mask", "build_rles", "generate", "least_regions", "mask2rle", "master_table", "predict", "read", "rle2mask",
    "two_step_classifier", "unet",
]  # fmt: skip

_MODULES = {
    "build_mask": "runlengths",
    "build_rles": "runlengths",
    "generate": "generation",
    "least_regions": "regions",
    "mask2rle": "runlengths",
    "master_table": "table",
    "predict": "prediction",
    "read": "table",
    "rle2mask": "runlengths",
    "two_step_classifier": "classifier",
    "unet": "segmentation",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}.")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
