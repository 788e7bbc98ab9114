"""The layout of the Severstal data: sizes, classes, colours, and where the files lie."""

from __future__ import annotations

SHAPE = (256, 1600)  # height and width of a plate in pixels
CLASSES = (1, 2, 3, 4)
TABLE = "train.csv"
IMAGES = "train_images"
COLUMNS = ("ImageId", "ClassId", "EncodedPixels")

# The colours the report names: blue, purple, yellow, red. The first two have three channels above zero and the
# others two, as the counts of its figure 12 suggest (see `published.py`), so that counting as it did gives its scale.
COLOURS = {1: (40, 120, 255), 2: (170, 60, 220), 3: (255, 215, 0), 4: (255, 40, 0)}
NAMES = {1: "specks", 2: "lone trace", 3: "dense traces", 4: "rounded areas"}
