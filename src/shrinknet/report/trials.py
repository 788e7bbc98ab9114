"""The trials of a run: charts of score and cost, and the table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from shrinknet.criterion import Criterion
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.report.charts import Axis, Chart, axis_over, figure, key
from shrinknet.report.facts import RunFacts
from shrinknet.report.markup import Html, fill, number, score, share, table, upper

MAX_ROWS = 1000  # of the trials table; the journal has all
MAX_NAMES = 6  # filters named in one cell
_COSTS = (("filters left", "filters_left"), ("parameters", "parameters"), ("multiply-adds per sample", "multiply_adds"))
_MEANING = {
    "start": "after warm-up",
    "accepted": "accepted",
    "rejected": "rejected, rolled back",
    "split": "rejected, tried again in parts",
    "end": "after the final training",
}


def charts_section(facts: RunFacts) -> Html:
    """Score over the trials, costs over the trials, and score against costs."""
    if not facts.trials:
        return fill("<p>No trial has been decided yet.</p>")
    small = [
        *(_cost_over_trials(facts, name, cost) for name, cost in _COSTS),
        *(_score_against_cost(facts, name, cost) for name, cost in _COSTS),
    ]
    return fill(
        '{legend}{hero}<div class="charts">{small}</div>', legend=_legend(facts), hero=_hero(facts), small=small
    )


def trials_table(facts: RunFacts) -> Html:
    """One row per trial."""
    if not facts.trials:
        return fill("<p>No trial has been decided yet.</p>")
    rows = [
        (
            trial.number,
            fill('<span class="verdict {kind}">{text}</span>', kind=verdict(trial), text=verdict(trial)),
            names(trial.filters),
            score(trial.score),
            score(trial.reference),
            share(trial.ratio),
            number(trial.filters_left),
            number(trial.parameters),
            number(trial.multiply_adds),
            score(trial.untrained),
            number(trial.steps),
            f"{trial.seconds:.1f}",
        )
        for trial in facts.trials[:MAX_ROWS]
    ]
    heads = (
        "trial",
        "verdict",
        "filters",
        facts.score,
        "reference",
        "kept",
        "filters left",
        "parameters",
        "multiply-adds",
        "before training",
        "steps",
        "seconds",
    )
    cut = len(facts.trials) > MAX_ROWS
    note = f"The first {MAX_ROWS:,} of {len(facts.trials):,} trials; the journal of the run has all."
    return Html(table(heads, rows, words=3, caption="All trials") + (fill('<p class="note">{n}</p>', n=note) * cut))


def verdict(trial: Trial) -> str:
    """The kind of mark for the trial: accepted, rejected or split."""
    return "accepted" if trial.accepted else "split" if trial.split else "rejected"


def names(filters: Sequence[Filter]) -> str:
    """The filters by name; if there are many, the first ones and how many more."""
    shown = ", ".join(map(str, filters[:MAX_NAMES]))
    more = len(filters) - MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def needed(facts: RunFacts, trial: Trial) -> float | None:
    """The score at which the trial would just have been accepted; None if unknown."""
    if not facts.threshold or not math.isfinite(trial.reference):
        return None
    return Criterion(facts.threshold, facts.higher_is_better).needed(trial.reference)


def _legend(facts: RunFacts) -> Html:
    seen = {"start", *map(verdict, facts.trials)} | ({"end"} if _was_trained_on(facts) else set())
    entries = [(kind, meaning) for kind, meaning in _MEANING.items() if kind in seen]
    if any(needed(facts, trial) is not None for trial in facts.trials):
        entries.append(("needed", "needed to be accepted"))
    return key(entries)


def _was_trained_on(facts: RunFacts) -> bool:
    """Whether the network that is left was trained after the last trial."""
    kept = [trial.score for trial in facts.trials if trial.accepted]
    score = facts.summary.after.validation_score if facts.summary else None
    return bool(kept) and score is not None and score != kept[-1]


def _told(trial: Trial) -> str:
    """The tooltip of a mark."""
    return f"Trial {trial.number}: {names(trial.filters)}; score {score(trial.score)}, {_MEANING[verdict(trial)]}"


def _score_axis(facts: RunFacts) -> Axis:
    last = facts.summary.after.validation_score if facts.summary else None
    values = [facts.baseline, last, *(trial.score for trial in facts.trials), *(needed(facts, t) for t in facts.trials)]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return axis_over(facts.score, known or [0.0, 1.0])


def _hero(facts: RunFacts) -> Html:
    """The score of each trial, the score it needed, and a line through the accepted ones."""
    better = "higher" if facts.higher_is_better else "lower"
    note = f"{upper(facts.score)} on validation data after the training of each trial; {better} is better."
    if facts.threshold is not None:
        note += f" To be accepted, a trial had to keep {share(facts.threshold)} of the reference: the dashed line."
    accepted = sum(trial.accepted for trial in facts.trials)
    title = f"{upper(facts.score)} of {len(facts.trials)} trials, {accepted} of them accepted"
    sizes = (("wide", 980, 330), ("middle", 680, 300), ("narrow", 340, 280))
    return figure("Score after each trial", note, *(_scores(facts, title, *size).svg(kind) for kind, *size in sizes))


def _scores(facts: RunFacts, title: str, width: int, height: int) -> Chart:
    last = facts.trials[-1].number
    chart = Chart(title, Axis("trial", -0.5, last + 0.5, whole=True), _score_axis(facts), width, height)
    worst = chart.y.low if facts.higher_is_better else chart.y.high
    limits = [(trial.number, limit) for trial in facts.trials if (limit := needed(facts, trial)) is not None]
    if limits:
        steps = [(place + side, limit) for place, limit in limits for side in (-0.5, 0.5)]
        chart.area([(steps[0][0], worst), *steps, (steps[-1][0], worst)], "rejecting")
        chart.line(steps, "needed")
    _marks(chart, facts, [(trial.number, trial) for trial in facts.trials], (0, facts.baseline))
    return chart


def _marks(
    chart: Chart, facts: RunFacts, places: Sequence[tuple[float, Trial]], start: tuple[float | None, float | None]
) -> None:
    """A mark for each trial at its score, over a line through the start and the accepted ones."""
    size = max(2.5, min(5.0, chart.width / max(len(places), 1) / 3))
    kept = [(place, trial.score) for place, trial in places if trial.accepted]
    begin = [] if start[0] is None or start[1] is None else [(start[0], start[1])]
    if begin + kept:
        chart.line(begin + kept, "kept")
    for place, trial in places:
        finite = math.isfinite(trial.score)
        edge = (
            chart.y.low if facts.higher_is_better else chart.y.high
        )  # no score: at the bad edge, with an explanation in the tooltip
        chart.mark(place, trial.score if finite else edge, verdict(trial), _told(trial), size)
    for place, value in begin:
        chart.mark(place, value, "start", f"After warm-up: score {score(value)}", max(size, 4.0))


def _before(facts: RunFacts, cost: str) -> int | None:
    """The uncut network's cost."""
    if facts.summary:
        name = "filters" if cost == "filters_left" else cost
        return int(getattr(facts.summary.before, name))
    if cost == "filters_left":
        first = facts.trials[0]
        return first.filters_left + len(first.filters) * first.accepted
    return getattr(facts.cost_before, cost, None)


