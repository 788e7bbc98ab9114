"""What the avalanche report found, on our slopes: its networks, its pipeline, its colours, and the networks shrunk."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from shrinknet.experiments import frame
from shrinknet.experiments.avalanche.analysis import analyse, gather
from shrinknet.experiments.avalanche.page import page
from shrinknet.experiments.avalanche.settings import LARGE, PASSED, Avalanche
from shrinknet.experiments.frame import Findings, Frames, Question
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def repetition(settings: Avalanche, number: int) -> Unit:
    """The unit of work: photographs divided anew, every network trained, predicted with, and the small ones shrunk."""
    import keras

    from shrinknet.applications.avalanche.sampling import split_images
    from shrinknet.experiments.avalanche import colours, predicting, shrinking, training

    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0]) % 2**31
    keras.utils.set_random_seed(seed)
    slopes = training.slopes_of(settings.data, settings.slopes, settings.size, settings.seed)
    parts = split_images(slopes, seed=seed)
    unit: Unit = {name: [] for name in ("networks", "curves", "photographs", "passes", "boosting", "shrinking",
                                        "trials", "panels", "lights", "histograms")}  # fmt: skip
    for network in settings.networks(number):
        trained = training.train(settings, network, slopes, parts, seed)
        name = {"network": network.name}
        unit["networks"].append(trained.row)
        unit["curves"] += [{**name, **row} for row in trained.history.to_dict("records")]
        unit["photographs"] += [{**name, **row} for row in trained.scores.to_dict("records")]
        if network.name in PASSED:
            unit["passes"] += predicting.passes(trained, slopes, parts)
            unit["panels"] += predicting.panels(trained, slopes, parts) if number == 0 else []
        if network.name == LARGE:
            rows, pictures = predicting.boosting(settings, trained, slopes, parts, seed)
            unit["boosting"] += rows
            unit["panels"] += pictures if number == 0 else []
        if network.name in settings.shrunk:
            rows, trials = shrinking.shrink(settings, trained, slopes, parts, seed)
            unit["shrinking"] += rows
            unit["trials"] += trials
        keras.backend.clear_session()
    unit["components"] = colours.principal_components(settings, slopes, parts, seed)
    unit["light"] = colours.sunny_or_shady(slopes, parts)
    if number == 0:
        unit["panels"] += predicting.references(slopes, parts)
        unit["lights"], unit["histograms"] = colours.lights(slopes), colours.figure_10(slopes)
    return unit


def draw(frames: Frames, findings: Findings) -> dict[str, Figure]:
    """The report's figures 2, 3 and 5 to 10 on our data, the components, and what shrinking costs."""
    from shrinknet.experiments.figures import avalanche as figures

    return {
        "figure-2": figures.curves(frames["curves"], "accuracy"),
        "figure-3": figures.curves(frames["curves"], "loss"),
        "figures-6-to-9": figures.panels(frames["panels"]),
        "figure-10": figures.histograms(frames["histograms"]),
        "components": figures.components(frames["components"]),
        "shrinking": figures.shrinking(frames["trials"], frames["shrinking"]),
    }


QUESTION = Question("avalanche", Avalanche, "avalanche", gather, analyse, draw, page)
run = functools.partial(frame.run, QUESTION)
