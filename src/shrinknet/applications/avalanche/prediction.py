"""Prediction: the probability of avalanche for every pixel of an image, or of a detector's box in it.

Images are processed in tiles, so that memory does not grow with the size of the feature maps of a whole image.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shrinknet.applications.avalanche.coarse import approximate_network
from shrinknet.applications.avalanche.dense import dense_network, halo_of, is_dense, window_shape
from shrinknet.errors import ModelError, OptionError
from shrinknet.imaging.colour_files import as_numbers, as_pixels, read_pixels
from shrinknet.imaging.networks import Network
from shrinknet.imaging.tiles import Box, Progress, Tile, checked_box, even_part, tiles, timed
from shrinknet.imaging.windows import Windows, windows

METHODS = ("auto", "dense", "windows", "approximate", "fast")
TILE = 384  # pixels a side without surroundings: some 30 MB for each of 32 feature maps
BATCH = 512  # windows at a time, where they are predicted one by one


@dataclass(frozen=True)
class Predictor:
    """A network that is ready to predict pixels.

    Attributes:
        network: what is run.
        channels: that it expects.
        window: height and width of its windows, where it answers for one window at a time; None: for whole tiles.
        before, behind: rows and columns around a tile that its answers depend on.
        tile: height and width that a tile must have with its surroundings; None: any.
    """

    network: Network
    channels: int
    window: tuple[int, int] | None
    before: tuple[int, int] = (0, 0)
    behind: tuple[int, int] = (0, 0)
    tile: tuple[int, int] | None = None


def predictor(model: Any, method: str = "auto", threads: int = 1) -> Predictor:
    """Makes a model ready to predict; for several images, make it once and hand it to `predict_image`.

    Args:
        model: a window classifier or a dense network as a Keras model, or the path of a `.keras` or `.tflite` file; a
            `Predictor` is returned as it is.
        method: "dense" applies a window classifier to whole tiles, exactly; "windows" to every window; "approximate" to
            whole tiles in its own strides (see `coarse`); "auto": "dense" where it is exact, else "windows"; "fast":
        "dense" where it is exact, else "approximate".
        threads: of the LiteRT interpreter.

    Raises:
        ModelError: the model cannot be opened, is of another kind, or cannot be converted.
        OptionError: there is no such method.
    """
    if method not in METHODS:
        raise OptionError(f"There is no method {method!r} of prediction; expected one of {', '.join(METHODS)}.")
    if isinstance(model, Predictor):
        return model
    if isinstance(model, str | os.PathLike) and Path(model).suffix == ".tflite":
        return _from_litert(Network(model, threads), method)
    if isinstance(model, str | os.PathLike):
        model = _opened(Path(model))
    if is_dense(model):
        return _dense(model)
    shape = window_shape(model)
    if method in ("auto", "dense", "fast"):
        try:
            return _dense(dense_network(model))
        except ModelError:
            if method == "dense":
                raise
    if method in ("approximate", "fast"):
        return _dense(approximate_network(model))
    return Predictor(Network(model), shape[2], shape[:2])


def predict_image(
    model: Any,
    image: np.ndarray | str | os.PathLike[str],
    box: Box | None = None,
    *,
    method: str = "auto",
    tile: int = TILE,
    progress: Progress | None = None,
) -> np.ndarray:
    """The probability of avalanche for every pixel.

    Args:
        model: a window classifier, or what `dense_network` made of one: a Keras model, or the path of a `.keras` or
            exported `.tflite` file; or a `Predictor`.
        image: shape (height, width) or (height, width, channels), uint8 or in [0, 1]; or the path of a file. Grey and
            colour are turned into what the network expects.
        box: left, top, right and bottom in pixels, the last two exclusive: only this part is predicted. Windows still
            see the pixels around it.
        method: see `predictor`.
        tile: height and width of the parts that are predicted at once, in pixels; a file with a size of its own keeps
            it. Memory grows with its square.
        progress: called after each tile with tiles done, tiles in all, and the seconds that are left.

    Returns:
        Shape (height, width) of the image, float32 in [0, 1]; 0 outside of the box.

    Raises:
        DataError: the image cannot be read, or the box does not lie in it.
        ModelError: the model cannot be used.
        OptionError: an option is outside of its range.
    """
    if tile < 1:
        raise OptionError(f"Expected tiles of at least 1 pixel a side; received {tile}.")
    ready = model if isinstance(model, Predictor) else predictor(model, method)
    if isinstance(image, str | os.PathLike):
        image = read_pixels(Path(image), ready.channels)
    logits = predict_logits(ready, image, box, tile=tile, progress=progress)[..., 0]
    left, top, right, bottom = checked_box(box, logits.shape)
    inside = logits[top:bottom, left:right]
    with np.errstate(over="ignore"):  # a logit of -100 is a probability of 0
        np.divide(1, 1 + np.exp(-inside), out=inside)
    return logits


def predict_logits(
    ready: Predictor,
    image: np.ndarray,
    box: Box | None = None,
    *,
    tile: int = TILE,
    progress: Progress | None = None,
) -> np.ndarray:
    """What a network puts out for every pixel, shape (height, width, outputs), float32; 0 outside of the box.

    Args:
        ready: of `predictor`; image, box, tile, progress: see `predict_image`.

    Raises:
        DataError, ModelError: see `predict_image`.
    """
    pixels = as_pixels(image, ready.channels)
    shape = pixels.shape[:2]
    box = checked_box(box, shape)
    parts = even_part(box[3] - box[1], tile), even_part(box[2] - box[0], tile)
    side = ready.tile or tuple(
        size + before + behind for size, before, behind in zip(parts, ready.before, ready.behind, strict=True)
    )
    inner = tuple(size - before - behind for size, before, behind in zip(side, ready.before, ready.behind, strict=True))
    if min(inner) < 1:
        raise ModelError(
            f"The model {ready.network.name} takes images of {side[0]} x {side[1]} pixels, and its answers depend on "
            f"{sum(ready.before)} x {sum(ready.behind)} pixels around them: export it for larger tiles."
        )
    cut = windows(pixels, None, ready.window) if ready.window else None
    found = np.zeros((*shape, 0), np.float32)
    for part in timed(tiles(box, inner, ready.before), progress):  # type: ignore[arg-type]
        answer = _of_windows(ready, cut, part) if cut else _of_tile(ready, pixels, part, side)  # type: ignore[arg-type]
        if not found.shape[2]:
            found = np.zeros((*shape, answer.shape[-1]), np.float32)
        found[part.rows, part.columns] = answer
    return found


def _of_tile(ready: Predictor, pixels: np.ndarray, part: Tile, side: tuple[int, int]) -> np.ndarray:
    answer = ready.network(as_numbers(part.cut(pixels, side))[None])
    if answer.ndim != 4 or answer.shape[1:3] != side:
        raise ModelError(
            f"The model {ready.network.name} does not answer for every pixel: expected an output of shape (1, "
            f"{side[0]}, {side[1]}, outputs), received {answer.shape}; make one with dense_network."
        )
    return part.answered(answer[0])


def _of_windows(ready: Predictor, cut: Windows, part: Tile) -> np.ndarray:
    """The answers for a tile, window by window."""
    rows, columns = np.mgrid[part.rows, part.columns]
    places = np.stack([rows.ravel(), columns.ravel()], -1)
    answers = [ready.network(cut.at(places[start : start + BATCH])[0]) for start in range(0, len(places), BATCH)]
    if answers[0].ndim != 2:
        raise ModelError(
            f"The model {ready.network.name} is no window classifier: expected an output of shape (windows, outputs), "
            f"received {answers[0].shape}."
        )
    return np.concatenate(answers).reshape(*rows.shape, -1)


def _dense(model: Any) -> Predictor:
    network = Network(model)
    before, behind = halo_of(model.inputs[0].name) or ((0, 0), (0, 0))
    return Predictor(network, int(model.inputs[0].shape[3]), None, before, behind)


def _from_litert(network: Network, method: str) -> Predictor:
    """A LiteRT file: of a window classifier, or of a dense network, whose input's name tells its surroundings."""
    height, width, channels = network.input_shape
    if channels not in (1, 3):
        raise ModelError(f"The model {network.name} takes {channels} channels; expected 1 for grey or 3 for colour.")
    halo = halo_of(network.input_name)
    if halo is not None:
        return Predictor(network, channels, None, *halo, (height, width) if height and width else None)
    if not (height and width):
        raise ModelError(
            f"The model {network.name} takes images of any size, and the name of its input, {network.input_name!r}, "
            "does not say how many pixels an answer depends on: export what dense_network makes."
        )
    if method in ("dense", "approximate"):
        raise OptionError(
            f"The LiteRT file {network.name} holds a window classifier, which can only be predicted window by window; "
            "export what dense_network makes of it instead."
        )
    return Predictor(network, channels, (height, width))


def _opened(path: Path) -> Any:
    import shrinknet.applications.avalanche.dense_layers  # noqa: F401  registers what a file may hold
    from shrinknet.files.models import open_model

    return open_model(path)
