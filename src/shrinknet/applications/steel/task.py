"""The steel tasks: an untrained U-Net or classifier, its data, and samples for the page of its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shrinknet.applications.steel.classifier import step_batches, step_labels, two_step_classifier
from shrinknet.applications.steel.layout import CLASSES, SHAPE
from shrinknet.applications.steel.sampling import PARTS, balanced_sample, split_plates
from shrinknet.applications.steel.segmentation import unet
from shrinknet.applications.steel.streams import Augmentation, Crops, check_crop, plate_arrays, plate_batches
from shrinknet.applications.steel.table import Plates, master_table, read
from shrinknet.applications.task import Samples, Task
from shrinknet.comparing import Agreement
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.mask_scores import mask_agreement

NETWORKS = ("unet", "binary", "multiclass")
SCORES = {"unet": "dice_marked", "binary": "f1", "multiclass": "f1"}  # what decides about cuts
SAMPLES = 6  # plates that are drawn
RANGES = 100  # training plates from which an int8 file takes its ranges
_AGREEMENT = 0.9  # Dice between the masks of a model and those of its int8 file; see `mask_agreement`


@dataclass(frozen=True)
class Design:
    """Which network is built, and how plates are prepared for it.

    Attributes:
        network: "unet" outlines defects; "binary" says whether there is one, "multiclass" which one.
        size: height and width that plates are resized to.
        crop: for the U-Net, height and width of the crops that it trains on, multiples of 2**depth; three in four are
            around a defect, where the plate has one. It is validated, tested and exported on whole plates. None: it
            trains on whole plates.
        width: filters of the first level; depth: how often the network halves a plate.
        augment: whether training plates are flipped, shifted, and changed in brightness and contrast.
        batch: plates a step.
        memory: MiB; plates that are kept after they were read. What does not fit is read again in every pass.
        each_class: for classifiers, plates of each class; None: as many as the rarest class has, the report's 180 at
            most. As many clean ones as with a defect, or all there are.
        count: for the U-Net, plates that are used; None: all.
        learning_rate: of Adam; None: that of the network.
        options: further keywords of `unet` or `two_step_classifier`.
    """

    network: str = "unet"
    size: tuple[int, int] = (64, 400)
    crop: tuple[int, int] | None = (64, 128)
    width: int = 8
    depth: int = 3
    augment: bool = True
    batch: int = 8
    memory: int = 512
    each_class: int | None = None
    count: int | None = None
    learning_rate: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise OptionError(f"Expected a network of {', '.join(NETWORKS)}; received {self.network!r}.")
        if min(*self.size, self.width, self.depth, self.batch) < 1 or self.memory < 0:
            raise OptionError(
                "Expected size, width, depth and batch of at least 1, and memory of at least 0 MiB; "
                f"received size {self.size}, width {self.width}, depth {self.depth}, batch {self.batch} and memory "
                f"{self.memory}."
            )
        if self.network == "unet" and self.crop is not None:
            check_crop(self.crop, self.size, self.depth)

    @property
    def channels(self) -> int:
        """Of the plates: the report's classifiers take three equal ones."""
        return 1 if self.network == "unet" else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one whole plate: height, width, channels."""
        return (*self.size, self.channels)


def steel_task(
    folder: str | Path | Plates, design: Design | None = None, *, seed: int = 0, shape: tuple[int, int] = SHAPE
) -> Task:
    """A network and the plates it learns from.

    Plates are split into 72 % for training, 18 % for validation and 10 % for the test, as the report did. They are read
    when they are needed, so that a folder may be larger than memory.

    Args:
        folder: of plates, see `read`; or what `read` returned.
        design: the network and how plates are prepared; None: the default U-Net.
        seed: of the weights, the split, the order and the augmentation.
        shape: height and width of the plates in the folder.

    Raises:
        DataError: the folder is malformed, or has too few plates.
        OptionError: an option is outside of its range.
    """
    design = design or Design()
    plates = folder if isinstance(folder, Plates) else read(folder, shape)
    model = build(design, seed)
    sample = chosen_plates(plates, design, seed)
    parts = {part: part_batches(plates, sample, design, part, seed) for part in PARTS}
    return Task(
        name=f"steel ({design.network})",
        model=model,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        samples=_samples(plates, sample, design),
        batch_size=design.batch,
        sample=range_sample(plates, sample, design),
        facts={"plates": {part: int((sample["part"] == part).sum()) for part in PARTS}, "network": design.network,
               "synthetic": (plates.folder / "SYNTHETIC.txt").exists()},
        agreement=Agreement("Dice of the masks", mask_agreement, _AGREEMENT) if design.network == "unet" else None,
        input_shape=design.shape,
    )  # fmt: skip


def build(design: Design, seed: int) -> Any:
    """The untrained network, compiled.

    Raises:
        OptionError: an option is outside of its range.
    """
    rate: dict[str, Any] = {} if design.learning_rate is None else {"learning_rate": design.learning_rate}
    if design.network == "unet":
        unet_shape = design.shape if design.crop is None else (None, None, design.channels)
        return unet(unet_shape, width=design.width, depth=design.depth, seed=seed, **rate, **design.options)
    widths = tuple(design.width * 2 ** min(level, 3) for level in range(design.depth))
    steps = two_step_classifier(design.shape, widths=widths, seed=seed, **rate, **design.options)
    return steps.binary if design.network == "binary" else steps.multiclass


def chosen_plates(plates: Plates, design: Design, seed: int) -> pd.DataFrame:
    """The plates that are used and the part of each: columns ImageId and part, and what the sample knows of them.

    Raises:
        DataError: there are too few plates.
    """
    master = master_table(plates.table, plates.images)
    if design.network == "unet":
        count = None if design.count is None else min(design.count, len(master))
        return split_plates(master, seed=seed, count=count)
    single = master.loc[master["Defect_no"] == 1, "ClassId"].map(lambda numbers: numbers[0])
    counts = {number: int((single == number).sum()) for number in CLASSES}
    rarest = min(counts.values())
    each = min(180, rarest) if design.each_class is None else design.each_class
    if each < len(PARTS):
        raise DataError(
            f"A classifier expects at least {len(PARTS)} plates with each class alone; class "
            f"{min(counts, key=counts.__getitem__)} has {rarest}: add plates, or generate some with "
            "`shrinknet data steel OUT --balanced`."
        )
    clean = min(len(CLASSES) * each, int((master["Defect_no"] == 0).sum()))
    return balanced_sample(master, each, clean, seed=seed)


def part_batches(plates: Plates, sample: pd.DataFrame, design: Design, part: str, seed: int) -> Any:
    """The plates of one part as a tf.data.Dataset of (images, targets).

    Training plates are shuffled and augmented, and cropped for the U-Net; the others are whole.
    """
    training = part == "train"
    augment = Augmentation() if design.augment and training else None
    if design.network != "unet":
        return step_batches(
            plates, sample, design.network, part, size=design.size, channels=design.channels, batch=design.batch,
            augment=augment, seed=seed + 1, memory=design.memory,
        )  # fmt: skip
    names = list(sample.loc[sample["part"] == part, "ImageId"])
    crops = Crops(*design.crop) if design.crop and training else None
    return plate_batches(
        plates, names, size=design.size, batch=design.batch, shuffle=training, augment=augment, crops=crops,
        seed=seed + 1, memory=design.memory,
    )  # fmt: skip


def part_arrays(plates: Plates, sample: pd.DataFrame, design: Design, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The plates of one part in memory: images, and masks or labels."""
    if design.network == "unet":
        names = list(sample.loc[sample["part"] == part, "ImageId"])
        return plate_arrays(plates, names, size=design.size)
    names, labels = step_labels(sample, design.network, part)
    return plate_arrays(plates, names, size=design.size, channels=design.channels)[0], labels


