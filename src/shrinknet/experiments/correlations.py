"""Do a filter's similarities to the other filters of its layer predict its cost (thesis 4.1, table 4.1)?

A network is trained; then, from the same state and on the same batches, training continues once without each of its
filters and once uncut, as the reference. Every (repetition, filter) pair is a point.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from shrinknet.errors import DataError
from shrinknet.experiments import frame
from shrinknet.experiments.frame import Claim, Findings, Frames, Question, markdown_claims, markdown_table
from shrinknet.experiments.settings import EdgeSettings
from shrinknet.experiments.statistics import COEFFICIENTS, DIGITS, Estimate, correlation, draws, estimate
from shrinknet.experiments.thesis import COLUMNS, ROWS, table_4_1
from shrinknet.experiments.units import Unit
from shrinknet.files.tables import read_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REDUCE: dict[str, Callable[..., Any]] = {
    "min": np.min,
    "max": np.max,
    "std": np.std,
    "mean": np.mean,
    "median": np.median,
}
# name of the rows -> column of the points, sign: the thesis leaves open whether a greater loss is a greater number
QUANTITIES = {
    "loss": ("loss", 1),
    "best": ("best", 1),
    "loss after training": ("loss_after", 1),
    "drop": ("loss", -1),
    "drop after training": ("loss_after", -1),
}


@dataclass(frozen=True, kw_only=True)
class Correlations(EdgeSettings):
    """EdgeSettings of correlations and drop-gain.

    Attributes:
        every: training steps between two evaluations in the second phase.
        points: a points.csv recorded by either experiment, to use instead of training; "": train.
    """

    every: int = 500
    points: str = ""

    ANALYSIS: ClassVar[frozenset[str]] = EdgeSettings.ANALYSIS | {"points"}
    LEAST: ClassVar[Mapping[str, int]] = {**EdgeSettings.LEAST, "every": 1}
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"repetitions": 3, "crop": 32, "train_crops": 16, "warmup_steps": 400, "steps": 100, "every": 50,
                  "bootstrap": 200},
        "laptop": {"repetitions": 20, "crop": 48, "warmup_steps": 4_000, "steps": 1_500, "every": 150},
        "paper": {},
    }  # fmt: skip


def repetition(settings: Correlations, number: int) -> Unit:
    """The unit of work: one network, trained further without each of its filters and with all of them."""
    from shrinknet.experiments.bench import bench, cosines

    network = bench(settings)
    network.begin(number)
    network.train(settings.warmup_steps, trial=0)
    trained, vectors = network.work.checkpoint(), network.vectors()
    curves = {}
    for filter in (None, *network.filters):
        trained.restore()
        network.cut(*([filter] if filter else []))
        curves[str(filter or "")] = [network.score(), *_second_phase(network, settings)]
    similarities = {
        str(filter): cosines(
            vectors[filter],
            [vectors[other] for other in vectors if other.layer == filter.layer and other != filter],
        ).tolist()
        for filter in network.filters
    }
    return {"curves": curves, "cosines": similarities}


def _second_phase(network: Any, settings: Correlations) -> list[float]:
    """Scores after every `settings.every` steps."""
    scores = []
    for start in range(0, settings.steps, settings.every):
        network.train(min(settings.every, settings.steps - start), trial=1, start=start)
        scores.append(network.score())
    return scores


def gather(units: Sequence[Unit]) -> Frames:
    """points: one row for each repetition and filter; curves: all scores; the docs describe the columns."""
    points, curves = [], []
    for unit in units:
        reference = np.array(unit["curves"][""], float)
        for name, scores in unit["curves"].items():
            scores = np.array(scores, float)
            row = {"repetition": unit["repetition"], "filter": name}
            curves += [{**row, "evaluation": place, "score": score} for place, score in enumerate(scores)]
            if name:
                points.append({**row, **_summaries(np.array(unit["cosines"][name])), **_scores(scores, reference)})
    return {"points": pd.DataFrame(points), "curves": pd.DataFrame(curves)}


def _summaries(similarities: np.ndarray) -> dict[str, float]:
    """The columns of table 4.1 for one filter; NaN if it is alone in its layer."""
    return {
        f"{bars}cos{bars}:{summary}": round(float(reduce(values)), DIGITS) if len(values) else np.nan
        for summary, reduce in _REDUCE.items()
        for bars, values in (("", similarities), ("|", np.abs(similarities)))
    }


def _scores(scores: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """First, last and best score, of the network without the filter and of the reference."""
    return {
        f"{who}{moment}": float(value)
        for who, curve in (("", scores), ("reference_", reference))
        for moment, value in (("start", curve[0]), ("final", curve[-1]), ("best", np.max(curve[1:])))
    }


def relative(points: pd.DataFrame) -> pd.DataFrame:
    """The points with the thesis's quantities, each a share of the reference, 1 = as good as uncut.

    loss: score at the moment of disabling; loss_after: after the second phase; best: the highest in between.
    """
    ratios = {"loss": "start", "loss_after": "final", "best": "best"}
    return points.assign(
        **{
            name: (points[moment] / points[f"reference_{moment}"]).replace([np.inf, -np.inf], np.nan).round(DIGITS)
            for name, moment in ratios.items()
        }
    )


def analyse(frames: Frames, settings: Correlations) -> Findings:
    """Table 4.1 of these points, all coefficients with intervals, and the verdicts on the thesis's claims."""
    points = relative(frames["points"])
    weights = draws(points["repetition"].to_numpy(), settings.bootstrap, settings.seed)
    samples = {
        (quantity, kind, column): sign * correlation(kind, points[column].to_numpy(), points[name].to_numpy(), weights)
        for quantity, (name, sign) in QUANTITIES.items()
        for kind in COEFFICIENTS
        for column in COLUMNS
    }
    intervals = pd.DataFrame(
        {"quantity": quantity, "coefficient": kind, "column": column, **estimate(drawn)._asdict()}
        for (quantity, kind, column), drawn in samples.items()
    )
    tables = {"table": table(intervals), "intervals": intervals}
    return Findings(tables, _claims(samples), _notes(frames["points"], points, intervals))


