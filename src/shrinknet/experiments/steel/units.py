"""The trainings of the experiment `steel`: two-step classifiers, and a U-Net that is shrunk; each a unit of its own."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from shrinknet.experiments.steel.plates import plates_for
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from shrinknet.applications.steel.table import Plates
    from shrinknet.applications.steel.task import Design
    from shrinknet.experiments.steel.settings import Steel
    from shrinknet.minimizer import Result

KINDS = ("classifiers", "unet")  # of units; unit number = repetition * 2 + place
RATES = {"unet": 5e-3, "binary": 3e-3, "multiclass": 3e-3}  # learning rates; that of the U-Net falls to 0
AFTERWARDS = 5e-4  # learning rate of the U-Net's trials, and of the control
Rows = list[dict[str, Any]]


def repetition(settings: Steel, number: int) -> Unit:
    """The unit of work: one kind of network of one repetition."""
    seed, place = divmod(number, len(KINDS))
    plates = plates_for(settings.plates, settings.count, settings.seed, balanced=True)
    run = {"classifiers": classifiers, "unet": segmentation}[KINDS[place]]
    unit = run(settings, plates, settings.seed + seed)
    return {**unit, "kind": KINDS[place], "seed": seed, "synthetic": not settings.plates or
            (plates.folder / "SYNTHETIC.txt").exists()}  # fmt: skip


def _records(table: pd.DataFrame) -> Rows:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def design(settings: Steel, network: str, batch: int) -> Design:
    """How plates are prepared for a network, and what it is."""
    from shrinknet.applications.steel.task import Design

    common: dict[str, Any] = {"batch": batch, "memory": settings.memory, "learning_rate": RATES[network]}
    if network == "unet":
        return Design(size=_pair(settings.unet_size), crop=_pair(settings.unet_crop), width=settings.unet_width,
                      depth=settings.unet_depth, **common)  # fmt: skip
    return Design(network, size=_pair(settings.size), width=settings.width, depth=settings.depth,
                  each_class=settings.each_class or None, **common)  # fmt: skip


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    height, width = numbers
    return height, width


def classifiers(settings: Steel, plates: Plates, seed: int) -> Unit:
    """Both classifiers at each batch size: histories, scores, the two steps as one; and the last ones shrunk."""
    from shrinknet.applications.steel import class_scores
    from shrinknet.applications.steel.classifier import TwoSteps
    from shrinknet.applications.steel.task import chosen_plates, part_arrays

    histories: Rows = []
    scores: Rows = []
    systems: Rows = []
    confusion: Rows = []
    models: dict[tuple[str, int], Any] = {}
    sample = chosen_plates(plates, design(settings, "binary", 8), seed)
    arrays = {
        (step, part): part_arrays(plates, sample, design(settings, step, 8), part)
        for step in ("binary", "multiclass")
        for part in ("train", "test")
    }
    truth = sample.loc[sample["part"] == "test", "ClassId"].to_numpy()
    for batch in settings.batches:
        for step in ("binary", "multiclass"):
            how = design(settings, step, batch)
            model, history = _fitted_classifier(settings, plates, sample, how, seed)
            models[step, batch] = model
            histories += [{"step": step, "batch": batch, **row} for row in history]
            for part in ("train", "test"):
                scores += _class_scores(model, *arrays[step, part], {"step": step, "batch": batch, "part": part})
        system = TwoSteps(models["binary", batch], models["multiclass", batch])
        found = system.classify(arrays["binary", "test"][0])
        systems.append({"batch": batch, **class_scores.system_scores(truth, found)})
        confusion += [{"batch": batch, **row} for row in _records(class_scores.confusion(truth, found))]
    shrunk: Rows = []
    trials: Rows = []
    for step, batch in (("binary", settings.shrunk_batch), ("multiclass", settings.shrunk_batch)):
        if settings.shrink_classifiers:
            for name in settings.strategies:
                result = shrink(settings, plates, design(settings, step, batch), models[step, batch], name, seed)
                rows = shrunk_row(step, name, result)
                shrunk.append(rows)
                trials += trial_rows(step, name, result)
    return {"histories": histories, "scores": scores, "systems": systems, "confusion": confusion, "shrunk": shrunk,
            "trials": trials}  # fmt: skip


def _fitted_classifier(
    settings: Steel, plates: Plates, sample: pd.DataFrame, how: Design, seed: int
) -> tuple[Any, Rows]:
    from shrinknet.applications.steel.classifier import fit_classifier
    from shrinknet.applications.steel.task import build, part_batches

    model = build(how, seed)
    parts = [part_batches(plates, sample, how, part, seed) for part in ("train", "validation")]
    history = fit_classifier(model, parts[0], parts[1], settings.epochs)
    return model, [
        {"epoch": epoch + 1, **{name: values[epoch] for name, values in history.items()}}
        for epoch in range(settings.epochs)
    ]


def _class_scores(model: Any, images: np.ndarray, labels: np.ndarray, place: Mapping[str, Any]) -> Rows:
    """Scores of the report's outputs, and of a softmax of the same weights beside four sigmoids."""
    import keras

    from shrinknet.applications.steel import class_scores

    given = np.asarray(model.predict(images, batch_size=place["batch"], verbose=0))
    loss = float(model.evaluate(images, labels, batch_size=place["batch"], verbose=0, return_dict=True)["loss"])
    outputs = {"sigmoid": given}
    if place["step"] == "multiclass":
        odds = np.log(np.clip(given, 1e-7, 1 - 1e-7) / (1 - np.clip(given, 1e-7, 1 - 1e-7)))
        outputs["softmax"] = np.asarray(keras.ops.convert_to_numpy(keras.ops.softmax(odds)))
    rows = []
    for activation, answers in outputs.items():
        report = class_scores.batchwise(labels, answers, place["batch"])
        rows.append({**place, "activation": activation, "loss": loss, **class_scores.whole(labels, answers),
                     **{f"{name}_m": value for name, value in report.items()}})  # fmt: skip
    return rows