def _cost_over_trials(facts: RunFacts, name: str, cost: str) -> Html:
    before = _before(facts, cost)
    left = [(trial.number, int(getattr(trial, cost))) for trial in facts.trials]
    points = [(0, before), *left] if before is not None else left
    y = axis_over(name, [value for _, value in points], zero=True, whole=True)
    title = f"{upper(name)} over the trials"
    ends = f", from {number(points[0][1])} to {number(points[-1][1])}"
    chart = Chart(title + ends, Axis("trial", -0.5, points[-1][0] + 0.5, whole=True), y)
    steps = [points[0]]
    for place, value in points[1:]:
        steps += [(place, steps[-1][1]), (place, value)]
    chart.area([(steps[0][0], 0), *steps, (steps[-1][0], 0)], "left")
    chart.line(steps, "kept")
    size = max(2.0, min(4.5, chart.width / len(points) / 3))
    for trial, (place, value) in zip(facts.trials, left, strict=True):
        chart.mark(place, value, verdict(trial), f"{_told(trial)}; {number(value)} {name}", size)
    if before is not None:
        chart.mark(0, before, "start", f"Before the first trial: {number(before)} {name}", max(size, 3.5))
    return figure(title, "", chart.svg())


def _score_against_cost(facts: RunFacts, name: str, cost: str) -> Html:
    before = _before(facts, cost)
    places = [(float(getattr(trial, cost)), trial) for trial in facts.trials]
    values = [place for place, _ in places] + ([] if before is None else [float(before)])
    title = f"{upper(facts.score)} against {name}"
    chart = Chart(title, axis_over(name, values, whole=True), _score_axis(facts))
    _marks(chart, facts, places, (before, facts.baseline))
    kept = [place for place, trial in places if trial.accepted]
    if facts.summary and _was_trained_on(facts):
        value = facts.summary.after.validation_score or 0.0
        chart.mark(kept[-1], value, "end", f"After the final training: score {score(value)}", 5.0)
    return figure(title, "", chart.svg())


def warmup_chart(facts: RunFacts) -> Html:
    """The score while the uncut network was trained; empty if it was not recorded."""
    if len(facts.warmup) < 2:
        return Html("")
    steps, scores = [step for step, _ in facts.warmup], [value for _, value in facts.warmup]
    title = f"{upper(facts.score)} during warm-up"
    chart = Chart(title, axis_over("training steps", steps, zero=True), axis_over(facts.score, scores))
    chart.line(facts.warmup, "kept")
    for step, value in facts.warmup[-1:]:
        chart.mark(step, value, "start", f"After {number(step)} steps: score {score(value)}", 4.0)
    return figure(title, "", chart.svg())
