"""Input, truth and outputs before and after, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shrinknet.imaging.pictures import png
from shrinknet.report.facts import RunFacts
from shrinknet.report.markup import Html, data_uri, fill, number

MAX_SAMPLES = 12  # that are drawn
MAX_SIZE = 512  # pixels of the longer side: larger pictures are thinned out
_KINDS = {"input": "input", "truth": "truth", "before": "output before", "after": "output after"}


def samples_section(facts: RunFacts) -> Html:
    """A row a sample; empty where the run has kept none."""
    arrays = {kind: facts.samples[kind] for kind in _KINDS if _drawable(facts.samples.get(kind))}
    if not arrays:
        why = facts.missing.get("samples.npz")
        return fill("<p>{why}</p>", why=why) if why else Html("")
    count = min(array.shape[0] for array in arrays.values())
    labels = facts.samples.get("names", np.array([], str))
    rows = [
        _row(
            {kind: array[place] for kind, array in arrays.items()},
            ranges(arrays),
            str(labels[place]) if place < labels.size else f"sample {place + 1}",
        )
        for place in range(min(count, MAX_SAMPLES))
    ]
    notes = [_scaled(arrays)]
    if count > MAX_SAMPLES:
        notes.append(f"The first {MAX_SAMPLES} of {count} samples are drawn.")
    return fill('{rows}<p class="note">{notes}</p>', rows=rows, notes=" ".join(notes))


def ranges(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """What is drawn black and what white: [0, 1] where the values keep to it, otherwise their own range.

    Outputs share the range of the truth, so that what differs between them is the network and not the drawing.
    """
    drawn = {}
    for kind, array in arrays.items():
        guide = array if kind == "input" else arrays.get("truth", array)
        finite = guide[np.isfinite(guide)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        drawn[kind] = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)
    return drawn


def picture(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """One sample as a picture.

    Args:
        array: shape (height, width, channels); three channels are colours, of any other number the first is drawn.
        low, high: drawn black and white; what lies beyond is cut off, what is not finite is black.

    Returns:
        Shape (height, width) or (height, width, red green blue), uint8.
    """
    step = -(-max(array.shape[:2]) // MAX_SIZE)
    array = array[::step, ::step]
    array = array if array.shape[-1] == 3 else array[..., 0]
    scaled = np.clip((np.nan_to_num(array, nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    return np.rint(255 * scaled).astype(np.uint8)


def _drawable(array: np.ndarray | None) -> bool:
    return array is not None and array.ndim == 4 and array.size > 0 and array.dtype.kind in "fiub"


def _scaled(arrays: Mapping[str, np.ndarray]) -> str:
    low, high = ranges(arrays)[list(arrays)[-1]]
    outputs = [arrays[kind] for kind in ("before", "after") if kind in arrays]
    note = f"Outputs are drawn from {number(low)}, black, to {number(high)}, white."
    beyond = [float(np.mean((array < low) | (array > high))) for array in outputs]
    if max(beyond, default=0) > 0.0005:
        note += f" {100 * max(beyond):.1f}\u202f% of their values or fewer lie beyond and are cut off."
    return note


def _row(sample: Mapping[str, np.ndarray], drawn: Mapping[str, tuple[float, float]], label: str) -> Html:
    images = [
        fill(
            '<figure><img src="{source}" alt="{label}: {kind}" width="{width}" height="{height}">'
            "<figcaption>{kind}</figcaption></figure>",
            source=data_uri(png(picture(array, *drawn[kind]))),
            label=label,
            kind=_KINDS[kind],
            width=array.shape[1],
            height=array.shape[0],
        )
        for kind, array in sample.items()
    ]
    return fill(
        '<section class="sample"><h3>{label}</h3><div class="images">{images}</div></section>',
        label=label,
        images=images,
    )
