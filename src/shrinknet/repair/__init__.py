"""Repair: what a cut took away is made up for in closed form, before any training."""

from shrinknet.repair.reference import Reference, remember
from shrinknet.repair.refitting import Repaired, refit
from shrinknet.repair.settings import Fold, Refit, repair_settings

__all__ = ["Fold", "Reference", "Refit", "Repaired", "refit", "remember", "repair_settings"]
