"""How well are steel plates classified and outlined, and by how small a network (R. Terra's report of 2020)?

A repetition has two units: the two-step classifier at the report's batch sizes, and a U-Net that is trained once and
then shrunk by every strategy, with the control that was trained as long.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from shrinknet.experiments import frame
from shrinknet.experiments.frame import Findings, Frames, Question
from shrinknet.experiments.steel.claims import claims
from shrinknet.experiments.steel.page import page
from shrinknet.experiments.steel.settings import Steel
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    confusion = frames["confusion"].drop(columns="repetition").astype({"class": int})  # as a CSV gives it back
    tables["confusion-sums"] = confusion.groupby(["batch", "class"], sort=False).sum().reset_index()
    chosen = ["masks", "present", "dice", "dice_marked", "dice_pooled", "iou", "accuracy"]
    tables["segmentation"] = (
        frames["masks"].groupby(["masks_of", "cleaned", "class"], sort=False)[chosen].mean().reset_index()
    )
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


QUESTION = Question("steel", Steel, "steel.units", gather, analyse, draw, page)
run = functools.partial(frame.run, QUESTION)
