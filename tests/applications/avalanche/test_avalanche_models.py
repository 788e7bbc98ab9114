"""Classifiers, feeds and training: what they are built of, that order and blocks are kept, and that devices agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from shrinknet.applications.avalanche import window_classifier
from shrinknet.applications.avalanche.boosting import boosted_head
from shrinknet.applications.avalanche.feeds import Augmentation, WindowFeed, window_dataset
from shrinknet.applications.avalanche.sampling import PARTS, balance, slope_windows, split_images, window_sample
from shrinknet.applications.avalanche.training import best_threshold, image_scores, predicted, train_classifier
from shrinknet.errors import DataError, MissingExtraError, ModelError, OptionError

TINY = (9, 9, 1)


class TestClassifiers:
    @pytest.mark.parametrize("shape", [(17, 17, 1), (17, 17, 3), (33, 33, 3), (76, 76, 3), (5, 5, 1)])
    @pytest.mark.parametrize("kind", ["conv2d", "conv1d"])
    def test_one_logit_of_a_window(self, shape: tuple[int, int, int], kind: str) -> None:
        model = window_classifier(shape, kind, widths=(4, 4, 4))
        assert model.input_shape == (None, *shape)
        assert model.output_shape == (None, 1)
        assert model.layers[-1].activation is keras.activations.linear
        assert model.loss.from_logits
        names = [type(layer).__name__ for layer in model.layers]
        assert names.count("Conv2D" if kind == "conv2d" else "Conv1D") == 3
        assert "BatchNormalization" in names
        assert all(layer.padding == "valid" for layer in model.layers if hasattr(layer, "padding"))

    def test_accuracy_is_that_of_a_logit(self) -> None:
        model = window_classifier(TINY, widths=(2,))
        model.layers[-1].bias.assign([0.25])  # logits between 0 and 1/2 count as marked
        x, y = np.random.default_rng(0).random((64, *TINY)).astype(np.float32), np.ones((64, 1), np.float32)
        expected = (model.predict_on_batch(x) > 0).mean()
        assert model.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] == pytest.approx(expected)

    def test_options(self) -> None:
        model = window_classifier(TINY, widths=(3,), pooling="average", normalization=False, optimizer="rmsprop",
                                  learning_rate=0.01)  # fmt: skip
        names = [type(layer).__name__ for layer in model.layers]
        assert "AveragePooling2D" in names
        assert "BatchNormalization" not in names
        assert isinstance(model.optimizer, keras.optimizers.RMSprop)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
        assert float(window_classifier(TINY).optimizer.learning_rate) == pytest.approx(1e-3)

    def test_the_same_weights_from_the_same_seed(self) -> None:
        one, same, other = (window_classifier(TINY, seed=seed).get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (((17, 17), "conv2d"), r"height, width and channels, 1 or 3; received \(17, 17\)"),
            (((17, 17, 2), "conv2d"), "1 or 3; received"),
            (((17, 17, 3), "conv3d"), "Expected one of conv2d, conv1d, vgg16"),
            (((31, 33, 3), "vgg16"), "vgg16 expects windows in colour of at least 32 x 32 pixels; received 31 x 33"),
            (((33, 33, 1), "resnet50"), "resnet50 expects windows in colour .* with 1 channel"),
            (((33, 33, 3), "inception_resnet_v2"), "at least 75 x 75"),
        ],
    )
    def test_bad_arguments(self, arguments: tuple[Any, ...], sentence: str) -> None:
        with pytest.raises(OptionError, match=sentence):
            window_classifier(*arguments)

    def test_bad_options(self) -> None:
        with pytest.raises(OptionError, match="widths of at least 1 and a learning rate above 0"):
            window_classifier(TINY, widths=())
        with pytest.raises(OptionError, match="Expected one of adam, rmsprop"):
            window_classifier(TINY, optimizer="sgd")
        with pytest.raises(OptionError, match=r"for bodies of keras.applications"):
            window_classifier(TINY, frozen=True)


class TestBodies:
    def test_weights_from_a_file_frozen_or_trained(self, tmp_path: Path) -> None:
        body = keras.applications.VGG16(include_top=False, weights=None, input_shape=(33, 33, 3))
        body.save_weights(tmp_path / "vgg.weights.h5")
        frozen = window_classifier((33, 33, 3), "vgg16", weights=str(tmp_path / "vgg.weights.h5"), frozen=True)
        for one, other in zip(frozen.get_layer("vgg16").get_weights(), body.get_weights(), strict=True):
            assert np.array_equal(one, other)
        assert [variable.path for variable in frozen.trainable_variables] == ["logit/kernel", "logit/bias"]
        trained = window_classifier((33, 33, 3), "vgg16")
        assert len(trained.trainable_variables) == 28

    def test_a_body_from_scratch_depends_on_the_seed_alone(self) -> None:
        one, same, other = (window_classifier((33, 33, 3), "vgg16", seed=seed).get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
        kernels = [(a, b) for a, b in zip(one, other, strict=True) if a.ndim == 4 and a.shape[:2] == (3, 3)]
        assert len(kernels) == 13 and not any(np.array_equal(a, b) for a, b in kernels)
        assert np.std(one[2]) == pytest.approx(np.sqrt(2 / (9 * (3 + 64))), rel=0.05)  # Glorot's, as Keras draws it

    def test_the_input_that_published_weights_expect(self) -> None:
        images = np.random.default_rng(0).random((2, 33, 33, 3)).astype(np.float32)
        model = window_classifier((33, 33, 3), "vgg16")
        prepared = keras.Model(model.input, model.get_layer("as_published").output).predict_on_batch(images)
        expected = keras.applications.vgg16.preprocess_input(255 * images)
        assert np.allclose(prepared, expected, atol=1e-3)
        assert not model.get_layer("as_published").trainable_variables

    def test_files_of_another_kind(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="is not there; expected one for vgg16 without its top"):
            window_classifier((33, 33, 3), "vgg16", weights=str(tmp_path / "x.weights.h5"))
        (tmp_path / "x.weights.h5").write_bytes(b"nothing")
        with pytest.raises(ModelError, match="does not hold the weights of vgg16"):
            window_classifier((33, 33, 3), "vgg16", weights=str(tmp_path / "x.weights.h5"))

    @pytest.mark.slow
    @pytest.mark.parametrize(("kind", "side"), [("resnet50", 33), ("inception_resnet_v2", 76)])
    def test_the_large_ones(self, kind: str, side: int) -> None:
        model = window_classifier((side, side, 3), kind, frozen=True)
        assert model.predict_on_batch(np.zeros((1, side, side, 3), np.float32)).shape == (1, 1)


class TestSplits:
    def test_by_image_and_by_light(self, slopes: Any) -> None:
        parts = split_images(slopes, seed=3)
        assert tuple(parts) == PARTS
        assert sorted(sum(parts.values(), ())) == list(slopes.names)
        assert [len(names) for names in parts.values()] == [6, 2, 2]
        for names in parts.values():
            assert len({slopes.light[name] for name in names}) == 2
        assert split_images(slopes, seed=3) == parts
        assert split_images(slopes, seed=4) != parts
        with pytest.raises(OptionError, match="three shares above 0 with a sum of 1"):
            split_images(slopes, (0.5, 0.6, 0.1))

    def test_windows_in_memory(self, slopes: Any) -> None:
        x, y = window_sample(slopes, slopes.names[:2], (9, 9, 3), 20)
        assert (x.shape, y.shape, balance(y)) == ((40, 9, 9, 3), (40, 1), 0.5)
        assert x.dtype == np.float32
        assert 0 <= x.min() <= x.max() <= 1
        again, _ = window_sample(slopes, slopes.names[:2], (9, 9, 3), 20)
        assert np.array_equal(x, again)
        with pytest.raises(DataError, match="received none"):
            window_sample(slopes, (), TINY, 2)

    def test_a_level_of_the_pyramid(self, slopes: Any) -> None:
        assert slope_windows(slopes, slopes.names[0], TINY, 1).shape == (32, 40)
        assert slope_windows(slopes, slopes.names[0], TINY, 2).shape == (16, 20)


class TestFeeds:
    def test_what_an_epoch_holds(self, slopes: Any) -> None:
        feed = WindowFeed(slopes, slopes.names[:5], TINY, each=10, batch=8, mixed=2)
        batches = [feed[index] for index in range(feed.num_batches)]
        assert [len(x) for x, _ in batches] == [8, 8, 4, 8, 8, 4, 8, 2]
        assert batches[0][0].shape == (8, *TINY)
        assert np.mean(np.concatenate([y for _, y in batches])) == 0.5

    def test_every_batch_depends_on_seed_epoch_and_number_alone(self, slopes: Any) -> None:
        options = {"each": 6, "batch": 5, "mixed": 2, "augment": Augmentation()}
        feed = WindowFeed(slopes, slopes.names[:4], TINY, seed=1, **options)
        first = [feed[index] for index in range(feed.num_batches)]
        again = WindowFeed(slopes, slopes.names[:4], TINY, seed=1, **options)
        for index in reversed(range(feed.num_batches)):  # in another order
            assert np.array_equal(again[index][0], first[index][0])
            assert np.array_equal(again[index][1], first[index][1])
        feed.on_epoch_begin()
        assert np.array_equal(feed[0][0], first[0][0])
        feed.on_epoch_begin()
        assert feed.epoch == 1
        places = [{tuple(row) for epoch_feed in [WindowFeed(slopes, slopes.names[:1], TINY, each=6, seed=1)]
                   for row in epoch_feed._opened(epoch, 0)[1].tolist()} for epoch in (0, 1)]  # fmt: skip
        assert places[0] != places[1]
        other = WindowFeed(slopes, slopes.names[:4], TINY, seed=2, **options)
        assert not np.array_equal(other[0][0], first[0][0])

    def test_only_the_images_of_a_block_are_open(self, slopes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        from shrinknet.applications.avalanche import feeds

        opened: list[str] = []
        original = feeds.slope_windows
        monkeypatch.setattr(feeds, "slope_windows", lambda *one: opened.append(one[1]) or original(*one))
        feed = WindowFeed(slopes, slopes.names[:6], TINY, each=8, batch=4, mixed=2)
        for index in range(feed.num_batches):
            feed[index]
            assert len(feed._block[1]) == 2
        assert sorted(opened) == list(slopes.names[:6])

    def test_as_many_images_are_open_as_memory_allows(self, slopes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        assert WindowFeed(slopes, slopes.names, TINY).mixed == len(slopes.names)
        monkeypatch.setattr("shrinknet.applications.avalanche.feeds.OPEN", 2 * 64 * 80 * (TINY[2] + 1) + 1)
        assert WindowFeed(slopes, slopes.names, TINY).mixed == 2  # 64 x 80 pixels each, with a mask
        monkeypatch.setattr("shrinknet.applications.avalanche.feeds.OPEN", 1)
        assert WindowFeed(slopes, slopes.names, TINY).mixed == 1

    def test_as_a_dataset(self, slopes: Any) -> None:
        feed, same = (WindowFeed(slopes, slopes.names[:3], TINY, each=4, batch=5, mixed=2) for _ in range(2))
        dataset = window_dataset(feed, 2)
        assert int(dataset.cardinality()) == 2 * feed.num_batches
        batches = iter(dataset)
        for _ in range(2):
            same.on_epoch_begin()
            for index in range(same.num_batches):
                x, y = next(batches)
                assert np.array_equal(x, same[index][0])
                assert np.array_equal(y, same[index][1])

    def test_augmentation_keeps_shapes_and_range(self) -> None:
        x = np.random.default_rng(0).random((50, 5, 5, 3)).astype(np.float32)
        changed = Augmentation(brightness=0.5, contrast=0.5, colour=0.5)(x, np.random.default_rng(0))
        assert (changed.shape, changed.dtype) == (x.shape, np.float32)
        assert 0 <= changed.min() <= changed.max() <= 1
        flipped = Augmentation(brightness=0, contrast=0, colour=0)(x, np.random.default_rng(0))
        turned = [x, x[:, :, ::-1], x[:, ::-1], x[:, ::-1, ::-1]]
        which = [[np.allclose(one, view[place], atol=1e-6) for view in turned] for place, one in enumerate(flipped)]
        assert (np.sum(which, axis=1) == 1).all()
        assert (np.sum(which, axis=0) > 3).all()
        with pytest.raises(OptionError, match="brightness and colour in"):
            Augmentation(brightness=2)

    def test_bad_arguments(self, slopes: Any) -> None:
        with pytest.raises(DataError, match="received none"):
            WindowFeed(slopes, (), TINY)
        with pytest.raises(OptionError, match="each, batch and mixed of at least 1"):
            WindowFeed(slopes, slopes.names, TINY, batch=0)


class TestTraining:
    def test_it_learns_and_is_scored_on_whole_images(self, slopes: Any) -> None:
        keras.utils.set_random_seed(0)
        model = window_classifier((9, 9, 3), widths=(4,), seed=0)
        feed = WindowFeed(slopes, slopes.names[:4], (9, 9, 3), each=64, batch=32)
        seen: list[tuple[int, int]] = []
        done = train_classifier(model, feed, window_sample(slopes, slopes.names[4:5], (9, 9, 3), 16), epochs=3,
                                progress=lambda epoch, of: seen.append((epoch, of)))  # fmt: skip
        assert done.history["epoch"].tolist() == [1, 2, 3]
        assert done.history["loss"].iloc[-1] < done.history["loss"].iloc[0]
        assert {"accuracy", "val_loss", "val_accuracy"} < set(done.history)
        assert seen == [(1, 3), (2, 3), (3, 3)]
        assert feed.epoch == 2
        assert done.history["learning_rate"].tolist() == pytest.approx([1e-3, 5.5e-4, 1e-4])
        scores = image_scores(model, slopes, slopes.names[:2])
        assert scores["image"].tolist() == list(slopes.names[:2])
        assert scores[["accuracy", "iou", "f1", "boundary_f1"]].notna().all(axis=None)
        wrong = image_scores(model, slopes, slopes.names[:2], clean=np.zeros_like)
        assert (wrong["iou"] == 0).all()

    def test_the_best_threshold(self, slopes: Any) -> None:
        table = best_threshold(lambda name: 0.3 + 0.4 * slopes.mask(name), slopes, slopes.names[:3], (0.2, 0.5, 0.8))
        assert table == 0.5
        turned = best_threshold(lambda name: 0.3 + 0.4 * (1 - slopes.mask(name)), slopes, slopes.names[:3],
                                (0.2, 0.5, 0.8), clean=lambda mask: 1 - mask)  # fmt: skip
        assert turned == 0.5

    def test_a_level_of_the_pyramid_comes_back_in_full_size(self, slopes: Any) -> None:
        model = window_classifier((9, 9, 3), widths=(2,))
        assert predicted(model, slopes.image(slopes.names[0]), levels=1).shape == (64, 80)

    @pytest.mark.slow
    def test_two_devices(self, slopes: Any, tmp_path: Path) -> None:
        """Two logical CPUs under MirroredStrategy give the weights that one gives; they must be set up first."""
        program = """
