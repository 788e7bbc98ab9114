"""What all figures share: font and font sizes, distinguishable colours, PNG and SVG."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's, distinguishable by almost everybody; with their black for seaborn's pink, too pale for a point
COLOURS: Sequence[Any] = [
    (0.15, 0.15, 0.15) if place == 6 else colour for place, colour in enumerate(sns.color_palette("colorblind"))
]
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")  # shapes, for when colours are not enough
_KNOWN = ("cosine-max", "random", "sequential", "cosine-mean", "ablation", "norm-l2", "default", "norm-l1")
_STYLE = {
    **sns.axes_style("whitegrid"),
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same font everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "svg.hashsalt": "shrinknet",  # makes the bytes of a drawing reproducible
}


def look(strategy: str, others: Sequence[str] = ()) -> dict[str, Any]:
    """Colour and marker of a strategy, the same in every figure.

    Args:
        others: the strategies of the figure; those without a place of their own get the next free ones.
    """
    places = [*_KNOWN, *(name for name in others if name not in _KNOWN)]
    place = places.index(strategy) if strategy in places else len(places)
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def jitter(count: int, width: float) -> Any:
    """Shifts for points that would hide each other, from -width / 2 to width / 2; always the same."""
    return width * ((np.arange(count) * 0.618034) % 1 - 0.5)


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Sets the style of our figures within the block; the caller's style is not changed."""
    with rc_context(_STYLE), warnings.catch_warnings():
        # heatmap and boxplot of seaborn 0.13 use features that are deprecated in matplotlib 3.11
        warnings.filterwarnings("ignore", "The set_bad function|vert: bool", category=DeprecationWarning)
        warnings.filterwarnings("ignore", "The set_bad function", category=PendingDeprecationWarning)
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure and its axes, shape (rows, columns); it has no window and is garbage collected.

    Args:
        width, height: in inches; font sizes refer to this size.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def encoded(figure: Figure) -> dict[str, bytes]:
    """The figure as PNG and SVG, with reproducible bytes."""
    files = {}
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        with style():
            figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files
