"""`shrinknet predict steel`: defects on plates as CSV, table and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shrinknet.cli.output import counting, json_option, load_keras, show, working
from shrinknet.cli.values import SIZE, Numbers


@click.command("steel")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="A U-Net of `shrinknet minimize steel`: a .keras file, or a .tflite file, float or int8.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for predictions.csv, defects.csv, summary.json and overlays.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Pixels of greater probability are marked.",
)
@click.option(
    "--least",
    type=Numbers("one number, or one for each class, such as 16,16,64,64"),
    default="1",
    show_default=True,
    help="Leave out regions of fewer pixels: one number, or one for each class.",
)
@click.option(
    "--flips/--no-flips",
    default=False,
    show_default=True,
    help="Average the answers to four flipped views of each plate: better, and four times slower.",
)
@click.option("--overlays/--no-overlays", default=True, show_default=True, help="Whether pictures are written.")
@click.option(
    "--shape", type=SIZE, default="256,1600", show_default=True, help="Height and width of the plates in pixels."
)
@click.option(
    "--batch-size", "batch", type=click.IntRange(min=1), default=8, show_default=True, help="Plates at a time."
)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of LiteRT.")
@json_option
def predict_steel(
    images: tuple[Path, ...], model: Path, out: Path, threshold: float, least: tuple[int, ...], flips: bool,
    overlays: bool, shape: tuple[int, int], batch: int, threads: int, as_json: bool,
) -> None:  # fmt: skip
    """Outline the defects on plates: IMAGES are files, or folders of them.

    Writes predictions.csv in the layout of the Severstal competition, defects.csv with the area, place and shape of
    each defect, overlays, and summary.json with the number of frames a second.
    """
    with working():
        if model.suffix != ".tflite":
            load_keras()
        from shrinknet.applications.steel.prediction import Outlining, predict
        from shrinknet.imaging.files import image_files
        from shrinknet.imaging.views import FLIPS

        paths = [path for given in images for path in (image_files(given) if given.is_dir() else [given])]
        how = Outlining(threshold, least, tuple(FLIPS) if flips else ("none",), batch, threads)
        with counting("plates") as tell:
            found = predict(model, paths, out=out, outlining=how, shape=shape, overlays=overlays, progress=tell)
    record = {**found.to_dict(), "model": str(model), "out": str(out)}
    show(record, _text(record, out), as_json=as_json)


def _text(record: dict[str, Any], out: Path) -> str:
    each = ", ".join(f"{number}: {plates}" for number, plates in record["found"].items())
    return "\n".join([
        f"{record['plates']:,} plates, {record['clean']:,} without a defect, {record['regions']:,} regions",
        f"plates with class  {each}",
        f"frames a second    {record['frames_per_second']:.1f} through the network, "
        f"{record['plates_per_second']:.1f} with reading and writing",
        f"folder             {out}",
    ])  # fmt: skip