import sys
import tensorflow as tf
if sys.argv[2] == "2":
    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(device, 2 * [tf.config.LogicalDeviceConfiguration()])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]) if sys.argv[2] == "2" else None
import keras, numpy
from shrinknet.applications.avalanche import read, window_classifier
from shrinknet.applications.avalanche.feeds import WindowFeed
from shrinknet.applications.avalanche.training import train_classifier
keras.utils.set_random_seed(0)
slopes = read(sys.argv[1])
model = window_classifier((9, 9, 1), widths=(3,), normalization=False, seed=0, strategy=strategy)
feed = WindowFeed(slopes, slopes.names[:2], (9, 9, 1), each=16, batch=8)
done = train_classifier(model, feed, epochs=2, distributed=strategy is not None)
if strategy is not None:
    assert strategy.num_replicas_in_sync == 2
    assert type(model.trainable_variables[0].value).__name__ == "MirroredVariable"
numpy.savez(sys.argv[3], *model.get_weights(), loss=done.history["loss"])
"""
        found = []
        for count in ("1", "2"):
            out = tmp_path / f"{count}.npz"
            command = [sys.executable, "-c", program, str(slopes.folder), count, str(out)]
            subprocess.run(command, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
            with np.load(out) as arrays:
                found.append({name: arrays[name] for name in arrays})
        assert found[0].keys() == found[1].keys()
        for name, values in found[0].items():
            if name != "loss":  # of which Keras averages the replicas' own means
                assert np.allclose(values, found[1][name], atol=1e-4), name
        assert np.allclose(found[0]["loss"], found[1]["loss"], rtol=0.02)


class TestBoosting:
    def windows(self) -> tuple[np.ndarray, np.ndarray]:
        x = np.random.default_rng(0).random((400, 5, 5, 1)).astype(np.float32)
        return x, (np.abs(x[:, 2, 2] - 0.5) > 0.25).astype(np.float32)

    @pytest.mark.parametrize("on", ["predictions", "features"])
    def test_on_predictions_and_on_features(self, on: str) -> None:
        x, y = self.windows()
        model = window_classifier((5, 5, 1), widths=(4,), normalization=False, seed=0)
        head = boosted_head(model, x, y, on=on, iterations=20)
        probability = head.probability(x)
        assert probability.shape == (400, 1)
        assert ((probability > 0.5) == (y > 0.5)).mean() > 0.6  # the network itself is untrained
        assert head.network.output_shape == (None, 1 if on == "predictions" else model.layers[-1].kernel.shape[0])
        image = np.random.default_rng(1).random((6, 7, 1)).astype(np.float32)
        from shrinknet.applications.avalanche import windows

        expected = head.probability(windows(image, None, 5)[:][0]).reshape(6, 7)
        assert np.allclose(head.image(image), expected, atol=1e-5)
        inside = head.image(image, (2, 1, 5, 4))
        assert np.allclose(inside[1:4, 2:5], expected[1:4, 2:5], atol=1e-5)
        assert np.count_nonzero(inside) == 9

    def test_bad_arguments(self) -> None:
        x, y = self.windows()
        model = window_classifier((5, 5, 1), widths=(2,))
        with pytest.raises(DataError, match="both kinds; received 400 windows and 400 labels, 0 of them marked"):
            boosted_head(model, x, 0 * y)
        with pytest.raises(OptionError, match="out of predictions, features"):
            boosted_head(model, x, y, on="logits")

    def test_without_the_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y = self.windows()
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        for method, extra in (("xgboost", "xgboost"), ("scikit-learn", "avalanche")):
            with pytest.raises(MissingExtraError, match=f"the extra {extra}: "):
                boosted_head(window_classifier((5, 5, 1), widths=(2,)), x, y, method=method)


def test_batches_are_trained_on_in_the_order_of_the_feed(slopes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = WindowFeed.__getitem__
    monkeypatch.setattr(WindowFeed, "__getitem__", lambda self, index: asked.append(index) or original(self, index))
    feed = WindowFeed(slopes, slopes.names[:4], TINY, each=8, batch=4, mixed=2)
    train_classifier(window_classifier(TINY, widths=(2,)), feed, epochs=1)
    assert asked[-feed.num_batches :] == list(range(feed.num_batches))
