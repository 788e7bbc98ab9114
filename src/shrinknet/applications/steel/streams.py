"""Plates as a tf.data.Dataset: read from files as needed, augmented, and batched.

Only a few batches are in memory at a time, so that a folder may be larger than it. This file is about TensorFlow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shrinknet.applications.steel.layout import CLASSES
from shrinknet.applications.steel.table import Plates
from shrinknet.errors import DataError, OptionError

if TYPE_CHECKING:
    import tensorflow as tf

SIZE = (256, 512)  # height and width that the report resizes a plate to


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training plates.

    Attributes:
        flips: left to right and upside down, each with a probability of one half.
        shift: largest shift as a share of height and width, in [0, 0.5]; borders are filled by reflection.
        brightness: largest amount added, in [0, 1] of the range of grey values.
        contrast: largest relative change of the contrast around the plate's mean, in [0, 1).
    """

    flips: bool = True
    shift: float = 0.06
    brightness: float = 0.1
    contrast: float = 0.2

    def __post_init__(self) -> None:
        if not (0 <= self.shift <= 0.5 and 0 <= self.brightness <= 1 and 0 <= self.contrast < 1):
            raise OptionError(
                "An augmentation expects a shift in [0, 0.5], brightness in [0, 1] and contrast in [0, 1); "
                f"received {self}."
            )


@dataclass(frozen=True)
class Crops:
    """Crops instead of whole plates, for segmentation networks: hardly a pixel of a whole plate is marked.

    Attributes:
        height, width: in pixels of the resized plate.
        on_defect: share of crops around a pixel of a defect, where the plate has one; the others lie anywhere.
    """

    height: int = 128
    width: int = 128
    on_defect: float = 0.75

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1 or not 0 <= self.on_defect <= 1:
            raise OptionError(
                f"Crops expect a height and width of at least 1 and on_defect in [0, 1]; received {self}."
            )

    def corner(self, mask: np.ndarray, random: np.random.Generator) -> tuple[int, int]:
        """The upper left corner, (row, column), of a crop of masks of shape (height, width, classes)."""
        rooms = (mask.shape[0] - self.height, mask.shape[1] - self.width)
        row, column = (int(random.integers(room + 1)) for room in rooms)
        present = [place for place in range(mask.shape[2]) if mask[..., place].any()]
        if present and random.random() < self.on_defect:
            # the class first, so that a small defect is seen as often as a large one
            places = np.flatnonzero(mask[..., random.choice(present)])
            pixel = divmod(int(places[random.integers(len(places))]), mask.shape[1])
            row = pixel[0] - int(random.integers(self.height))
            column = pixel[1] - int(random.integers(self.width))
        return min(max(row, 0), rooms[0]), min(max(column, 0), rooms[1])


def check_crop(crop: Sequence[int], size: Sequence[int], depth: int) -> None:
    """Refuses crops that a U-Net cannot be trained on.

    Args:
        crop: height and width; size: of the resized plates; depth: how often the network halves its input.

    Raises:
        OptionError: a crop is larger than the plates, or no multiple of 2**depth.
    """
    if crop[0] > size[0] or crop[1] > size[1]:
        raise OptionError(
            f"Expected crops of at most {size[0]} x {size[1]} pixels, the size that plates are resized to; received "
            f"{crop[0]} x {crop[1]}: choose smaller crops, or larger plates."
        )
    if min(crop) < 1 or any(side % 2**depth for side in crop):
        raise OptionError(
            f"A U-Net of depth {depth} halves its input {depth} times: expected crops with a height and width that are "
            f"multiples of {2**depth}; received {crop[0]} x {crop[1]}."
        )


def plate_arrays(
    plates: Plates, names: Sequence[str], *, size: tuple[int, int] = SIZE, channels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Plates and their masks in memory, for samples and small sets.

    Args:
        plates: of `read`; names: of images.
        size: height and width that both are resized to.
        channels: 1, or 3 equal ones.

    Returns:
        Images, shape (images, height, width, channels), float32 in [0, 1]; masks, shape (images, height, width, 4),
        float32, 0 or 1.

    Raises:
        DataError: an image cannot be used.
    """
    pairs = [read_plate(plates, name, size) for name in names]
    images = np.stack([image for image, _ in pairs])[..., None]
    return np.repeat(images, channels, -1), np.stack([mask for _, mask in pairs]).astype(np.float32)


def read_plate(plates: Plates, name: str, size: tuple[int, int], masks: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """One plate, shape (height, width), float32 in [0, 1], and its masks, (height, width, 4), uint8, resized.

    A pixel of a smaller mask is marked when at least half of what it stands for is.
    """
    image = resized(plates.image(name), size)
    if not masks:
        return image, np.zeros((1, 1, len(CLASSES)), np.uint8)
    mask = plates.masks(name)
    if mask.shape[:2] != size:
        mask = (resized(mask.astype(np.float32), size) >= 0.5).astype(np.uint8)
    return image, mask


def resized(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An array of shape (height, width) or (height, width, channels) in another size, averaged over areas."""
    import cv2

    if array.shape[:2] == tuple(size):
        return array
    smaller = size[0] <= array.shape[0] and size[1] <= array.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(array, (size[1], size[0]), interpolation=how)).reshape(*size, *array.shape[2:])


