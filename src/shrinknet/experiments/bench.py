"""Bench: the thesis's network and its data, built and traced once per process, and reset for every repetition."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from shrinknet.applications.edges.data import Cropping, CropReader, edge_data, split
from shrinknet.applications.edges.model import edge_network
from shrinknet.applications.edges.photographs import Photograph, photographs
from shrinknet.applications.edges.stream import Batches, CropFiles, crop_files
from shrinknet.applications.edges.targets import target_named
from shrinknet.engine.data import CALIBRATION_SAMPLES, Arrays, Feed, Stream
from shrinknet.experiments.settings import EdgeSettings
from shrinknet.filters import Filter
from shrinknet.loop.settings import Scope
from shrinknet.loop.view import NetworkView, floors
from shrinknet.loop.workbench import Data, Workbench
from shrinknet.network.switching import switched


class Bench:
    """One network, many trainings. The result of a repetition depends only on the settings and its number.

    Use `bench(settings)`, which caches the last one, since building and tracing takes as long as a thousand steps.

    Attributes:
        work: the network with its engine and switches; net, engine, switches: shortcuts to these.
        filters: all that can be cut, in network order.
        parts: "train", "validation" and "test" data, in memory or on disk.
        seed: of the current repetition.
    """

    seed = 0

    def __init__(self, settings: EdgeSettings) -> None:
        self.settings = settings
        self.parts = load(settings)
        data = Data(self._feed("train", 1), self._feed("validation"))
        self.work = Workbench(switched(self._fresh(0)), data, 0, score="soft_f1", mode="max", results=("soft_f1",))
        self.net, self.engine, self.switches = self.work.net, self.work.engine, self.work.switches
        self.filters = self.switches.filters
        # Freezing is installed on first use; a step that was traced before would be traced again.
        self.switches.freeze(self.filters[0])
        self.switches.thaw(self.filters[0])
        self._pristine = self.work.checkpoint()

    def _fresh(self, seed: int) -> Any:
        settings = self.settings
        return edge_network(
            settings.crop,
            widths=settings.widths,
            kernel=settings.kernel,
            learning_rate=settings.learning_rate,
            seed=seed,
        )

    def begin(self, repetition: int) -> None:
        """Starts a repetition: new kernels, optimizer, switches and order of the data."""
        self.seed = repetition_seed(self.settings, repetition)
        self.engine.seed = self.seed
        self._pristine.restore()
        for layer in self._fresh(self.seed).layers:
            own = self.net.get_layer(layer.name)
            own.kernel.assign(layer.kernel)
            own.bias.assign(layer.bias)

    def train(self, steps: int, trial: int, start: int = 0) -> None:
        """Trains for `steps` batches, starting at batch `start` of this trial's order."""
        if isinstance(self.parts["train"], CropFiles):
            self.engine.feed = self._feed("train", steps, trial, start)
        self.engine.train(steps, trial, start)

    def _feed(self, name: str, steps: int | None = None, trial: int = 0, start: int = 0) -> Feed:
        """A part as input for the engine: arrays unchanged, files as the batches of one training or evaluation."""
        part = self.parts[name]
        if isinstance(part, Arrays):
            return part
        size = self.settings.batch
        if steps is None:
            rows = [np.arange(first, min(first + size, part.samples)) for first in range(0, part.samples, size)]
        else:  # in the same order as arrays
            like = Arrays((np.broadcast_to(np.float32(0), part.samples),), size)
            rows = [batch for _, batch in like.batches(self.seed, trial, steps, start)]
        return Stream(Batches(part.take, rows), f"{name} crops")

    def score(self, part: str = "validation") -> float:
        """Soft F1, in [0, 1], higher is better; NaN if a weight is not finite."""
        return self.engine.evaluate(self._feed(part))["soft_f1"] if self.engine.is_finite() else math.nan

    def cut(self, *filters: Filter) -> None:
        """The start of a trial: disable, freeze, reset."""
        self.work.cut(*filters)
        self.work.reset()

    def view(self, min_filters: int) -> NetworkView:
        """The network as a strategy sees it, the same as in the loop."""
        train = self.parts["train"]
        rows = np.linspace(0, train.samples - 1, min(CALIBRATION_SAMPLES, train.samples)).astype(int)
        self.work.floors = floors(Scope(min_filters=min_filters), self.switches)
        return self.work.view(Arrays(train.take(rows), self.settings.batch))

    def vectors(self) -> dict[Filter, np.ndarray]:
        """Every filter's kernel, flattened, with its bias appended, float64; including filters that cannot be cut."""
        found = {}
        for name in (layer.name for layer in self.net.layers):
            layer = self.net.get_layer(name)
            kernel, bias = (np.asarray(array, np.float64) for array in (layer.kernel, layer.bias))
            rows = np.column_stack([kernel.reshape(-1, kernel.shape[-1]).T, bias])
            found.update({Filter(name, index): row for index, row in enumerate(rows)})
        return found


def load(settings: EdgeSettings) -> dict[str, Arrays | CropFiles]:
    """The parts of the data: in memory if they fit, otherwise on disk."""
    shares, root = cast(tuple[float, float, float], settings.shares), settings.images or None
    cropping = Cropping(settings.crop, settings.train_crops, settings.grid, settings.pad)
    chosen = split(photographs(root), shares, settings.seed)
    if needed_bytes(chosen, cropping) > settings.memory * 2**20:
        cache = Path(settings.cache) if settings.cache else None
        reader = CropReader(chosen, cropping, target_named(settings.edges), settings.seed, cache=cache)
        files, _ = crop_files(reader, skip=settings.on_error == "skip")
        return dict(files)
    data = edge_data(
        root,
        cropping,
        target=settings.edges,
        shares=shares,
        seed=settings.seed,
        on_error=cast(Literal["fail", "skip"], settings.on_error),
        cache=settings.cache or None,
    )
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: Arrays((part.x, part.y), settings.batch) for name, part in parts.items()}


def needed_bytes(chosen: Sequence[Photograph], cropping: Cropping) -> int:
    """Bytes of all crops and their edge maps, in float32."""
    crops = {"train": cropping.train, "validation": cropping.grid**2, "test": cropping.grid**2}
    return 2 * 4 * cropping.size**2 * sum(crops[photograph.part] for photograph in chosen)


@functools.lru_cache(maxsize=1)
def bench(settings: EdgeSettings) -> Bench:
    """The bench for these settings; that of the last call is cached."""
    return Bench(settings)


def repetition_seed(settings: EdgeSettings, repetition: int) -> int:
    """The seed of one repetition, a pure function of the experiment's seed and its number."""
    return int(np.random.SeedSequence([settings.seed, repetition]).generate_state(1)[0])


def cosines(own: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """The cosine of the angle between a vector and each of the others, in [-1, 1]; 0 if one is all zeros."""
    from shrinknet.strategies.cosine import similarity

    stacked = np.stack([own, *others])
    return similarity(stacked, np.linalg.norm(stacked, axis=1))[0, 1:]
