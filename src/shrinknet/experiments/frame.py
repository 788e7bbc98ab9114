"""The framework that all experiments share: compute what is missing, make tables, draw, and write the page.

An experiment is a `Question`: plain functions, each applied to the result of the previous one. Everything after
`gather` needs only the recorded tables, so that a recorded result can be rebuilt and checked without training.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from shrinknet.errors import OptionError
from shrinknet.experiments.settings import Settings, as_toml
from shrinknet.experiments.units import Tell, Unit, complete, seconds
from shrinknet.files.disk import write_file
from shrinknet.files.tables import csv_bytes
from shrinknet.records import finite
from shrinknet.runs.fingerprint import processor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Frames = dict[str, pd.DataFrame]
# packages that the numbers depend on
_PACKAGES = ("shrinknet", "keras", "tensorflow", "numpy", "scipy", "pandas", "opencv-python-headless", "scikit-image",
             "scikit-learn", "seaborn", "joblib")  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A claim of a thesis or report, and what our data say about it.

    Attributes:
        text: the claim; verdict: "holds", "fails" or "undecided"; evidence: numbers with intervals.
    """

    text: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Findings:
    """The conclusions from the recorded tables.

    Attributes:
        tables: name -> table with its row labels in the first column; the first table is printed.
        claims: with their verdicts.
        notes: remarks for the reader, such as coefficients that could not be computed.
        facts: what figures need besides the tables.
    """

    tables: Frames
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """An experiment.

    Attributes:
        name: on the command line; settings: its class of settings.
        trains: module of this package whose `repetition(settings, number)` is its unit of work.
        gather: units -> the tables to record, by name.
        analyse: recorded tables -> findings.
        draw: recorded tables and findings -> figures by name.
        page: settings, recorded tables and findings -> the body of its Markdown page.
        recorded: returns tables recorded elsewhere that make training unnecessary, or None.
    """

    name: str
    settings: type[Settings]
    trains: str
    gather: Callable[[Sequence[Unit]], Frames]
    analyse: Callable[[Frames, Any], Findings]
    draw: Callable[[Frames, Findings], Mapping[str, Figure]]
    page: Callable[[Any, Frames, Findings], str]
    recorded: Callable[[Any], Frames | None] = field(default=lambda settings: None)


@dataclass(frozen=True)
class Recorded:
    """The results of an experiment and the files it wrote.

    Attributes:
        table: row label -> column label -> number; None if it cannot be computed.
        repetitions: the number of networks.
        files: paths of all written files.
        findings: all tables and the verdicts.
    """

    name: str
    table: dict[str, dict[str, float | None]]
    repetitions: int
    files: tuple[str, ...]
    findings: Findings

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types: table, repetitions, files, claims, notes."""
        claims = [asdict(claim) for claim in self.findings.claims]
        return {"experiment": self.name, "table": self.table, "repetitions": self.repetitions,
                "files": list(self.files), "claims": claims, "notes": list(self.findings.notes)}  # fmt: skip

    def __str__(self) -> str:
        main = next(iter(self.findings.tables.values()))
        claims = "\n".join(f"{claim.verdict:>9}  {claim.text} ({claim.evidence})" for claim in self.findings.claims)
        page = next((path for path in self.files if path.endswith(".md")), "")
        return "\n\n".join(part for part in (text_table(main), claims, *self.findings.notes, page) if part)


def run(
    question: Question,
    settings: Settings,
    out: str | Path,
    *,
    preset: str = "paper",
    jobs: int = 1,
    cluster: str | None = None,
    tell: Tell | None = None,
) -> Recorded:
    """Runs an experiment: trains what is missing, and writes tables, figures and page.

    Args:
        question: the experiment; settings: an instance of its settings class.
        out: folder; finished repetitions in it with the same settings are not trained again.
        preset: the preset that the settings are recorded as a difference from.
        jobs, cluster, tell: see `complete`.

    Raises:
        OptionError: the settings are those of another experiment, or the folder cannot be created.
        RunError, StorageError, DataError: see their messages.
    """
    if not isinstance(settings, question.settings):
        raise OptionError(f"Expected {question.settings.__name__} for {question.name}; received {settings!r}.")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(
            f"The folder {str(out)!r} cannot be created ({error.strerror}): choose another --out."
        ) from error
    frames, facts = question.recorded(settings), about(settings, preset)
    if frames is None:
        units = complete(question.trains, settings, folder, jobs=jobs, cluster=cluster, tell=tell)
        frames = question.gather(units)
        facts["hours"] = round(seconds(units) / 3600, 3)
        facts["threads"] = sorted({unit["threads"] for unit in units})
    findings = question.analyse(frames, settings)
    files = write(question, settings, preset, frames, findings, facts, folder)
    main = next(iter(findings.tables.values()))
    repetitions = int(next(iter(frames.values()))["repetition"].nunique())
    return Recorded(question.name, as_mapping(main), repetitions, tuple(map(str, files)), findings)


def about(settings: Settings, preset: str) -> dict[str, Any]:
    """The origin of a result: commit, seed, versions, hardware."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    return {
        "commit": commit(),
        "seed": settings.seed,
        "preset": preset,
        "python": platform.python_version(),
        **versions,
        "machine": machine,
        "processor": processor(),
    }


