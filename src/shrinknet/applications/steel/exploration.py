"""Exploration: the subject of the report's sections 5 and 6, as plain tables with the report's numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from shrinknet.applications.steel import published
from shrinknet.applications.steel.layout import CLASSES, COLOURS, SHAPE
from shrinknet.applications.steel.runlengths import rle2mask, runs
from shrinknet.applications.steel.table import Plates, master_table
from shrinknet.imaging.overlays import as_rgb, on_black, overlay

STATISTICS = ("mean", "median", "std", "max", "min")


def master(plates: Plates) -> pd.DataFrame:
    """The master table of a folder; see `master_table`."""
    return master_table(plates.table, plates.images, plates.shape)


def defects_per_image(master: pd.DataFrame) -> pd.DataFrame:
    """How many images have how many classes of defects: the report's figure 4.

    Args:
        master: of `master_table`.

    Returns:
        defects, 0 to 4; images; share of all images; published, the numbers in the report's text: 5,902 without a
        defect and 6,666 with one or more, which it does not break down.
    """
    counts = master["Defect_no"].value_counts().reindex(range(len(CLASSES) + 1), fill_value=0)
    table = pd.DataFrame({"defects": counts.index, "images": counts.to_numpy(int)})
    table["share"] = table["images"] / max(len(master), 1)
    table["published"] = pd.array([published.CLEAN_IMAGES, *[None] * len(CLASSES)], dtype="Int64")
    return table


def classes(master: pd.DataFrame) -> pd.DataFrame:
    """How many images have which classes: the report's figure 5.

    Args:
        master: of `master_table`.

    Returns:
        classes, such as "[3]" or "[1, 3]", the most frequent first; images; share of the images with a defect; single,
        whether it is one class. Clean images are left out.
    """
    defect = master[master["Defect"] == "yes"]
    counts = defect["ClassId"].map(str).value_counts()
    table = pd.DataFrame({"classes": counts.index.astype("str"), "images": counts.to_numpy(int)})
    table["share"] = table["images"] / max(len(defect), 1)
    table["single"] = ~table["classes"].str.contains(",", regex=False)
    return table


def imbalance(master: pd.DataFrame) -> pd.DataFrame:
    """What the report says about the imbalance, and what these plates say.

    Returns:
        quantity, here, published (as the report puts it), and place in the report.
    """
    found = classes(master)
    single = found[found["single"]]
    shares = dict(zip(single["classes"], single["share"], strict=True))
    several = float((master["Defect_no"] > 1).mean())
    rows = [
        ("images with a defect", float((master["Defect_no"] > 0).sum()), f"{published.DEFECT_IMAGES:,}", "section 5"),
        ("images without", float((master["Defect_no"] == 0).sum()), f"{published.CLEAN_IMAGES:,}", "section 5"),
        ("rows of the table", float(master["Defect_no"].sum()), f"{published.ROWS:,}", "section 5"),
        ("share of [3] among images with a defect", shares.get("[3]", 0.0), "more than 0.70", "figure 5"),
        ("share of images with several classes", several, "less than 0.04", "figure 5"),
    ]
    return pd.DataFrame(rows, columns=["quantity", "here", "published", "place"])


def areas(master: pd.DataFrame, shape: tuple[int, int] = SHAPE) -> pd.DataFrame:
    """How much of each image with a defect is marked.

    Args:
        master: of `master_table`; shape: height and width of the images.

    Returns:
        image; source, "Class_1" to "Class_4" or "Class_multi"; percent of the image's pixels that are marked, 0 to
        100; counted, in per cent as the report counts: every pixel once for each channel of its colour, 0 to 300.
    """
    rows = []
    pixels = shape[0] * shape[1]
    for image, numbers, texts in master[master["Defect"] == "yes"][["ImageId", "ClassId", "EncodedPixels"]].itertuples(
        index=False
    ):
        marked, counted = _marked(dict(zip(numbers, texts, strict=True)), shape)
        source = f"Class_{numbers[0]}" if len(numbers) == 1 else "Class_multi"
        rows.append((image, source, 100 * marked / pixels, 100 * counted / pixels))
    return pd.DataFrame(rows, columns=["image", "source", "percent", "counted"])


def pixel_statistics(areas: pd.DataFrame, column: str = "percent") -> pd.DataFrame:
    """Mean, median, standard deviation, maximum and minimum of the area: the report's figure 12.

    The report's percentages exceed 100, because it counts a pixel once for each channel of its colour;
    `column="counted"` does as it did, "percent" is the share of the plate. `published.py` shows how this was found.

    Args:
        areas: of `areas`.
        column: "percent" or "counted".

    Returns:
        source, images, mean, median, std (of a sample: divided by n - 1, as pandas does), max, min, all in per cent.
    """
    groups = {"All_data": areas} | {
        source: areas[areas["source"] == source] for source in published.FIGURE_12["source"][1:]
    }
    rows = [
        {"source": source, "images": len(rows), **{name: getattr(rows[column], name)() for name in STATISTICS}}
        for source, rows in groups.items()
    ]
    return pd.DataFrame(rows)


def beside_the_report(statistics: pd.DataFrame) -> pd.DataFrame:
    """Our statistics in per cent of a plate beside the report's, put right where its colours allow it.

    Args:
        statistics: of `pixel_statistics`.

    Returns:
        source; mean, median, std, max and min, each followed by `..._report` in the same unit, NaN where the report's
        number mixes colours, and `..._printed`, what the report prints.
    """
    right, printed = published.corrected_figure_12().set_index("source"), published.FIGURE_12.set_index("source")
    table = statistics[["source", "images"]].copy()
    for name in STATISTICS:
        table[name] = statistics[name]
        table[f"{name}_report"] = table["source"].map(right[name])
        table[f"{name}_printed"] = table["source"].map(printed[name])
    return table


def examples(master: pd.DataFrame, count: int = 3, seed: int = 0) -> dict[str, list[str]]:
    """Images to show: for each class and for several classes at once, `count` images drawn by the seed.

    Returns:
        "1" to "4" and "several" -> names, where there are any; those of the report's figures 6 to 10.
    """
    random = np.random.default_rng(seed)
    kinds = master["ClassId"].map(lambda numbers: "several" if len(numbers) > 1 else str(numbers[0]))
    chosen = {}
    for kind in (*map(str, CLASSES), "several"):
        names = master["ImageId"][kinds == kind].to_numpy()
        if len(names):
            places = np.sort(random.choice(len(names), min(count, len(names)), replace=False))
            chosen[kind] = [str(name) for name in names[places]]
    return chosen


def pictures(plates: Plates, names: Sequence[str]) -> dict[str, Mapping[str, np.ndarray]]:
    """An image as it is, with its masks in the report's colours, and its masks on black: figures 6 to 11.

    Args:
        plates: of `read`; names: of images.

    Returns:
        name -> "image", "overlay" and "mask", each of shape (height, width, red green blue), uint8.

    Raises:
        DataError: an image cannot be used.
    """
    colours = [COLOURS[number] for number in CLASSES]
    made: dict[str, Mapping[str, np.ndarray]] = {}
    for name in names:
        image, masks = plates.image(name), plates.masks(name)
        made[name] = {
            "image": as_rgb(image),
            "overlay": overlay(image, masks, colours),
            "mask": on_black(masks, colours),
        }
    return made


def _marked(defects: Mapping[int, str], shape: tuple[int, int]) -> tuple[int, int]:
    """Pixels that are marked, and values above zero in the picture of the masks on black."""
    channels = {number: sum(value > 0 for value in COLOURS[number]) for number in defects}
    if len(defects) == 1:
        ((number, text),) = defects.items()
        pixels = int(runs(text, shape)[1].sum())
        return pixels, pixels * channels[number]
    counted = np.zeros(shape, np.int64)
    for number, text in sorted(defects.items()):  # the later lies above
        counted[rle2mask(text, shape) > 0] = channels[number]
    return int(np.count_nonzero(counted)), int(counted.sum())
