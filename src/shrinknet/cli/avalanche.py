"""The commands for avalanches: `shrinknet data avalanche`, `minimize avalanche` and `predict avalanche`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from shrinknet.cli.minimizing import before_after, minimize_options, run_and_show
from shrinknet.cli.output import json_option, load_keras, show, working
from shrinknet.cli.values import BOX, WIDTHS

KINDS = ("conv2d", "conv1d", "vgg16", "resnet50", "inception_resnet_v2")  # as classifier.KINDS, which loads Keras


@click.command("avalanche")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=60, show_default=True, help="Slopes to draw.")
@click.option("--size", type=click.IntRange(min=64), default=384, show_default=True,
              help="Height and width, in pixels.")  # fmt: skip
@click.option("--sunny", type=click.FloatRange(0, 1), default=0.6, show_default=True,
              help="Share of sunny slopes; the others are shady.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything.")
@json_option
def avalanche_data(out: Path, count: int, size: int, sunny: float, seed: int, as_json: bool) -> None:
    """Draw synthetic slopes with avalanches into the new folder OUT.

    It gets images, references with a drawn outline, and masks, 127 and above being avalanche. They are drawings, for
    trying things out: what a network learns of them says nothing about photographs.
    """
    with working():
        from shrinknet.applications.avalanche import generate, read
        from shrinknet.applications.avalanche.folder import check

        with bar("slopes") as tell:
            folder = generate(out, count, size, seed, sunny=sunny, progress=lambda done, of: tell("", done, of, None))
        slopes = read(folder)
        marked = [part / whole for part, whole in check(slopes).values()]
        lights = list(slopes.light.values())
    record = {"folder": str(folder), "slopes": count, "size": size, "synthetic": True,
              "sunny": lights.count("sunny"), "shady": lights.count("shady"),
              "marked": sum(marked) / len(marked)}  # fmt: skip
    text = (f"{count} synthetic slopes of {size} x {size} pixels, {record['sunny']} sunny and {record['shady']} shady, "
            f"{record['marked']:.1%} of their pixels avalanche\nfolder  {folder}")  # fmt: skip
    show(record, text, as_json=as_json)


@click.command("avalanche")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder with images, and masks or references.  [default: synthetic slopes]")  # fmt: skip
@click.option("--kind", type=click.Choice(KINDS), default="conv2d", show_default=True, help="The network.")
@click.option("--window", type=click.IntRange(min=3), default=33, show_default=True,
              help="Height and width of a window, in pixels.")  # fmt: skip
@click.option("--channels", type=click.Choice([1, 3]), default=3, show_default=True, help="1: grey, 3: colour.")
@click.option("--widths", type=WIDTHS, default="16,32,32", show_default=True,
              help="Filters of each convolution of conv2d and conv1d.")  # fmt: skip
@click.option("--pooling", type=click.Choice(["max", "average"]), default="max", show_default=True,
              help="Of conv2d and conv1d.")  # fmt: skip
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="File of weights for vgg16, resnet50 or inception_resnet_v2, without the top.")  # fmt: skip
@click.option("--frozen", is_flag=True, help="Freeze the weights of the body, and cut nothing in it.")
@click.option("--windows", "each", type=click.IntRange(min=2), default=256, show_default=True,
              help="Training windows of each photograph in an epoch, half of them marked.")  # fmt: skip
@click.option("--judged", type=click.IntRange(min=1), default=512, show_default=True,
              help="Windows of each validation and test photograph, drawn uniformly.")  # fmt: skip
@click.option("--levels", type=click.IntRange(min=0), default=0, show_default=True,
              help="Levels of the Gaussian pyramid: how often photographs are halved first.")  # fmt: skip
@click.option("--optimizer", type=click.Choice(["adam", "rmsprop"]), default="adam", show_default=True,
              help="Optimizer of the training before the first trial, and of the trials.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=1e-3, show_default=True,
              help="Learning rate of the optimizer.")  # fmt: skip
@minimize_options(run_dir=Path("runs/avalanche"), warmup_steps=1500)
def avalanche(data: Path | None, window: int, channels: int, each: int, judged: int, levels: int, kind: str,
              widths: tuple[int, ...], pooling: str, weights: Path | None, frozen: bool, optimizer: str,
              learning_rate: float, **options: Any) -> None:  # fmt: skip
    """Shrink a network that marks avalanches: train it on windows of slopes, and remove what it does not need.

    The score is the intersection over union of windows, at the best threshold. Prints the before/after table, the
    scores of whole test photographs, the page of the run, and the files for `shrinknet predict avalanche`. Repeat the
    command to resume an interrupted run.
    """
    classifier: dict[str, Any] = {"kind": kind, "widths": widths, "pooling": pooling, "frozen": frozen,
                                  "optimizer": optimizer, "learning_rate": learning_rate}  # fmt: skip
    if weights is not None:
        classifier["weights"] = str(weights)

    def run(**given: Any) -> Any:
        from shrinknet.applications.avalanche.run import minimize_avalanche
        from shrinknet.applications.avalanche.task import Windowing

        how = Windowing((window, window, channels), each, judged, levels)
        return minimize_avalanche(data=data, windowing=how, classifier=classifier, **given)

    run_and_show(run, text=_text, **options)


@click.command("avalanche")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
              help="A .keras or .tflite file of a window classifier or a dense network.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="Folder for masks, overlays, polygons and areas.csv.")  # fmt: skip
@click.option("--box", type=BOX, help="Predict only inside this box, such as a detector's, in pixels.")
@click.option("--threshold", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.5, show_default=True,
              help="Pixels of at least this probability are marked.")  # fmt: skip
@click.option("--opening", type=click.IntRange(min=0), default=2, show_default=True,
              help="Parts thinner than twice this many pixels are removed.")  # fmt: skip
@click.option("--closing", type=click.IntRange(min=0), default=3, show_default=True,
              help="Gaps narrower than twice this many pixels are closed.")  # fmt: skip
@click.option("--all-regions", is_flag=True, help="Keep every region, not only the largest.")
@click.option("--smoothing", type=click.FloatRange(min=0), default=1.0, show_default=True,
              help="How far the smoothed outline may deviate from the mask, in pixels; 0: no smoothing.")  # fmt: skip
@click.option("--method", type=click.Choice(["auto", "dense", "windows", "approximate"]), default="auto",
              show_default=True, help="How a window classifier is applied to a photograph.")  # fmt: skip
@json_option
def avalanche_prediction(images: tuple[Path, ...], model: Path, out: Path, box: Any, method: str, all_regions: bool,
                         as_json: bool, **finishing: Any) -> None:  # fmt: skip
    """Mark the avalanche in each of IMAGES: mask, overlay, polygon as GeoJSON, and a table of areas.

    A file is written whole or not at all. Coordinates are pixels of the photograph.
    """
    with working():
        load_keras()
        from shrinknet.applications.avalanche.outputs import Finishing, predict_files

        how = Finishing(largest=not all_regions, **finishing)
        with bar("tiles") as tell:
            table = predict_files(model, images, out, box=box, finishing=how, method=method, progress=tell)
    record = {"folder": str(out), "images": table.to_dict("records")}
    show(record, f"{table.to_string(index=False)}\nfolder  {out}", as_json=as_json)


@contextmanager
def bar(label: str) -> Iterator[Any]:
    """A progress bar on a terminal; the function that it gives is told a name, what is done, of how many, and the
    seconds that are left.
    """
    live = sys.stderr.isatty()

    def tell(name: str, done: int, of: int, left: float | None) -> None:
        if live:
            marks = 24 * done // of
            parts = [name or label, f"[{'#' * marks}{'-' * (24 - marks)}]", f"{done}/{of} {label}"]
            parts += [f"about {max(1, round(left))} s left"] if left else []
            click.echo("\r\x1b[2K" + "  ".join(parts), err=True, nl=False)

    try:
        yield tell
    finally:
        if live:
            click.echo(err=True)


def _text(record: Mapping[str, Any]) -> str:
    """The result as text: the table, whole photographs, and the files for the field."""
    lines = [before_after(record), "", "whole test photographs, mean"]
    lines += [
        f"  {network:<8} IoU {scores['iou']:.3f}  F1 {scores['f1']:.3f}  boundary F1 {scores['boundary_f1']:.3f}  "
        f"threshold {scores['threshold']:.2f}"
        for network, scores in record["photographs"].items()
    ]
    field = record["field"]
    lines += [f"field  {field[name]}" for name in ("keras", "litert", "onnx") if name in field]
    return "\n".join(lines + ([f"field  none: {field['refused']}"] if "refused" in field else []))
