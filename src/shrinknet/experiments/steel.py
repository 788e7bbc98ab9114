"""How well are steel plates classified and outlined, and by how small a network (R. Terra's report of 2020)?

A repetition has two units: the two-step classifier at the report's batch sizes, and a U-Net that is trained once and
then shrunk by every strategy, with the control that was trained as long.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from shrinknet.errors import OptionError
from shrinknet.experiments import frame
from shrinknet.experiments.frame import Findings, Frames, Question
from shrinknet.experiments.settings import Settings
from shrinknet.experiments.steel_claims import claims
from shrinknet.experiments.steel_page import page
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Steel(Settings):
    """Settings of the experiment `steel`.

    Attributes:
        plates: folder of plates in the competition's layout; "": synthetic ones are drawn.
        count: synthetic plates, as many of each class.
        each_class: for the classifiers, plates of each class, the report's 180; 0: as many as the rarest has.
        size: height and width of the classifiers' plates; width: filters of their first level; depth: their levels.
        batches: batch sizes that are compared; epochs: passes over the training plates.
        unet_size, unet_width, unet_depth, unet_batch, unet_epochs: the same for the U-Net.
        strategies: "default": that of `minimize`; or names that `shrinknet strategies` lists.
        threshold: share of the trained network's validation score that every cut keeps, in (0, 1].
        target: share of the filters at which shrinking ends, in (0, 1).
        pace: "adaptive" or "one": filters tried at once.
        steps: training steps of a trial; max_trials: their number.
        shrink_classifiers: whether classifiers are shrunk, too; shrunk_batch: those trained with this batch size.
        quantize_epochs: passes of quantization-aware training; 0: none.
        memory: MiB for plates that are kept.
    """

    repetitions: int = 3
    plates: str = ""
    count: int = 3_000
    each_class: int = 180
    size: tuple[int, ...] = (256, 512)
    width: int = 8
    depth: int = 5
    batches: tuple[int, ...] = (8, 16, 32)
    epochs: int = 30
    unet_size: tuple[int, ...] = (256, 800)
    unet_width: int = 8
    unet_depth: int = 4
    unet_batch: int = 8
    unet_epochs: int = 40
    strategies: tuple[str, ...] = ("default", "random")
    threshold: float = 0.98
    target: float = 0.6
    pace: str = "adaptive"
    steps: int = 200
    max_trials: int = 60
    shrink_classifiers: bool = True
    shrunk_batch: int = 32
    quantize_epochs: int = 5
    memory: int = 2_048

    ANALYSIS: ClassVar[frozenset[str]] = Settings.ANALYSIS | {"memory"}
    LEAST: ClassVar[Mapping[str, int]] = {
        **Settings.LEAST, "count": 12, "each_class": 0, "width": 1, "depth": 1, "epochs": 1, "unet_width": 1,
        "unet_depth": 1, "unet_batch": 1, "unet_epochs": 1, "steps": 1, "max_trials": 1, "quantize_epochs": 0,
        "memory": 0,
    }  # fmt: skip
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "repetitions": 1, "count": 120, "each_class": 10, "size": (32, 128), "width": 4, "depth": 3, "epochs": 3,
            "batches": (16, 32), "unet_size": (32, 160), "unet_width": 4, "unet_depth": 2, "unet_batch": 4,
            "unet_epochs": 16, "threshold": 0.5, "steps": 8, "max_trials": 5, "target": 0.75,
            "shrink_classifiers": False, "quantize_epochs": 1, "bootstrap": 200,
        },
        "laptop": {
            "count": 400, "each_class": 30, "size": (48, 192), "width": 4, "depth": 4, "unet_size": (48, 192),
            "unet_width": 6, "unet_depth": 3, "unet_batch": 4, "unet_epochs": 60, "threshold": 0.9,
            "steps": 24, "max_trials": 12, "shrink_classifiers": False, "quantize_epochs": 2,
        },
        "paper": {},
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.size) != 2 or len(self.unet_size) != 2 or not self.batches or not self.strategies:
            raise OptionError(
                "Expected sizes of two numbers, and at least one batch size and one strategy; received size "
                f"{list(self.size)}, unet_size {list(self.unet_size)}, batches {list(self.batches)}, strategies "
                f"{list(self.strategies)}."
            )
        if not 0 < self.threshold <= 1 or not 0 < self.target < 1 or self.pace not in ("one", "adaptive"):
            raise OptionError(
                "Expected a threshold in (0, 1], a target in (0, 1) and a pace of one or adaptive; received "
                f"{self.threshold}, {self.target} and {self.pace!r}."
            )
        if self.shrunk_batch not in self.batches:
            raise OptionError(f"Expected shrunk_batch among {list(self.batches)}; received {self.shrunk_batch}.")

    @property
    def units(self) -> int:
        """Two for each repetition: classifiers, and the U-Net."""
        return 2 * self.repetitions


def gather(units: Sequence[Unit]) -> Frames:
    """The rows of all units, one table for each kind; `repetition` is the number of the seed."""
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for unit in units:
        for name in tables:
            tables[name] += [{"repetition": unit["seed"], **row} for row in unit.get(name, ())]
    tables["histories"] = [{**row, "synthetic": units[0]["synthetic"]} for row in tables["histories"]]
    return {name: pd.DataFrame(rows) for name, rows in tables.items() if rows}


TABLES = ("histories", "scores", "systems", "confusion", "shrunk", "trials", "masks", "files")


def analyse(frames: Frames, settings: Steel) -> Findings:
    """Means over repetitions, and the verdicts on what the report says and on the aims of shrinking."""
    tables = {"table": _shrinking(frames["shrunk"])}
    scores = frames["scores"]
    measures = ["loss", "accuracy", "f1", "precision", "recall", "f1_m", "precision_m", "recall_m"]
    keys = ["step", "batch", "part", "activation"]
    tables["classifier-scores"] = scores.groupby(keys, sort=False)[measures].mean().reset_index()
    systems = frames["systems"].drop(columns="repetition")
    tables["system"] = systems.groupby("batch", sort=False).mean().reset_index()
    confusion = frames["confusion"].drop(columns="repetition")
    tables["confusion-sums"] = confusion.groupby(["batch", "class"], sort=False).sum().reset_index()
    chosen = ["masks", "present", "dice", "dice_marked", "dice_pooled", "iou", "accuracy"]
    tables["segmentation"] = frames["masks"].groupby(["masks_of", "class"], sort=False)[chosen].mean().reset_index()
    if "files" in frames:
        files = frames["files"].drop(columns="repetition")
        tables["exports"] = files.groupby("format", sort=False).mean().reset_index()
    return Findings(tables, claims(frames, settings), _notes(frames))


def _shrinking(shrunk: pd.DataFrame) -> pd.DataFrame:
    """A row for each network and strategy: shares left, and the score beside the control's."""
    table = shrunk.assign(
        what=shrunk["network"] + ", " + shrunk["strategy"],
        filters=shrunk["filters_after"] / shrunk["filters_before"],
        parameters=shrunk["parameters_after"] / shrunk["parameters_before"],
        multiply_adds=shrunk["multiply_adds_after"] / shrunk["multiply_adds_before"],
        frames_before=1000 / shrunk["latency_ms_before"].astype(float),
        frames_after=1000 / shrunk["latency_ms_after"].astype(float),
        of_control=shrunk["score_after"] / shrunk["control"],
    ).rename(columns={"score_before": "before", "score_after": "after"})
    columns = ["filters", "parameters", "multiply_adds", "frames_before", "frames_after", "before", "after", "control",
               "of_control"]  # fmt: skip
    return table.groupby("what", sort=False)[columns].mean().reset_index()


