"""The experiments of the thesis and of other sources: a module or package for each question, with
`run(settings, out)`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from shrinknet.errors import OptionError

if TYPE_CHECKING:
    from shrinknet.experiments.frame import Question

QUESTIONS = {
    "correlations": "Do a filter's similarities to the others predict the cost of losing it? (thesis 4.1, table 4.1)",
    "drop-gain": "Does the drop at disabling predict how far the network recovers? (thesis 4.2, figure 4.1)",
    "strategies": "Which strategy removes most and loses least? (thesis 4.3, figure 4.2)",
    "avalanche": "What do the avalanche report's networks, pipeline and colours give, and how far do they shrink?",
    "probes": "Does a filter that was removed come back, and what do the others do? (thesis 2.4.1)",
    "steel": "How well are steel plates classified and outlined, and by how small a network? (Terra 2020)",
    "steel-eda": "What is in the plates? (Terra 2020, sections 5 and 6)",
}
_MODULES = {"steel-eda": "steel.exploration"}  # of questions whose module has another name


def question(name: str) -> Question:
    """The experiment with this name.

    Raises:
        OptionError: there is no such experiment.
    """
    if name not in QUESTIONS:
        raise OptionError(f"There is no experiment {name!r}; there are {', '.join(QUESTIONS)}.")
    module = importlib.import_module(f"shrinknet.experiments.{_MODULES.get(name, name.replace('-', '_'))}")
    found: Question = module.QUESTION
    return found