def _samples(plates: Plates, sample: pd.DataFrame, design: Design) -> Samples:
    """Test plates for pictures: one of each class that there is, then others with a defect, then clean ones."""
    names = list(sample.loc[sample["part"] == "test", "ImageId"])
    if design.network == "multiclass":
        names = [name for name in names if plates.classes(name)]
    seen: set[tuple[int, ...]] = set()
    ranks = {}
    for name in names:
        classes = plates.classes(name)
        ranks[name] = (classes in seen, not classes)
        seen.add(classes)
    shown = sorted(names, key=lambda name: (ranks[name], plates.classes(name)))[:SAMPLES]
    images, masks = plate_arrays(plates, shown, size=design.size, channels=design.channels)
    labels = tuple(f"{name} ({_words(plates.classes(name))})" for name in shown)
    if design.network == "unet":
        return Samples(images, masks, labels)
    present = masks.max((1, 2)) if design.network == "multiclass" else masks.max((1, 2, 3))[:, None]
    return Samples(images, present, labels)


def _words(classes: Sequence[int]) -> str:
    return "clean" if not classes else "class " + " and ".join(map(str, classes))


def range_sample(plates: Plates, sample: pd.DataFrame, design: Design) -> np.ndarray:
    """Training plates from which an int8 file takes its ranges, shape (plates, height, width, channels)."""
    rows = sample[sample["part"] == "train"]
    names = [name for name in rows["ImageId"] if design.network != "multiclass" or plates.classes(name)]
    return plate_arrays(plates, names[:RANGES], size=design.size, channels=design.channels)[0]