def plate_batches(
    plates: Plates,
    names: Sequence[str],
    labels: np.ndarray | None = None,
    *,
    size: tuple[int, int] = SIZE,
    channels: int = 1,
    batch: int = 8,
    shuffle: bool = False,
    augment: Augmentation | None = None,
    crops: Crops | None = None,
    seed: int = 0,
    memory: int = 0,
) -> tf.data.Dataset:
    """Batches of plates with their masks, or with labels, read from files as they are needed.

    Args:
        plates: of `read`; names: of images.
        labels: targets of shape (images, ...), for classifiers; None: the masks, (height, width, 4).
        size: height and width that plates and masks are resized to.
        channels: 1, or 3 equal ones.
        batch: plates a batch; the last may be smaller.
        shuffle: another order in each pass, by the seed.
        augment: applied to plates and masks alike; None: nothing.
        crops: one crop of each plate, another in each pass; None: whole plates. Not with labels, which a crop may miss.
        seed: of order, crops and augmentation.
        memory: MiB; resized plates are kept up to that, the others are read again in each pass. The results are the
            same.

    Returns:
        A dataset of (images in [0, 1], targets), float32, of known length.

    Raises:
        DataError: there are no names, or not one label for each.
        OptionError: crops do not fit into the plates, or are asked for with labels.
    """
    import tensorflow as tf

    if not len(names) or (labels is not None and len(labels) != len(names)):
        given = "masks" if labels is None else f"{len(labels):,} labels"
        raise DataError(f"Expected plates, with one label each; received {len(names):,} plates and {given}.")
    if crops and (labels is not None or crops.height > size[0] or crops.width > size[1]):
        raise OptionError(f"Expected crops of at most {size[0]} x {size[1]}, and none with labels; received {crops}.")
    reader = _Reader(plates, tuple(names), size, crops, labels is None, _Kept(memory * 2**20))
    side = (crops.height, crops.width) if crops else size

    def read(index: Any, number: Any) -> tuple[Any, Any]:
        image, mask = tf.numpy_function(reader, [index, number], (tf.float32, tf.uint8), stateful=False)
        image = tf.repeat(tf.ensure_shape(image, side)[..., None], channels, axis=-1)
        if labels is not None:
            return image, tf.gather(tf.constant(labels, tf.float32), index)
        return image, tf.cast(tf.ensure_shape(mask, (*side, len(CLASSES))), tf.float32)

    indices = tf.data.Dataset.range(len(names))
    if shuffle:
        indices = indices.shuffle(len(names), seed=seed, reshuffle_each_iteration=True)
    numbers = tf.data.Dataset.random(seed=seed + 1, rerandomize_each_iteration=True)
    loaded = tf.data.Dataset.zip((indices, numbers)).map(read, num_parallel_calls=tf.data.AUTOTUNE)
    if augment is not None:
        loaded = _augmented(loaded, augment, seed, masks=labels is None)
    return loaded.batch(batch).prefetch(2)


class _Kept:
    """Plates that were read, until they take a number of bytes; those that come later are not kept."""

    def __init__(self, most: int) -> None:
        self.left, self.plates = most, dict[str, tuple[np.ndarray, np.ndarray]]()
        self.lock = threading.Lock()  # several threads of tf.data read at a time

    def get(self, name: str, read: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """The plate and its masks, read if need be."""
        found = self.plates.get(name)
        if found is None:
            found = read()
            size = found[0].nbytes + found[1].nbytes
            with self.lock:
                if name not in self.plates and size <= self.left:
                    self.plates[name] = found
                    self.left -= size
        return found


@dataclass(frozen=True)
class _Reader:
    """Reads one plate and its masks; a crop of them by a random number."""

    plates: Plates
    names: tuple[str, ...]
    size: tuple[int, int]
    crops: Crops | None
    masks: bool
    kept: _Kept

    def __call__(self, index: Any, number: Any) -> tuple[np.ndarray, np.ndarray]:
        name = self.names[int(index)]
        image, mask = self.kept.get(name, lambda: read_plate(self.plates, name, self.size, self.masks))
        if self.crops is None:
            return image, mask
        row, column = self.crops.corner(mask, np.random.default_rng(abs(int(number))))
        part = np.s_[row : row + self.crops.height, column : column + self.crops.width]
        return np.ascontiguousarray(image[part]), np.ascontiguousarray(mask[part])


def _augmented(loaded: Any, augment: Augmentation, seed: int, masks: bool) -> Any:
    """The dataset with each plate changed, by two random numbers of its own."""
    import tensorflow as tf

    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def change(plate: tuple[Any, Any], pair: Any) -> tuple[Any, Any]:
        image, target = plate
        pair = tf.bitcast(pair, tf.int64)
        if not masks:
            return _light(_moved(image, augment, pair), augment, pair), target
        both = _moved(tf.concat([image, target], -1), augment, pair)
        channels = image.shape[-1]
        return _light(both[..., :channels], augment, pair), both[..., channels:]

    return tf.data.Dataset.zip((loaded, seeds)).map(change, num_parallel_calls=tf.data.AUTOTUNE)


def _moved(array: Any, augment: Augmentation, seed: Any) -> Any:
    """Flipped and shifted; shape (height, width, channels)."""
    import tensorflow as tf

    if augment.flips:
        array = tf.image.stateless_random_flip_left_right(array, seed)
        array = tf.image.stateless_random_flip_up_down(array, seed + 1)
    height, width, channels = array.shape
    down, across = int(augment.shift * height), int(augment.shift * width)
    if down or across:
        padded = tf.pad(array, [[down, down], [across, across], [0, 0]], "REFLECT")
        array = tf.image.stateless_random_crop(padded, (height, width, channels), seed + 2)
    return array


def _light(image: Any, augment: Augmentation, seed: Any) -> Any:
    """Brighter or darker, with more or less contrast; values stay in [0, 1]."""
    import tensorflow as tf

    draws = tf.random.stateless_uniform((2,), seed + 3, -1.0, 1.0)
    mean = tf.reduce_mean(image)
    image = (image - mean) * (1 + augment.contrast * draws[0]) + mean + augment.brightness * draws[1]
    return tf.clip_by_value(image, 0.0, 1.0)
