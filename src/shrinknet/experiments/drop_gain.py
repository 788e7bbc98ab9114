"""Does the drop in score when a filter is disabled predict how far the network recovers (thesis 4.2, figure 4.1)?

The points are those of `correlations`; if its points.csv is given, nothing is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from shrinknet.experiments import correlations, frame
from shrinknet.experiments.correlations import Correlations, relative
from shrinknet.experiments.frame import Claim, Findings, Frames, Question, markdown_claims, markdown_table
from shrinknet.experiments.statistics import COEFFICIENTS, Estimate, correlation, draws, estimate, mean, median
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRONG = 0.5  # a coefficient of this absolute value counts as strong; fixed before anything was run
FAIR = 0.98  # "fair performance later (98 - 100%)"
WHICH = ("all filters", "best filter")


def gather(units: Sequence[Unit]) -> Frames:
    """points: the same as in `correlations`."""
    return {"points": correlations.gather(units)["points"]}


def drops_and_gains(points: pd.DataFrame) -> pd.DataFrame:
    """Columns repetition, layer, filter, drop, gain, best filter; one row per point.

    drop: the score at the moment of disabling; gain: the best one afterwards; both as shares of the uncut network's,
    as on the axes of figure 4.1. The best filter of a repetition is the one with the highest final score.
    """
    shares = relative(points)
    best = points.groupby("repetition")["final"].transform("max") == points["final"]
    first = ~(points["repetition"].where(best).duplicated()) & best  # of ties, the first in network order
    return pd.DataFrame(
        {
            "repetition": points["repetition"],
            "layer": points["filter"].str.rpartition("[")[0],
            "filter": points["filter"],
            "drop": shares["loss"],
            "gain": shares["best"],
            "best filter": first,
        }
    )


def subsets(pairs: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """(layer, which filters) -> its pairs, in the order of figure 4.1: all layers, then each; all, then the best."""
    layers = {"all layers": pairs} | {str(layer): rows for layer, rows in pairs.groupby("layer", sort=False)}
    return {
        (layer, which): rows if which == WHICH[0] else rows[rows["best filter"]]
        for layer, rows in layers.items()
        for which in WHICH
    }


def analyse(frames: Frames, settings: Correlations) -> Findings:
    """Coefficients of drop and gain for each panel of figure 4.1, and the verdicts on the claims about it."""
    pairs = drops_and_gains(frames["points"])
    weights = draws(pairs["repetition"].to_numpy(), settings.bootstrap, settings.seed)
    rows, spearman = [], {}
    for (layer, which), chosen in subsets(pairs).items():
        drop, gain = chosen["drop"].to_numpy(), chosen["gain"].to_numpy()
        own = weights[:, pairs.index.get_indexer(chosen.index)]
        row: dict[str, object] = {"points": f"{layer}, {which}", "n": len(chosen)}
        for kind in COEFFICIENTS:
            found = estimate(correlation(kind, drop, gain, own)) if len(chosen) > 2 else Estimate(*[np.nan] * 3)
            row |= {kind: found.value, f"{kind} low": found.low, f"{kind} high": found.high}
            spearman[layer, which, kind] = found
        rows.append(row | {"median drop": np.nanmedian(drop) if len(drop) else np.nan,
                           "median gain": np.nanmedian(gain) if len(gain) else np.nan})  # fmt: skip
    claims = (
        _unrelated(spearman["all layers", WHICH[0], "spr"]),
        _fair_after_a_drop(pairs, weights),
        _best_where_least(pairs, weights),
    )
    return Findings({"table": pd.DataFrame(rows), "pairs": pairs}, claims, _notes(pairs))


def is_dead(pairs: pd.DataFrame) -> pd.Series:
    """Whether nothing changed when the filter was disabled: the score differs by no more than rounding."""
    return (pairs["drop"] - 1).abs() < 1e-6


def _unrelated(found: Estimate) -> Claim:
    inside = found.low > -STRONG and found.high < STRONG
    outside = found.low >= STRONG or found.high <= -STRONG
    return Claim(
        "drop and gain are not strongly correlated",
        "holds" if inside else "fails" if outside else "undecided",
        f"Spearman {found}, all layers, all filters; {STRONG} counts as strong",
    )


def _fair_after_a_drop(pairs: pd.DataFrame, weights: np.ndarray) -> Claim:
    """Looks at the quarter of the first layer's filters that cost most at first."""
    first = pairs[pairs["layer"] == pairs["layer"].iloc[0]]
    worst = first[first["drop"] <= first["drop"].quantile(0.25)]
    own = weights[:, pairs.index.get_indexer(worst.index)]
    found = estimate(median(worst["gain"].to_numpy(), own))
    return Claim(
        "in the first layer, a drop to lower percentages is followed by fair performance (98-100 %)",
        "holds" if found.low >= FAIR else "fails" if found.high < FAIR else "undecided",
        f"median gain of the quarter of its filters with the greatest drop: {found}; {FAIR} or more is fair",
    )


