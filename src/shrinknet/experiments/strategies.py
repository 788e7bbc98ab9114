"""Which strategy removes most filters and loses least of the score (thesis 4.3, figure 4.2)?

Each repetition warms up one network; every strategy minimizes it at every threshold. A trial depends only on the cuts
accepted before it, its number and its filters, so runs with the same history share it and it is trained once. The
control is the uncut network, trained on the batches that the smaller one was trained on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from shrinknet.errors import OptionError
from shrinknet.experiments import frame
from shrinknet.experiments.frame import Claim, Findings, Frames, Question, markdown_claims, markdown_table
from shrinknet.experiments.settings import EdgeSettings
from shrinknet.experiments.statistics import draws, estimate, mean
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = {
    "disabled": "filters disabled",
    "kept": "score kept",
    "control": "control",
    "kept, test": "score kept, test photographs",
    "control, test": "control, test photographs",
}

DEFAULT = "default"  # stands for `minimize` as it is, where a strategy is named


if TYPE_CHECKING:
    from shrinknet.experiments.histories import Histories


@dataclass(frozen=True, kw_only=True)
class Strategies(EdgeSettings):
    """EdgeSettings of the experiment `strategies`.

    Attributes:
        strategies: names that `shrinknet strategies` lists, or .py files; each runs until it ends. "default" is all of
            `minimize(model, train, validation, threshold=...)`: its strategy, repair, pace and trainings.
        thresholds: shares of the reference that a cut must keep, in (0, 1].
        reference: "last" or "baseline", see `minimize`. min_filters: filters that every layer keeps.
        steps: training steps of a trial.
    """

    steps: int = 2_000
    strategies: tuple[str, ...] = ("cosine-max", "random", "sequential")
    thresholds: tuple[float, ...] = (0.85, 0.9, 0.95, 0.98, 1.0)
    reference: str = "last"
    min_filters: int = 1
    repetitions: int = 50

    LEAST: ClassVar[Mapping[str, int]] = {**EdgeSettings.LEAST, "min_filters": 1}
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"repetitions": 2, "crop": 32, "train_crops": 16, "warmup_steps": 300, "steps": 40,
                  "bootstrap": 200},
        "laptop": {"repetitions": 10, "crop": 40, "warmup_steps": 4_000, "steps": 1_000},
        "paper": {},
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.strategies or not self.thresholds or not all(0 < share <= 1 for share in self.thresholds):
            raise OptionError(
                "Expected at least one strategy and thresholds in (0, 1]; received "
                f"{list(self.strategies)} and {list(self.thresholds)}."
            )
        if self.reference not in ("last", "baseline"):
            raise OptionError(f"Expected reference to be last or baseline; received {self.reference!r}.")


def repetition(settings: Strategies, number: int) -> Unit:
    """The unit of work: one network, minimized by every strategy at every threshold."""
    from shrinknet.experiments.bench import bench
    from shrinknet.experiments.histories import Histories

    network = bench(settings)
    network.begin(number)
    network.train(settings.warmup_steps, trial=0)
    histories = Histories(network, settings.steps)
    runs = [
        {"strategy": name, "threshold": threshold, **_minimized(histories, name, threshold, settings)}
        for name in settings.strategies for threshold in settings.thresholds
    ]  # fmt: skip
    return {"runs": runs, "trained": histories.trained}


def _minimized(histories: Histories, name: str, threshold: float, settings: Strategies) -> dict[str, Any]:
    if name == DEFAULT:
        return histories.by_default(threshold, settings.min_filters)
    return histories.minimize(name, threshold, settings.reference, settings.min_filters)


def gather(units: Sequence[Unit]) -> Frames:
    """runs: one row for each repetition, strategy and threshold; trials: one row for each trial of each run."""
    runs, trials = [], []
    for unit in units:
        for run in unit["runs"]:
            key = {"repetition": unit["repetition"], "strategy": run["strategy"], "threshold": run["threshold"]}
            runs.append({**key, **{name: value for name, value in run.items() if name not in (*key, "trials")}})
            trials += [{**key, **trial} for trial in run["trials"]]
    return {"runs": pd.DataFrame(runs), "trials": pd.DataFrame(trials)}


def measured(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with scores as shares of the score after the warm-up, 1 = nothing lost."""
    shares = {
        name: (runs[column] / runs[f"{part}baseline"]).replace([np.inf, -np.inf], np.nan)
        for part, suffix in (("", ""), ("test_", ", test"))
        for name, column in ((f"kept{suffix}", f"{part}score"), (f"control{suffix}", f"{part}control"))
    }
    return runs.assign(**shares)


def analyse(frames: Frames, settings: Strategies) -> Findings:
    """Figure 4.2 in numbers, with intervals over repetitions, and the verdicts on the thesis's claims."""
    runs = measured(frames["runs"])
    names, thresholds = list(dict.fromkeys(runs["strategy"])), sorted(set(runs["threshold"]))
    rows, intervals = [], []
    weights = draws(np.unique(runs["repetition"]), settings.bootstrap, settings.seed)
    for threshold in thresholds:
        for name in names:
            cell = _cell(runs, name, threshold)
            row: dict[str, Any] = {"cell": f"{name} {threshold:g}"}
            for column, label in MEASURES.items():
                found = estimate(mean(cell[column].to_numpy(float), weights))
                row[label] = found.value
                intervals.append({"strategy": name, "threshold": threshold, "measure": label, **found._asdict()})
            steps = {"steps": cell["steps"].mean()} if "steps" in cell else {}
            rows.append({**row, "trials": cell["tried"].mean(), **steps, "runs": len(cell)})
    tables = {"table": pd.DataFrame(rows), "intervals": pd.DataFrame(intervals)}
    most = sum(max(0, width - settings.min_filters) for width in settings.widths[:-1])
    return Findings(tables, _claims(runs, thresholds, weights), _notes(frames["runs"]), {"most": most})