def segmentation(settings: Steel, plates: Plates, seed: int) -> Unit:
    """A U-Net, trained, then shrunk by each strategy; its exported files, and what they find on test plates."""
    from shrinknet.applications.steel.task import build, chosen_plates, part_arrays, part_batches

    how = design(settings, "unet", settings.unet_batch)
    sample = chosen_plates(plates, how, seed)
    test = part_arrays(plates, sample, how, "test")
    model = build(how, seed)
    train, validation = (part_batches(plates, sample, how, part, seed) for part in ("train", "validation"))
    history = model.fit(
        train, validation_data=validation, epochs=settings.unet_epochs, verbose=0, shuffle=False,
        callbacks=[_falling(float(model.optimizer.learning_rate), settings.unet_epochs)],
    )  # fmt: skip
    model.optimizer.learning_rate = AFTERWARDS
    shrunk: Rows = []
    trials: Rows = []
    least = least_regions_of(model, part_arrays(plates, sample, how, "validation"))
    masks: Rows = mask_rows("before", lambda images: model.predict(images, batch_size=8, verbose=0), test, least)
    files: Rows = []
    for place, name in enumerate(settings.strategies):
        result = shrink(settings, plates, how, model, name, seed)
        shrunk.append(shrunk_row("unet", name, result))
        trials += trial_rows("unet", name, result)
        for what, network in (("control", result.control), ("slim", result.model)):
            masks += mask_rows(
                f"{what}, {name}",
                lambda images, network=network: network.predict(images, batch_size=8, verbose=0),
                test,
                least,
            )
        if place == 0:
            files, extra = exported(settings, plates, how, result.model, test, seed, least)
            masks += extra
    epochs = [
        {"step": "unet", "batch": how.batch, "epoch": epoch + 1,
         **{measure: values[epoch] for measure, values in history.history.items()}}
        for epoch in range(settings.unet_epochs)
    ]  # fmt: skip
    return {"histories": epochs, "shrunk": shrunk, "trials": trials, "masks": masks, "files": files}


def _falling(rate: float, epochs: int) -> Any:
    """A callback by which the learning rate falls to 0 along half a cosine: at a constant rate the last score is a
    matter of luck.
    """
    import keras

    return keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 * rate * (1 + math.cos(math.pi * epoch / epochs)))


def shrink(settings: Steel, plates: Plates, how: Design, model: Any, strategy: str, seed: int) -> Result:
    """A trained network shrunk by a strategy, or by the default of `minimize` where it is named "default"."""
    from shrinknet import minimize
    from shrinknet.applications.steel.task import SCORES, chosen_plates, part_batches

    sample = chosen_plates(plates, how, seed)
    parts = {part: part_batches(plates, sample, how, part, seed) for part in ("train", "validation", "test")}
    named: dict[str, Any] = {} if strategy == "default" else {"strategy": strategy}
    return minimize(
        model, parts["train"], parts["validation"], test_data=parts["test"], score=SCORES[how.network],
        target={"multiply_adds": settings.target}, steps=settings.steps, final_steps=settings.final_steps,
        control=True, seed=seed, verbose=0,
        **named,
    )  # fmt: skip


