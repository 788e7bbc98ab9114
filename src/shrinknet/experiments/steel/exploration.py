"""What is in the plates (the report's sections 5 and 6): figures 2 to 12 on our plates, beside the report's numbers."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from shrinknet.applications.steel import exploration, published
from shrinknet.applications.steel.layout import CLASSES
from shrinknet.experiments import frame
from shrinknet.experiments.frame import Claim, Findings, Frames, Question, markdown_claims, markdown_table
from shrinknet.experiments.settings import Settings
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHRUNK = 4  # pictures in the record are smaller by this factor
ON_BLACK = ("1", "3", "several")  # what figure 11 shows


@dataclass(frozen=True, kw_only=True)
class Exploration(Settings):
    """Settings of `steel-eda`.

    Attributes:
        plates: folder of plates in the competition's layout; "": synthetic ones are drawn.
        count: synthetic plates; the report has 12,568.
        examples: plates of each class that are shown.
    """

    plates: str = ""
    count: int = 12_568
    examples: int = 3

    LEAST: ClassVar[Mapping[str, int]] = {**Settings.LEAST, "count": 1, "examples": 1}
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"count": 300},
        "laptop": {"count": 4_000},
        "paper": {},
    }


def repetition(settings: Exploration, number: int) -> Unit:
    """The unit of work: the master table and a few pictures of plates."""
    from shrinknet.experiments.steel.plates import plates_for

    plates = plates_for(settings.plates, settings.count, settings.seed + number, balanced=False)
    master = exploration.master(plates)
    rows = [
        {"ImageId": name, "Defect": defect, "Defect_no": count, "classes": classes,
         "EncodedPixels": None if count == 0 else texts}
        for name, defect, count, classes, texts in master.itertuples(index=False)
    ]  # fmt: skip
    chosen = exploration.examples(master, settings.examples, settings.seed)
    pictures = [
        {"kind": kind, "name": name, **{what: _encoded(picture) for what, picture in made.items()}}
        for kind, names in chosen.items()
        for name, made in exploration.pictures(plates, names).items()
    ]
    areas = exploration.areas(master, plates.shape)
    synthetic = not settings.plates or (plates.folder / "SYNTHETIC.txt").exists()
    return {"master": rows, "areas": areas.to_dict("records"), "pictures": pictures, "synthetic": synthetic}


def _encoded(picture: np.ndarray) -> str:
    """A picture, smaller, as JPEG in base64."""
    from PIL import Image

    image = Image.fromarray(picture).resize((picture.shape[1] // SHRUNK, picture.shape[0] // SHRUNK))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _decoded(text: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def gather(units: Sequence[Unit]) -> Frames:
    """images: a row each, without their run lengths; areas; pictures."""
    images = [
        {"repetition": unit["repetition"], "synthetic": unit["synthetic"], "ImageId": row["ImageId"],
         "Defect": row["Defect"], "Defect_no": row["Defect_no"], "ClassId": str(row["classes"])}
        for unit in units for row in unit["master"]
    ]  # fmt: skip
    master = [
        {**row, "repetition": unit["repetition"], "ClassId": str(row["classes"])}
        for unit in units[:1] for row in _first_rows(unit["master"])
    ]  # fmt: skip
    return {
        "images": pd.DataFrame(images),
        "head": pd.DataFrame(master)[["ImageId", "Defect", "Defect_no", "ClassId", "EncodedPixels"]],
        "areas": pd.DataFrame([{"repetition": unit["repetition"], **row} for unit in units for row in unit["areas"]]),
        "pictures": pd.DataFrame([row for unit in units[:1] for row in unit["pictures"]]),
    }


def _first_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first three plates with a defect and the first two clean ones, as the report's figure 3 shows."""
    shown = [row for row in rows if row["Defect_no"]][:3] + [row for row in rows if not row["Defect_no"]][:2]
    return [
        {**row, "EncodedPixels": None if row["EncodedPixels"] is None else
         str([f"{text[:40]}..." for text in row["EncodedPixels"]])}
        for row in shown
    ]  # fmt: skip


def analyse(frames: Frames, settings: Exploration) -> Findings:
    """The report's tables on our plates, and what it says of them."""
    images = frames["images"].assign(ClassId=frames["images"]["ClassId"].map(_numbers))
    areas = frames["areas"]
    statistics = exploration.pixel_statistics(areas)
    tables = {
        "table": statistics,
        "beside-the-report": exploration.beside_the_report(statistics),
        "counted-as-the-report": exploration.pixel_statistics(areas, "counted"),
        "defects-per-image": exploration.defects_per_image(images),
        "classes": exploration.classes(images),
        "imbalance": exploration.imbalance(images),
        "evidence": published.channel_evidence(),
    }
    return Findings(tables, _claims(images, areas, statistics), _notes(images))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.strip("[]").split(",")]


