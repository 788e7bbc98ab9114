"""Draws the figures of recorded experiments again from their recorded tables; nothing is trained.

    python tools/redraw.py [experiments/strategies/results ...]

Without folders: all that hold an about.json. To be run after a change of src/shrinknet/experiments/figures.
"""

from __future__ import annotations

import argparse
import importlib
import tomllib
from pathlib import Path

import pandas as pd

from shrinknet.experiments.figures import encoded

ROOT = Path(__file__).parents[1] / "experiments"
RECORDED = {"correlations": ("curves", "points"), "drop-gain": ("points",), "probes": ("probes",),
            "strategies": ("runs", "trials")}  # fmt: skip


def redraw(folder: Path) -> list[Path]:
    """Writes the figures that are in the folder anew."""
    name = folder.resolve().relative_to(ROOT.resolve()).parts[0]
    module = importlib.import_module(f"shrinknet.experiments.{name.replace('-', '_')}")
    question = module.QUESTION
    values = tomllib.loads((folder / "config.toml").read_text())
    settings = question.settings.preset(values.pop("preset"), **values)
    frames = {table: pd.read_csv(folder / f"{table}.csv") for table in RECORDED[name]}
    written = []
    for figure, drawing in question.draw(frames, question.analyse(frames, settings)).items():
        for kind, content in encoded(drawing).items():
            path = folder / f"{figure}.{kind}"
            if path.exists():
                path.write_bytes(content)
                written.append(path)
    return written


def main() -> None:
    """Draws what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    known = sorted(about.parent for name in RECORDED for about in (ROOT / name).rglob("about.json"))
    for folder in parser.parse_args().folders or known:
        for path in redraw(folder):
            print(path)


if __name__ == "__main__":
    main()
