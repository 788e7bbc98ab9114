"""What the avalanche report found, on our slopes: its networks, its pipeline, its colours, and the networks shrunk."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from shrinknet.experiments import frame
from shrinknet.experiments.avalanche.analysis import analyse, gather
from shrinknet.experiments.avalanche.page import page
from shrinknet.experiments.avalanche.settings import LARGE, NETWORKS, PASSED, REPEATED, STEPS, Avalanche, Network
from shrinknet.experiments.frame import Findings, Frames, Question
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from shrinknet.applications.avalanche.folder import Slopes
    from shrinknet.experiments.avalanche.training import Parts


TABLES = ("networks", "curves", "photographs", "passes", "boosting", "shrinking", "trials", "components", "light",
          "panels", "lights", "histograms")  # fmt: skip


def repetition(settings: Avalanche, number: int) -> Unit:
    """The unit of work: one network of one division of the photographs, or, as the last, the colours of the division.

    Args:
        settings: of the experiment; number: of the unit, `STEPS` of them for each repetition.
    """
    import keras

    from shrinknet.applications.avalanche.sampling import split_images
    from shrinknet.experiments.avalanche import training

    place, step = divmod(number, STEPS)
    seed = int(np.random.SeedSequence([settings.seed, place]).generate_state(1)[0]) % 2**31
    keras.utils.set_random_seed(seed)
    keras.backend.clear_session()
    slopes = training.slopes_of(settings.data, settings.slopes, settings.size, settings.seed)
    parts = split_images(slopes, seed=seed)
    unit: Unit = {name: [] for name in TABLES}
    if step == len(NETWORKS):
        _add_colours(unit, settings, slopes, parts, seed, first=place == 0)
    elif NETWORKS[step].name in REPEATED or place < settings.other_repetitions:
        _add_network(unit, settings, NETWORKS[step], slopes, parts, seed, first=place == 0)
    return unit


def _add_network(unit: Unit, settings: Avalanche, network: Network, slopes: Slopes, parts: Parts, seed: int, *,
                 first: bool) -> None:  # fmt: skip
    """Trains a network, predicts with it, and shrinks it; pictures only of the first repetition."""
    from shrinknet.experiments.avalanche import predicting, shrinking, training

    trained = training.train(settings, network, slopes, parts, seed)
    name = {"network": network.name}
    unit["networks"].append(trained.row)
    unit["curves"] += [{**name, **row} for row in trained.history.to_dict("records")]
    unit["photographs"] += [{**name, **row} for row in trained.scores.to_dict("records")]
    if network.name in PASSED:
        unit["passes"] += predicting.passes(trained, slopes, parts)
        unit["panels"] += predicting.panels(trained, slopes, parts) if first else []
    if network.name == LARGE:
        rows, pictures = predicting.boosting(settings, trained, slopes, parts, seed)
        unit["boosting"] += rows
        unit["panels"] += pictures if first else []
    if network.name in settings.shrunk:
        rows, trials = shrinking.shrink(settings, trained, slopes, parts, seed, timed=first)
        unit["shrinking"] += rows
        unit["trials"] += trials


def _add_colours(unit: Unit, settings: Avalanche, slopes: Slopes, parts: Parts, seed: int, *, first: bool) -> None:
    """Principal components, sunny and shady photographs, and the photographs of the panels."""
    from shrinknet.experiments.avalanche import colours, predicting

    unit["components"] = colours.principal_components(settings, slopes, parts, seed)
    unit["light"] = colours.sunny_or_shady(slopes, parts)
    if first:
        unit["panels"] = predicting.references(slopes, parts)
        unit["lights"], unit["histograms"] = colours.lights(slopes), colours.figure_10(slopes)


def draw(frames: Frames, findings: Findings) -> dict[str, Figure]:
    """The report's figures 2, 3 and 5 to 10 on our data, the components, and what shrinking costs."""
    from shrinknet.experiments.figures import avalanche as figures

    pictures = {
        "figure-2": figures.curves(frames["curves"], "accuracy"),
        "figure-3": figures.curves(frames["curves"], "loss"),
        "figures-6-to-9": figures.panels(frames["panels"]),
        "components": figures.components(frames["components"]),
        "shrinking": figures.shrinking(frames["trials"], frames["shrinking"]),
    }
    if not frames["histograms"].empty:
        pictures["figure-10"] = figures.histograms(frames["histograms"])
    return pictures


QUESTION = Question("avalanche", Avalanche, "avalanche", gather, analyse, draw, page)
run = functools.partial(frame.run, QUESTION)
