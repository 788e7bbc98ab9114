"""Training, validation and test plates: balanced samples of single-class plates, and splits without leaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from shrinknet.applications.steel import published
from shrinknet.applications.steel.layout import CLASSES
from shrinknet.errors import DataError, OptionError

PARTS = ("train", "validation", "test")


def balanced_sample(
    master: pd.DataFrame,
    each_class: int = published.EACH_CLASS,
    clean: int | None = None,
    *,
    shares: Sequence[float] = published.SPLIT,
    seed: int = 0,
) -> pd.DataFrame:
    """The plates of the two-step classifier: as many of each class, of a single class only, and clean ones.

    A plate is in one part for both steps, so that neither step has seen a test plate of the whole system.

    Args:
        master: of `master_table`.
        each_class: plates of each class; the report takes 180.
        clean: plates without a defect; None: as many as those with one, the report's 720.
        shares: train, validation and test, with a sum of 1; within each class alike.
        seed: of the choice and the split.

    Returns:
        ImageId; ClassId, 0 for a clean plate; part. In random order.

    Raises:
        DataError: there are fewer such plates than are asked for.
        OptionError: a number or share is outside of its range.
    """
    clean = len(CLASSES) * each_class if clean is None else clean
    if each_class < len(PARTS) or clean < len(PARTS):
        raise OptionError(
            f"Expected at least {len(PARTS)} plates of each class and clean ones, one for each part; received "
            f"each_class={each_class} and clean={clean}."
        )
    single = master[master["Defect_no"] <= 1]
    kinds = single["ClassId"].map(lambda numbers: numbers[0])
    random = np.random.default_rng(seed)
    rows = []
    for number in (0, *CLASSES):
        names, wanted = single["ImageId"][kinds == number].to_numpy(), clean if number == 0 else each_class
        if len(names) < wanted:
            what = f"plates with class {number} alone" if number else "clean plates"
            raise DataError(
                f"There are {len(names):,} {what}, and {wanted:,} are asked for: ask for fewer, or add some."
            )
        chosen = names[np.sort(random.permutation(len(names))[:wanted])]
        rows += [(str(name), number, part) for name, part in zip(chosen, _parts(wanted, shares, random), strict=True)]
    table = pd.DataFrame(rows, columns=["ImageId", "ClassId", "part"])
    return table.iloc[random.permutation(len(table))].reset_index(drop=True)


def split_plates(
    master: pd.DataFrame, *, shares: Sequence[float] = published.SPLIT, seed: int = 0, count: int | None = None
) -> pd.DataFrame:
    """All plates in three parts, each with about the same mix of classes: for segmentation.

    Args:
        master: of `master_table`.
        shares: train, validation and test, with a sum of 1.
        seed: of the split.
        count: how many plates are used; None: all.

    Returns:
        ImageId; classes, such as "[1, 3]"; part. In random order.

    Raises:
        DataError: there are fewer plates than are asked for.
        OptionError: a number or share is outside of its range.
    """
    random = np.random.default_rng(seed)
    count = len(master) if count is None else count
    if not len(PARTS) <= count <= len(master):
        raise DataError(f"Expected {len(PARTS)} to {len(master):,} plates to split; received {count:,}.")
    order = random.permutation(len(master))[:count]
    table = pd.DataFrame(
        {"ImageId": master["ImageId"].to_numpy()[order], "classes": master["ClassId"].map(str).to_numpy()[order]}
    )
    # dealt out class by class: neighbours in this order have the same classes, and go to different parts
    sorted_places = np.argsort(table["classes"].to_numpy(), kind="stable")
    parts = np.empty(count, object)
    parts[sorted_places] = _dealt(count, shares)
    return table.assign(part=parts.astype(str))


def _parts(count: int, shares: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """A part for each of `count` plates in random order, by shares, at least one each."""
    _check(shares)
    numbers = np.maximum(1, np.rint(np.array(shares) * count).astype(int))
    numbers[0] = count - numbers[1:].sum()
    if numbers[0] < 1:
        raise OptionError(
            f"Expected shares that leave a plate to train on; received {tuple(shares)} of {count} plates."
        )
    return random.permutation(np.repeat(PARTS, numbers))


def _dealt(count: int, shares: Sequence[float]) -> np.ndarray:
    """A part for each of `count` places, spread evenly: each part has its share of every stretch of places."""
    _check(shares)
    wanted = np.maximum(1, np.rint(np.array(shares) * count).astype(int))
    wanted[0] = count - wanted[1:].sum()
    due = np.concatenate([(np.arange(number) + 0.5) / number for number in wanted])
    return np.repeat(PARTS, wanted)[np.argsort(due, kind="stable")]


def _check(shares: Sequence[float]) -> None:
    if len(shares) != len(PARTS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise OptionError(f"Expected three shares above 0 with a sum of 1; received {tuple(shares)}.")
