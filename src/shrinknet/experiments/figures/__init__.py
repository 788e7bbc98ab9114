"""What all figures share: size and face of the letters, colours that everybody can tell apart, PNG and SVG."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import seaborn as sns
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS: Sequence[Any] = sns.color_palette("colorblind")  # Okabe and Ito's, told apart by almost everybody
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")  # the shape tells apart where colours do not
_STYLE = {
    **sns.axes_style("whitegrid"),
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "svg.hashsalt": "shrinknet",  # the same drawing gives the same bytes
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of our figures while the block lasts; the caller's own stays as it is."""
    with rc_context(_STYLE), warnings.catch_warnings():
        # seaborn 0.13 calls matplotlib 3.11 in ways that will go away: its heatmap and its boxplot
        warnings.filterwarnings("ignore", "The set_bad function|vert: bool", category=DeprecationWarning)
        warnings.filterwarnings("ignore", "The set_bad function", category=PendingDeprecationWarning)
        yield


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure and its axes, shape (rows, columns); it belongs to no window, and whoever drops it frees it.

    Args:
        width, height: in inches: the size at which its letters have their points.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def encoded(figure: Figure) -> dict[str, bytes]:
    """The figure as PNG and SVG, the same bytes each time."""
    files = {}
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        buffer = io.BytesIO()
        with style():
            figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
        files[kind] = buffer.getvalue()
    return files
