"""The overview of a run: the headline, the main numbers, and the before/after table."""

from __future__ import annotations

from shrinknet.report.facts import RunFacts
from shrinknet.report.markup import NONE, Html, brief, change, fill, number, plural, score, share, table
from shrinknet.report.trials import warmup_chart

_ARROW = "\u00a0\u2192\u00a0"  # with non-breaking spaces
_ROWS = {  # the rows of Summary, as labelled on the page
    "multiply adds": "multiply-adds per sample",
    "bytes": "weights, bytes",
    "latency ms": "latency per sample, ms",
    "score": "{score}, test data",
    "validation score": "{score}, validation data",
}


def headline(facts: RunFacts) -> str:
    """The result in one sentence."""
    if facts.summary is None:
        kept = sum(trial.accepted for trial in facts.trials)
        return f"In progress: {kept} of {plural(len(facts.trials), 'cut')} tried so far kept"
    summary = facts.summary
    removed = summary.before.filters - summary.after.filters
    text = f"{number(removed)} of {plural(summary.before.filters, 'filter')} removed"
    before, after, data = _scores(facts)
    if before is not None or after is not None:
        text += f"; {facts.score} on {data} data {score(before)}{_ARROW}{score(after)}"
    if summary.control_score is not None:
        text += f" (control\u00a0{score(summary.control_score)})"
    return text


def lead(facts: RunFacts) -> Html:
    """How the run went and why it ended, and the main numbers in large type."""
    if facts.summary is None:
        text = facts.stopped or "The run has not ended: there is no result yet."
        return fill('<p class="lead">{text}</p>', text=text)
    counts = f"{plural(facts.summary.accepted, 'cut')} kept, {facts.summary.rejected} rolled back."
    items = [
        fill("<div><dt>{name}</dt><dd><b>{value}</b> {detail}</dd></div>", name=name, value=value, detail=detail)
        for value, name, detail in _figures(facts)
    ]
    return fill(
        '<p class="lead">{counts} {stopped}</p><dl class="figures">{items}</dl>',
        counts=counts,
        stopped=facts.stopped,
        items=items,
    )


def summary_section(facts: RunFacts) -> Html:
    """The before/after table, next to the chart of the warm-up."""
    warmup = warmup_chart(facts)
    if facts.summary is None:
        return fill(
            '<p>The table appears here when the run has ended.</p><div class="charts">{warmup}</div>', warmup=warmup
        )
    rows = []
    for row in facts.summary.rows():
        if row[""] == "control score":
            continue  # it has no "after": see _against_control
        shown = score if "score" in row[""] else number
        ratio = row["after/before"]
        name = _ROWS.get(row[""], row[""]).replace("{score}", facts.score)
        rows.append((name, shown(row["before"]), shown(row["after"]), ratio.replace("%", "\u202f%") if ratio else NONE))
    rows += _against_control(facts)
    told = filter(None, (_explained(facts), facts.summary.latency_told(), *facts.summary.notes))
    notes = [fill('<p class="note">{note}</p>', note=note) for note in told]
    return fill(
        '<div class="beside"><div>{table}{notes}</div>{warmup}</div>',
        table=table(("", "before", "after", "after / before"), rows, caption="Before and after"),
        notes=notes,
        warmup=warmup,
    )


def _scores(facts: RunFacts) -> tuple[float | None, float | None, str]:
    """Score before and after on test data, or on validation data if there are no test data; and which of the two."""
    if facts.summary is None:
        return None, None, ""
    before, after = facts.summary.before, facts.summary.after
    if before.score is None and after.score is None:
        return before.validation_score, after.validation_score, "validation"
    return before.score, after.score, "test"


def _figures(facts: RunFacts) -> list[tuple[str, str, str]]:
    """(number, name, detail), at most four."""
    if facts.summary is None:
        return []
    figures = []
    for name, field, unit in (("parameters", "parameters", ""), ("multiply-adds", "multiply_adds", ""),
                              ("latency", "latency_ms", "\u00a0ms")):  # fmt: skip
        before, after = (getattr(side, field) for side in (facts.summary.before, facts.summary.after))
        if field == "latency_ms" and facts.summary.latency_is_noise:
            continue
        if before is not None and after is not None:
            figures.append((change(before, after), name, f"{brief(before)}{_ARROW}{brief(after)}{unit}"))
    first, last, data = _scores(facts)
    control = facts.summary.control_score
    base = first if control is None else control
    if base is not None and last is not None:
        detail = f"{data} data: {score(last)}, {'before' if control is None else 'control'}\u00a0{score(base)}"
        if facts.higher_is_better and base:
            figures.append((share(last / base), f"of the {facts.score} kept", detail))
        else:
            figures.append((change(base, last), f"{facts.score}, lower is better", detail))
    return figures


def _against_control(facts: RunFacts) -> list[tuple[str, str, str, str]]:
    """The slim network compared with the uncut one that was trained for as long."""
    _, last, data = _scores(facts)
    if facts.summary is None or facts.summary.control_score is None:
        return []
    control = facts.summary.control_score
    ratio = share(last / control) if last is not None and control else NONE
    return [(f"{facts.score}, {data} data, against the control", score(control), score(last), ratio)]


def _explained(facts: RunFacts) -> str:
    text = "Before: the uncut network after its warm-up. After: the slim network."
    if facts.summary is None or facts.summary.control_score is None:
        return text
    steps = f", {number(facts.summary.steps)} in total" if facts.summary.steps else ""
    return (
        f"{text} Control, in the column before: the uncut network trained for as many steps as the slim one{steps}; "
        "further training raises a score by itself."
    )
