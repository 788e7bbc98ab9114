"""Input, target and outputs before and after, side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shrinknet.imaging.pictures import colours, png
from shrinknet.report.facts import RunFacts
from shrinknet.report.markup import Html, data_uri, fill, number

MAX_SAMPLES = 12  # samples that are drawn
MAX_SIZE = 512  # pixels of the longer side: larger pictures are subsampled
_KINDS = {"input": "input", "truth": "target", "before": "output before", "after": "output after"}


def samples_section(facts: RunFacts) -> Html:
    """One row per sample: images are drawn, class numbers and vectors are printed; empty if the run has none."""
    arrays = {kind: facts.samples[kind] for kind in _KINDS if _showable(facts.samples.get(kind))}
    if not arrays:
        why = facts.missing.get("samples.npz")
        return fill("<p>{why}</p>", why=why) if why else Html("")
    count = min(array.shape[0] for array in arrays.values())
    labels = facts.samples.get("names", np.array([], str))
    drawn = ranges({kind: array for kind, array in arrays.items() if array.ndim == 4})
    rows = [
        _row(
            {kind: array[place] for kind, array in arrays.items()},
            drawn,
            str(labels[place]) if place < labels.size else f"sample {place + 1}",
        )
        for place in range(min(count, MAX_SAMPLES))
    ]
    notes = [_scaled(arrays)]
    if count > MAX_SAMPLES:
        notes.append(f"The first {MAX_SAMPLES} of {count} samples are shown.")
    return fill('{rows}<p class="note">{notes}</p>', rows=rows, notes=" ".join(filter(None, notes)))


def ranges(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """The values drawn black and white: [0, 1] if all values are within it, otherwise their own range; [0, 255] for
    pictures.

    Outputs share the range of the target, so that visible differences come from the network and not from the scaling.
    """
    drawn = {}
    for kind, array in arrays.items():
        if _is_picture(array):
            drawn[kind] = (0.0, 255.0)
            continue
        guide = array if kind == "input" else arrays.get("truth", array)
        finite = guide[np.isfinite(guide)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        drawn[kind] = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high if high > low else low + 1)
    return drawn


def picture(array: np.ndarray, low: float, high: float, colour: bool = False) -> np.ndarray:
    """One sample as a picture.

    Args:
        array: shape (height, width, channels).
        low, high: drawn black and white; values beyond are clipped, values that are not finite are black.
        colour: three channels are red, green and blue; otherwise several channels get a colour each.

    Returns:
        Shape (height, width) or (height, width, red green blue), uint8.
    """
    step = -(-max(array.shape[:2]) // MAX_SIZE)
    array = array[::step, ::step]
    scaled = np.clip((np.nan_to_num(array, nan=low, posinf=high, neginf=low) - low) / (high - low), 0, 1)
    if array.shape[-1] == 1 or (colour and array.shape[-1] == 2):
        return np.rint(255 * scaled[..., 0]).astype(np.uint8)
    return np.rint(255 * scaled[..., :3]).astype(np.uint8) if colour else colours(scaled)


def words(values: np.ndarray) -> str:
    """A vector of outputs or a class number as text: of several numbers, the largest and its index.

    Example:
        >>> words(np.array([0.1, 0.7, 0.2])), words(np.array(3))
        ('class 1 (0.7)', '3')
    """
    flat = np.ravel(values)
    if flat.size > 1:
        return f"class {int(np.argmax(flat))} ({number(float(flat.max()))})"
    return number(flat[0].item()) if flat.size else "nothing"


def _showable(array: np.ndarray | None) -> bool:
    if array is None or not array.size or array.dtype.kind not in "fiub":
        return False
    return array.ndim in (1, 2, 4)


def _is_picture(array: np.ndarray) -> bool:
    """Whether an array holds finished pictures, red, green and blue in bytes."""
    return array.dtype == np.uint8 and array.shape[-1] == 3


def _scaled(arrays: Mapping[str, np.ndarray]) -> str:
    drawn = {kind: array for kind, array in arrays.items() if array.ndim == 4}
    outputs = [drawn[kind] for kind in ("before", "after") if kind in drawn and not _is_picture(drawn[kind])]
    if not outputs:
        return ""
    low, high = ranges(drawn)[list(drawn)[-1]]
    if outputs[0].shape[-1] > 1:
        note = f"Each channel of an output has its own colour, full at {number(high)}."
    else:
        note = f"Outputs are drawn from {number(low)}, black, to {number(high)}, white."
    beyond = [float(np.mean((array < low) | (array > high))) for array in outputs]
    if max(beyond, default=0) > 0.0005:
        note += f" {100 * max(beyond):.1f}\u202f% of their values or fewer lie beyond and are clipped."
    return note


def _row(sample: Mapping[str, np.ndarray], drawn: Mapping[str, tuple[float, float]], label: str) -> Html:
    parts = [
        _image(kind, picture(array, *drawn[kind], colour=kind == "input" or _is_picture(array)), array.shape, label)
        if kind in drawn
        else fill("<p>{kind}: <b>{value}</b></p>", kind=_KINDS[kind], value=words(array))
        for kind, array in sample.items()
    ]
    return fill(
        '<section class="sample"><h3>{label}</h3><div class="images">{parts}</div></section>',
        label=label,
        parts=parts,
    )


def _image(kind: str, drawn: np.ndarray, shape: tuple[int, ...], label: str) -> Html:
    return fill(
        '<figure><img src="{source}" alt="{label}: {kind}" width="{width}" height="{height}">'
        "<figcaption>{kind}</figcaption></figure>",
        source=data_uri(png(drawn)),
        label=label,
        kind=_KINDS[kind],
        width=shape[1],
        height=shape[0],
    )