def commit() -> str:
    """The commit of the source tree, with "+" if its sources were changed since; "" outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # refuses the repository of another project around an installation
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(here.parent))
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def write(
    question: Question,
    settings: Settings,
    preset: str,
    frames: Frames,
    findings: Findings,
    facts: Mapping[str, Any],
    folder: Path,
) -> list[Path]:
    """Writes config, tables as CSV and Parquet, figures as PNG and SVG, facts, and the page; returns the paths."""
    from shrinknet.experiments.figures import encoded

    contents: dict[str, bytes] = {"config.toml": as_toml(settings, preset).encode()}
    for name, frame in {**frames, **findings.tables}.items():
        contents[f"{name}.csv"] = csv_bytes(frame)
        contents[f"{name}.parquet"] = _parquet(frame, facts)
    for name, figure in question.draw(frames, findings).items():
        contents |= {f"{name}.{kind}": data for kind, data in encoded(figure).items()}
    contents["about.json"] = (json.dumps(facts, indent=2) + "\n").encode()
    contents[f"{question.name}.md"] = question.page(settings, frames, findings).encode()
    paths = [folder / name for name in contents]
    for path in paths:
        write_file(path, contents[path.name])
    return paths


def _parquet(frame: pd.DataFrame, facts: Mapping[str, Any]) -> bytes:
    """The table as Parquet, with the facts in its metadata; without the duration, so that an interruption does not
    change the bytes.
    """
    import io

    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    lasting = {key: value for key, value in facts.items() if key != "hours"}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"shrinknet": json.dumps(lasting).encode()})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


def as_mapping(frame: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Row label -> column label -> number; the row labels are the first column."""
    label, *columns = frame.columns
    rows = frame.set_index(label)[columns].to_dict("index")
    mapping: dict[str, dict[str, float | None]] = finite({str(row): cells for row, cells in rows.items()})
    return mapping


def text_table(frame: pd.DataFrame, digits: int = 2) -> str:
    """The table for a terminal."""
    return frame.to_string(index=False, float_format=lambda number: f"{number:.{digits}f}", na_rep="-")


def markdown_table(frame: pd.DataFrame, digits: int = 2) -> str:
    """The table as Markdown; missing numbers are dashes."""

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "-" if pd.isna(value) else f"{value:.{digits}f}"
        return str(value).replace("|", "\\|")

    columns = [str(column).replace("|", "\\|") for column in frame.columns]
    rows = [[cell(value) for value in row] for row in frame.itertuples(index=False)]
    right = [pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    rule = ["---:" if numbers else "---" for numbers in right]
    return "\n".join("| " + " | ".join(line) + " |" for line in (columns, rule, *rows))


def markdown_claims(claims: Sequence[Claim], source: str = "the thesis") -> str:
    """The verdicts as a Markdown table; `source` is who says so."""
    rows = [{f"{source} says": claim.text, "here": f"**{claim.verdict}**", "evidence": claim.evidence}
            for claim in claims]  # fmt: skip
    return markdown_table(pd.DataFrame(rows))
