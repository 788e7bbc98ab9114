"""Charts as SVG, drawn by hand: colours come from the page's style, so that they adapt to light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from shrinknet.report.markup import Html, fill, markup

# Outlines of the marks in a square of -1 to 1; they differ in shape, not only in colour.
_SHAPES = {
    "accepted": '<circle r="0.9"/>',
    "rejected": '<path d="M-0.8 -0.8 L0.8 0.8 M-0.8 0.8 L0.8 -0.8"/>',
    "split": '<path d="M0 -1.05 L1.05 0 L0 1.05 L-1.05 0 Z"/>',
    "end": '<path d="M0 -1.1 L1.05 0.8 L-1.05 0.8 Z"/>',
    "start": '<path d="M-0.8 -0.8 H0.8 V0.8 H-0.8 Z"/>',
}


@dataclass(frozen=True)
class Axis:
    """A range of numbers and its name.

    Attributes:
        name: what is measured, with its unit.
        low, high: ends of the range; whole: ticks at whole numbers only.
        unit: divisor of the tick labels: 1000 shows 12,000 as 12.
    """

    name: str
    low: float
    high: float
    whole: bool = False
    unit: float = 1.0

    def ticks(self, count: int) -> list[float]:
        """About `count` round numbers within the range."""
        step = _round_step((self.high - self.low) / max(count, 1), self.whole)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def label(self, tick: float, ticks: Sequence[float]) -> str:
        """The tick as text, with as many decimals as the distance between ticks requires."""
        step = (ticks[1] - ticks[0] if len(ticks) > 1 else tick or 1.0) / self.unit
        decimals = next(
            n for n in range(16) if math.isclose(step * 10**n, round(step * 10**n), rel_tol=1e-6) or n == 15
        )
        return f"{tick / self.unit:,.{decimals}f}".replace("-", "\u2212")


def axis_over(name: str, values: Sequence[float], zero: bool = False, whole: bool = False) -> Axis:
    """An axis that covers all values; `zero`: it starts at 0. Large numbers get a unit in words."""
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    unit, word = next(
        (
            (unit, word)
            for unit, word in ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands"))
            if high >= 10 * unit
        ),
        (1.0, ""),
    )
    low = low if zero and low == 0 else low - room
    return Axis(f"{name} ({word})" if word else name, low, high + room, whole and unit == 1.0, unit)


def _round_step(size: float, whole: bool) -> float:
    size = max(size, 1.0) if whole else size
    power = 10.0 ** math.floor(math.log10(size))
    factors = (1, 2, 5, 10) if whole and power == 1 else (1, 2, 2.5, 5, 10)
    return next(factor * power for factor in factors if factor * power >= 0.85 * size)


@dataclass
class Chart:
    """A drawing area with two axes; positions are given in axis coordinates.

    Attributes:
        title: what the chart shows, as text for screen readers.
        width, height: in pixels at its intended size.
    """

    title: str
    x: Axis
    y: Axis
    width: int = 340
    height: int = 220
    parts: list[Html] = field(default_factory=list)

    left, right, top, bottom = 46, 18, 28, 40

    def at_x(self, value: float) -> float:
        """Pixels from the left."""
        span = self.width - self.left - self.right
        return self.left + span * (value - self.x.low) / (self.x.high - self.x.low)

    def at_y(self, value: float) -> float:
        """Pixels from the top."""
        span = self.height - self.top - self.bottom
        return self.top + span * (self.y.high - value) / (self.y.high - self.y.low)

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through the points, in the style of its kind."""
        path = " ".join(f"{self.at_x(x):.1f},{self.at_y(y):.1f}" for x, y in points)
        self.parts.append(fill('<polyline class="{kind}" points="{path}"/>', kind=kind, path=path))

    def area(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """The area within the points."""
        path = " ".join(f"{self.at_x(x):.1f},{self.at_y(y):.1f}" for x, y in points)
        self.parts.append(fill('<polygon class="{kind}" points="{path}"/>', kind=kind, path=path))

    def mark(self, x: float, y: float, kind: str, text: str, size: float = 5.0) -> None:
        """A mark, with a tooltip."""
        self.parts.append(
            fill(
                '<g class="mark {kind}" transform="translate({x} {y}) scale({size})">{shape}<title>{text}</title></g>',
                kind=kind,
                x=f"{self.at_x(x):.1f}",
                y=f"{self.at_y(y):.1f}",
                size=f"{size:.1f}",
                shape=Html(_SHAPES[kind]),
                text=text,
            )
        )

    def svg(self, kind: str = "") -> Html:
        """The chart with everything drawn so far."""
        return fill(
            '<svg class="chart {kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
            "{axes}{parts}</svg>",
            kind=kind,
            width=self.width,
            height=self.height,
            title=self.title,
            axes=[*self._x_axis(), *self._y_axis()],
            parts=self.parts,
        )

    def _x_axis(self) -> list[Html]:
        base = self.height - self.bottom
        ticks = self.x.ticks(max(3, (self.width - self.left) // 55))
        labels = [
            fill(
                '<text class="tick" x="{x}" y="{y}" text-anchor="middle">{text}</text>'
                '<line class="axis" x1="{x}" x2="{x}" y1="{base}" y2="{end}"/>',
                x=f"{self.at_x(tick):.1f}",
                y=base + 17,
                base=base,
                end=base + 4,
                text=self.x.label(tick, ticks),
            )
            for tick in ticks
        ]
        frame = fill(
            '<line class="axis" x1="{left}" x2="{right}" y1="{base}" y2="{base}"/>'
            '<text class="name" x="{right}" y="{y}" text-anchor="end">{name}</text>',
            left=self.left,
            right=self.width - self.right,
            base=base,
            y=self.height - 6,
            name=self.x.name,
        )
        return [frame, *labels]

    def _y_axis(self) -> list[Html]:
        ticks = self.y.ticks(max(3, (self.height - self.top - self.bottom) // 34))
        lines = [
            fill(
                '<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>'
                '<text class="tick" x="{x}" y="{below}" text-anchor="end">{text}</text>',
                left=self.left,
                right=self.width - self.right,
                y=f"{self.at_y(tick):.1f}",
                x=self.left - 6,
                below=f"{self.at_y(tick) + 4:.1f}",
                text=self.y.label(tick, ticks),
            )
            for tick in ticks
        ]
        return [*lines, fill('<text class="name" x="2" y="13">{name}</text>', name=self.y.name)]


def key(entries: Sequence[tuple[str, str]]) -> Html:
    """The legend: (kind of mark or line, its meaning) pairs."""
    items = []
    for kind, meaning in entries:
        if kind in _SHAPES:
            glyph = fill(
                '<g class="mark {kind}" transform="translate(10 8) scale(5)">{shape}</g>',
                kind=kind,
                shape=Html(_SHAPES[kind]),
            )
        else:
            glyph = fill('<line class="{kind}" x1="0" x2="20" y1="8" y2="8"/>', kind=kind)
        items.append(
            fill(
                '<li><svg class="glyph" width="20" height="16" aria-hidden="true">{glyph}</svg> {meaning}</li>',
                glyph=glyph,
                meaning=meaning,
            )
        )
    return fill('<ul class="key">{items}</ul>', items=items)


def figure(title: str, note: str, *drawings: Html) -> Html:
    """A chart with its title above and a note below."""
    return fill(
        "<figure><figcaption><h3>{title}</h3></figcaption>{drawings}{note}</figure>",
        title=title,
        drawings=list(drawings),
        note=fill('<p class="note">{note}</p>', note=note) if note else markup(None),
    )
