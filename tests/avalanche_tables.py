"""Units of the experiment `avalanche` as its repetitions give them, made up without training."""

from __future__ import annotations

from typing import Any

import numpy as np

from shrinknet.experiments.avalanche.predicting import encoded
from shrinknet.experiments.avalanche.settings import NETWORKS, PASSED, STEPS, STRATEGIES, Avalanche

CHANNELS = ("red", "green", "blue", "hue", "saturation", "brightness")
PHOTOGRAPHS = ("a", "b")


def avalanche_units(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Random numbers in the form of results; the first repetition alone has pictures and histograms."""
    random = np.random.default_rng(seed)

    def numbers(*names: str) -> dict[str, float]:
        return {name: float(random.uniform(0.3, 0.9)) for name in names}

    units = []
    for repetition in range(count):
        names = [network.name for network in NETWORKS]
        unit: dict[str, Any] = {
            "networks": [{"network": name, "parameters": 100, "windows": 50,
                          **numbers("seconds", "loss", "accuracy", "accuracy at the threshold", "threshold",
                                    "seconds a megapixel", "difference", "agreement")} for name in names],
            "curves": [{"network": name, "epoch": epoch, **numbers("accuracy", "loss", "val_accuracy", "val_loss")}
                       for name in names for epoch in (1, 2, 3)],
            "photographs": [{"network": name, "image": image, **numbers("accuracy", "iou", "f1", "boundary_f1")}
                            for name in names for image in PHOTOGRAPHS],
            "passes": [{"network": name, "image": image, "canvas": canvas, "prediction": prediction, "way": way,
                        **numbers("iou", "precision", "marked")}
                       for name in PASSED for image in PHOTOGRAPHS for canvas in ("image", "prediction")
                       for prediction in ("first", "second") for way in ("threshold", "column maxima", "cleaned")],
            "boosting": [{"head": head, **numbers("loss", "accuracy", "near 0 or 1", "iou", "seconds a megapixel")}
                         for head in ("the network alone", "boosted trees on predictions",
                                      "boosted trees on features")],
            "components": [{"window": window, "standardized": standardized, "windows": 90, "of nine": 0.7,
                            "for 99 %": 60, "curve": [0.1, 0.3, 0.6, 0.7]}
                           for window in ("(17, 17, 1)", "(33, 33, 3)") for standardized in (False, True)],
            "light": [{"image": "a", "light": "sunny", "found": "sunny", "sunny": 0.9, "right": True}],
            "repetition": repetition * STEPS,  # the number of the unit
        }  # fmt: skip
        unit |= _shrunk(random)
        unit |= _pictures(random) if repetition == 0 else {"panels": [], "lights": [], "histograms": []}
        units.append(unit)
    return units


def _shrunk(random: np.random.Generator) -> dict[str, Any]:
    """Runs and trials of the minimization."""
    runs, trials = [], []
    for name in Avalanche().shrunk:
        for strategy in STRATEGIES:
            left = int(random.integers(20, 60))
            run = {"network": name, "strategy": strategy, "trials": 3, "accepted": 2, "stopped": "it ended"}
            for when, size in (("before", 100), ("after", left), ("control", 100)):
                run |= {f"IoU {when}": float(random.uniform(0.5, 0.6)), f"boundary F1 {when}": 0.4}
                if when != "control":
                    run |= {f"{what} {when}": size for what in ("filters", "parameters", "multiply-adds", "window IoU",
                            "megapixels a second", "LiteRT bytes", "LiteRT megapixels a second")}  # fmt: skip
            runs.append(run)
            trials += [{"network": name, "strategy": strategy, "trial": number, "score": 0.5, "accepted": number != 2,
                        "multiply_adds": 100 - number * (100 - left) // 3, "filters": 5}
                       for number in (1, 2, 3)]  # fmt: skip
    return {"shrinking": runs, "trials": trials}


def _pictures(random: np.random.Generator) -> dict[str, Any]:
    """Panels, histograms and peaks."""
    grey, colour = random.random((8, 9)), random.integers(0, 255, (8, 9, 3)).astype(np.uint8)
    panels = [{"network": name, "image": "a", "kind": kind, "picture": encoded(grey)}
              for name in PASSED for kind in ("first", "edges", "second", "second edges")]  # fmt: skip
    panels += [{"network": "", "image": "a", "kind": kind, "picture": encoded(colour)}
               for kind in ("image", "reference", "trees on predictions")]  # fmt: skip
    peaks = {f"{channel}_peak": 120 for channel in CHANNELS}
    lights = [{"image": f"{light}{number}", "light": light, "overlap": 0.5 + (light == "sunny") / 4 + number / 100,
               **{name: value + 100 * (light == "sunny") for name, value in peaks.items()}}
              for light in ("sunny", "shady") for number in range(4)]  # fmt: skip
    histograms = [{"image": row["image"], "light": row["light"], "channel": channel, "value": value, "share": 1 / 32}
                  for row in lights for channel in CHANNELS for value in range(0, 256, 8)]  # fmt: skip
    return {"panels": panels, "lights": lights, "histograms": histograms}
