"""Data that do not fit into memory, or come from several workers: read as in `fit`, and never copied as a whole."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from core_models import MAPS as Y
from core_models import X, copies, maps
from keras.src.trainers.data_adapters.py_dataset_adapter import OrderedEnqueuer

from shrinknet import minimize, switched
from shrinknet.engine import arrays, make_engine
from shrinknet.engine.arrays import Arrays, chunks, take_rows
from shrinknet.engine.data import first_batch, read_data
from shrinknet.engine.streams import Stream


def mapped(folder: Path, values: np.ndarray, mode: Any = "r") -> np.memmap:
    path = folder / "values"
    values.tofile(path)
    return np.memmap(path, values.dtype, mode, shape=values.shape)


def in_hdf5(folder: Path, values: np.ndarray) -> Any:
    return pytest.importorskip("h5py").File(folder / "values.h5", "w").create_dataset("values", data=values)


@pytest.mark.parametrize("kind", [mapped, pytest.param(in_hdf5, marks=pytest.mark.slow)])
def test_training_on_a_file_is_training_on_its_array(kind: Any, tmp_path: Path) -> None:
    nets = []
    for x in (X, kind(tmp_path, X)):
        feed = read_data((x, Y), 4, "training data")
        assert isinstance(feed, Arrays) and feed.fits_in_memory == (x is X)
        net = switched(maps())
        engine = make_engine(net, feed, feed, seed=1)
        engine.prepare()
        engine.train(5, trial=1)
        nets.append([*copies(net.weights), engine.evaluate()["loss"]])
    for one, other in zip(*nets, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("kind", [mapped, in_hdf5])
def test_rows_are_taken_in_their_order(kind: Any, tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(6, 2)
    taken = take_rows(kind(tmp_path, values), np.array([5, 0, 0, 3]))
    assert taken.dtype == "float32"
    np.testing.assert_array_equal(taken, values[[5, 0, 0, 3]])


def test_a_file_is_never_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CHUNK", 2 * X[0].nbytes)
    read: list[int] = []

    class Watched:
        """A dataset in a file: it can be indexed, and has a shape and a dtype."""

        file, shape, dtype = None, X.shape, X.dtype

        def __getitem__(self, rows: Any) -> np.ndarray:
            read.append(len(X[rows]))
            return np.asarray(X[rows])

        def __array__(self, *arguments: Any, **keywords: Any) -> np.ndarray:
            raise AssertionError("read as a whole")

    feed = read_data((Watched(), Y), 4, "training data")
    assert read == [2] * (len(X) // 2)
    assert len(first_batch(feed)[0]) == 4 and max(read) == 4


def test_pages_of_a_file_are_given_back_after_each_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(arrays, "_give_back", given.append)
    values = mapped(tmp_path, X)
    take_rows(values, np.array([1]))
    assert len(given) == 1 and given[0] is values
    take_rows(X, np.array([1]))
    assert len(given) == 1


def test_pages_are_given_back_while_many_rows_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(arrays, "_give_back", given.append)
    monkeypatch.setattr(arrays, "CHUNK", 2 * arrays.PAGES)
    rows = np.array([4, 1, 1, 3, 0])
    np.testing.assert_array_equal(take_rows(mapped(tmp_path, X), rows), X[rows])
    assert len(given) == 3  # two rows at a time


def test_changes_that_are_only_in_memory_survive_reading(tmp_path: Path) -> None:
    values = mapped(tmp_path, np.zeros((4, 3), "float32"), "c")  # copy-on-write: the file stays as it was
    values[:] = 7
    assert [chunk.sum() for chunk in chunks(values)] == [84.0]
    assert take_rows(values, np.array([2])).tolist() == [[7, 7, 7]] and (values == 7).all()


class Together(keras.utils.PyDataset):  # type: ignore[misc]
    """Gives a batch only while another worker is waiting for one as well."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.barrier = threading.Barrier(2)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if threading.current_thread() is not threading.main_thread():
            self.barrier.wait(20)
        return X[:4], Y[:4]


def test_batches_are_made_by_several_workers_at_once() -> None:
    feed = read_data(Together(workers=2, max_queue_size=4), 4, "training data")
    engine = make_engine(switched(maps()), feed, feed, seed=1)
    engine.prepare()
    assert engine.train(4, trial=1) == 4


def test_calibration_is_read_by_the_workers_too() -> None:
    made: list[str] = []

    class Named(Together):
        def __getitem__(self, index: int) -> Any:
            made.append(threading.current_thread().name)
            return super().__getitem__(index)

    stream = read_data(Named(workers=2, max_queue_size=4), 4, "training data")
    assert isinstance(stream, Stream) and len(stream.few(16)[0]) == 16
    assert len(made) == 4 and threading.main_thread().name not in made


def test_the_end_of_a_pass_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    drained: list[bool] = []
    stop = OrderedEnqueuer.stop

    def watched(self: Any, drain_queue_and_join: bool = True) -> None:
        drained.append(drain_queue_and_join and self.is_running())
        stop(self, drain_queue_and_join)

    monkeypatch.setattr(OrderedEnqueuer, "stop", watched)
    feed = read_data(Together(workers=2, max_queue_size=4), 4, "training data")
    assert len(list(feed)) == len(list(feed)) == 4
    assert drained and not any(drained)


class Forever(Together):
    """The same without an end."""

    @property
    def num_batches(self) -> None:
        return None


@pytest.mark.usefixtures("no_latency")
def test_a_dataset_without_an_end_trains_and_is_refused_for_validation() -> None:
    data = Forever(workers=2, max_queue_size=4)
    options = {"warmup_steps": 3, "steps": 2, "final_steps": 2, "max_trials": 1, "threshold": 0.01, "verbose": 0}
    assert minimize(maps(), data, (X, Y), **options).records
    with pytest.raises(ValueError, match=r"validation data never end.*validation_steps="):
        minimize(maps(), (X, Y), data, **options)
