"""`shrinknet data steel` and `shrinknet minimize steel`: synthetic plates, and networks that learn from plates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shrinknet.cli.data import data
from shrinknet.cli.minimizing import minimize_options, run_and_show
from shrinknet.cli.output import counting, json_option, show, working
from shrinknet.cli.values import CROP, SIZE


@data.command("steel")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=400, show_default=True, help="Plates.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="The same seed gives the same files.")  # fmt: skip
@click.option("--balanced", is_flag=True, help="As many plates of each class, instead of the real data's imbalance.")
@json_option
def plates(out: Path, count: int, seed: int, balanced: bool, as_json: bool) -> None:
    """Draw synthetic plates of steel into the new folder OUT, in the layout of the Severstal competition.

    OUT gets train.csv, train_images and a notice that no camera took these plates.
    """
    with working():
        from shrinknet.applications.steel.generation import Mixture, generate
        from shrinknet.applications.steel.table import master_table, read

        mixture = Mixture(classes=dict.fromkeys((1, 2, 3, 4), 0.25)) if balanced else None
        with counting("plates") as tell:
            generate(out, count, seed, mixture=mixture, progress=tell)
        found = read(out)
        master = master_table(found.table, found.images)
    classes = {str(number): int((found.table["ClassId"] == number).sum()) for number in (1, 2, 3, 4)}
    record = {
        "folder": str(out),
        "plates": count,
        "clean": int((master["Defect_no"] == 0).sum()),
        "several": int((master["Defect_no"] > 1).sum()),
        "classes": classes,
        "seed": seed,
        "synthetic": True,
    }
    each = ", ".join(f"{number}: {plates}" for number, plates in classes.items())
    text = (
        f"{count:,} synthetic plates, {record['clean']:,} clean, {record['several']:,} with several classes\n"
        f"plates with class  {each}\nfolder             {out}"
    )
    show(record, text, as_json=as_json)


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of plates with train.csv and train_images, such as `shrinknet data steel` makes.",
)
@click.option(
    "--network",
    type=click.Choice(["unet", "binary", "multiclass"]),
    default="unet",
    show_default=True,
    help="What is trained: unet outlines defects, binary detects defective plates, multiclass names the class.",
)
@click.option(
    "--size",
    type=SIZE,
    default="64,400",
    show_default=True,
    help="Height and width that plates are resized to, in pixels; multiples of 2 to the power of --depth.",
)
@click.option(
    "--crop",
    type=CROP,
    default="64,128",
    show_default=True,
    help="Height and width of the crops that a U-Net trains on, most of them around a defect; multiples of 2 to the "
    "power of --depth; none: whole plates. It is scored and exported on whole plates.",
)
@click.option("--width", type=click.IntRange(min=1), default=8, show_default=True, help="Filters of the first level.")
@click.option(
    "--depth", type=click.IntRange(min=1), default=3, show_default=True, help="How often the network halves a plate."
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True),
              help="Of Adam.  [default: 0.002 for the U-Net, 0.001 for classifiers]")  # fmt: skip
@click.option(
    "--augment/--no-augment",
    default=True,
    show_default=True,
    help="Whether training plates are flipped, shifted, brightened and darkened.",
)
@click.option("--plates", "count", type=click.IntRange(min=3), help="Plates that the U-Net uses.  [default: all]")
@click.option(
    "--each-class",
    type=click.IntRange(min=3),
    help="Plates of each class that a classifier uses.  [default: as many as the rarest has, at most 180]",
)
@click.option(
    "--memory",
    type=click.IntRange(min=0),
    default=512,
    show_default=True,
    help="MiB of plates kept in memory; the others are read again in each pass.",
)
@click.option(
    "--quantize-epochs",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Also write an int8 file after this many epochs of quantization-aware training (extra tfmot).",
)
@minimize_options(run_dir=Path("runs/steel"), warmup_steps=1_500)
def steel(data: Path, **options: Any) -> None:
    """Shrink a network for plates of steel: train it, and remove the filters that it does not need.

    Prints the before/after table, measured on plates that no decision saw, and the path of the page of the run. Repeat
    the command to resume an interrupted run.
    """
    settings = {name: options.pop(name) for name in _DESIGN}

    def run(**given: Any) -> Any:
        from shrinknet.applications.steel.run import minimize_steel
        from shrinknet.applications.steel.task import Design

        design = Design(**settings, batch=given.pop("batch_size", 8))
        with counting("images checked") as tell:
            return minimize_steel(data=data, design=design, progress=tell, **given)

    run_and_show(run, **options)


# the options that say which network is trained on what; the others are those of `minimize`
_DESIGN = ("network", "size", "crop", "width", "depth", "learning_rate", "augment", "count", "each_class", "memory")
