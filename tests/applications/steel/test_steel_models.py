"""The networks of the steel application: they can be cut, repeat with their seed, and refuse bad options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shrinknet.applications.steel import master_table
from shrinknet.applications.steel.sampling import balanced_sample
from shrinknet.errors import OptionError

SMALL: dict[str, Any] = {"width": 4, "depth": 2}


def shaken(model: Any) -> Any:
    """The model with every weight moved, so that no bias and no statistic is what it starts as."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        change = np.abs(random.normal(0, 0.1, weight.shape))
        weight.assign(weight.numpy() + change.astype(np.float32))
    return model


def test_local_contrast_is_the_image_less_the_mean_around_each_pixel() -> None:
    import keras

    from shrinknet.applications.steel.contrast import local_contrast

    inputs = keras.Input((6, 9, 2))
    model = keras.Model(inputs, local_contrast(inputs, 5))
    images = np.random.default_rng(0).random((2, 6, 9, 2), np.float32)
    padded = np.pad(
        images, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=np.nan
    )  # pixels off the image do not count
    views = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2))
    assert np.allclose(model(images), images - np.nanmean(views, (-2, -1)), atol=1e-6)
    assert not model.trainable_variables


@pytest.mark.parametrize("network", ["unet", "binary"])
def test_brightness_is_not_seen(network: str) -> None:
    from shrinknet.applications.steel import two_step_classifier, unet

    if network == "unet":
        model = unet((16, 32, 1), **SMALL, seed=1)
    else:
        model = two_step_classifier((16, 32, 1), widths=(4, 4), seed=1).binary
    images = np.random.default_rng(0).random((2, 16, 32, 1), np.float32)
    assert np.allclose(model(images), model(images + 0.3), atol=1e-4)
    assert not np.allclose(model(images), model(images[:, :, ::-1] ** 3), atol=1e-4)


