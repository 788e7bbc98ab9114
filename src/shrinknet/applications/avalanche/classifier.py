"""Window classifiers: does the pixel at the centre of a window belong to the avalanche? One logit comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from shrinknet.errors import OptionError

KINDS = ("conv2d", "conv1d", "vgg16", "resnet50", "inception_resnet_v2")
POOLINGS = ("max", "average")
OPTIMIZERS = ("adam", "rmsprop")
WIDTHS = (16, 32, 32)


def window_classifier(
    shape: tuple[int, int, int],
    kind: str = "conv2d",
    *,
    widths: Sequence[int] = WIDTHS,
    pooling: str = "max",
    normalization: bool = True,
    weights: str | None = None,
    frozen: bool = False,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    strategy: Any = None,
    seed: int | None = None,
) -> Any:
    """A compiled network from windows in [0, 1], shape (windows, height, width, channels), to one logit, (windows, 1).

    The small networks have a block for each width: a 3x3 convolution without padding, normalization, ReLU, and pooling
    of 2x2 as long as at least 4x4 pixels come in. Without padding, `dense_network` can apply them to whole images
    exactly. "conv1d" slides over the rows of a window, each taken as one vector.

    Args:
        shape: height, width and channels of a window. The report has (17, 17, 1), (17, 17, 3), (33, 33, 3), and
            (76, 76, 3) for "inception_resnet_v2".
        kind: "conv2d" or "conv1d", small networks; or a body of keras.applications: "vgg16" and "resnet50", from 32 x
            32, "inception_resnet_v2", from 75 x 75.
        widths: filters of each block of a small network.
        pooling: "max" or "average", of a small network.
        normalization: whether a small network normalizes batches.
        weights: a file of weights for the body, without its top, as `VGG16(include_top=False).save_weights` writes
            it; None: from scratch. Nothing is downloaded.
        frozen: whether the body's weights stay as they are and only the head is trained.
        optimizer: "adam" or "rmsprop".
        learning_rate: above 0; the report's is 0.001.
        strategy: of `tf.distribute`, to train on several devices; None: on one.
        seed: of the kernels; None: different every time.

    Raises:
        OptionError: an option is outside of its range, or the window is too small for the network.
        ModelError: the file of weights cannot be used.

    Example:
        >>> window_classifier((17, 17, 3), seed=0).output_shape
        (None, 1)
    """
    _check(shape, kind, widths, pooling, optimizer, learning_rate)
    if (weights is not None or frozen) and kind in ("conv2d", "conv1d"):
        raise OptionError(f"Weights and freezing are for bodies of keras.applications; received the kind {kind!r}.")
    with strategy.scope() if strategy is not None else contextlib.nullcontext():
        inputs = keras.Input(shape, name="window")
        if kind == "conv2d":
            features = _conv2d(inputs, _Maker(normalization, pooling, 2, seed), widths)
        elif kind == "conv1d":
            features = _conv1d(inputs, _Maker(normalization, pooling, 1, seed), widths)
        else:
            from shrinknet.applications.avalanche.bodies import body

            features = body(inputs, kind, weights, frozen, seed)
        start = keras.initializers.GlorotUniform(seed=seed)
        outputs = layers.Dense(1, kernel_initializer=start, name="logit")(features)
        model = keras.Model(inputs, outputs, name=f"window_{kind}")
        made = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[optimizer]
        model.compile(
            made(learning_rate),
            keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)],  # a logit of 0 is a probability of 1/2
        )
    return model


class _Maker:
    """Makes the blocks of a small network in one or two dimensions; every kernel has a seed of its own."""

    def __init__(self, normalization: bool, pooling: str, rank: int, seed: int | None) -> None:
        self.normalization, self.rank, self.seed, self.count = normalization, rank, seed, 0
        self.convolution = {1: layers.Conv1D, 2: layers.Conv2D}[rank]
        self.pool = {("max", 1): layers.MaxPooling1D, ("max", 2): layers.MaxPooling2D,
                     ("average", 1): layers.AveragePooling1D, ("average", 2): layers.AveragePooling2D,
                     }[pooling, rank]  # fmt: skip

    def block(self, x: Any, filters: int) -> Any:
        """A convolution, normalization, ReLU, and pooling where there is room for more after it."""
        self.count += 1
        name = f"block{self.count}"
        start = keras.initializers.HeNormal(seed=None if self.seed is None else 1_000 * self.seed + self.count)
        x = self.convolution(filters, min(3, *x.shape[1 : 1 + self.rank]), use_bias=not self.normalization,
                             kernel_initializer=start, name=f"{name}_conv")(x)  # fmt: skip
        if self.normalization:
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)  # 0.99 lags behind in short trainings
        x = layers.ReLU(name=f"{name}_relu")(x)
        return self.pool(2, name=f"{name}_pool")(x) if min(x.shape[1 : 1 + self.rank]) >= 4 else x


def _conv2d(x: Any, make: _Maker, widths: Sequence[int]) -> Any:
    for filters in widths:
        x = make.block(x, filters)
    return layers.Flatten(name="features")(x)


def _conv1d(x: Any, make: _Maker, widths: Sequence[int]) -> Any:
    height, width, channels = x.shape[1:]
    x = layers.Reshape((height, width * channels), name="rows")(x)
    for filters in widths:
        x = make.block(x, filters)
    return layers.Flatten(name="features")(x)


def _check(shape: tuple[int, ...], kind: str, widths: Sequence[int], pooling: str, optimizer: str, rate: float) -> None:
    if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape) or shape[2] not in (1, 3):
        raise OptionError(f"Expected a window's height, width and channels, 1 or 3; received {tuple(shape)}.")
    for value, known in ((kind, KINDS), (pooling, POOLINGS), (optimizer, OPTIMIZERS)):
        if value not in known:
            raise OptionError(f"Expected one of {', '.join(known)}; received {value!r}.")
    if not widths or min(widths) < 1 or rate <= 0:
        raise OptionError(f"Expected widths of at least 1 and a learning rate above 0; received {widths} and {rate}.")