def _claims(images: pd.DataFrame, areas: pd.DataFrame, statistics: pd.DataFrame) -> tuple[Claim, ...]:
    several = float((images["Defect_no"] > 1).mean())
    found = exploration.classes(images)
    dominant = float(found.loc[found["classes"] == "[3]", "share"].sum())
    means = statistics.set_index("source")["mean"]
    singles = means[[f"Class_{number}" for number in CLASSES]]
    multi = float(means.get("Class_multi", np.nan))
    spans = areas.groupby("source")["percent"].agg(["min", "max"])
    overlap = max(spans["min"]) < min(spans["max"]) if len(spans) else False
    counted = float(areas["counted"].max())

    def verdict(holds: bool, known: bool = True) -> str:
        return "undecided" if not known else "holds" if holds else "fails"

    return (
        Claim("class [3] is dominant with more than 70 % of the plates with a defect",
              verdict(dominant > published.DOMINANT_SHARE), f"{dominant:.3f} of them"),
        Claim("several classes on less than 4 % of the plates", verdict(several < published.SEVERAL_SHARE),
              f"{several:.3f} of all plates"),
        Claim("class 2 has the smallest mean area, and class 4 the largest of single classes",
              verdict(singles.idxmin() == "Class_2" and singles.idxmax() == "Class_4", bool(singles.notna().all())),
              ", ".join(f"{str(name)[-1]}: {value:.2f} %" for name, value in singles.items())),
        Claim("plates with several classes have the highest mean area", verdict(multi > singles.max(), multi == multi),
              f"{multi:.2f} % against at most {singles.max():.2f} %"),
        Claim("a plate's area does not tell its class: the ranges overlap", verdict(bool(overlap)),
              f"every class begins below {max(spans['min']):.2f} % and reaches {min(spans['max']):.2f} % or more"),
        Claim("areas reach 179.8 % of a plate", verdict(False),
              f"at most {areas['percent'].max():.1f} % here; counted once for each channel of its colour, as the "
              f"report did, {counted:.1f} %"),
    )  # fmt: skip


def _notes(images: pd.DataFrame) -> tuple[str, ...]:
    if bool(images["synthetic"].any()):
        return (
            "These plates are synthetic: the generator was given the report's shares and areas. The verdicts show that "
            "the generator works as intended, and nothing about steel.",
        )
    return ()


def draw(frames: Frames, findings: Findings) -> dict[str, Figure]:
    """Figures 4, 5, 6 to 10, 11 and 12."""
    from shrinknet.experiments.figures import steel

    figures = {
        "figure-4": steel.defects_per_image(findings.tables["defects-per-image"]),
        "figure-5": steel.classes(findings.tables["classes"]),
        "figure-12": steel.areas(frames["areas"]),
    }
    for kind, rows in frames["pictures"].groupby("kind", sort=False):
        made = {
            str(name): {what: _decoded(text) for what, text in (("image", image), ("overlay", over), ("mask", mask))}
            for name, image, over, mask in rows[["name", "image", "overlay", "mask"]].itertuples(index=False)
        }
        name = _figure_name(str(kind))
        figures[name] = steel.examples(made)
        if kind in ON_BLACK:
            figures[f"{name}-black"] = steel.examples(made, ("overlay", "mask"))
    return figures


def _figure_name(kind: str) -> str:
    return "figure-10" if kind == "several" else f"figure-{5 + int(kind)}"


def page(settings: Exploration, frames: Frames, findings: Findings) -> str:
    """Figures 2 to 12 reproduced, next to the report's numbers."""
    synthetic = " (synthetic)" if frames["images"]["synthetic"].any() else ""
    return f"""# Exploration of the plates

{len(frames["images"]):,} plates{synthetic}; the report (R. Terra, *Severstal Image Classification*, 2020) has 12,568.
{" ".join(findings.notes)}

## Verdicts

{markdown_claims(findings.claims, "the report")}

## The master table (figure 3)

{markdown_table(frames["head"])}

## Defects and classes (figures 4 and 5)

![defects per plate](figure-4.png)

![classes](figure-5.png)

{markdown_table(findings.tables["imbalance"])}

{_examples([str(kind) for kind in frames["pictures"]["kind"].unique()])}

{_areas(findings.tables)}
"""


def _examples(kinds: Sequence[str]) -> str:
    """Figures 6 to 11: plates, their masks on them, and their masks on black."""
    colours = ", ".join(f"{number} {colour}" for number, colour in zip(CLASSES, _NAMED, strict=True))
    shown = "\n\n".join(
        f"**Figure {_figure_name(kind)[7:]}**, {'several classes' if kind == 'several' else f'class {kind}'}\n\n"
        f"![plates as they are and with masks]({_figure_name(kind)}.png)"
        for kind in kinds
    )
    black = "\n\n".join(f"![masks on black]({_figure_name(kind)}-black.png)" for kind in kinds if kind in ON_BLACK)
    return f"""## Plates and their masks (figures 6 to 10)

Colours of the classes: {colours}.

{shown}

## Masks on black (figure 11)

{black}"""


def _areas(tables: Frames) -> str:
    """Figure 12, and what is wrong with the report's percentages."""
    return f"""## How much of a plate is marked (figure 12)

Per cent of the plate's pixels. `_report` is the report's number, corrected; `_printed` is the number it prints.

{markdown_table(tables["beside-the-report"])}

![marked area by class](figure-12.png)

**Why the report has percentages over 100.** It counts every value above zero in a colour picture of the mask, which has
three channels, and divides by height times width. Each pixel is therefore counted once for each channel of its colour
that is above zero. The report's numbers are whole counts, so the number of channels can be recovered from them:

{markdown_table(tables["evidence"], 6)}

The colours of classes 1 and 2 have three channels above zero, those of classes 3 and 4 have two. Our plates, counted in
the same way:

{markdown_table(tables["counted-as-the-report"])}"""


_NAMED = ("blue", "purple", "yellow", "red")
QUESTION = Question("steel-eda", Exploration, "steel.exploration", gather, analyse, draw, page)
run = functools.partial(frame.run, QUESTION)