def table(intervals: pd.DataFrame) -> pd.DataFrame:
    """Coefficients in the shape of table 4.1: three rows of loss, three of best, and the six in descending order."""
    rows = []
    for row in ROWS:
        quantity, kind = row[:-1].split("(")
        chosen = intervals[(intervals["quantity"] == quantity) & (intervals["coefficient"] == kind)]
        rows.append({"coefficient": row, **dict(zip(chosen["column"], chosen["value"], strict=True))})
    return with_order(pd.DataFrame(rows, columns=["coefficient", *COLUMNS]))


def with_order(first: pd.DataFrame) -> pd.DataFrame:
    """The six rows, then each column's six numbers in descending order; NaN last."""
    ordered = {column: -np.sort(-first[column].to_numpy(float)) for column in COLUMNS}
    labels = [f"{place}. max" for place in range(1, len(first) + 1)]
    return pd.concat([first, pd.DataFrame({"coefficient": labels, **ordered})], ignore_index=True)


def verdict(estimate: Estimate, positive: bool) -> str:
    """Whether a number has the claimed sign, according to its interval."""
    low, high = (estimate.low, estimate.high) if positive else (-estimate.high, -estimate.low)
    return "holds" if low > 0 else "fails" if high < 0 else "undecided"


def _share_verdict(share: float) -> str:
    return "holds" if share >= 0.95 else "fails" if share <= 0.05 else "undecided"


def _claims(samples: Mapping[tuple[str, str, str], np.ndarray]) -> tuple[Claim, ...]:
    """The thesis's claims about table 4.1, checked with Pearson's coefficient, whose numbers they quote."""

    def most(quantity: str, column: str, sign: int) -> tuple[float, str]:
        """The share of the samples in which this column is ahead of all others, and the one ahead in the data."""
        drawn = sign * np.stack([samples[quantity, "prs", other] for other in COLUMNS])
        drawn = np.where(np.isfinite(drawn), drawn, -np.inf)
        first = np.argmax(drawn, 0)
        share = (first[1:] == COLUMNS.index(column)).mean() if len(first) > 1 else np.nan
        return float(share), COLUMNS[int(first[0])]

    loss, best = (estimate(samples[key]) for key in (("loss", "prs", "cos:min"), ("best", "prs", "cos:max")))
    after = estimate(samples["loss after training", "prs", "cos:min"])
    lowest, leader_loss = most("loss", "cos:min", -1)
    highest, leader_best = most("best", "cos:max", 1)
    return (
        Claim("cos:min correlates negatively with loss", verdict(loss, positive=False),
              f"at the moment of disabling {loss}, after training {after}; thesis -0.32"),
        Claim("cos:min shows the greatest negative correlation to loss", _share_verdict(lowest),
              f"in {lowest:.0%} of the bootstrap samples; in the data it is {leader_loss}"),
        Claim("cos:max correlates with best", verdict(best, positive=True), f"{best}; thesis 0.15"),
        Claim("cos:max goes with best more than any other column", _share_verdict(highest),
              f"in {highest:.0%} of the bootstrap samples; in the data it is {leader_best}"),
        Claim("the correlations are not very strong", *_weak(samples)),
    )  # fmt: skip


