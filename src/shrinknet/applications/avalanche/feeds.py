"""Windows as a stream for Keras: drawn anew in each epoch, cut batch by batch, in an order that the seed fixes.

Only the images of one block are open at a time, so that memory does not grow with the number of images or of windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from shrinknet.applications.avalanche.folder import Slopes
from shrinknet.applications.avalanche.sampling import slope_windows
from shrinknet.errors import DataError, OptionError
from shrinknet.imaging.windows import Windows

if TYPE_CHECKING:
    import tensorflow as tf

OPEN = 2**28  # bytes of the images and masks that are open at a time


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a window that leave its label as it is.

    The defaults are small: with twice as much, networks that train for a few minutes learn more slowly than they gain.

    Attributes:
        flips: left to right and upside down, each with a probability of one half.
        brightness: largest amount added to all pixels of a window, in [0, 1] of the range of values.
        contrast: largest relative change of the contrast around 1/2, in [0, 1).
        colour: largest amount added to each channel separately, in [0, 1]: photographs are few, and a network could
            recognize each by its tint.
    """

    flips: bool = True
    brightness: float = 0.05
    contrast: float = 0.15
    colour: float = 0.02

    def __post_init__(self) -> None:
        if not (0 <= self.brightness <= 1 and 0 <= self.contrast < 1 and 0 <= self.colour <= 1):
            raise OptionError(
                f"An augmentation expects brightness and colour in [0, 1] and contrast in [0, 1); received {self}."
            )

    def __call__(self, windows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Windows, shape (windows, height, width, channels), in [0, 1], each changed by numbers of its own."""
        count = (len(windows), 1, 1, 1)
        if self.flips:
            across, down = random.random((2, *count)) < 0.5
            windows = np.where(across, windows[:, :, ::-1], windows)
            windows = np.where(down, windows[:, ::-1], windows)
        added = random.uniform(-self.brightness, self.brightness, count)
        if self.colour and windows.shape[-1] > 1:
            added = added + random.uniform(-self.colour, self.colour, (len(windows), 1, 1, windows.shape[-1]))
        scale = 1 + random.uniform(-self.contrast, self.contrast, count)
        offset = (0.5 - 0.5 * scale + added).astype(np.float32)  # all in float32, which is twice as fast
        changed: np.ndarray = np.clip(windows * scale.astype(np.float32) + offset, 0, 1)
        return changed


class WindowFeed(keras.utils.PyDataset):
    """Batches of windows and of the mask at their centres.

    In each epoch the images are put into a new order and dealt into blocks; new windows of a block's images are drawn
    and mixed. What a batch holds depends on the seed, the epoch and its number alone, so that a pass can be repeated.
    Hand it to `fit` with shuffle=False: Keras would otherwise ask for the batches in another order, and every block
    would be opened again and again.

    Attributes:
        epoch: the number of the pass, from 0; Keras counts it up.
    """

    def __init__(
        self,
        slopes: Slopes,
        names: Sequence[str],
        shape: tuple[int, int, int],
        *,
        each: int = 256,
        batch: int = 128,
        mixed: int | None = None,
        balanced: bool = True,
        augment: Augmentation | None = None,
        levels: int = 0,
        seed: int = 0,
        **options: Any,
    ) -> None:
        """Windows of `each` image in each epoch.

        Args:
            slopes: of `read`; names: of images.
            shape: height, width and channels of a window.
            each: windows of each image in an epoch, from 1.
            batch: windows a batch, from 1; the last of a block may be smaller.
            mixed: images of a block: those that are open, and whose windows are mixed. The more there are, the better
                a batch represents the data. None: as many as take 256 MiB.
            balanced: half of the windows at marked pixels; False: anywhere.
            augment: what every window goes through, each time by other numbers; None: nothing.
            levels: of the Gaussian pyramid, see `imaging.pyramids`.
            seed: of order, windows and augmentation.
            options: of `keras.utils.PyDataset`.

        Raises:
            DataError: there are no images; OptionError: a number is below 1.
        """
        super().__init__(**options)
        if not len(names):
            raise DataError("Expected images to draw windows from; received none.")
        if min(each, batch, 1 if mixed is None else mixed) < 1:
            raise OptionError(f"Expected each, batch and mixed of at least 1; received {each}, {batch} and {mixed}.")
        mixed = _that_fit(slopes, names, shape[2]) if mixed is None else mixed
        self.slopes, self.names, self.shape = slopes, tuple(names), shape
        self.each, self.batch, self.mixed = each, batch, min(mixed, len(names))
        self.balanced, self.augment, self.levels, self.seed, self.epoch = balanced, augment, levels, seed, 0
        self._begun = False
        self._block: tuple[tuple[int, int], list[Windows], np.ndarray] | None = None

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        whole, rest = divmod(len(self.names), self.mixed)
        return whole * self._batches(self.mixed) + self._batches(rest)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A batch of this epoch, see `at`."""
        return self.at(self.epoch, index)

    def at(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A batch: windows, shape (windows, height, width, channels), in [0, 1], and values, shape (windows, 1)."""
        block, number = divmod(index, self._batches(self.mixed))
        found, order = self._opened(epoch, block)
        chosen = order[number * self.batch : (number + 1) * self.batch]
        x = np.empty((len(chosen), *self.shape), np.float32)
        y = np.empty((len(chosen), 1), np.float32)
        for place, one in enumerate(found):
            here = chosen[:, 0] == place
            x[here], y[here] = one.at(chosen[here, 1:])
        if self.augment is not None:
            x = self.augment(x, np.random.default_rng([self.seed, epoch, index, self.each]))
        return x, y

    def on_epoch_begin(self) -> None:
        """Counts the epoch up, but for the first: every pass has other windows in another order."""
        # not at the end of an epoch, which Keras also calls before the first
        self.epoch, self._begun = self.epoch + self._begun, True

    def _batches(self, images: int) -> int:
        return math.ceil(images * self.each / self.batch)

    def _opened(self, epoch: int, block: int) -> tuple[list[Windows], np.ndarray]:
        """The windows of a block's images, and which of them in what order: image, row and column of the centres."""
        kept = self._block  # one name for one read: another thread may replace it
        if kept is None or kept[0] != (epoch, block):
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.names))
            chosen = order[block * self.mixed : (block + 1) * self.mixed].tolist()
            found = [slope_windows(self.slopes, self.names[one], self.shape, self.levels) for one in chosen]
            places = []
            for place, (one, image) in enumerate(zip(found, chosen, strict=True)):
                random = np.random.default_rng([self.seed, epoch, image])
                drawn = one.sample(self.each, random, balanced=self.balanced)
                places.append(np.column_stack([np.full(self.each, place), drawn]))
            mixing = np.random.default_rng([self.seed, epoch, block, len(self.names)])
            kept = ((epoch, block), found, mixing.permutation(np.concatenate(places)))
            self._block = kept
        return kept[1], kept[2]


def _that_fit(slopes: Slopes, names: Sequence[str], channels: int) -> int:
    """How many images as large as the largest fit into `OPEN` bytes with their masks; at least one."""
    largest = max(math.prod(slopes.size(name)) for name in names)
    return max(1, OPEN // (largest * (channels + 1)))


def window_dataset(feed: WindowFeed, epochs: int) -> tf.data.Dataset:
    """The batches of several epochs as one tf.data.Dataset, for `tf.distribute`; each is a function of its place.

    Hand it to `fit` with `epochs` and `steps_per_epoch=feed.num_batches`.

    Args:
        feed: of the windows; epochs: how many passes, from 1.
    """
    import tensorflow as tf

    count = feed.num_batches

    def load(place: Any) -> tuple[np.ndarray, np.ndarray]:
        return feed.at(*divmod(int(place), count))

    def read(place: Any) -> tuple[Any, Any]:
        x, y = tf.numpy_function(load, [place], (tf.float32, tf.float32), stateful=False)
        return tf.ensure_shape(x, (None, *feed.shape)), tf.ensure_shape(y, (None, 1))

    return tf.data.Dataset.range(epochs * count).map(read).prefetch(2)
