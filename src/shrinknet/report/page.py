"""write_page: a run as one self-contained HTML file: no scripts, and no fonts or pictures from elsewhere."""

from __future__ import annotations

import importlib.resources
import os
import pathlib
from collections.abc import Callable

from shrinknet.errors import RunError
from shrinknet.report.facts import RunFacts, read_facts
from shrinknet.report.maps import maps_section
from shrinknet.report.markup import Html, fill, pairs
from shrinknet.report.masks import masks_section
from shrinknet.report.network import HATCH, network_section
from shrinknet.report.overview import headline, lead, summary_section
from shrinknet.report.samples import samples_section
from shrinknet.report.trials import charts_section, trials_table
from shrinknet.runs.store import RunStore, write_file

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="shrinknet">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{hatch}
<header>
<p class="over">shrinknet <span>\u00b7</span> {task} <span>\u00b7</span> run {name}</p>
<h1>{headline}</h1>
{lead}
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{sections}
</main>
<footer><p>Written by shrinknet. This page is self-contained and works offline.</p></footer>
</body>
</html>
"""


def write_page(run: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Writes the page of a run: one self-contained HTML file.

    Args:
        run: the run folder; the run may still be in progress.
        path: where to write the page; None: `page.html` in the run folder.

    Returns:
        The path of the page.

    Raises:
        RunError: `run` is not a run folder, its run.json or journal is damaged, or the page cannot be written.

    Example:
        >>> write_page("out/run")  # doctest: +SKIP
        PosixPath('out/run/page.html')
    """
    if not isinstance(run, str | os.PathLike):
        raise RunError(
            f"Expected the path of a run folder, as in minimize(..., run_dir=path); received {type(run).__name__}."
        )
    store = RunStore(run)
    target = store.path / "page.html" if path is None else pathlib.Path(path)
    # File names may contain bytes that are not text; as character references they cannot break the page.
    write_file(target, page(read_facts(store)).encode("utf-8", "xmlcharrefreplace"))
    return target


def page(facts: RunFacts) -> Html:
    """The whole page; empty sections are left out."""
    sections = [(name, title, content) for name, title, draw in _SECTIONS if (content := draw(facts))]
    return fill(
        _PAGE,
        title=f"{headline(facts)} - {facts.task}, run {facts.name}",
        style=Html((importlib.resources.files(__package__) / "page.css").read_text("utf-8")),
        hatch=HATCH,
        task=facts.task,
        name=facts.name,
        headline=headline(facts),
        lead=lead(facts),
        links=[fill('<li><a href="#{name}">{title}</a></li>', name=name, title=title) for name, title, _ in sections],
        sections=[
            fill('<section id="{name}"><h2>{title}</h2>{content}</section>', name=name, title=title, content=content)
            for name, title, content in sections
        ],
    )


def _setup(facts: RunFacts) -> Html:
    """Configuration and environment."""
    parts = []
    for title, record in (("Configuration", facts.config), ("Environment", facts.environment)):
        items = [
            fill("<div><dt>{name}</dt><dd>{value}</dd></div>", name=name, value=value) for name, value in pairs(record)
        ]
        known = fill('<dl class="facts">{items}</dl>', items=items) if items else fill("<p>Not recorded.</p>")
        parts.append(fill("<div><h3>{title}</h3>{known}</div>", title=title, known=known))
    stopped = fill("<p><b>Why it ended:</b> {stopped}</p>", stopped=facts.stopped or "it has not ended yet.")
    return fill('{stopped}<div class="columns">{parts}</div>', stopped=stopped, parts=parts)


_SECTIONS: tuple[tuple[str, str, Callable[[RunFacts], Html]], ...] = (
    ("summary", "Before and after", summary_section),
    ("charts", "Trial by trial", charts_section),
    ("network", "The network", network_section),
    ("masks", "The masks", masks_section),
    ("maps", "Feature maps", maps_section),
    ("samples", "On test images", samples_section),
    ("trials", "All trials", trials_table),
    ("setup", "Set-up", _setup),
)