def _weak(samples: Mapping[tuple[str, str, str], np.ndarray], strong: float = 0.5) -> tuple[str, str]:
    """Whether all coefficients of the table are below 0.5 in absolute value: the strongest one's interval decides."""
    table = np.stack([drawn for (quantity, _, _), drawn in samples.items() if quantity in ("loss", "best")])
    if not np.isfinite(table[:, 0]).any():
        return "undecided", "no coefficient could be computed"
    strongest = estimate(np.nanmax(np.abs(np.where(np.isfinite(table).any(0), table, 0)), 0))
    word = "holds" if strongest.high < strong else "fails" if strongest.low > strong else "undecided"
    return word, f"the strongest of the table is {strongest} in absolute value; 0.5 counts as strong"


def _notes(raw: pd.DataFrame, points: pd.DataFrame, intervals: pd.DataFrame) -> tuple[str, ...]:
    reference = raw.groupby("repetition")[["reference_start", "reference_final"]].first().mean()
    notes = [
        f"Soft F1 of the uncut networks on validation photographs: {reference.iloc[0]:.3f} at the moment of disabling, "
        f"{reference.iloc[1]:.3f} at the end, mean of {raw['repetition'].nunique()}."
    ]
    lost = int(points[["loss", "loss_after", "best"]].isna().any(axis=1).sum())
    if lost:
        notes.append(f"{lost} of {len(points)} points have a score that is zero or not finite and are left out.")
    missing = intervals[intervals["value"].isna()]
    if len(missing):
        names = ", ".join(sorted(set(missing["quantity"] + " with " + missing["column"])))
        notes.append(f"Could not be computed, because a column is constant or empty: {names}.")
    return tuple(notes)


def draw(frames: Frames, findings: Findings) -> dict[str, Figure]:
    """Our table next to the thesis's, and the coefficients with their intervals."""
    from shrinknet.experiments.figures.correlations import heat_map, interval_chart

    return {
        "table-4-1": heat_map(findings.tables["table"].head(len(ROWS)), table_4_1()),
        "intervals": interval_chart(findings.tables["intervals"], table_4_1()),
    }


def page(settings: Correlations, frames: Frames, findings: Findings) -> str:
    """Our results next to those of the thesis."""
    points = frames["points"]
    signs = markdown_table(_both_moments(findings.tables["intervals"]))
    return f"""# Correlations of a filter's similarities with what its loss costs

{points["repetition"].nunique()} repetitions, {len(points)} points; {settings.warmup_steps:,} steps, then
{settings.steps:,} with the filter disabled and frozen, evaluated every {settings.every:,}; crops of {settings.crop}
pixels, {settings.edges} edges. {" ".join(findings.notes)}

## Verdict

{markdown_claims(findings.claims)}

A claim about a sign holds where the 95 % bootstrap interval (over repetitions) lies on its side of zero, and fails
where it lies on the other. A claim that one column is ahead of the others holds where it is in 95 % of the bootstrap
samples, and fails where it is in 5 % or fewer.

## Ours

`loss` is the score at the moment of disabling, `best` the greatest score afterwards, each as a share of the uncut
network's: 1 is no loss.

{markdown_table(findings.tables["table"])}

![Table 4.1, ours and the thesis's](table-4-1.png)

## The thesis's (table 4.1)

{markdown_table(with_order(table_4_1()))}

## With intervals

![Coefficients with 95 % intervals](intervals.png)

The thesis leaves open whether its loss is the share kept or the share lost, and at which moment. Every coefficient
changes its sign, and nothing else, with the former; both moments, with 95 % intervals (Pearson):

{signs}

All coefficients are in `intervals.csv`, the points in `points.csv`.
"""


def _both_moments(intervals: pd.DataFrame) -> pd.DataFrame:
    pearson = intervals[intervals["coefficient"] == "prs"]
    cells = {
        str(quantity): [str(Estimate(*ends)) for ends in rows[["value", "low", "high"]].to_numpy(float).tolist()]
        for quantity, rows in pearson.groupby("quantity", sort=False)
    }
    return pd.DataFrame({"column": COLUMNS, **cells})


def recorded(settings: Correlations) -> Frames | None:
    """The points of an earlier run, if the settings name them."""
    if not settings.points:
        return None
    points = read_csv(settings.points)
    numbers = set(points.select_dtypes("number"))
    lacking = {"repetition", *COLUMNS, "start", "reference_start", "best"} - numbers | {"filter"} - set(points)
    if lacking or points.empty:
        raise DataError(
            f"{settings.points!r} has no rows, or lacks numbers in the columns {', '.join(sorted(lacking))}: expected "
            "a points.csv written by `shrinknet experiment correlations`."
        )
    return {"points": points}


QUESTION = Question("correlations", Correlations, "correlations", gather, analyse, draw, page, recorded)
run = functools.partial(frame.run, QUESTION)
