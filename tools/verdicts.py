"""Writes the verdicts of recorded experiments into their experiments/NAME/README.md, from the recorded tables.

    python tools/verdicts.py [--check]

Nothing is trained: the tables in experiments/NAME/results are analysed again. The rest of a README is written by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1] / "experiments"
SOURCES = {"avalanche": "the report", "steel": "the report, or the aim"}  # experiment: who makes the claims
START, END = "<!-- verdicts: written by tools/verdicts.py -->", "<!-- end of verdicts -->"


def table(name: str) -> str:
    """The verdicts of a recorded experiment, as a Markdown table."""
    from shrinknet.experiments import question
    from shrinknet.experiments.frame import markdown_claims
    from shrinknet.experiments.settings import load_settings

    results = ROOT / name / "results"
    asked = question(name)
    settings, _ = load_settings(asked.settings, file=results / "config.toml")
    frames = {path.stem: pd.read_parquet(path) for path in sorted(results.glob("*.parquet"))}
    return markdown_claims(asked.analyse(frames, settings).claims, SOURCES[name])


def rewritten(text: str, verdicts: str) -> str:
    """A README with these verdicts between its two markers.

    Raises:
        ValueError: a marker is missing.
    """
    before, rest = text.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n\n{verdicts}\n\n{END}{after}"


def main(check: bool) -> int:
    """Rewrites every README, or with `check` says which ones would change; the number of those."""
    outdated = 0
    for name in SOURCES:
        path = ROOT / name / "README.md"
        text = path.read_text(encoding="utf-8")
        new = rewritten(text, table(name))
        if new != text:
            outdated += 1
            print(f"experiments/{name}/README.md {'is outdated' if check else 'was rewritten'}")
            if not check:
                path.write_text(new, encoding="utf-8")
    return outdated


if __name__ == "__main__":
    checking = "--check" in sys.argv[1:]
    changed = main(checking)
    sys.exit(1 if checking and changed else 0)
