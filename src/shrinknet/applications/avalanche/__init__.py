"""Avalanches: from a photograph of a slope to the avalanche's outline, with a network small enough for the field.

The names below are loaded when they are first used, so that reading and drawing slopes needs no Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shrinknet.applications.avalanche.classifier import window_classifier
    from shrinknet.applications.avalanche.coarse import approximate_network
    from shrinknet.applications.avalanche.dense import dense_network
    from shrinknet.applications.avalanche.folder import read
    from shrinknet.applications.avalanche.generation import generate
    from shrinknet.applications.avalanche.prediction import predict_image
    from shrinknet.imaging.polygons import outline
    from shrinknet.imaging.windows import windows

__all__ = [
    "approximate_network", "dense_network", "generate", "outline", "predict_image", "read", "window_classifier",
    "windows",
]  # fmt: skip

_MODULES = {
    "approximate_network": "shrinknet.applications.avalanche.coarse",
    "dense_network": "shrinknet.applications.avalanche.dense",
    "generate": "shrinknet.applications.avalanche.generation",
    "outline": "shrinknet.imaging.polygons",
    "predict_image": "shrinknet.applications.avalanche.prediction",
    "read": "shrinknet.applications.avalanche.folder",
    "window_classifier": "shrinknet.applications.avalanche.classifier",
    "windows": "shrinknet.imaging.windows",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}.")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
