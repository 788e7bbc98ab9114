"""The thesis's network: three convolutions that turn a grey image into an edge map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from shrinknet.errors import ModelError, OptionError
from shrinknet.losses import SoftF1, SoftF1Loss

DRAWS = 100


def edge_network(
    crop: int | None = 128,
    *,
    widths: Sequence[int] = (5, 5, 1),
    kernel: int = 5,
    learning_rate: float = 1e-3,
    seed: int | None = None,
) -> Any:
    """A fully convolutional network from a grey image in [0, 1] to an edge map of the same size, compiled.

    As in the thesis: stride 1, zero padding, kernels from a truncated normal distribution with standard deviation
    0.05, ReLU after every layer including the last, Adam, soft F1 as loss; soft F1, MAE and MSE as metrics. Biases
    start at zero, which the thesis does not specify.

    If no pixel of the output is above zero, the last ReLU passes no gradient, and the network cannot learn. Kernels
    that output only zeros for a white square on black are therefore drawn again, from the same distribution. The
    default network does not need this (none of 100 seeds, and none of 16 died in 500 steps of training); networks with
    one filter per layer or with 1x1 kernels do.

    Args:
        crop: height and width of the input in pixels; None: any.
        widths: filters of each layer; the last is the output and has 1.
        kernel: height and width of the kernels in pixels.
        learning_rate: of Adam, above 0.
        seed: of the kernels; None: different every time.

    Raises:
        OptionError: an option has an invalid value.
        ModelError: a hundred draws output only zeros, which happens only for very deep and narrow networks.
    """
    if not widths or min(widths) < 1 or widths[-1] != 1 or kernel < 1 or learning_rate <= 0:
        raise OptionError(
            "An edge network expects widths of at least 1 that end in 1 (the edge map), a kernel of at least 1 pixel "
            f"and a learning rate above 0; received widths {tuple(widths)}, kernel {kernel} and {learning_rate}."
        )
    layers = [
        keras.layers.Conv2D(width, kernel, padding="same", activation="relu", name=f"conv{number}")
        for number, width in enumerate(widths, 1)
    ]
    model = keras.Sequential([keras.Input((crop, crop, 1)), *layers], name="edges")
    _draw(model, np.random.default_rng(seed))
    model.compile(keras.optimizers.Adam(learning_rate), SoftF1Loss(), metrics=[SoftF1(), "mae", "mse"])
    return model


def _draw(model: Any, generator: np.random.Generator) -> None:
    """Draws the kernels until the output for a white square on black is not zero everywhere."""
    side = model.input_shape[1] or 64
    square = np.pad(np.ones((side - side // 2,) * 2, np.float32), (side // 4, side // 2 - side // 4))[None, ..., None]
    for _ in range(DRAWS):
        for layer in model.layers:
            draw = keras.initializers.TruncatedNormal(0.0, 0.05, seed=int(generator.integers(2**31)))
            layer.kernel.assign(draw(layer.kernel.shape))
        if np.any(keras.ops.convert_to_numpy(model(square)) > 0):
            return
    raise ModelError(
        f"With {DRAWS} random initializations the network outputs only zeros, from which ReLU cannot learn; expected "
        f"an output above zero somewhere from layers of {[layer.filters for layer in model.layers]} filters: use more "
        "filters or fewer layers."
    )
