"""The pictures of the thesis (3.2, figures 3.1 to 3.4): masks, feature maps before the activation, and outputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from shrinknet.engine import make_engine
from shrinknet.engine.data import Feed
from shrinknet.imaging.pictures import beside, colours, png, red_green
from shrinknet.imaging.states import Picture
from shrinknet.internals import functional_of, nodes_of
from shrinknet.network.copying import clone_layer
from shrinknet.network.switching import switched

FEW = 100  # steps of the first state
MAX_LAYERS = 16  # with feature maps
MAX_FILTERS = 64  # with feature maps, per layer
MAX_SIDE = 256  # pixels of a feature map; larger ones are subsampled
MAX_WEIGHTS = 100_000  # of a kernel that is drawn; each weight takes 64 pixels


def feature_maps(model: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """The output of each 2D convolution before its activation.

    Args:
        model: a Sequential or Functional model; convolutions that are shared or in nested models are left out.
        image: shape (height, width, channels).

    Returns:
        layer -> shape (height, width, filters), float32, in network order.
    """
    functional = functional_of(model)
    calls: dict[str, list[Any]] = {}
    for node in nodes_of(functional):
        if isinstance(node.operation, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            calls.setdefault(node.operation.name, []).append(node)
    once = [nodes[0] for nodes in calls.values() if len(nodes) == 1][:MAX_LAYERS]
    if not once:
        return {}
    tensors = [node.input_tensors[0] for node in once]
    reads = keras.tree.flatten(keras.Model(functional.inputs, tensors)([image[None]]))
    maps = {}
    for layer, tensor in zip((node.operation for node in once), reads, strict=True):
        before = clone_layer(layer, type(layer), activation="linear")
        before.build(tensor.shape)
        before.set_weights(layer.get_weights())
        values = ops.convert_to_numpy(before(tensor))[0]
        values = np.moveaxis(values, 0, -1) if layer.data_format == "channels_first" else values
        step = -(-max(values.shape[:2]) // MAX_SIDE)
        maps[layer.name] = values[::step, ::step, :].astype("float32")
    return maps


def learning_pictures(
    model: Any,
    uncut: Any,
    slim: Any,
    removed: Mapping[str, Collection[int]],
    feed: Feed,
    image: np.ndarray,
    seed: int,
) -> dict[Picture, np.ndarray]:
    """Masks, feature maps and outputs after a few steps, after the warm-up and at the end of a run.

    Args:
        model: as it was before the run, compiled; it is not changed.
        uncut: after the warm-up; slim: at the end.
        removed: layer -> numbers of the filters that `slim` no longer has.
        feed: the training data of the run; seed: that of the run, so that the first steps are those of its warm-up.
        image: the input for maps and outputs, shape (height, width, channels).

    Returns:
        Masks of shape (height, width, channels in, filters); maps of shape (height, width, filters of the uncut layer),
        NaN for filters that are gone; outputs of shape (height, width, channels), if the model returns images.
    """
    early = switched(model)
    engine = make_engine(early, feed, feed, seed)
    engine.prepare()
    engine.train(FEW, trial=0)
    pictures = {
        Picture("early", "mask", layer.name): np.array(layer.kernel)
        for layer in early.layers
        if len(getattr(getattr(layer, "kernel", None), "shape", ())) == 4
    }
    for state, net in (("early", early), ("before", uncut), ("after", slim)):
        for layer, maps in feature_maps(net, image).items():
            if state == "after":
                maps = _with_gaps(maps, sorted(removed.get(layer, ())))
            pictures[Picture(state, "map", layer)] = maps[..., :MAX_FILTERS]
        output = keras.tree.flatten(net(image[None], training=False))[0]
        if len(output.shape) == 4:
            pictures[Picture(state, "output")] = ops.convert_to_numpy(output)[0]
    return pictures


def _with_gaps(maps: np.ndarray, gone: list[int]) -> np.ndarray:
    """The maps at their original positions, with NaN for filters that are gone."""
    wide = np.full((*maps.shape[:2], maps.shape[2] + len(gone)), np.nan, np.float32)
    wide[..., np.delete(np.arange(wide.shape[2]), gone)] = maps
    return wide


def as_png(pictures: Mapping[Picture, np.ndarray]) -> dict[str, bytes]:
    """The pictures as files: name -> PNG, with the filters side by side in order.

    Maps and masks are red where negative and green where positive, each picture scaled by its own largest value;
    outputs are shifted, scaled to [0, 255] and rounded, as in the thesis. Kernels of more than `MAX_WEIGHTS` weights
    are left out: nobody could look at their pictures, and those of a VGG16 take hours.
    """
    files = {}
    for picture, values in pictures.items():
        if picture.kind == "output":
            drawn = colours(values)
        elif picture.kind == "map":
            drawn = beside([red_green(np.nan_to_num(values[..., index])) for index in range(values.shape[-1])])
        elif values.ndim == 4 and values.size <= MAX_WEIGHTS:  # input channels from top to bottom
            tiles = [np.concatenate([*np.moveaxis(values[..., index], 2, 0)]) for index in range(values.shape[-1])]
            drawn = beside([red_green(tile).repeat(8, 0).repeat(8, 1) for tile in tiles])
        else:
            continue
        files[picture.file] = png(drawn)
    return files
