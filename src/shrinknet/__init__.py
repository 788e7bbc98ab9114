"""shrinknet makes trained Keras networks physically smaller: removes filters as long as the score allows it.

Every public name is imported on first use: Keras and TensorFlow take seconds to load, and neither `import shrinknet`
nor `shrinknet --help` needs them.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shrinknet.costs.counting import cost
    from shrinknet.cutting.slimmer import plan, slim
    from shrinknet.exporters import export
    from shrinknet.filters import Filter, Group
    from shrinknet.loop.pace import Bisect, Rounds
    from shrinknet.loop.settings import Final, RunFolder, Scope, Stop, Training, Warmup
    from shrinknet.minimizer import minimize
    from shrinknet.network.checkpoint import Checkpoint
    from shrinknet.network.optimizers import reset_optimizer
    from shrinknet.network.switches import Switches
    from shrinknet.network.switching import switched
    from shrinknet.repair import Fold, Refit
    from shrinknet.report import write_page
    from shrinknet.strategies import load_strategy

__version__ = "0.1.0"

__all__ = [
    "Bisect",
    "Checkpoint",
    "Filter",
    "Final",
    "Fold",
    "Group",
    "Refit",
    "Rounds",
    "RunFolder",
    "Scope",
    "Stop",
    "Switches",
    "Training",
    "Warmup",
    "cost",
    "export",
    "load_strategy",
    "minimize",
    "plan",
    "reset_optimizer",
    "slim",
    "switched",
    "write_page",
]

# No module has the name of a public function: importing the module would hide the function.
_MODULES = {
    "Bisect": "loop.pace",
    "Checkpoint": "network.checkpoint",
    "Filter": "filters",
    "Final": "loop.settings",
    "Fold": "repair",
    "Group": "filters",
    "Refit": "repair",
    "Rounds": "loop.pace",
    "RunFolder": "loop.settings",
    "Scope": "loop.settings",
    "Stop": "loop.settings",
    "Switches": "network.switches",
    "Training": "loop.settings",
    "Warmup": "loop.settings",
    "cost": "costs",
    "export": "exporters",
    "load_strategy": "strategies",
    "minimize": "minimizer",
    "plan": "cutting.slimmer",
    "reset_optimizer": "network.optimizers",
    "slim": "cutting.slimmer",
    "switched": "network.switching",
    "write_page": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'shrinknet' has no attribute {name!r}; it has {', '.join(__all__)}.")
    value = getattr(importlib.import_module(f"shrinknet.{_MODULES[name]}"), name)
    globals()[name] = value  # next time Python finds it without calling this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_layers() -> None:
    """Registers the switched layers with Keras, so that `keras.models.load_model` can load a saved switched network."""
    try:
        importlib.import_module("shrinknet.network.switching")
    except Exception:  # Keras is half imported or unsuitable: code that needs switches raises its own error
        logging.getLogger(__name__).debug("The switched layers could not be registered with Keras.", exc_info=True)


if "keras" in sys.modules:  # already loaded: registering costs almost nothing
    _register_layers()
