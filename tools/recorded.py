"""Recomputes the recorded tables of experiments/ with pandas and SciPy alone, and what their pages say beyond them.

    python tools/recorded.py

Nothing of shrinknet is imported, so that an error in its statistics cannot repeat itself here. Intervals are Student's
t over networks, since percentile intervals of six to twenty networks are too narrow.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).parents[1] / "experiments"
METHODS = {"prs": stats.pearsonr, "knd": stats.kendalltau, "spr": stats.spearmanr}
COSINES = [f"{bars}cos{bars}:{name}" for name in ("min", "max", "std", "mean", "median") for bars in ("", "|")]


def recorded(name: str, file: str) -> pd.DataFrame:
    """A recorded file of an experiment, such as ("strategies/results", "runs")."""
    return pd.read_csv(ROOT / name / f"{file}.csv")


def interval(values: pd.Series) -> str:
    """Mean and 95 % t interval of numbers, one for each network."""
    values = values.dropna()
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{values.mean():.2f} [{values.mean() - half:.2f}, {values.mean() + half:.2f}]"


def correlations() -> pd.DataFrame:
    """Table 4.1: three coefficients of the score at disabling ("loss" there) and of the best score."""
    points = recorded("correlations/results", "points")
    loss = points["start"] / points["reference_start"]
    best = points["best"] / points["reference_best"]
    rows = [
        {"coefficient": f"{name}({kind})", **{one: method(points[one], values).statistic for one in COSINES}}
        for name, values in (("loss", loss), ("best", best))
        for kind, method in METHODS.items()
    ]
    return pd.DataFrame(rows)


def drop_gain() -> pd.DataFrame:
    """Drop and gain: three coefficients, by layer."""
    pairs = recorded("drop-gain/results", "pairs")
    layers = {"all layers": pairs, **{str(layer): part for layer, part in pairs.groupby("layer")}}
    rows = []
    for layer, chosen in layers.items():
        for which, part in (("all filters", chosen), ("best filter", chosen[chosen["best filter"]])):
            found = {kind: method(part["drop"], part["gain"]).statistic for kind, method in METHODS.items()}
            rows.append({"points": f"{layer}, {which}", "n": len(part), **found,
                         "median drop": part["drop"].median(), "median gain": part["gain"].median()})  # fmt: skip
    return pd.DataFrame(rows)


def strategies(name: str = "strategies/results") -> pd.DataFrame:
    """Means of each strategy at each threshold."""
    runs = recorded(name, "runs")
    runs = runs.assign(**{
        "filters disabled": runs["disabled"], "score kept": runs["score"] / runs["baseline"],
        "control": runs["control"] / runs["baseline"],
        "score kept, test photographs": runs["test_score"] / runs["test_baseline"],
        "control, test photographs": runs["test_control"] / runs["test_baseline"], "trials": runs["tried"],
    })  # fmt: skip
    columns = ["filters disabled", "score kept", "control", "score kept, test photographs",
               "control, test photographs", "trials", *(["steps"] if "steps" in runs else [])]  # fmt: skip
    found = runs.groupby(["strategy", "threshold"])[columns].mean().reset_index()
    found["cell"] = [f"{one} {share:g}" for one, share in zip(found["strategy"], found["threshold"], strict=True)]
    return found[["cell", *columns]]


def probes() -> pd.DataFrame:
    """Means of each way of probing."""
    rows = recorded("probes/results", "probes")
    rows["score at once"] = rows["at once"] / rows["before"]
    rows["score after training"] = rows["after"] / rows["reference"]
    rows["score after training, without the filter"] = rows["without"] / rows["reference"]
    rows["change of the others"] = rows["others moved"]
    rows["probe"] = rows["way"] + ": " + rows["start"]
    return rows.groupby("probe")[
        ["score at once", "score after training", "score after training, without the filter", "change of the others"]
    ].mean().reset_index()  # fmt: skip


def avalanche() -> pd.DataFrame:
    """Means over repetitions of each network's windows, and over all test photographs of its masks."""
    windows = recorded("avalanche/results", "networks").groupby("network")[["parameters", "loss", "accuracy"]].mean()
    masks = recorded("avalanche/results", "photographs").groupby("network")[["iou", "f1", "boundary_f1"]].mean()
    return windows.join(masks).reset_index()


def shrunk(name: str) -> pd.DataFrame:
    """Shares of the multiply-adds that are left and of the control's score that is kept, of every shrunk network.

    Args:
        name: "avalanche", IoU of test photographs; or "steel", Dice of the marked masks of test plates, without small
            regions.
    """
    if name == "avalanche":
        rows = recorded("avalanche/results", "shrinking")
        before, after = "multiply-adds before", "multiply-adds after"
        score, control = "IoU after", "IoU control"
    else:
        raw, masks = recorded("steel/results", "shrunk"), recorded("steel/results", "masks")
        rows = raw[raw["network"] == "unet"]
        dice = masks[masks["cleaned"] & (masks["class"] == "all")].set_index(["repetition", "masks_of"])["dice_marked"]
        for part in ("slim", "control"):
            keys = zip(rows["repetition"], part + ", " + rows["strategy"], strict=True)
            rows = rows.assign(**{part: [dice[key] for key in keys]})
        before, after, score, control = "multiply_adds_before", "multiply_adds_after", "slim", "control"
    return pd.DataFrame({
        "network": rows["network"], "strategy": rows["strategy"], "repetition": rows["repetition"],
        "left": rows[after] / rows[before], "kept": rows[score] / rows[control],
    })  # fmt: skip