def _notes(frames: Frames) -> tuple[str, ...]:
    if not bool(frames["histories"]["synthetic"].any()):
        return ()
    return (
        "**These are results on synthetic plates**: the generator drew them after the report's description. They say "
        "how the methods compare on such plates, and nothing about steel.",
    )


def draw(frames: Frames, findings: Findings) -> dict[str, Figure]:
    """Figures 16 and 18 at the report's best batch sizes, the U-Net's history, and the score-cost curve."""
    from shrinknet.experiments.figures import steel

    figures = {}
    rows = frames["histories"]
    rows = rows[rows["repetition"] == rows["repetition"].min()]
    for name, step, best in (("figure-16", "binary", 32), ("figure-18", "multiclass", 16)):
        mine = rows[rows["step"] == step]
        batch = best if (mine["batch"] == best).any() else int(mine["batch"].iloc[0])
        title = f"{step} model, batch size {batch}"
        figures[name] = steel.histories({title: mine[mine["batch"] == batch]})
        figures[f"{name}-batches"] = steel.batches(frames["histories"][frames["histories"]["step"] == step])
    figures["unet-history"] = steel.histories({"U-Net": rows[rows["step"] == "unet"]}, ("loss", "dice_marked"))
    figures["score-cost"] = steel.score_cost(frames["trials"])
    return figures


QUESTION = Question("steel", Steel, "steel_units", gather, analyse, draw, page)
run = functools.partial(frame.run, QUESTION)
