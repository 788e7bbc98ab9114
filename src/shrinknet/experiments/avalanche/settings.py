"""The settings of the experiment `avalanche`, and the networks that it compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from shrinknet.experiments.settings import Settings


@dataclass(frozen=True)
class Network:
    """A network of the report, or one beside it.

    Attributes:
        name: as in the report's tables, where it is there.
        shape: height, width and channels of its windows; kind, optimizer: see `window_classifier`.
        levels: of the Gaussian pyramid.
        body: whether it is one of keras.applications, which gets fewer windows.
        few: whether it gets as few windows as the bodies do, to compare with them.
    """

    name: str
    shape: tuple[int, int, int]
    kind: str = "conv2d"
    optimizer: str = "adam"
    levels: int = 0
    body: bool = False
    few: bool = False


GREY, COLOUR, LARGE = "CNN (17, 17, 1)", "CNN (17, 17, 3)", "CNN (33, 33, 3)"
VGG, RESNET, INCEPTION = "VGG16 (33, 33, 3)", "RN50 (33, 33, 3)", "IRNv2 (76, 76, 3)"
ROWS, RMSPROP, HALVED, FEW = "1-D CNN (33, 33, 3)", "CNN (33, 33, 3), RMSprop", "CNN (33, 33, 3), halved", \
    "CNN (33, 33, 3), few windows"  # fmt: skip
NETWORKS = (
    Network(GREY, (17, 17, 1)),
    Network(COLOUR, (17, 17, 3)),
    Network(LARGE, (33, 33, 3)),
    Network(VGG, (33, 33, 3), "vgg16", body=True),
    Network(RESNET, (33, 33, 3), "resnet50", body=True),
    Network(INCEPTION, (76, 76, 3), "inception_resnet_v2", body=True),
    Network(ROWS, (33, 33, 3), "conv1d"),
    Network(RMSPROP, (33, 33, 3), optimizer="rmsprop"),
    Network(HALVED, (33, 33, 3), levels=1),
    Network(FEW, (33, 33, 3), few=True),
)
STEPS = len(NETWORKS) + 1  # units of work of a repetition: its networks, then its colours
REPEATED = (GREY, COLOUR, LARGE)  # networks of every repetition
PASSED = (COLOUR, LARGE, VGG, RESNET)  # networks of the report's figures 6 to 9
STRATEGIES = ("default", "random")


@dataclass(frozen=True, kw_only=True)
class Avalanche(Settings):
    """Settings of the experiment `avalanche`.

    Attributes:
        data: folder of slopes; "": synthetic ones.
        slopes, size: number of synthetic slopes, and their height and width in pixels.
        epochs, each: of the small networks: passes, and windows of each photograph in a pass.
        tests: windows of each test photograph for loss and accuracy.
        other_repetitions: repetitions that train the other networks, too: bodies, and the small ones that are compared
            with the report's three.
        body_epochs, body_each, body_tests: as epochs, each and tests, of bodies.
        weights: folder with vgg16.weights.h5, resnet50.weights.h5 and inception_resnet_v2.weights.h5, without their
            tops; "": bodies begin from scratch.
        eager: whether bodies are trained without compiling, which is faster for a handful of batches.
        components: windows for the principal components.
        boosted: windows of each validation photograph for the boosted trees.
        shrunk: names of the networks to minimize.
        left: share of the multiply-adds that is their target.
        steps, final_steps: of the minimization, in a trial and at its end.
        shrink_each, judged: windows of each photograph that it trains on and decides by.
    """

    repetitions: int = 3
    data: str = ""
    slopes: int = 60
    size: int = 384
    epochs: int = 5
    each: int = 512
    tests: int = 1_024
    other_repetitions: int = 3
    body_epochs: int = 5
    body_each: int = 64
    body_tests: int = 128
    weights: str = ""
    eager: bool = False
    components: int = 2_000
    boosted: int = 512
    shrunk: tuple[str, ...] = (GREY, COLOUR, LARGE)
    left: float = 0.5
    steps: int = 300
    final_steps: int = 2_000
    shrink_each: int = 256
    judged: int = 512

    LEAST: ClassVar[Mapping[str, int]] = {
        **Settings.LEAST, "slopes": 10, "size": 80, "epochs": 1, "each": 2, "tests": 1, "other_repetitions": 0,
        "body_epochs": 1, "body_each": 2, "body_tests": 1, "components": 20, "boosted": 2, "steps": 1, "final_steps": 0,
        "shrink_each": 2, "judged": 1,
    }  # fmt: skip
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"repetitions": 1, "slopes": 10, "size": 96, "epochs": 2, "each": 64, "tests": 64,
                  "other_repetitions": 1, "body_epochs": 1, "body_each": 2, "body_tests": 4, "eager": True,
                  "components": 100, "boosted": 32, "shrunk": (COLOUR,), "steps": 10,
                  "final_steps": 20, "shrink_each": 32, "judged": 64, "bootstrap": 200},
        "laptop": {"slopes": 40, "size": 192, "each": 256, "tests": 256, "other_repetitions": 1, "body_epochs": 2,
                   "body_each": 8, "body_tests": 16, "eager": True, "components": 1_000, "boosted": 128, "steps": 10,
                   "final_steps": 200, "judged": 128},
        "paper": {},
    }  # fmt: skip

    @property
    def units(self) -> int:
        """One for each network of each repetition, and one for its colours."""
        return STEPS * self.repetitions

    def windows(self, network: Network) -> tuple[int, int, int]:
        """Epochs, windows of each training photograph in one, and windows of each test photograph."""
        if network.body:
            return self.body_epochs, self.body_each, self.body_tests
        return (self.body_epochs, self.body_each, self.tests) if network.few else (self.epochs, self.each, self.tests)
