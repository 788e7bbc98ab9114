"""The page docs/zoo-foreign.md: a summary, a table, and every layer whose filters cannot be cut, grouped by reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from halving import OUTPUT, Row, percent

HEAD = """# Networks of kimm and keras-hub, cut in half

The smallest network of each family of kimm, and small configurations of keras-hub's networks that see images, with
random weights and inputs of 32 to 96 pixels (VGG of kimm: 224). Every variable is redrawn with values of order 1, and
the statistics of batch normalisations are set to those of the inputs. `switched` copies the network; half of the
cuttable filters **of each layer** are disabled at random; `slim` cuts them out. Made on {machine}.

- *filters*: those of all convolutions, also inside of layers that cannot be followed (depthwise ones have none of their
  own); *cuttable*: how many of them can be cut, in percent; *inside*: the same without those that reach an output of
  the network, which no cut may change. Backbones made of convolutions are measured as they are used, with pooling and
  a Dense layer behind each map that they return (BASNet's maps are its answer and have none);
- *copy*: the largest difference between the outputs of `switched(model)` and those of the model, as a share of their
  scale; *slim*: the same between the slim and the switched network; `prove` allows 1e-5, or 8 times what moving the
  inputs by one unit in their last place does;
- *seconds*: for building, copying, cutting and comparing.

Written by `python tools/zoo.py --foreign --write docs/zoo-foreign.md`.

"""
COLUMNS = """
| package | network | attention | filters | cuttable | inside | copy | slim | seconds |
|---|---|---|--:|--:|--:|--:|--:|--:|
"""
ENOUGH = 0.9  # of the filters, in as many of the networks without attention
MEANS = {  # part of a reason -> what stands behind it
    OUTPUT: "What the network returns must keep its shape.",
    "which has no rule": "The layer computes with its tensors and weights directly, and was not found to treat each "
    "channel by itself, or to take nothing but statistics over them. If that is what it does, a rule for its class, "
    "registered with `shrinknet.graph.rule`, makes its channels cuttable.",
    "with those of another tensor": "A product of two tensors, such as an attention that is written out.",
    "cannot be followed with symbolic tensors": "Its `call` computes with the batch size, or another size that is "
    "unknown until there is data.",
    "in training is not what": "Its `call` takes another way in training than the one that symbolic tensors show.",
    "weights that belong to none of its layers": "It computes with weights of its own, which a model made of its "
    "layers would not have.",
    "could not be compared": "What Keras records of its `call` cannot be computed, mostly because it reshapes to a "
    "batch size and another size that are both unknown.",
    "mixes its channels": "Attention multiplies channels with each other, so that none can go alone.",
    "feeds its channels back": "A recurrent layer reads its own channels.",
    "spreads one channel over many": "A single channel meets many, and cannot go with any of them.",
}


def page_of(rows: Sequence[Row], machine: str, left_out: Sequence[str]) -> str:
    """The page for these rows; `left_out` names the classes that were not tried."""
    parts = [HEAD.format(machine=machine), "## Summary\n\n", *summary(rows), COLUMNS, *map(line, rows)]
    parts += ["\n## What cannot be cut, and why\n\n", *reasons(rows)]
    if left_out:
        parts += [
            "\n## Not tried\n\nClasses of `keras_hub.models` of these kinds that are not in the table, most of "
            "them because they see text or sound: ",
            ", ".join(left_out),
            ".\n",
        ]
    return "".join(parts)


def summary(rows: Sequence[Row]) -> list[str]:
    """The counts that a reader looks for, one line each."""
    failed = [row for row in rows if "failed" in row]
    done = [row for row in rows if "error" in row]
    plain = [row for row in done if not row["attention"] and row["filters"]]
    within = [row for row in plain if row["cuttable"] >= ENOUGH * row["filters"]]
    inside = [row for row in plain if row["cuttable"] >= ENOUGH * (row["filters"] - row["output"])]
    exact = sum(row["copy"] == 0 for row in done)
    flat = [row["builder"] for row in done if row["answer"] < 100 * row["error"]]
    lines = [
        f"{len(rows)} networks; {len(done)} were copied, cut and compared, {len(failed)} were not",
        f"the copy: {exact} of {len(done)} exactly the model; the largest difference {worst(done, 'copy')}",
        f"the slim network: the largest difference {worst(done, 'error')}",
        f"at least {ENOUGH:.0%} of the filters can be cut in {len(within)} of {len(plain)} networks without attention; "
        f"in {len(inside)} without counting filters that reach an output",
    ]
    short = [row["builder"] for row in plain if row not in inside]
    lines += [f"fewer can be cut, for the reasons below, in {', '.join(short)}"] if short else []
    lines += [f"the comparison says little, because the outputs hardly vary, for {', '.join(flat)}"] if flat else []
    return [f"- {one};\n" for one in lines[:-1]] + [f"- {lines[-1]}.\n"]


def worst(rows: Sequence[Row], key: str) -> str:
    """The largest number under a key, and whose it is."""
    if not rows:
        return "-"
    row = max(rows, key=lambda one: one[key])
    return f"{row[key]:.0e} ({row['builder']})"


def line(row: Row) -> str:
    """One row as a line of the table; one that failed with its message."""
    start = f"| {row['package']} | {row['builder']} | {'yes' if row['attention'] else ''} "
    if "failed" in row:
        message = row["failed"].replace("|", "\\|").replace("\x1b[1m", "").replace("\x1b[0m", "")
        return f"{start}| | | | | | {row['seconds']:.0f} |\n| | *{message}* | | | | | | | |\n"
    every, cuttable = row["filters"], row["cuttable"]
    return (
        f"{start}| {every:,} | {percent(cuttable, every)} | {percent(cuttable, every - row['output'])} "
        f"| {row['copy']:.0e} | {row['error']:.0e} | {row['seconds']:.0f} |\n"
    )


def reasons(rows: Iterable[Row]) -> list[str]:
    """Every layer whose filters cannot be cut, under its reason."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for path, why in row.get("never", {}).items():
            found.setdefault(kind(why), {}).setdefault(row["builder"], []).append(path)
    lines = []
    for why, networks in sorted(found.items(), key=lambda item: -sum(map(len, item[1].values()))):
        meaning = " ".join(dict.fromkeys(text for part, text in MEANS.items() if part in why))
        count = sum(map(len, networks.values()))
        lines.append(f"**{why}** ({count} layer{'s' * (count > 1)}). {meaning}\n\n".replace(" \n", "\n"))
        lines += [f"- {name}: {', '.join(f'`{path}`' for path in paths)}\n" for name, paths in networks.items()]
        lines.append("\n")
    return lines


def kind(why: str) -> str:
    """A reason without the names of layers in it, which are dots: "the product ... mixes its channels"."""
    parts = (re.sub(r"^filters [\d, -]+: ", "", part) for part in why.split("; "))
    return "; ".join(dict.fromkeys(map(_without_names, parts)))


def _without_names(reason: str) -> str:
    reason = reason.replace("\x1b[1m", "").replace("\x1b[0m", "")
    reason = re.sub(r"the layer \S+ \((\w+)\)", r"a layer of the class \1", reason)
    reason = re.sub(r"\b[a-z0-9]+[_/][\w/]*(?:, [a-z0-9]+[_/][\w/]*)*", "...", reason)
    return re.sub(r"\.\.\.(?:, \.\.\.)+", "...", reason)
