"""HTML from templates: everything that is not already markup is escaped, so that text cannot break the page."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MINUS, NONE, SPACE = "\u2212", "\u2013", "\u202f"  # a minus sign, an en dash, a narrow non-breaking space


class Html(str):
    """Text that is already markup."""

    __slots__ = ()


def markup(value: object) -> Html:
    """`value` as markup: `Html` unchanged, lists item by item, None as nothing, anything else escaped."""
    if isinstance(value, Html):
        return value
    if isinstance(value, list | tuple):
        return Html("".join(map(markup, value)))
    return Html("" if value is None else html.escape(str(value)))


def fill(template: str, **parts: object) -> Html:
    """The template with each `{name}` replaced by its part, escaped unless it is `Html`.

    Example:
        >>> fill("<p>{text}</p>", text="a < b")
        '<p>a &lt; b</p>'
    """
    return Html(template.format(**{name: markup(part) for name, part in parts.items()}))


def data_uri(data: bytes) -> Html:
    """PNG bytes as a data URI."""
    return Html("data:image/png;base64," + base64.b64encode(data).decode())


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], words: int = 1, caption: str = "") -> Html:
    """A table that scrolls within its own box.

    Args:
        heads: the column names.
        rows: one cell per column; the first cell of a row is its header.
        words: how many columns from the left contain text; the others contain numbers and are right-aligned.
        caption: what the table shows, as text for screen readers.
    """
    kinds = ["" if column < words else Html(' class="number"') for column in range(len(heads))]
    head = [
        fill('<th scope="col"{kind}>{text}</th>', kind=kind, text=text) for kind, text in zip(kinds, heads, strict=True)
    ]
    body = []
    for first, *others in rows:
        cells = [
            fill("<td{kind}>{text}</td>", kind=kind, text=text) for kind, text in zip(kinds[1:], others, strict=True)
        ]
        body.append(fill('<tr><th scope="row">{first}</th>{cells}</tr>', first=first, cells=cells))
    return fill(
        '<div class="scroll" role="region" aria-label="{caption}" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        "<tbody>{body}</tbody></table></div>",
        caption=caption,
        head=head,
        body=body,
    )


def pairs(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (dotted name, text), in their order."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            rows += pairs(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            rows.append((f"{prefix}{name}", ", ".join(map(str, value)) or "none"))
        else:
            said = "none" if value is None else ("no", "yes")[value] if isinstance(value, bool) else str(value)
            rows.append((f"{prefix}{name}", said))
    return rows


def number(value: float | None) -> str:
    """A number for display: thousands separators, four significant digits, an en dash for None.

    Example:
        >>> number(1234567), number(0.43125)
        ('1,234,567', '0.4313')
    """
    if value is None:
        return NONE
    if not math.isfinite(value):
        return "not finite"
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.4g}".replace("-", MINUS)


def score(value: float | None) -> str:
    """A score with three decimals, or with four significant digits if three decimals are not informative."""
    if value is None or not math.isfinite(value) or value == 0 or not 0.01 <= abs(value) < 1000:
        return number(value)
    return f"{value:.3f}".replace("-", MINUS)


def share(value: float | None) -> str:
    """A ratio in percent, one decimal: `98.6 %`."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{100 * value:.1f}{SPACE}%".replace("-", MINUS)


def change(before: float | None, after: float | None) -> str:
    """The change from before to after in whole percent, with its sign; an en dash if it is unknown."""
    if not before or after is None:
        return NONE
    percent = round(100 * (after / before - 1))
    sign = "+" if percent > 0 else MINUS if percent < 0 else "\u00b1"
    return f"{sign}{abs(percent)}{SPACE}%"


def upper(text: str) -> str:
    """The text with its first letter capitalized."""
    return text[:1].upper() + text[1:]


def plural(count: int, noun: str) -> str:
    """The count with its noun: `1 cut`, `2 cuts`."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def brief(value: float) -> str:
    """A number with three digits and its unit: `14.3 M`.

    Example:
        >>> brief(886), brief(1.2841)
        ('886', '1.28')
    """
    for unit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * unit or (unit > 1e3 and abs(value) >= unit):
            return f"{value / unit:.3g}".replace("-", MINUS) + SPACE + letter
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
