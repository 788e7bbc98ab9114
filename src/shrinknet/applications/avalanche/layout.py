"""The layout of the avalanche data: three folders of images that belong together by their names."""

from __future__ import annotations

IMAGES, REFERENCES, MASKS = "images", "references", "masks"
LIGHT = "light.csv"  # optional: which images are sunny and which are shady
COLUMNS = ("image", "light")
LIGHTS = ("sunny", "shady")
COUNT = 60  # images of each kind in the report
MARKED = 127  # from this value on, a pixel of a mask is avalanche
WINDOWS = (17, 33, 76)  # height and width of the report's windows in pixels
COLOUR = (230, 30, 40)  # of outlines in overlays and drawn references
