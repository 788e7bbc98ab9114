"""The thesis's pictures (3.2, figures 3.1 to 3.4): masks, feature maps before the activation, and outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.engine import make_engine
from shrinknet.engine.data import Feed
from shrinknet.imaging.pictures import beside, output_image, png, red_green
from shrinknet.network.switches import switched

FEW = 100  # steps of the first state


def feature_maps(model: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """What each convolution computes before its activation.

    Args:
        model: a Sequential or Functional model.
        image: shape (height, width, channels).

    Returns:
        layer -> shape (height, width, filters), float32, in network order.
    """
    maps = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            before = type(layer).from_config({**layer.get_config(), "activation": "linear"})
            reads = keras.Model(model.inputs, layer.input)([image[None]])
            before.build(reads.shape)
            before.set_weights(layer.get_weights())
            maps[layer.name] = ops.convert_to_numpy(before(reads))[0]
    return maps


def learning_pictures(
    model: Any,
    uncut: Any,
    slim: Any,
    removed: Mapping[str, Collection[int]],
    feed: Feed,
    image: np.ndarray,
    seed: int,
) -> dict[str, np.ndarray]:
    """Masks, feature maps and outputs after a few steps, after the warm-up and at the end of a run.

    Args:
        model: as it was before the run, compiled; it is left alone.
        uncut: after the warm-up; slim: at the end.
        removed: layer -> numbers of the filters that `slim` no longer has.
        feed: what the run was trained on; seed: the run's, so that the first steps are those of its warm-up.
        image: of which maps and outputs are computed, shape (height, width, channels).

    Returns:
        `early/mask/<layer>`, shape (height, width, channels in, filters); `<state>/map/<layer>`, shape (height, width,
        filters of the uncut layer), NaN where a filter is gone; `<state>/output`, shape (height, width); the states
        are early, before and after.
    """
    early = switched(model)
    engine = make_engine(early, feed, feed, seed)
    engine.prepare()
    engine.train(FEW, trial=0)
    pictures = {f"early/mask/{layer.name}": np.array(layer.kernel) for layer in early.layers if layer.weights}
    for state, net in (("early", early), ("before", uncut), ("after", slim)):
        for layer, maps in feature_maps(net, image).items():
            if state == "after":
                gone = sorted(removed.get(layer, ()))
                wide = np.full((*maps.shape[:2], maps.shape[2] + len(gone)), np.nan, np.float32)
                wide[..., np.delete(np.arange(wide.shape[2]), gone)] = maps
                maps = wide
            pictures[f"{state}/map/{layer}"] = maps
        pictures[f"{state}/output"] = ops.convert_to_numpy(net(image[None]))[0, ..., 0]
    return pictures


def as_png(pictures: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The pictures as files: name -> PNG; filters side by side, from the first to the last.

    Maps and masks are red where negative and green where positive, each picture at the brightness of its own greatest
    value; outputs are shifted, scaled to [0, 255] and rounded, as the thesis writes them.
    """
    files = {}
    for name, values in pictures.items():
        state, kind, *layer = name.split("/")
        if kind == "output":
            drawn = output_image(values)
        elif kind == "map":
            drawn = beside([red_green(np.nan_to_num(values[..., index])) for index in range(values.shape[-1])])
        else:  # channels in from top to bottom
            tiles = [np.concatenate([*np.moveaxis(values[..., index], 2, 0)]) for index in range(values.shape[-1])]
            drawn = beside([red_green(tile).repeat(8, 0).repeat(8, 1) for tile in tiles])
        files["-".join([kind, *layer, state])] = png(drawn)
    return files
