"""Does a filter that was removed come back, and what do the others do (thesis 2.4.1)?

The thesis names three ways to test a filter: disabled; disabled and frozen; disabled with all others frozen. In the
loop a disabled filter gets no gradient. In the first and third way it is therefore zeroed or reinitialized here, and
stays enabled and trainable, so that it can come back. Scores are measured at once, after training, and after training
with the filter switched off, which shows how well the others have learnt to do without it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from shrinknet.experiments import frame
from shrinknet.experiments.frame import Claim, Findings, Frames, Question, markdown_claims, markdown_table
from shrinknet.experiments.settings import EdgeSettings
from shrinknet.experiments.statistics import DIGITS, draws, estimate, mean
from shrinknet.experiments.units import Unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from shrinknet.experiments.bench import Bench
    from shrinknet.filters import Filter

RELEARNED = 0.9  # cosine similarity to the old self from which a filter counts as relearned; fixed beforehand
# the way in the thesis, and the start of the filter
PROBES = (
    ("disabled", "zeroed"),
    ("disabled", "reinitialized"),
    ("disabled and frozen", "switched off"),
    ("others frozen", "zeroed"),
    ("others frozen", "reinitialized"),
)
REFERENCE = ("untouched", "as it was")
MEASURES = {
    "at once": "score at once",
    "after": "score after training",
    "without": "score after training, without the filter",
    "similarity at once": "similarity to its old self at once",
    "similarity after": "similarity to its old self after training",
    "others moved": "change of the others",
}


@dataclass(frozen=True, kw_only=True)
class Probes(EdgeSettings):
    """EdgeSettings of the experiment `probes`."""

    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"repetitions": 2, "crop": 32, "train_crops": 16, "warmup_steps": 400, "steps": 60,
                  "bootstrap": 200},
        "laptop": {"repetitions": 6, "crop": 40, "warmup_steps": 4_000, "steps": 1_000},
        "paper": {},
    }  # fmt: skip


def repetition(settings: Probes, number: int) -> Unit:
    """The unit of work: one network, with every filter probed in every way."""
    from shrinknet.experiments.bench import bench

    network = bench(settings)
    network.begin(number)
    network.train(settings.warmup_steps, trial=0)
    trained, before = network.work.checkpoint(), network.vectors()
    network.work.reset()
    network.train(settings.steps, trial=1)
    uncut, untouched = network.work.checkpoint(), network.vectors()
    reference, rows = network.score(), []
    for filter in network.filters:
        uncut.restore()
        network.switches.disable(filter)
        rows.append(_row(filter, *REFERENCE, np.nan, reference, network.score(), before, before, untouched))
        for way, start in PROBES:
            trained.restore()
            rows.append(_probe(network, settings, filter, way, start, before))
    trained.restore()
    return {"rows": rows, "before": network.score(), "reference": reference}


def _probe(
    network: Bench, settings: Probes, filter: Filter, way: str, start: str, before: Mapping[Filter, np.ndarray]
) -> dict[str, Any]:
    """One filter, probed in one way."""
    switches = network.switches
    if way == "disabled and frozen":
        switches.disable(filter)
        switches.freeze(filter)
    elif start == "zeroed":
        switches.zero(filter)
    else:
        switches.reinitialize(filter, seed=network.seed + filter.index)
    if way == "others frozen":
        switches.freeze(*(other for other in before if other != filter))
    network.work.reset()
    begun, at_once = network.vectors(), network.score()
    network.train(settings.steps, trial=1)
    after, vectors = network.score(), network.vectors()
    switches.disable(filter)
    return _row(filter, way, start, at_once, after, network.score(), before, begun, vectors)


def _row(
    filter: Filter, way: str, start: str, at_once: float, after: float, without: float,
    before: Mapping[Filter, np.ndarray], begun: Mapping[Filter, np.ndarray], trained: Mapping[Filter, np.ndarray],
) -> dict[str, Any]:  # fmt: skip
    from shrinknet.experiments.bench import cosines

    others = [other for other in before if other != filter]
    moved = [np.linalg.norm(trained[other] - before[other]) / np.linalg.norm(before[other]) for other in others]
    old = before[filter]
    return {
        "filter": str(filter),
        "way": way,
        "start": start,
        "at once": at_once,
        "after": after,
        "without": without,
        "similarity at once": float(cosines(old, [begun[filter]])[0]),
        "similarity after": float(cosines(old, [trained[filter]])[0]),
        "size after": float(np.linalg.norm(trained[filter]) / np.linalg.norm(old)),
        "nearest other": float(cosines(old, [before[o] for o in others if o.layer == filter.layer]).max(initial=-1.0)),
        "others moved": float(np.mean(moved)),
    }


def gather(units: Sequence[Unit]) -> Frames:
    """probes: one row for each repetition, filter and way, with plain scores; the docs describe the columns."""
    rows = [
        {"repetition": unit["repetition"], **row, "before": unit["before"], "reference": unit["reference"]}
        for unit in units
        for row in unit["rows"]
    ]
    frame = pd.DataFrame(rows)
    numbers = frame.columns.difference(["repetition", "filter", "way", "start"])
    return {"probes": frame.astype(dict.fromkeys(numbers, float)).round(DIGITS)}


def measured(probes: pd.DataFrame) -> pd.DataFrame:
    """The probes with scores as shares: at once, of the score before; after training, of the uncut network's."""
    shares = {"at once": "before", "after": "reference", "without": "reference"}
    live = probes["start"] != "switched off"  # a filter that is switched off and frozen cannot relearn
    return probes.assign(
        **{name: (probes[name] / probes[base]).replace([np.inf, -np.inf], np.nan) for name, base in shares.items()},
        **{name: probes[name].where(live) for name in ("similarity at once", "similarity after")},
    )


