"""Segmentation: a U-Net that outlines the four classes of defects, which the report names as the next step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
from keras import layers

from shrinknet.applications.steel.contrast import local_contrast
from shrinknet.applications.steel.layout import CLASSES
from shrinknet.errors import OptionError
from shrinknet.imaging.mask_training import MaskDice, MaskIoU, PixelAccuracy, mask_loss

UPSAMPLINGS = ("transposed", "nearest")
RARE = -4.0  # the outputs' first bias, a probability of 2 %: most pixels are no defect (arXiv:1708.02002, 4.1)
NORMALIZATIONS = ("batch", "group", "none")


def unet(
    shape: tuple[int | None, int | None, int] = (256, 512, 1),
    classes: int = len(CLASSES),
    *,
    width: int = 8,
    depth: int = 4,
    upsampling: str = "transposed",
    dropout: float = 0.0,
    normalization: str = "batch",
    loss: str = "both",
    learning_rate: float = 2e-3,
    seed: int | None = None,
) -> Any:
    """A U-Net from plates in [0, 1] to a probability for each pixel and class, compiled (arXiv:1505.04597).

    The local mean is taken away first, see `contrast`. Borders are padded, so that masks have the plate's size, and
    every level normalises. Otherwise as in the paper: two convolutions of 3x3 a level, maximum pooling, twice as many
    filters at each level down, and skip connections.
    The four outputs are sigmoids, because a pixel may belong to several classes.

    Args:
        shape: height and width of the plates, multiples of 2**depth, or None; and channels.
        classes: masks that come out.
        width: filters of the first level; depth: levels below it.
        upsampling: "transposed" convolutions of 2x2, or "nearest" neighbours with a convolution of 3x3.
        dropout: share of channels dropped at the two lowest levels, in [0, 1).
        normalization: "batch", "group" (of four channels; of all where their number is no multiple) or "none".
        loss: "bce", "dice" or "both", see `imaging.mask_training`.
        learning_rate: of Adam, above 0.
        seed: of kernels and dropout; None: different every time.

    Raises:
        OptionError: an option is outside of its range.
    """
    _check(shape, classes, width, depth, dropout, learning_rate)
    for value, known in ((upsampling, UPSAMPLINGS), (normalization, NORMALIZATIONS)):
        if value not in known:
            raise OptionError(f"Expected one of {', '.join(known)}; received {value!r}.")
    make = _Blocks(normalization, seed)
    inputs = keras.Input(shape, name="plate")
    x = local_contrast(inputs)
    skips = []
    for level in range(depth):
        x = make.pair(x, width * 2**level, f"down{level + 1}")
        x = make.dropout(x, dropout if level == depth - 1 else 0, f"down{level + 1}_dropout")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"down{level + 1}_pool")(x)
    x = make.pair(x, width * 2**depth, "bottom")
    x = make.dropout(x, dropout, "bottom_dropout")
    for level in reversed(range(depth)):
        x = make.up(x, width * 2**level, upsampling, f"up{level + 1}")
        x = layers.Concatenate(name=f"up{level + 1}_join")([skips[level], x])
        x = make.pair(x, width * 2**level, f"up{level + 1}")
    outputs = layers.Conv2D(classes, 1, activation="sigmoid", kernel_initializer=make.kernel(),
                            bias_initializer=keras.initializers.Constant(RARE), name="masks")(x)  # fmt: skip
    model = keras.Model(inputs, outputs, name="unet")
    metrics = [MaskDice(), MaskDice("dice_marked", blank=False), MaskIoU(), PixelAccuracy()]
    model.compile(keras.optimizers.Adam(learning_rate), mask_loss(loss), metrics=metrics)
    return model


class _Blocks:
    """Makes the layers of a U-Net; every kernel and dropout has a seed of its own, counted from the network's."""

    def __init__(self, normalization: str, seed: int | None) -> None:
        self.normalization = normalization
        self.seeds: Iterator[int | None] = itertools.repeat(None) if seed is None else itertools.count(1_000 * seed)

    def kernel(self) -> Any:
        return keras.initializers.HeNormal(seed=next(self.seeds))

    def pair(self, x: Any, filters: int, name: str) -> Any:
        """Twice: convolution, normalization, ReLU."""
        for number in (1, 2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=self.normalization == "none",
                              kernel_initializer=self.kernel(), name=f"{name}_conv{number}")(x)  # fmt: skip
            x = self.normalized(x, filters, f"{name}_norm{number}")
            x = layers.ReLU(name=f"{name}_relu{number}")(x)
        return x

    def normalized(self, x: Any, filters: int, name: str) -> Any:
        if self.normalization == "batch":
            return layers.BatchNormalization(momentum=0.9, name=name)(x)  # 0.99 lags behind in short trainings
        if self.normalization == "group":
            return layers.GroupNormalization(filters // 4 if filters % 4 == 0 else 1, name=name)(x)
        return x

    def dropout(self, x: Any, share: float, name: str) -> Any:
        return layers.SpatialDropout2D(share, seed=next(self.seeds), name=name)(x) if share else x

    def up(self, x: Any, filters: int, upsampling: str, name: str) -> Any:
        """Twice the height and width, `filters` channels."""
        if upsampling == "transposed":
            return layers.Conv2DTranspose(filters, 2, 2, kernel_initializer=self.kernel(), name=f"{name}_up")(x)
        x = layers.UpSampling2D(interpolation="nearest", name=f"{name}_nearest")(x)
        return layers.Conv2D(filters, 3, padding="same", kernel_initializer=self.kernel(), name=f"{name}_up")(x)


def _check(shape: tuple[int | None, ...], classes: int, width: int, depth: int, dropout: float, rate: float) -> None:
    if len(shape) != 3 or classes < 1 or width < 1 or depth < 1 or not 0 <= dropout < 1 or rate <= 0:
        raise OptionError(
            "A U-Net expects a shape (height, width, channels), classes, width and depth of at least 1, a dropout in "
            f"[0, 1) and a learning rate above 0; received shape {tuple(shape)}, classes {classes}, width {width}, "
            f"depth {depth}, dropout {dropout} and {rate}."
        )
    for side in shape[:2]:
        if side is not None and side % 2**depth:
            raise OptionError(
                f"A U-Net of depth {depth} halves its input {depth} times: expected height and width as multiples of "
                f"{2**depth}; received {shape[0]} x {shape[1]}."
            )
