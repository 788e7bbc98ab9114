"""A strategy's answer: how to build a valid one, and how it is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

from shrinknet.errors import OptionError, ShrinknetError, StrategyError
from shrinknet.filters import Filter
from shrinknet.strategies.protocol import Network, Strategy


@final
class Batch:
    """Up to `count` filters that may be cut together; for strategies that choose one filter after another.

    Attributes:
        filters: the filters added so far, in order.
    """

    def __init__(self, network: Network, count: int) -> None:
        self.filters: tuple[Filter, ...] = ()
        self._network = network
        self._count = count
        self._room: dict[str, int] = {}

    @property
    def full(self) -> bool:
        """True when `count` filters have been added."""
        return len(self.filters) >= self._count

    def add(self, filter: Filter) -> bool:
        """Adds a candidate; returns False without adding it if the batch would take a layer's last filters."""
        room = dict(self._room)
        for member in self._network.group(filter).filters:
            left = room[member.layer] if member.layer in room else self._network.spare(member.layer)
            room[member.layer] = left - 1
        if self.full or min(room.values()) < 0:
            return False
        self._room = room
        self.filters = (*self.filters, filter)
        return True


def take(network: Network, ranked: Iterable[Filter], count: int) -> tuple[Filter, ...]:
    """The first `count` of the ranked candidates that may be cut together.

    Each candidate may be cut alone, but a batch must leave every layer `min_filters`. A candidate that would take a
    layer below that is skipped.
    """
    batch = Batch(network, count)
    for filter in ranked:
        if batch.full:
            break
        batch.add(filter)
    return batch.filters


def checked_ask(
    strategy: Strategy,
    network: Network,
    count: int,
    *,
    allowed: Callable[[tuple[Filter, ...]], str | None] | None = None,
) -> tuple[Filter, ...]:
    """The checked answer of a strategy.

    Args:
        strategy: is asked once.
        network: what the strategy sees; the answer is checked against `candidates()` and `spare()`.
        count: the largest number of filters in the answer, from 1.
        allowed: returns why these filters may not be cut together, or None if they may; for rules beyond `spare()`.

    Returns:
        Different candidates, best first; empty: the strategy has nothing left to try.

    Raises:
        StrategyError: the answer is not a sequence of filters, has more than `count`, repeats a filter, names one that
            does not exist, is disabled, frozen or one of the last of its layer, takes a layer's last filters together,
            or is not allowed; or `ask` itself raised.
        OptionError: `count` is below 1.
    """
    if count < 1:
        raise OptionError(f"Expected count, the number of filters to ask for, to be at least 1; received {count}.")
    name = type(strategy).__name__
    answer = _answer(strategy, name, network, count)
    candidates = {filter: filter for filter in network.candidates()}
    seen: set[Filter] = set()
    for filter in answer:
        if filter not in candidates:
            raise StrategyError(f"The strategy {name} asked for {filter}, {_obstacle(network, filter)}.")
        if filter in seen:
            raise StrategyError(f"The strategy {name} asked for {filter} twice in one answer; name each filter once.")
        seen.add(filter)
    filters = tuple(candidates[filter] for filter in answer)
    batch = Batch(network, count)
    for filter in filters:
        if not batch.add(filter):
            raise StrategyError(
                f"The strategy {name} asked for {', '.join(map(str, filters))}: {filter} would be one of the last "
                f"filters of its layer. Use shrinknet.strategies.take, which leaves enough filters."
            )
    reason = allowed(filters) if allowed is not None and filters else None
    if reason is not None:
        raise StrategyError(f"The strategy {name} asked for {', '.join(map(str, filters))}: {reason.rstrip('.')}.")
    return filters


def _answer(strategy: Strategy, name: str, network: Network, count: int) -> tuple[Filter, ...]:
    try:
        answer: object = strategy.ask(network, count)
    except ShrinknetError:
        raise
    except Exception as error:
        raise StrategyError(f"The strategy {name} failed in ask: {type(error).__name__}: {error}.") from error
    expected = "expected a list or tuple of Filter, best first, or an empty one if nothing is worth trying"
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
        raise StrategyError(f"The strategy {name} answered {answer!r}; {expected}.")
    for item in answer:
        if not isinstance(item, Filter):
            raise StrategyError(f"The strategy {name} answered with {item!r}, which is not a Filter; {expected}.")
    if len(answer) > count:
        raise StrategyError(
            f"The strategy {name} asked for {len(answer)} filters where at most {count} were expected; "
            f"{answer[count]} is the first too many."
        )
    return tuple(answer)


def _obstacle(network: Network, filter: Filter) -> str:
    """Why a filter is not a candidate: the end of a sentence."""
    try:
        enabled = network.enabled(filter.layer)
        size = network.kernel(filter.layer).shape[-1]
    except (ShrinknetError, LookupError, ValueError):
        layers = dict.fromkeys(candidate.layer for candidate in network.candidates())
        return f"but there is no layer {filter.layer!r} to cut; the candidates are in {', '.join(layers) or 'none'}"
    if not 0 <= filter.index < size:
        return f"which does not exist: {filter.layer} has the filters 0 to {size - 1}"
    if filter.index not in enabled:
        return "which is already disabled"
    group = network.group(filter)
    if filter != group.name:
        return f"which can only be cut with its group, named {group.name}: ask for that instead"
    if not Batch(network, 1).add(filter):
        return "which is one of the last filters of its layer and must stay"
    return "which may not be cut: it is frozen"
