"""The settings of the experiment `steel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from shrinknet.applications.steel.streams import check_crop
from shrinknet.errors import OptionError
from shrinknet.experiments.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Steel(Settings):
    """Settings of the experiment `steel`.

    Attributes:
        plates: folder of plates in the competition's layout; "": synthetic ones are drawn.
        count: synthetic plates, as many of each class.
        each_class: for the classifiers, plates of each class, the report's 180; 0: as many as the rarest has.
        size: height and width of the classifiers' plates; width: filters of their first level; depth: their levels.
        batches: batch sizes that are compared; epochs: passes over the training plates.
        unet_size, unet_width, unet_depth, unet_batch, unet_epochs: the same for the U-Net.
        unet_crop: height and width of the crops that the U-Net trains on; as large as unet_size: whole plates.
        strategies: "default": that of `minimize`; or names that `shrinknet strategies` lists.
        target: share of the multiply-adds to which networks are cut, in (0, 1).
        steps: training steps of a round, at most; final_steps: of the network that is left.
        shrink_classifiers: whether classifiers are shrunk, too; shrunk_batch: those trained with this batch size.
        quantize_epochs: passes of quantization-aware training; 0: none.
        memory: MiB for plates that are kept.
    """

    repetitions: int = 3
    plates: str = ""
    count: int = 3_000
    each_class: int = 180
    size: tuple[int, ...] = (256, 512)
    width: int = 8
    depth: int = 5
    batches: tuple[int, ...] = (8, 16, 32)
    epochs: int = 30
    unet_size: tuple[int, ...] = (256, 800)
    unet_crop: tuple[int, ...] = (256, 256)
    unet_width: int = 8
    unet_depth: int = 4
    unet_batch: int = 8
    unet_epochs: int = 40
    strategies: tuple[str, ...] = ("default", "random")
    target: float = 0.5
    steps: int = 500
    final_steps: int = 5_000
    shrink_classifiers: bool = True
    shrunk_batch: int = 32
    quantize_epochs: int = 5
    memory: int = 2_048

    ANALYSIS: ClassVar[frozenset[str]] = Settings.ANALYSIS | {"memory"}
    LEAST: ClassVar[Mapping[str, int]] = {
        **Settings.LEAST, "count": 12, "each_class": 0, "width": 1, "depth": 1, "epochs": 1, "unet_width": 1,
        "unet_depth": 1, "unet_batch": 1, "unet_epochs": 1, "steps": 0, "final_steps": 0, "quantize_epochs": 0,
        "memory": 0,
    }  # fmt: skip
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {
            "repetitions": 1, "count": 120, "each_class": 10, "size": (32, 128), "width": 4, "depth": 3, "epochs": 3,
            "batches": (16, 32), "unet_size": (32, 160), "unet_crop": (32, 64), "unet_width": 4,
            "unet_depth": 2, "unet_batch": 4, "unet_epochs": 16, "steps": 10, "final_steps": 30,
            "shrink_classifiers": False, "quantize_epochs": 1, "bootstrap": 200,
        },
        "laptop": {
            "count": 400, "each_class": 40, "size": (48, 256), "width": 4, "depth": 4, "epochs": 20,
            "unet_size": (64, 400), "unet_crop": (64, 128), "unet_width": 8, "unet_depth": 3, "unet_batch": 4,
            "unet_epochs": 40, "steps": 36, "final_steps": 400, "shrink_classifiers": False, "quantize_epochs": 1,
        },
        "paper": {},
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = {"size": self.size, "unet_size": self.unet_size, "unet_crop": self.unet_crop}
        if any(len(pair) != 2 for pair in sizes.values()) or not self.batches or not self.strategies:
            raise OptionError(
                "Expected sizes of two numbers, and at least one batch size and one strategy; received "
                f"{', '.join(f'{name} {list(pair)}' for name, pair in sizes.items())}, batches {list(self.batches)}, "
                f"strategies {list(self.strategies)}."
            )
        check_crop(self.unet_crop, self.unet_size, self.unet_depth)
        if not 0 < self.target < 1:
            raise OptionError(
                f"Expected a target between 0 and 1, a share of the multiply-adds; received {self.target}."
            )
        if self.shrunk_batch not in self.batches:
            raise OptionError(f"Expected shrunk_batch among {list(self.batches)}; received {self.shrunk_batch}.")

    @property
    def units(self) -> int:
        """Two for each repetition: classifiers, and the U-Net."""
        return 2 * self.repetitions
