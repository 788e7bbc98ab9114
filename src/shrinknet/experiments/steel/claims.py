"""Verdicts of the experiment `steel`: what the report says of its classifiers, and the aims of shrinking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from shrinknet.applications.steel import published
from shrinknet.experiments.frame import Claim, Frames
from shrinknet.experiments.statistics import Estimate, draws, estimate, mean

if TYPE_CHECKING:
    from shrinknet.experiments.steel.settings import Steel

EVERY = 5  # "All validation plots showed a very divergent value from training every 5 epochs"
STRONG = 0.2  # autocorrelation at a lag of five epochs that counts as a rhythm; fixed before anything was run
SYNTHETIC = "on synthetic plates"
_STRATEGIES = {"default": "the default of minimize", "random": "random choice"}
HALF, KEPT, INT8, SAME = 0.5, 0.98, 0.01, 0.001  # the aims of shrinking


def claims(frames: Frames, settings: Steel) -> tuple[Claim, ...]:
    """All verdicts; intervals are 95 % bootstrap intervals over repetitions."""

    def estimated(values: pd.Series, repetitions: pd.Series) -> Estimate:
        weights = draws(repetitions.to_numpy(), settings.bootstrap, settings.seed)
        return estimate(mean(values.to_numpy(float), weights))

    found = (
        *_of_the_report(frames, estimated),
        *_of_segmentation(frames, estimated),
        *_of_shrinking(frames, estimated),
        *_of_files(frames, estimated),
    )
    if not bool(frames["histories"]["synthetic"].any()):
        return found
    return tuple(replace(claim, text=f"{claim.text}, {SYNTHETIC}") for claim in found)


Estimated = Callable[[pd.Series, pd.Series], Estimate]


def _reached(found: Estimate, least: float) -> str:
    """Whether a number reaches a bound: its whole interval must lie on one side."""
    if not np.isfinite(found.low):
        return "undecided"
    return "holds" if found.low >= least else "fails" if found.high < least else "undecided"


def _of_the_report(frames: Frames, estimated: Estimated) -> tuple[Claim, ...]:
    scores = frames["scores"]
    test = scores[(scores["part"] == "test") & (scores["activation"] == "sigmoid")]
    found = [_sweet_spot(test, step, batch, estimated) for step, batch in (("binary", 32), ("multiclass", 16))]
    found.append(_rhythm(frames["histories"], estimated))
    for step, batch, report in (("binary", 32, published.BINARY), ("multiclass", 16, published.MULTICLASS)):
        rows = test[(test["step"] == step) & (test["batch"] == batch)]
        if len(rows):
            reached, goal = estimated(rows["f1_m"], rows["repetition"]), report["test"].f1
            right = estimated(rows["f1"], rows["repetition"])
            found.append(
                Claim(
                    f"the {step} model reaches the report's F1 of {goal:.3f} on test plates",
                    _reached(reached, goal),
                    f"{reached} as the report averages, batch by batch; {right} of the whole test set",
                )
            )
    return tuple(found)


def _sweet_spot(test: pd.DataFrame, step: str, batch: int, estimated: Estimated) -> Claim:
    table = test[test["step"] == step].pivot(index="repetition", columns="batch", values="f1")
    text = f"a batch size of {batch} is the best for the {step} model"
    means = ", ".join(f"{size}: {value:.3f}" for size, value in table.mean().items())
    if batch not in table or len(table.columns) < 2:
        return Claim(text, "undecided", f"F1 on test plates by batch size: {means}")
    best_other = table.drop(columns=batch).mean().idxmax()
    lead = table[batch] - table[best_other]
    found = estimated(lead, pd.Series(lead.index))
    undecided = not np.isfinite(found.low) or found.low <= 0 <= found.high
    verdict = "undecided" if undecided else "holds" if found.low > 0 else "fails"
    return Claim(text, verdict, f"F1 on test plates by batch size: {means}; {batch} less {best_other}: {found}")


def rhythm(losses: np.ndarray, lag: int = EVERY) -> float:
    """Autocorrelation of a curve at a lag, after its running median of five is taken away; NaN if it is too short."""
    if len(losses) < 3 * lag:
        return float("nan")
    padded = np.pad(losses, 2, mode="edge")
    trend = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    rest = losses - trend
    rest = rest - rest.mean()
    power = float(rest @ rest)
    return float(rest[lag:] @ rest[:-lag]) / power if power > 0 else float("nan")


def _rhythm(histories: pd.DataFrame, estimated: Estimated) -> Claim:
    rows = histories[histories["step"] != "unet"]
    groups = [(key[0], rhythm(one["val_loss"].to_numpy(float)))
              for key, one in rows.groupby(["repetition", "step", "batch"], sort=False)]  # fmt: skip
    table = pd.DataFrame(groups, columns=["repetition", "value"]).dropna()
    text = f"validation diverges every {EVERY} epochs"
    if table.empty:
        return Claim(text, "undecided", f"fewer than {3 * EVERY} epochs")
    found = estimated(table["value"], table["repetition"])
    verdict = "undecided"
    if np.isfinite(found.low):
        verdict = "holds" if found.low >= STRONG else "fails" if found.high < STRONG else "undecided"
    return Claim(
        text, verdict,
        f"autocorrelation of the validation loss at a lag of {EVERY} epochs: {found} over {len(table)} trainings; "
        f"{STRONG} counts as a rhythm",
    )  # fmt: skip


def _of_segmentation(frames: Frames, estimated: Estimated) -> tuple[Claim, ...]:
    masks = _cleaned(frames)
    rows = masks[masks["masks_of"] == "before"]
    dice = estimated(rows["dice"], rows["repetition"])
    marked = estimated(rows["dice_marked"], rows["repetition"])
    nothing = float((1 - rows["present"] / rows["masks"]).mean())  # Dice of a network that marks nothing
    return tuple(
        Claim(
            f"a U-Net outlines defects with the Dice of {name}, {numbers['dice']}",
            _reached(dice, max(numbers["dice"], nothing)),
            f"{dice}, where blank masks found blank count as 1, as in the competition, and a network that marks "
            f"nothing gets {nothing:.2f}; {marked} without those masks",
        )
        for name, numbers in published.BENCHMARKS.items()
    )


def _cleaned(frames: Frames) -> pd.DataFrame:
    """Scores of masks without small regions, all classes together."""
    masks = frames["masks"]
    return masks[masks["cleaned"] & (masks["class"] == "all")]


def _of_shrinking(frames: Frames, estimated: Estimated) -> tuple[Claim, ...]:
    shrunk = frames["shrunk"]
    unet = shrunk[shrunk["network"] == "unet"]
    dice = _cleaned(frames).set_index(["repetition", "masks_of"])["dice_marked"].unstack()
    found = []
    for strategy, rows in unet.groupby("strategy", sort=False):
        share = estimated(rows["multiply_adds_after"] / rows["multiply_adds_before"], rows["repetition"])
        ratio = dice[f"slim, {strategy}"] / dice[f"control, {strategy}"]
        kept = estimated(ratio, pd.Series(ratio.index))
        raw = estimated(rows["score_after"] / rows["control"], rows["repetition"])
        worst = float((rows["multiply_adds_after"] / rows["multiply_adds_before"]).max())
        verdict = _reached(kept, KEPT)
        if worst > HALF:
            verdict = "fails"
        found.append(
            Claim(
                f"shrunk by {_STRATEGIES.get(str(strategy), strategy)}, the U-Net keeps {KEPT} of the control's Dice "
                "at half of the multiply-adds",
                verdict,
                f"{share} of the multiply-adds ({worst:.2f} at most), {kept} of the control's Dice of marked masks on "
                f"test plates, {float(ratio.min()):.3f} at least; {raw} with small regions",
            )
        )
    if {"slim, default", "slim, random"} <= set(dice.columns):
        lead = dice["slim, default"] - dice["slim, random"]
        lead_found = estimated(lead, pd.Series(lead.index))
        undecided = not np.isfinite(lead_found.low) or lead_found.low <= 0 <= lead_found.high
        found.append(
            Claim(
                "the default of minimize ends with a better Dice than random choice",
                "undecided" if undecided else "holds" if lead_found.low > 0 else "fails",
                f"default less random: {lead_found}, Dice of test plates; not at the same cost, see the table",
            )
        )
    return tuple(found)


def _of_files(frames: Frames, estimated: Estimated) -> tuple[Claim, ...]:
    if "files" not in frames:
        return ()
    files = frames["files"]
    found = []
    floats = files[files["format"] == "litert"]
    if len(floats):
        worst = float(floats["pixels_that_differ"].max())
        found.append(
            Claim(
                "masks of the LiteRT file are those of Keras, but for 0.1 % of the pixels",
                "holds" if worst <= SAME else "fails",
                f"{worst:.6f} of the pixels differ at most",
            )
        )
    dice = _cleaned(frames).set_index(["repetition", "masks_of"])["dice_marked"].unstack()
    for name in ("litert-int8", "quantization-aware"):
        if f"slim, {name}" in dice:
            loss = dice["slim, litert"] - dice[f"slim, {name}"]
            most = float(loss.max())
            found.append(
                Claim(
                    f"the int8 file ({name}) loses at most {INT8} of Dice",
                    "holds" if most <= INT8 else "fails",
                    f"loses {estimated(loss, pd.Series(loss.index))}, {most:.3f} at most, on test plates",
                )
            )
    return tuple(found)
