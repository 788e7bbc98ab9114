"""A strategy's answer: how to put one together that is legal, and how one is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

from shrinknet.errors import OptionError, ShrinknetError, StrategyError
from shrinknet.filters import Filter
from shrinknet.strategies.protocol import Network, Strategy


@final
class Batch:
    """Up to `count` filters that may go together; for strategies that choose one after the other.

    Attributes:
        filters: what has been added so far, in that order.
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
        """Adds a candidate, or leaves it out and returns False: the batch would take a layer's last filters."""
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
    """The first `count` of the ranked candidates that may go together.

    Each candidate may go by itself; a batch must leave every layer `min_filters`. A candidate that would take a
    layer below that is passed over.
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
    """What the strategy asks for, after a check that it may be tried.

    Args:
        strategy: is asked once.
        network: what it is shown; `candidates()` and `spare()` are what the answer is held against.
        count: how many filters the answer may name at most, from 1.
        allowed: says why these filters may not go together, or None where they may; for rules beyond `spare()`.

    Returns:
        Different candidates, best first; empty: the strategy has nothing left to try.

    Raises:
        StrategyError: the answer is no sequence of filters, has more than `count`, repeats a filter, names one that
            does not exist, is disabled, frozen or one of the last of its layer, takes a layer's last filters
            together, or is not allowed; or `ask` itself raised.
        OptionError: `count` is below 1.
    """
    if count < 1:
        raise OptionError(f"A strategy is asked for 1 filter or more, not for {count}.")
    name = type(strategy).__name__
    answer = _answer(strategy, name, network, count)
    candidates = {filter: filter for filter in network.candidates()}
    seen: set[Filter] = set()
    for filter in answer:
        if filter not in candidates:
            raise StrategyError(f"The strategy {name} asked for {filter}, {_obstacle(network, filter)}.")
        if filter in seen:
            raise StrategyError(f"The strategy {name} asked for {filter} twice in one answer; each filter goes once.")
        seen.add(filter)
    filters = tuple(candidates[filter] for filter in answer)
    batch = Batch(network, count)
    for filter in filters:
        if not batch.add(filter):
            raise StrategyError(
                f"The strategy {name} asked for {', '.join(map(str, filters))}: {filter} would be one of the last "
                f"filters of its layer; shrinknet.strategies.take puts together an answer that leaves enough."
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
    expected = "expected a list or tuple of Filter, best first, and an empty one when nothing is worth trying"
    if not isinstance(answer, Sequence) or isinstance(answer, str | bytes):
        raise StrategyError(f"The strategy {name} answered {answer!r}; {expected}.")
    for item in answer:
        if not isinstance(item, Filter):
            raise StrategyError(f"The strategy {name} answered with {item!r}, which is no Filter; {expected}.")
    if len(answer) > count:
        raise StrategyError(
            f"The strategy {name} asked for {len(answer)} filters where {count} or fewer were wanted; "
            f"{answer[count]} is the first too many."
        )
    return tuple(answer)


def _obstacle(network: Network, filter: Filter) -> str:
    """Why a filter is no candidate: the end of a sentence."""
    try:
        enabled = network.enabled(filter.layer)
        size = network.kernel(filter.layer).shape[-1]
    except (ShrinknetError, LookupError, ValueError):
        layers = dict.fromkeys(candidate.layer for candidate in network.candidates())
        return f"but there is no layer {filter.layer!r} to cut; the candidates are in {', '.join(layers) or 'none'}"
    if not 0 <= filter.index < size:
        return f"which does not exist: {filter.layer} has the filters 0 to {size - 1}"
    if filter.index not in enabled:
        return "which is disabled already"
    group = network.group(filter)
    if filter != group.name:
        return f"which can only go with its group, and the group bears the name {group.name}: ask for that"
    if not Batch(network, 1).add(filter):
        return "which is one of the last filters of its layer and has to stay"
    return "which may not be cut: it is frozen"
