"""What happened: Trial, Cost and Summary as plain data, to and from JSON and pandas."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shrinknet.filters import Filter

if TYPE_CHECKING:
    import pandas


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as plain text in aligned columns: text left-aligned, numbers right-aligned."""
    rows = [{key: _cell(value) for key, value in row.items()} for row in rows]
    if not rows:
        return "(empty)"
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    left = {key for key in widths if not any(_numeric(row[key]) for row in rows)}

    def line(cells: Mapping[str, str]) -> str:
        return "  ".join(
            cells[key].ljust(width) if key in left else cells[key].rjust(width) for key, width in widths.items()
        ).rstrip()

    return "\n".join([line({key: key for key in widths}), *(line(row) for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _numeric(text: str) -> bool:
    return text[:1].isdigit() or (text[:1] == "-" and text[1:2].isdigit())


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempted cut and its result.

    Attributes:
        number: 1, 2, 3 ...; rejected trials are counted too.
        filters: the filters that were disabled and frozen together; if the candidates were layers, one filter for each
            layer that was bypassed.
        score: validation score after training without them; NaN if it could not be computed.
        reference: the score it was compared with.
        ratio: share of the reference that was kept, 1.0 = all of it, higher is better whatever the score's
            direction; NaN rejects.
        accepted: True: the cut was kept; False: everything was rolled back bit for bit.
        split: True for a rejected batch that is tried again in halves: its filters are not decided yet.
        filters_left, parameters, multiply_adds: of the network after the decision.
        seconds: wall-clock duration of the trial.
        steps: training steps that it took.
        untrained: validation score after the cut and its repair, before training; NaN if it was not measured.
        latency_ms: of the network after the decision, where a target is about it; else NaN.
        guards: by name, the other scores that had to be kept.
    """

    number: int
    filters: tuple[Filter, ...]
    score: float
    reference: float
    ratio: float
    accepted: bool
    split: bool = False
    filters_left: int = 0
    parameters: int = 0
    multiply_adds: int = 0
    seconds: float = 0.0
    steps: int = 0
    untrained: float = math.nan
    latency_ms: float = math.nan
    guards: Mapping[str, float] = field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; a score that is not finite becomes None."""
        record = dataclasses.asdict(self)
        record["filters"] = [str(filter) for filter in self.filters]
        return finite(record)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Trial:
        """The inverse of `to_dict`."""
        record = {key: math.nan if value is None else value for key, value in record.items()}
        guards = {name: math.nan if value is None else float(value) for name, value in record.get("guards", {}).items()}
        return cls(**{**record, "filters": tuple(map(Filter.parse, record["filters"])), "guards": guards})


def finite(value: Any) -> Any:
    """`value` with every float that is not finite replaced by None, for JSON."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def trials_frame(trials: Iterable[Trial]) -> pandas.DataFrame:
    """A pandas.DataFrame with one row per trial; the column `filters` is text such as `conv2[7] conv2[9]`.

    Each guard has a column of its own, such as `guard auc`.
    """
    import pandas

    trials = list(trials)
    guards = {f"guard {name}": name for trial in trials for name in trial.guards}
    names = [field.name for field in dataclasses.fields(Trial) if field.name != "guards"]
    rows = [
        {
            **{name: getattr(trial, name) for name in names},
            "filters": " ".join(map(str, trial.filters)),
            **{column: trial.guards.get(name, math.nan) for column, name in guards.items()},
        }
        for trial in trials
    ]
    return pandas.DataFrame(rows, columns=[*names, *guards])


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer's share of a network's cost.

    Attributes:
        layer: path of the layer; kind: its class; shape: its output without the batch axis, None if unknown.
        filters: output channels or units; None for layers that produce none.
        parameters, multiply_adds: numbers for one sample; bytes: of its variables.
    """

    layer: str
    kind: str
    shape: tuple[int | None, ...]
    filters: int | None
    parameters: int
    multiply_adds: int
    bytes: int


@dataclass(frozen=True)
class Cost:
    """What a network costs; prints as a table, layer by layer.

    Attributes:
        layers: one row each, in network order.
        peak_activation_bytes: the peak size of the tensors that one sample keeps in memory, in execution order, without
            weights; None if sizes are undefined.
        notes: sentences about layers whose multiply-adds are not counted.
    """

    layers: tuple[LayerCost, ...]
    peak_activation_bytes: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of weights, trainable or not; switches are not counted."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-add pairs for one sample; floating-point operations are twice this number."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Bytes of the weights in memory."""
        return sum(layer.bytes for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the totals and a list of layers."""
        return {
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "bytes": self.bytes,
            "peak_activation_bytes": self.peak_activation_bytes,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Cost:
        """The inverse of `to_dict`."""
        layers = tuple(LayerCost(**{**layer, "shape": tuple(layer["shape"])}) for layer in record["layers"])
        return cls(layers, record.get("peak_activation_bytes"), tuple(record.get("notes", ())))

    def __str__(self) -> str:
        rows: list[dict[str, Any]] = [
            {
                "layer": layer.layer,
                "kind": layer.kind,
                "output": _sizes(layer.shape),
                "filters": layer.filters,
                "parameters": layer.parameters,
                "multiply-adds": layer.multiply_adds,
                "bytes": layer.bytes,
            }
            for layer in self.layers
        ]
        total = {"layer": "total", "kind": "", "output": "", "filters": None, "parameters": self.parameters}
        lines = [table([*rows, {**total, "multiply-adds": self.multiply_adds, "bytes": self.bytes}])]
        if self.peak_activation_bytes is not None:
            lines.append(f"Peak activation memory for one sample: {self.peak_activation_bytes:,} bytes.")
        return "\n".join([*lines, *self.notes])


def cost_change(before: Cost, after: Cost) -> str:
    """Two costs side by side as a table, layer by layer; a layer that is missing from one of them counts as 0."""
    old, new = ({layer.layer: layer for layer in cost.layers} for cost in (before, after))
    none = LayerCost("", "", (), None, 0, 0, 0)
    rows: list[dict[str, Any]] = []
    for name in [*old, *(name for name in new if name not in old)]:
        a, b = old.get(name, none), new.get(name, none)
        if a.parameters or b.parameters or a.multiply_adds or b.multiply_adds:
            rows.append({
                "layer": name, "output": _sizes(a.shape), "output left": _sizes(b.shape), "filters": a.filters,
                "left": b.filters, **_two("parameters", a.parameters, b.parameters),
                **_two("multiply-adds", a.multiply_adds, b.multiply_adds),
            })  # fmt: skip
    total = {"layer": "total", "output": "", "output left": "", "filters": None, "left": None}
    rows.append({
        **total, **_two("parameters", before.parameters, after.parameters),
        **_two("multiply-adds", before.multiply_adds, after.multiply_adds),
    })  # fmt: skip
    sums = [
        {"": "parameters", **_ratio(before.parameters, after.parameters)},
        {"": "multiply-adds", **_ratio(before.multiply_adds, after.multiply_adds)},
        {"": "bytes", **_ratio(before.bytes, after.bytes)},
    ]
    peak, peak_left = before.peak_activation_bytes, after.peak_activation_bytes
    if peak is not None and peak_left is not None:
        sums.append({"": "peak activation bytes", **_ratio(peak, peak_left)})
    return "\n".join([table(rows), "", table(sums), *dict.fromkeys((*before.notes, *after.notes))])


def _sizes(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)


def _two(name: str, before: int, after: int) -> dict[str, int]:
    return {name: before, f"{name} left": after}


def _ratio(before: int, after: int) -> dict[str, Any]:
    return {"before": before, "after": after, "after/before": f"{after / before:.1%}" if before else None}


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measurements of one network: one column of the before/after table.

    Attributes:
        filters: enabled filters that can be cut.
        parameters, multiply_adds, bytes: see `Cost`.
        latency_ms: median milliseconds of one forward pass on one sample; None if not measured.
        score: on test data, None if there are none; validation_score: on validation data.
        latency_low_ms, latency_high_ms: the quartiles of the latency.
    """

    filters: int
    parameters: int
    multiply_adds: int
    bytes: int
    latency_ms: float | None = None
    score: float | None = None
    validation_score: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None

    def timed(self, timing: Timing | None) -> Measurement:
        """With the latency; None: it could not be measured."""
        if timing is None:
            return self
        return dataclasses.replace(
            self, latency_ms=timing.median, latency_low_ms=timing.low, latency_high_ms=timing.high
        )

    @property
    def latency_range(self) -> tuple[float, float] | None:
        """The quartiles of the latency in milliseconds; None if not measured."""
        if self.latency_low_ms is None or self.latency_high_ms is None:
            return None
        return self.latency_low_ms, self.latency_high_ms


@dataclass(frozen=True, slots=True)
class Timing:
    """How long something takes, in milliseconds: the median, and the quartiles `low` and `high`."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Before and after. Prints as a table; notebooks show it as HTML.

    Attributes:
        before: the uncut network after its warm-up; after: the slim network.
        control_score: of the uncut network trained for as many steps as the slim one, on test data (on validation data
            if there are no test data); None if it was not requested.
        accepted, rejected: numbers of trials.
        steps: training steps of the slim network, warm-up and final training included.
        spent: training steps of the whole run, those of rejected trials included; without the control's.
        stopped: why the run ended, in one sentence.
    """

    before: Measurement
    after: Measurement
    accepted: int = 0
    rejected: int = 0
    steps: int = 0
    spent: int = 0
    stopped: str = ""
    control_score: float | None = None
    notes: tuple[str, ...] = field(default=())

    def rows(self) -> list[dict[str, Any]]:
        """One row for each quantity: its name, before, after, and after / before."""
        rows = []
        for name in (item.name for item in dataclasses.fields(Measurement)):
            before, after = getattr(self.before, name), getattr(self.after, name)
            if (before is None and after is None) or name in ("latency_low_ms", "latency_high_ms"):
                continue
            ratio = f"{after / before:.1%}" if before and after is not None else None
            if name == "latency_ms" and self.latency_is_noise:
                ratio = "within noise"
            rows.append({"": name.replace("_", " "), "before": before, "after": after, "after/before": ratio})
        if self.control_score is not None:
            rows.append({"": "control score", "before": self.control_score, "after": None, "after/before": None})
        return rows

    @property
    def latency_is_noise(self) -> bool:
        """Whether the quartile ranges of the two latencies overlap, so that their ratio says nothing."""
        before, after = self.before.latency_range, self.after.latency_range
        return before is not None and after is not None and before[0] <= after[1] and after[0] <= before[1]

    def latency_told(self) -> str:
        """The quartile ranges of both latencies in a sentence; empty if they were not measured."""
        ranges = [side.latency_range for side in (self.before, self.after)]
        told = [f"{low:.4g} to {high:.4g} ms" for low, high in filter(None, ranges)]
        return f"Half of the measured latencies: {', then '.join(told)}." if len(told) == 2 else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return finite(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Summary:
        """The inverse of `to_dict`."""
        return cls(
            **{
                **record,
                "before": Measurement(**record["before"]),
                "after": Measurement(**record["after"]),
                "notes": tuple(record["notes"]),
            }
        )

    def __str__(self) -> str:
        trials = f"{self.accepted} cuts kept, {self.rejected} rolled back. {self.stopped}"
        return "\n".join([table(self.rows()), *filter(None, (self.latency_told(), trials.rstrip())), *self.notes])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
