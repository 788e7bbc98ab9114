"""Repair: what a cut took away is made up for in closed form, before any training."""

from shrinknet.repair.folding import Folded, fold
from shrinknet.repair.reference import Reference, remember
from shrinknet.repair.refitting import Repaired, refit
from shrinknet.repair.settings import Fold, Refit, repair_settings
from shrinknet.repair.statistics import recalibrate

__all__ = [
    "Fold",
    "Folded",
    "Reference",
    "Refit",
    "Repaired",
    "fold",
    "recalibrate",
    "refit",
    "remember",
    "repair_settings",
]