def shrunk_row(network: str, strategy: str, result: Result) -> dict[str, Any]:
    """Before, after, and the equally trained control, on test plates."""
    before, after = result.summary.before, result.summary.after
    return {
        "network": network, "strategy": strategy,
        **{f"{name}_{when}": getattr(one, name) for when, one in (("before", before), ("after", after))
           for name in ("filters", "parameters", "multiply_adds", "latency_ms", "score", "validation_score")},
        "control": result.summary.control_score, "trials": len(result.records),
        "accepted": result.summary.accepted, "stopped": result.summary.stopped,
    }  # fmt: skip


def trial_rows(network: str, strategy: str, result: Result) -> Rows:
    """A row for each trial: its validation score, and what the network costs after it."""
    whole = result.summary.before.multiply_adds
    start = {"trial": -1, "accepted": True, "score": result.baseline, "multiply_adds": whole}
    rows = [start] + [
        {"trial": one.number, "accepted": one.accepted, "score": one.score, "multiply_adds": one.multiply_adds}
        for one in result.records
    ]
    return [{"network": network, "strategy": strategy, **row, "share": row["multiply_adds"] / whole} for row in rows]


def least_regions_of(model: Any, validation: tuple[np.ndarray, np.ndarray]) -> tuple[int, ...]:
    """For each class, the smallest region that the uncut network's masks of validation plates should keep."""
    from shrinknet.applications.steel.regions import least_regions

    return least_regions(np.asarray(model.predict(validation[0], batch_size=8, verbose=0)) > 0.5, validation[1])


def mask_rows(name: str, network: Any, test: tuple[np.ndarray, np.ndarray], least: tuple[int, ...]) -> Rows:
    """Dice, IoU and accuracy on test plates, for each class and for all; of all masks, and without small regions."""
    from shrinknet.applications.steel.regions import without_small
    from shrinknet.imaging.mask_scores import mask_scores, mean_and_spread

    found = np.asarray(network(test[0])) > 0.5
    cleaned = np.stack([without_small(mask, least) for mask in found])
    rows: Rows = []
    for masks, sizes in ((found, (1,) * len(least)), (cleaned, least)):
        table = mean_and_spread(mask_scores(masks, test[1]))
        rows += [
            {"masks_of": name, "cleaned": masks is cleaned, "least": " ".join(map(str, sizes)), **row}
            for row in _records(table)
        ]
    return rows


def exported(
    settings: Steel,
    plates: Plates,
    how: Design,
    model: Any,
    test: tuple[np.ndarray, np.ndarray],
    seed: int,
    least: tuple[int, ...],
) -> tuple[Rows, Rows]:
    """The slim U-Net as files: bytes, frames a second at one thread, masks compared with Keras, Dice on test plates."""
    from shrinknet.applications.running import at_shape
    from shrinknet.applications.steel.run import quantize
    from shrinknet.applications.steel.task import chosen_plates, range_sample
    from shrinknet.comparing import Agreement
    from shrinknet.exporters import export
    from shrinknet.extras import installed
    from shrinknet.imaging.mask_scores import mask_agreement
    from shrinknet.imaging.networks import Network
    from shrinknet.imaging.views import flipped_average

    rows: Rows = []
    masks: Rows = []
    model = at_shape(model, how.shape)
    expected = np.asarray(model.predict(test[0], batch_size=8, verbose=0))
    with tempfile.TemporaryDirectory(prefix="shrinknet-") as scratch:
        sample = range_sample(plates, chosen_plates(plates, how, seed), how)
        formats = ["litert", "litert-int8"] + (["onnx"] if installed("tf2onnx", "onnx", "onnxruntime") else [])
        # measured, not refused: how well int8 does is the question
        records = list(export(model, scratch, formats, sample, agreement=Agreement("Dice", mask_agreement, 0.0)))
        if settings.quantize_epochs and installed("tf_keras", "tensorflow_model_optimization"):
            trained = quantize(model, Path(scratch), plates, how, seed=seed, epochs=settings.quantize_epochs)
            records += [one for one in trained if one.format == "quantization-aware"]
        for one in records:
            row = {"format": one.format, "bytes": one.bytes, "frames_per_second": 1000 / (one.latency_ms or np.nan)}
            if one.path.endswith(".tflite"):
                network = Network(one.path)
                answers = np.concatenate([network(test[0][start : start + 8]) for start in range(0, len(test[0]), 8)])
                row["pixels_that_differ"] = float(np.mean((answers > 0.5) != (expected > 0.5)))
                row["dice_with_keras"] = mask_agreement(expected, answers)
                masks += mask_rows(f"slim, {one.format}", lambda images, answers=answers: answers, test, least)
            rows.append(row)
    keras = flipped_average(lambda images: model.predict(images, batch_size=8, verbose=0), test[0])
    return rows, masks + mask_rows("slim, four flipped views", lambda images: keras, test, least)