class TestUnet:
    @pytest.mark.parametrize(
        ("upsampling", "normalization"),
        [("transposed", "batch"), ("nearest", "none"), pytest.param("nearest", "batch", marks=pytest.mark.slow),
         pytest.param("transposed", "group", marks=pytest.mark.slow)],
    )  # fmt: skip
    def test_half_of_its_filters_can_be_cut(self, upsampling: str, normalization: str) -> None:
        import keras

        from shrinknet import Switches, plan, slim, switched
        from shrinknet.applications.steel import unet

        options = {"upsampling": upsampling, "normalization": normalization, "dropout": 0.2}
        model = shaken(unet((16, 32, 1), **SMALL, **options, seed=1))
        model.get_layer("masks").activation = keras.activations.linear  # a sigmoid blows up rounding errors of logits
        net = switched(model)
        switches = Switches(net)
        assert list(switches.unswitchable) == ["masks"]
        layers: dict[str, list[Any]] = {}
        for one in switches.filters:
            layers.setdefault(one.layer, []).append(one)
        assert {"down1_conv1", "down2_conv2", "bottom_conv1", "up2_up", "up1_conv2"} <= set(layers)
        switches.disable(*(one for filters in layers.values() for one in filters[: len(filters) // 2]))
        assert "down1_conv1" in str(plan(net))
        small = slim(net)
        images = np.random.default_rng(0).random((2, 16, 32, 1), np.float32)
        expected = np.asarray(net(images))
        assert np.allclose(small(images), expected, rtol=0, atol=2e-6 * np.abs(expected).max())
        assert small.count_params() < 0.4 * model.count_params()
        joins = [layer for layer in small.layers if "join" in layer.name]
        assert len(joins) == 2  # the skip connections are still there

    def test_a_seed_repeats_and_another_does_not(self) -> None:
        from shrinknet.applications.steel import unet

        images = np.random.default_rng(0).random((1, 16, 32, 1), np.float32)
        first, again, other = (np.asarray(unet((16, 32, 1), **SMALL, seed=seed)(images)) for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.allclose(first, other)
        assert first.shape == (1, 16, 32, 4)
        assert 0 < first.min() < first.max() < 1

    @pytest.mark.slow
    @pytest.mark.parametrize("loss", ["bce", "dice", "both"])
    def test_it_trains_on_any_size(self, loss: str) -> None:
        from shrinknet.applications.steel import unet

        model = unet((None, None, 1), width=2, depth=1, loss=loss, learning_rate=1e-2, seed=0)
        images = np.random.default_rng(0).random((4, 16, 32, 1), np.float32)
        masks = np.repeat(images > 0.5, 4, -1).astype(np.float32)
        losses = model.fit(images, masks, batch_size=2, epochs=6, verbose=0).history["loss"]
        assert losses[-1] < losses[0]
        assert model.predict(images[:, :8, :8], verbose=0).shape == (4, 8, 8, 4)
        assert {"dice", "dice_marked", "iou", "pixel_accuracy"} <= set(model.get_metrics_result())

    @pytest.mark.parametrize(
        ("shape", "options", "sentence"),
        [
            ((18, 32, 1), {}, "multiples of 4; received 18 x 32"),
            ((16, 32), {}, "expects a shape"),
            ((16, 32, 1), {"width": 0}, "expects a shape"),
            ((16, 32, 1), {"dropout": 1.0}, "dropout in"),
            ((16, 32, 1), {"upsampling": "bilinear"}, "Expected one of transposed, nearest; received 'bilinear'"),
            ((16, 32, 1), {"normalization": "layer"}, "Expected one of batch, group, none"),
            ((16, 32, 1), {"loss": "focal"}, "no loss 'focal'"),
        ],
    )
    def test_options(self, shape: Any, options: dict[str, Any], sentence: str) -> None:
        from shrinknet.applications.steel import unet

        with pytest.raises(OptionError, match=sentence):
            unet(shape, **{**SMALL, **options})


class TestTwoSteps:
    @pytest.mark.parametrize("activation", ["sigmoid", pytest.param("softmax", marks=pytest.mark.slow)])
    def test_both_models_can_be_cut(self, activation: str) -> None:
        from shrinknet import Switches, slim, switched
        from shrinknet.applications.steel import two_step_classifier

        steps = two_step_classifier((16, 32, 3), widths=(4, 6), activation=activation, seed=0)
        images = np.random.default_rng(0).random((3, 16, 32, 3), np.float32)
        sums = np.asarray(steps.multiclass(images)).sum(1)
        for model, outputs in ((steps.binary, 1), (steps.multiclass, 4)):
            net = switched(shaken(model))
            switches = Switches(net)
            switches.disable(*(one for one in switches.filters if one.index % 2))
            assert np.allclose(slim(net)(images), net(images), atol=1e-5)
            assert model.output_shape == (None, outputs)
        assert np.allclose(sums, 1, atol=1e-5) == (activation == "softmax")

    def test_the_second_step_names_what_the_first_finds(self) -> None:
        from shrinknet.applications.steel.classifier import TwoSteps

        class Model:
            def __init__(self, answers: Any) -> None:
                self.answers, self.seen = answers, 0

            def predict_on_batch(self, images: np.ndarray) -> Any:
                self.seen += len(images)
                return self.answers(images)

        binary = Model(lambda images: images[:, 0, 0, :1])
        multiclass = Model(lambda images: np.eye(4)[(10 * images[:, 0, 0, 0]).astype(int) % 4])
        images = np.array([0.2, 0.7, 0.95, 0.4]).reshape(4, 1, 1, 1)
        assert TwoSteps(binary, multiclass).classify(images).tolist() == [0, 4, 2, 0]
        assert (binary.seen, multiclass.seen) == (4, 4)
        assert TwoSteps(binary, multiclass).classify(images * 0.1).tolist() == [0, 0, 0, 0]
        assert (binary.seen, multiclass.seen) == (8, 4)  # nothing was found

    @pytest.mark.slow
    @pytest.mark.tensorflow("it is TensorFlow's backend that looks for what went into a sigmoid")
    def test_four_sigmoids_train_as_a_softmax_does(self) -> None:
        from shrinknet.applications.steel import two_step_classifier

        images = np.random.default_rng(0).random((8, 16, 32, 3), np.float32)
        labels = np.eye(4, dtype=np.float32)[np.arange(8) % 4]
        trained = []
        for activation in ("sigmoid", "softmax"):
            model = two_step_classifier((16, 32, 3), widths=(4,), activation=activation, seed=0).multiclass
            model.fit(images, labels, epochs=2, shuffle=False, verbose=0)
            trained.append(model.get_weights())
        assert all(np.array_equal(one, other) for one, other in zip(*trained, strict=True))

    def test_outputs_begin_undecided(self) -> None:
        from shrinknet.applications.steel import two_step_classifier

        steps = two_step_classifier((16, 32, 3), seed=0, widths=(8, 16))
        images = np.random.default_rng(0).random((3, 16, 32, 3), np.float32)
        for model in (steps.binary, steps.multiclass):
            assert np.abs(np.asarray(model(images)) - 0.5).max() < 0.05

    @pytest.mark.slow
    def test_training_repeats_and_its_history_is_json(self, plates: Any) -> None:
        import json

        from shrinknet.applications.steel import two_step_classifier
        from shrinknet.applications.steel.classifier import fit_classifier, step_batches
        from shrinknet.applications.steel.streams import Augmentation

        sample = balanced_sample(master_table(plates.table, plates.images), 6, 12, shares=(0.5, 0.25, 0.25))
        told: list[int] = []

        def train() -> dict[str, list[float]]:
            steps = two_step_classifier((16, 32, 3), widths=(4,), seed=0)
            parts = [step_batches(plates, sample, "binary", part, size=(16, 32), batch=8, augment=Augmentation())
                     for part in ("train", "validation")]  # fmt: skip
            return fit_classifier(steps.binary, *parts, 2, tell=lambda epoch, logs: told.append(epoch))

        first = train()
        assert told == [1, 2]
        assert json.loads(json.dumps(first)) == first
        assert {"loss", "val_loss", "f1", "f1_score_m", "val_precision_m", "val_recall", "accuracy"} <= set(first)
        assert train() == first

    @pytest.mark.parametrize(
        "options",
        [{"widths": ()}, {"dropout": 1.0}, {"activation": "relu"}, {"pooling": "sum"}, {"widths": (4,) * 6},
         {"learning_rate": 0.0}],
    )  # fmt: skip
    def test_options(self, options: dict[str, Any]) -> None:
        from shrinknet.applications.steel import two_step_classifier

        with pytest.raises(OptionError):
            two_step_classifier((16, 32, 3), **options)