def equal_trials(name: str, other: str) -> str:
    """Filters that random choice disables more than another strategy within as many trials, paired by network."""
    trials = recorded(name, "trials")
    trials["count"] = trials["accepted"] * trials["filters"].map(lambda names: len(names.split()))
    gaps = {}
    for (network, threshold), part in trials.groupby(["repetition", "threshold"]):
        both = {one: rows for one, rows in part.groupby("strategy") if one in ("random", other)}
        if len(both) == 2:
            limit = min(rows["trial"].max() for rows in both.values())
            done = {one: rows[rows["trial"] <= limit]["count"].sum() for one, rows in both.items()}
            gaps[network, threshold] = done["random"] - done[other]
    return interval(pd.Series(gaps).groupby(level=0).mean())


def dead_filters() -> dict[str, object]:
    """Drop and gain with and without filters whose removal changes nothing."""
    points, pairs = (recorded("drop-gain/results", name) for name in ("points", "pairs"))
    dead = np.isclose(points["start"], points["reference_start"], rtol=0, atol=1e-6)
    final = points["final"] / points["reference_final"]
    gain, least = pairs["gain"], pairs["drop"] == pairs.groupby("repetition")["drop"].transform("max")
    top = pairs["gain"] == pairs.groupby("repetition")["gain"].transform("max")
    hits = least & top
    by_network = [stats.spearmanr(part["drop"], final[part.index]).statistic for _, part in pairs.groupby("repetition")]
    return {
        "dead filters": f"{int(dead.sum())} of {len(points)}",
        "networks whose best score was where the drop was least": int(hits.groupby(pairs["repetition"]).any().sum()),
        "... of them by a dead filter": int((hits & dead).groupby(pairs["repetition"]).any().sum()),
        "Spearman of drop and best score": round(stats.spearmanr(pairs["drop"], gain).statistic, 2),
        "... without dead filters": round(stats.spearmanr(pairs["drop"][~dead], gain[~dead]).statistic, 2),
        "Spearman of drop and final score": round(stats.spearmanr(pairs["drop"], final).statistic, 2),
        "... within each network, mean": interval(pd.Series(by_network)),
    }


def largest_of_sixty(draws: int = 2_000, seed: int = 0) -> float:
    """The share of shuffles (of scores among the filters of each network) whose largest coefficient is as large."""
    points = recorded("correlations/results", "points")
    loss, best = points["start"] / points["reference_start"], points["best"] / points["reference_best"]
    cosines = points[COSINES].to_numpy()
    ranks = {"plain": cosines, "ranks": stats.rankdata(cosines, axis=0)}
    observed = float(correlations()[COSINES].abs().to_numpy().max())
    random, above = np.random.default_rng(seed), 0
    networks = [np.flatnonzero(points["repetition"] == one) for one in points["repetition"].unique()]
    for _ in range(draws):
        order = np.concatenate([random.permutation(rows) for rows in networks])
        largest = 0.0
        for values in (loss.to_numpy()[order], best.to_numpy()[order]):
            for x, y in ((ranks["plain"], values), (ranks["ranks"], stats.rankdata(values))):
                x, y = x - x.mean(axis=0), y - y.mean()
                largest = max(largest, np.abs(x.T @ y / np.sqrt((x**2).sum(axis=0) * (y**2).sum())).max())
        above += largest >= observed
    return above / draws


def returned() -> str:
    """Filters of the second layer that came back to a similarity of 0.6 or more while the others were frozen."""
    rows = recorded("probes/results", "probes")
    chosen = rows[(rows["way"] == "others frozen") & (rows["start"] == "reinitialized")]
    second = chosen[chosen["filter"].str.startswith("conv2")]["similarity after"]
    return f"{int((second >= 0.6).sum())} of {len(second)}"


def moved() -> dict[str, str]:
    """How far the others move, as a share of their length, when a filter is switched off, less than when none is."""
    rows = recorded("probes/results", "probes")
    wide = rows.pivot_table(index="repetition", columns="way", values="others moved")
    gap = wide["disabled and frozen"] - wide["untouched"]
    return {"difference": interval(gap), "by network": " ".join(f"{value:.2f}" for value in gap)}


def beyond() -> dict[str, object]:
    """What the pages say beyond their tables."""
    return {
        "random minus cosine-max, filters, at equal trials": equal_trials("strategies/results", "cosine-max"),
        "random minus sequential, filters, at equal trials": equal_trials("strategies/results", "sequential"),
        "random minus cosine-mean, filters, at equal trials": equal_trials("strategies/others", "cosine-mean"),
        **dead_filters(),
        "permutation p of the largest of sixty coefficients": largest_of_sixty(),
        "second layer, others frozen: back to 0.6 or more": returned(),
        "how much further the others move without a filter": moved(),
    }


def main() -> None:
    """Prints everything."""
    for name, frame in (("correlations", correlations()), ("drop-gain", drop_gain()), ("strategies", strategies()),
                        ("others", strategies("strategies/others")), ("probes", probes()),
                        ("avalanche", avalanche()), ("avalanche, shrunk", shrunk("avalanche")),
                        ("steel, shrunk", shrunk("steel"))):  # fmt: skip
        print(f"\n{name}\n{frame.round(3).to_string(index=False)}")
    print(json.dumps(beyond(), indent=1))


if __name__ == "__main__":
    main()