def _best_where_least(pairs: pd.DataFrame, weights: np.ndarray) -> Claim:
    """How often the filter with the best later score is the one that cost least to disable."""
    good = pairs.dropna(subset=["drop", "gain"])
    groups = good.groupby("repetition")
    top, least = groups["gain"].transform("max") == good["gain"], groups["drop"].transform("max") == good["drop"]
    share = (top & least).groupby(good["repetition"]).any()
    first = good.groupby("repetition").head(1).index
    found = estimate(mean(share.to_numpy(float), weights[:, pairs.index.get_indexer(first)]))
    chance = float((1 / groups.size()).mean()) if len(good) else np.nan
    return Claim(
        "the best score is achieved where the drop was minimal",
        "holds" if found.low > 0.5 else "fails" if found.high < 0.5 else "undecided",
        f"in a share of {found} of the repetitions; by chance {chance:.2f}; more than half counts as holding",
    )


def _notes(pairs: pd.DataFrame) -> tuple[str, ...]:
    best = pairs[pairs["best filter"]]
    layers = ", ".join(f"{count} in {layer}" for layer, count in best["layer"].value_counts(sort=False).items())
    lost = int(pairs[["drop", "gain"]].isna().any(axis=1).sum())
    notes = [f"The filter with the best final score was {layers}."]
    return (*notes, *([f"{lost} points have a score that is zero or not finite and are left out."] if lost else []))


def draw(frames: Frames, findings: Findings) -> dict[str, Figure]:
    """Figure 4.1."""
    from shrinknet.experiments.figures.drop_gain import scatter

    pairs = findings.tables["pairs"]
    return {"figure-4-1": scatter(subsets(pairs.assign(dead=is_dead(pairs))))}


def page(settings: Correlations, frames: Frames, findings: Findings) -> str:
    """Figure 4.1 reproduced, next to the thesis's claims about it."""
    pairs = findings.tables["pairs"]
    source = f"the points of `{settings.points}`" if settings.points else "points trained here"
    return f"""# Drop and gain after disabling a filter

{pairs["repetition"].nunique()} repetitions, {len(pairs)} points: {source}. The values of the thesis's figure 4.1 are
lost; what it says of them is set beside ours. {" ".join(findings.notes)}

*Drop* is the score at the moment of disabling, *gain* the best score afterwards, both as a share of what the uncut
network scores: 100 % is no loss, and a greater drop lies further to the left. The *best filter* of a repetition is
the one whose network ends with the greatest score.

## Verdict

{markdown_claims(findings.claims)}

## Figure 4.1

![Drop against gain](figure-4-1.png)

## Correlation of drop and gain

Pearson (prs), Kendall (knd) and Spearman (spr), with the ends of their 95 % bootstrap intervals over repetitions.

{markdown_table(findings.tables["table"])}
"""


QUESTION = Question("drop-gain", Correlations, "correlations", gather, analyse, draw, page, correlations.recorded)
run = functools.partial(frame.run, QUESTION)
