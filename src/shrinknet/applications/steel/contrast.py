"""Local contrast: the first layers of the steel networks, which take away the mean of each pixel's surroundings.

Plates differ in brightness by more than most defects differ from the steel around them. Without this, the first
convolutions mostly see brightness, and the zeros that they pad borders with look like strong edges.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

WINDOW = 31  # pixels; wider than specks and traces, narrower than the lamps' shading


def local_contrast(x: Any, window: int = WINDOW) -> Any:
    """Images less their local mean, of the same shape.

    These layers are not trained. They are ones that LiteRT and quantization-aware training know: there is no int8
    subtraction in the latter, so the mean is multiplied by -1 and added.

    Args:
        x: symbolic images, shape (images, height, width, channels).
        window: height and width in pixels of the surroundings; at borders, the part that lies on the image counts.
    """
    mean = layers.AveragePooling2D((1, window), 1, "same", name="mean_across")(x)
    mean = layers.AveragePooling2D((window, 1), 1, "same", name="mean_down")(mean)
    negative = layers.DepthwiseConv2D(
        1, use_bias=False, depthwise_initializer=keras.initializers.Constant(-1.0), trainable=False, name="negative"
    )(mean)
    return layers.Add(name="contrast")([x, negative])