def analyse(frames: Frames, settings: Probes) -> Findings:
    """Means for each way and start, with intervals over repetitions, and the verdicts on the thesis's claim."""
    probes = measured(frames["probes"])
    rows, intervals = [], []
    for way, start in (*PROBES, REFERENCE):
        chosen = probes[(probes["way"] == way) & (probes["start"] == start)]
        weights = draws(chosen["repetition"].to_numpy(), settings.bootstrap, settings.seed)
        row: dict[str, Any] = {"probe": f"{way}: {start}"}
        for column, label in MEASURES.items():
            found = estimate(mean(chosen[column].to_numpy(float), weights))
            row[label] = found.value
            intervals.append({"way": way, "start": start, "measure": label, **found._asdict()})
        rows.append({**row, "relearned": estimate(mean(_relearned(chosen), weights)).value, "probes": len(chosen)})
    tables = {"table": pd.DataFrame(rows), "intervals": pd.DataFrame(intervals)}
    return Findings(tables, _claims(probes, settings), _notes(frames["probes"], probes))


def _relearned(probes: pd.DataFrame) -> np.ndarray:
    """1 if the filter came back, 0 if not, NaN if it could not."""
    similarity = probes["similarity after"]
    back: np.ndarray = (similarity >= RELEARNED).where(similarity.notna()).to_numpy(float)
    return back


def _claims(probes: pd.DataFrame, settings: Probes) -> tuple[Claim, ...]:
    claims = []
    for way, start in (probe for probe in PROBES if probe[0] != "disabled and frozen"):
        chosen = probes[(probes["way"] == way) & (probes["start"] == start)]
        weights = draws(chosen["repetition"].to_numpy(), settings.bootstrap, settings.seed)
        back = estimate(mean(_relearned(chosen), weights))
        similarity = estimate(mean(chosen["similarity after"].to_numpy(float), weights))
        claims.append(
            Claim(
                f"the filter relearned its past values ({way}, {start})",
                "holds" if back.low > 0.5 else "fails" if back.high < 0.5 else "undecided",
                f"a similarity of {RELEARNED} or more in a share of {back}; mean similarity {similarity}; more than "
                "half counts as holding",
            )
        )
    return tuple(claims)


def _notes(raw: pd.DataFrame, probes: pd.DataFrame) -> tuple[str, ...]:
    scores = raw.groupby("repetition")[["before", "reference"]].first().mean()
    nearest = probes.groupby(["repetition", "filter"])["nearest other"].first().mean()
    return (
        f"Soft F1 of the uncut networks on validation photographs: {scores.iloc[0]:.3f} before, "
        f"{scores.iloc[1]:.3f} after the second phase, mean of {raw['repetition'].nunique()}.",
        f"For comparison, the similarity of a filter to the nearest other of its layer is {nearest:.2f} on average.",
    )


def draw(frames: Frames, findings: Findings) -> dict[str, Figure]:
    """What the filter relearns, and the scores of the network."""
    from shrinknet.experiments.figures.probes import scores, similarities

    probes = measured(frames["probes"])
    return {"similarity": similarities(probes, (*PROBES, REFERENCE)), "scores": scores(probes, PROBES)}


def page(settings: Probes, frames: Frames, findings: Findings) -> str:
    """The three ways next to each other."""
    probes = frames["probes"]
    return f"""# Three ways to test the worth of a filter

{probes["repetition"].nunique()} repetitions, every filter in every way; {settings.warmup_steps:,} steps, then
{settings.steps:,} after the probe; crops of {settings.crop} pixels, {settings.edges} edges.
{" ".join(findings.notes)}

- *disabled*: the filter is set to zero or drawn anew, and everything is trained on, the filter too;
- *disabled and frozen*: the filter is switched off, as in the loop; the others are trained on;
- *others frozen*: as the first, but nothing except the filter is trained;
- *untouched*: nothing is done to any filter; its row shows by how much training on changes them by itself.

Scores at once are shares of the score before, scores after training shares of the uncut network's after as many
steps. *Similarity* is the cosine between the filter and its old self, *change of the others* the distance that they
moved, as a share of their length. A filter counts as *relearned* at a similarity of {RELEARNED} or more.

## Verdict

{markdown_claims(findings.claims)}

The thesis reports that in general the disabled filter relearned its past values, without numbers.

## Ours

{markdown_table(findings.tables["table"])}

![Similarity of each filter to its old self](similarity.png)

![Scores](scores.png)

A filter that is exactly zero puts out zero, where ReLU has no gradient: it stays zero. Its similarity is 0 by
convention. Intervals are in `intervals.csv`, all probes in `probes.csv`.
"""


QUESTION = Question("probes", Probes, "probes", gather, analyse, draw, page)
run = functools.partial(frame.run, QUESTION)