def _cell(runs: pd.DataFrame, strategy: str, threshold: float) -> pd.DataFrame:
    chosen = runs[(runs["strategy"] == strategy) & (runs["threshold"] == threshold)]
    return chosen.sort_values("repetition")


def _claims(runs: pd.DataFrame, thresholds: Sequence[float], weights: np.ndarray) -> tuple[Claim, ...]:
    """Random compared with each of the others: filters disabled and score kept, paired by repetition."""
    names = list(dict.fromkeys(runs["strategy"]))
    claims = []
    for other in (name for name in names if name != "random" and "random" in names):
        texts = {
            "disabled": "disables more filters than",
            "kept": "keeps more of the score than",
            "kept, test": "keeps more of the score on test photographs than",
        }
        for column, text in list(texts.items())[: 3 if other == DEFAULT else 2]:
            by_threshold = {
                threshold: mean(_difference(runs, column, "random", other, threshold), weights)
                for threshold in thresholds
            }
            overall = estimate(np.mean(list(by_threshold.values()), axis=0))
            parts = "; ".join(f"{threshold:g}: {estimate(drawn)}" for threshold, drawn in by_threshold.items())
            word = "holds" if overall.low > 0 else "fails" if overall.high <= 0 else "undecided"
            evidence = f"difference over all thresholds {overall}; at {parts}"
            ours = "(not in the thesis) " if other == DEFAULT else ""
            claims.append(Claim(f"{ours}random {text} {other}", word, evidence))
    claims += [_against_control(runs, name, weights) for name in names]
    return tuple(claims)


def _difference(runs: pd.DataFrame, column: str, one: str, other: str, threshold: float) -> np.ndarray:
    first, second = (_cell(runs, name, threshold)[column].to_numpy(float) for name in (one, other))
    difference: np.ndarray = first - second
    return difference


def _against_control(runs: pd.DataFrame, name: str, weights: np.ndarray) -> Claim:
    """The comparison with the control, which the thesis did not have: all thresholds, validation photographs."""
    own = runs[runs["strategy"] == name]
    gap = (own["kept"] - own["control"]).groupby(own["repetition"]).mean()
    found = estimate(mean(gap.to_numpy(float), weights))
    word = "holds" if found.high < 0 else "fails" if found.low > 0 else "undecided"
    return Claim(
        f"(not in the thesis) the networks of {name} score less than the uncut one trained as long", word,
        f"score kept minus control {found}, mean over thresholds",
    )  # fmt: skip


def _notes(runs: pd.DataFrame) -> tuple[str, ...]:
    baseline = runs.groupby("repetition")[["baseline", "test_baseline"]].first().mean()
    notes = [
        f"Soft F1 of the uncut networks after the warm-up: {baseline.iloc[0]:.3f} on validation photographs, which "
        f"decide about the trials, {baseline.iloc[1]:.3f} on test photographs, which decide about nothing; mean of "
        f"{runs['repetition'].nunique()}."
    ]
    lost = int(runs[["score", "baseline", "control"]].isna().any(axis=1).sum())
    return (*notes, *([f"{lost} runs have a score that is not finite."] if lost else []))


def draw(frames: Frames, findings: Findings) -> dict[str, Figure]:
    """Figure 4.2, with the control."""
    from shrinknet.experiments.figures.strategies import charts

    return {"figure-4-2": charts(measured(frames["runs"]), findings.tables["intervals"], findings.facts["most"])}


def page(settings: Strategies, frames: Frames, findings: Findings) -> str:
    """Figure 4.2 reproduced, next to the thesis's claims about it."""
    table = findings.tables["table"]
    return f"""# Strategies at several thresholds

{frames["runs"]["repetition"].nunique()} runs for each of {len(table)} cells; {settings.warmup_steps:,} steps, then
{settings.steps:,} a trial; reference "{settings.reference}"; each strategy to its own end; crops of {settings.crop}
pixels, {settings.edges} edges. {" ".join(findings.notes)}

The values of the thesis's figure 4.2 are lost; what it says of them is set beside ours. *Score kept* is the final
score as a share of the score after the warm-up; it can exceed 1, since the network goes on learning. That is why
there is a *control*: the uncut network trained on the very batches that the smaller one was trained on.

## Verdict

{markdown_claims(findings.claims)}

Differences are paired by repetition (the same network to begin with), with 95 % bootstrap intervals over repetitions;
a claim holds where the interval lies above zero, fails where it does not reach above zero, and is undecided otherwise.

## Figure 4.2

![Score kept and filters disabled](figure-4-2.png)

{markdown_table(table)}

Intervals are in `intervals.csv`, all runs in `runs.csv`, all trials in `trials.csv`.
"""


QUESTION = Question("strategies", Strategies, "strategies", gather, analyse, draw, page)
run = functools.partial(frame.run, QUESTION)
