"""The report's pipeline on test photographs: two predictions with Canny between them, column maxima, boosted trees."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import numpy as np
from PIL import Image

from shrinknet.applications.avalanche.boosting import boosted_head
from shrinknet.applications.avalanche.folder import Slopes
from shrinknet.applications.avalanche.passes import CANVASES, column_maxima, two_passes
from shrinknet.applications.avalanche.sampling import window_sample
from shrinknet.applications.avalanche.training import best_threshold
from shrinknet.experiments.avalanche.settings import Avalanche
from shrinknet.experiments.avalanche.training import Parts, Trained, log_loss
from shrinknet.imaging.cleaning import cleaned
from shrinknet.imaging.pictures import png

SHOWN = 1  # photographs of the panels
KINDS = ("first", "edges", "second", "second edges")


def passes(trained: Trained, slopes: Slopes, parts: Parts) -> list[dict[str, Any]]:
    """Both predictions of every test photograph: a row for each photograph, canvas, and way to mark pixels."""
    rows = []
    for name in parts["test"]:
        image, truth = slopes.image(name, trained.network.shape[2]), slopes.mask(name) > 0
        for canvas in CANVASES:
            found = two_passes(trained.ready, image, canvas=canvas)
            for number, probability in (("first", found.first), ("second", found.second)):
                marked = probability >= trained.threshold
                ways = {"threshold": marked, "column maxima": column_maxima(probability) > 0,
                        "cleaned": cleaned(marked.astype(np.uint8)) > 0}  # fmt: skip
                rows += [{"network": trained.network.name, "image": name, "canvas": canvas, "prediction": number,
                          "way": way, **_agreement(mask, truth)} for way, mask in ways.items()]  # fmt: skip
    return rows


def panels(trained: Trained, slopes: Slopes, parts: Parts) -> list[dict[str, Any]]:
    """Pictures of the predictions of some test photographs, in base64: figures 6 to 9."""
    rows = []
    for name in parts["test"][:SHOWN]:
        found = two_passes(trained.ready, slopes.image(name, trained.network.shape[2]))
        pictures = dict(zip(KINDS, (found.first, found.edges, found.second, found.second_edges), strict=True))
        rows += [{"network": trained.network.name, "image": name, "kind": kind, "picture": encoded(picture)}
                 for kind, picture in pictures.items()]  # fmt: skip
    return rows


def references(slopes: Slopes, parts: Parts) -> list[dict[str, Any]]:
    """The photographs of the panels with their references and masks, in base64."""
    rows = []
    for name in parts["test"][:SHOWN]:
        pictures = {"image": slopes.image(name), "mask": slopes.mask(name)}
        if slopes.references:
            pictures["reference"] = slopes.reference(name)
        rows += [{"network": "", "image": name, "kind": kind, "picture": encoded(picture)}
                 for kind, picture in pictures.items()]  # fmt: skip
    return rows


def encoded(picture: np.ndarray) -> str:
    """A picture in base64: colours as JPEG, masks and probabilities as PNG, in 16 steps, which it packs well."""
    if picture.ndim == 3:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=85)
        return base64.b64encode(buffer.getvalue()).decode()
    values = picture
    if values.dtype != np.uint8:
        values = np.rint(np.rint(15 * np.clip(values, 0, 1)) * 17).astype(np.uint8)
    elif values.ndim == 2:
        values = 255 * (values > 0).astype(np.uint8)
    return base64.b64encode(png(values)).decode()


def boosting(
    settings: Avalanche, trained: Trained, slopes: Slopes, parts: Parts, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The network alone, and with boosted trees on its predictions and on its features: a row for each, and pictures.

    Trees are fitted to windows of the validation photographs, on which the network was not trained.
    """
    shape = trained.network.shape
    x, y = window_sample(slopes, parts["validation"], shape, settings.boosted, seed=seed)
    test_x, test_y = window_sample(slopes, parts["test"], shape, settings.tests, balanced=False, seed=seed)
    heads = {on: boosted_head(trained.model, x, y, on=on, seed=seed) for on in ("predictions", "features")}
    rows, pictures = [_alone(trained, slopes, parts, test_x, test_y)], []
    for on, head in heads.items():
        probability = np.clip(head.probability(test_x).astype(np.float64), 1e-7, 1 - 1e-7)
        logits = np.log(probability / (1 - probability))
        limit = best_threshold(lambda name, head=head: head.image(slopes.image(name, shape[2])),  # type: ignore[misc]
                               slopes, parts["validation"])  # fmt: skip
        pictures += [{"network": "", "image": name, "kind": f"trees on {on}",
                      "picture": encoded(head.image(slopes.image(name, shape[2])))}
                     for name in parts["test"][:SHOWN]]  # fmt: skip
        start = time.perf_counter()
        masks = [head.image(slopes.image(name, shape[2])) >= limit for name in parts["test"]]
        seconds = time.perf_counter() - start
        rows.append({"head": f"boosted trees on {on}", **_window_scores(logits, test_y),
                     **_image_scores(masks, slopes, parts, seconds)})  # fmt: skip
    return rows, pictures


def _alone(trained: Trained, slopes: Slopes, parts: Parts, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    from shrinknet.applications.avalanche.training import predicted

    start = time.perf_counter()
    masks = [predicted(trained.ready, slopes.image(name, trained.network.shape[2])) >= trained.threshold
             for name in parts["test"]]  # fmt: skip
    seconds = time.perf_counter() - start
    logits = np.asarray(trained.model.predict(x, batch_size=128, verbose=0), np.float64)
    return {"head": "the network alone", **_window_scores(logits, y), **_image_scores(masks, slopes, parts, seconds)}


def _window_scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    sure = np.abs(1 / (1 + np.exp(-np.clip(logits, -60, 60))) - 0.5)
    return {"loss": log_loss(logits, labels), "accuracy": float(((logits > 0) == (labels > 0.5)).mean()),
            "near 0 or 1": float((sure > 0.45).mean())}  # fmt: skip


def _image_scores(masks: list[np.ndarray], slopes: Slopes, parts: Parts, seconds: float) -> dict[str, float]:
    ious = [_agreement(mask, slopes.mask(name) > 0)["iou"] for mask, name in zip(masks, parts["test"], strict=True)]
    return {"iou": float(np.mean(ious)), "seconds a megapixel": seconds / (sum(mask.size for mask in masks) / 1e6)}


def _agreement(mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """IoU; precision, the share of what is marked that is avalanche; and the share of the photograph that is marked."""
    hits, union = np.count_nonzero(mask & truth), np.count_nonzero(mask | truth)
    marked = np.count_nonzero(mask)
    return {"iou": hits / union if union else 1.0, "precision": hits / marked if marked else float("nan"),
            "marked": marked / mask.size}  # fmt: skip
