"""Cuts the filters whose readers can best be made to do without them, by least squares on the filters that are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from shrinknet.errors import OptionError
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies.answers import Batch
from shrinknet.strategies.equations import Equations
from shrinknet.strategies.memory import Memory
from shrinknet.strategies.protocol import Network, Savings
from shrinknet.strategies.vectors import rounded
from shrinknet.threads import threads_for


@final
class Refit:
    """Cuts the group that is missed least once every reader of it was refitted, relative to what its cut saves.

    Backward elimination with the Optimal Brain Surgeon (Hassibi and Stork 1993) on the blocks of columns that read a
    channel (arXiv:2302.04089, arXiv:2403.12983). For a reader with inputs X, H = X'X / rows + ridge, P = H^-1 and
    kernel W, the refit without the columns J of a channel adds exactly 1/2 tr(W_J' P_JJ^-1 W_J) to its squared error;
    afterwards W is W - P_:J P_JJ^-1 W_J and P is P - P_:J P_JJ^-1 P_J:. So the cost of the next cut counts what those
    before it have left to make up with, without solving anything anew. The cost of a group is the sum over its
    readers, each as a share of the mean square of its outputs.

    P itself stays as it was: what is taken from it is kept as a product of rank r, the columns that are gone, and only
    its diagonal blocks are kept up.

    Cost: for each reader of p columns and q outputs one inverse, p^3; for each filter that is chosen and each of its
    readers p (r + q) times the columns of a filter.

    Args:
        patience: rejections in a row, counted anew after each acceptance, that end the run; None: until every
            candidate was rejected since the last acceptance.
        saves: what the cost is divided by: "multiply_adds", "parameters", "bytes" or "filters".
        power: exponent of what is saved, from 0: 0 counts the damage alone, 1 damage for each unit saved.
        ridge: share of the mean diagonal of H that is added to it, above 0.
        weighted: count each output's error by the mean square of the loss's gradient there, instead of as a share of
            the reader's outputs; needs targets of the calibration data.

    Raises:
        OptionError: a value is out of range.
    """

    def __init__(
        self,
        patience: int | None = 5,
        *,
        saves: str = "multiply_adds",
        power: float = 1.0,
        ridge: float = 0.01,
        weighted: bool = False,
    ) -> None:
        if isinstance(power, bool) or not isinstance(power, int | float) or not power >= 0:
            raise OptionError(f"The strategy's parameter power is a number from 0; not {power!r}.")
        if isinstance(ridge, bool) or not isinstance(ridge, int | float) or not ridge > 0:
            raise OptionError(f"The strategy's parameter ridge is a number above 0; not {ridge!r}.")
        self._memory = Memory(patience)
        self._saves = saves
        self._power = power
        self._ridge = ridge
        self._weighted = weighted
        self._search: Search | None = None  # of the last answer: a longer one goes on from there

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        """Up to `count` candidates, the least missed first; empty after `patience` rejections in a row."""
        remaining = self._memory.remaining(network)
        if not remaining:
            return ()
        equations = network.equations(self._weighted)
        with threads_for(max((len(one.moments) for one in equations), default=0)):
            if self._search is None or not self._search.is_of(remaining, equations):
                savings, batch = network.savings(self._saves), Batch(network, len(remaining))
                self._search = Search(remaining, equations, savings, batch, power=self._power, ridge=self._ridge)
            return self._search.first(count)

    def tell(self, trial: Trial) -> None:
        """Remembers what became of a trial."""
        self._memory.tell(trial)
        self._search = None  # the network changes now


@final
class Search:
    """The order in which candidates are chosen, found as far as it was asked for.

    Args:
        remaining: the candidates; equations: of all readers; savings: what the candidates save; batch: empty; power,
            ridge: as in `Refit`.
    """

    def __init__(
        self, remaining: Sequence[Filter], equations: Sequence[Equations], savings: Savings, batch: Batch, *,
        power: float, ridge: float,
    ) -> None:  # fmt: skip
        self._remaining, self._equations, self._savings, self._batch = remaining, equations, savings, batch
        self._power = power
        place = {filter: position for position, filter in enumerate(remaining)}
        known = {filter: position for position, filter in enumerate(savings.filters)}
        self._order = np.array([known[filter] for filter in remaining])
        self._problems = [Elimination(one, place, ridge) for one in equations]
        self._total = np.sum([np.zeros(len(remaining)), *(problem.costs for problem in self._problems)], axis=0)
        self._open = np.ones(len(remaining), bool)

    def is_of(self, remaining: Sequence[Filter], equations: Sequence[Equations]) -> bool:
        """Whether it is a search among these candidates in the network of these equations."""
        return self._equations is equations and self._remaining == remaining

    def first(self, count: int) -> Sequence[Filter]:
        """The `count` candidates that are missed least for what they save; or all of them."""
        while self._open.any() and len(self._batch.filters) < count:
            divisor = self._savings.amounts[self._order] ** self._power
            merit = rounded(np.maximum(self._total, 0) / np.where(divisor > 0, divisor, 1))
            best = int(np.argmin(np.where(self._open, merit, np.inf)))
            self._open[best] = False
            filter = self._remaining[best]
            if self._batch.add(filter):
                self._savings.remove(filter)
                for problem in self._problems:
                    self._total += problem.remove(filter)
        return self._batch.filters[:count]


@final
class Elimination:
    """One reader from which channels are taken away one after the other, with the refit of what is left kept up.

    Args:
        equations: of the reader.
        place: candidate -> its place in `costs`.
        ridge: share of the mean diagonal that is added to it.

    Attributes:
        costs: what the refit without each candidate would add to the reader's error, as a share of the mean square of
            its outputs, shape (candidates,); 0 where the reader does not read it.
    """

    def __init__(self, equations: Equations, place: dict[Filter, int], ridge: float) -> None:
        moments, kernel = equations.moments, np.array(equations.kernel, np.float64)
        used = np.diag(moments) > 0
        penalty = ridge * float(np.diag(moments)[used].mean()) if used.any() else 1.0
        if equations.weights is not None:
            kernel *= np.sqrt(equations.weights)
        energy = float(np.einsum("co,co->", kernel, moments @ kernel)) if equations.weights is None else 1.0
        self._kernel = kernel / np.sqrt(energy or 1.0)
        self._inverse = np.linalg.inv(moments + penalty * np.eye(len(moments)))
        self._taken = Product(len(moments))  # what the inverse has lost since
        self._reads = equations.reads
        self._makes = equations.makes
        # Places of candidates, their columns, their blocks of the inverse: those with one number of columns each.
        self._blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        sizes: dict[int, list[Filter]] = {}
        for filter, columns in equations.reads.items():
            if filter in place:
                sizes.setdefault(len(columns), []).append(filter)
        for filters in sizes.values():
            places = np.array([place[filter] for filter in filters])
            columns = np.array([equations.reads[filter] for filter in filters])
            blocks = self._inverse[columns[:, :, np.newaxis], columns[:, np.newaxis, :]]
            self._blocks.append((places, columns, blocks))
        self._gone = np.zeros(len(place), bool)
        self._place = place
        self.costs = self._costs()

    def remove(self, filter: Filter) -> np.ndarray:
        """Takes a channel away from what is read and made; returns the change of `costs`."""
        reads, makes = self._reads.get(filter), self._makes.get(filter)
        if reads is None and makes is None:
            return np.zeros_like(self.costs)
        if makes is not None:
            self._kernel[:, makes] = 0
        if reads is not None:
            across = self._inverse[:, reads] - self._taken.columns(reads)  # (columns, columns of the channel)
            solved = np.linalg.solve(across[reads], np.hstack([self._kernel[reads], across.T]))
            outputs = self._kernel.shape[1]
            self._kernel -= across @ solved[:, :outputs]
            self._kernel[reads] = 0
            for _, columns, blocks in self._blocks:
                blocks -= across[columns] @ solved[:, outputs:][:, columns].swapaxes(0, 1)
            self._taken.add(across, solved[:, outputs:])
            self._gone[self._place[filter]] = True
        before, self.costs = self.costs, self._costs()
        return self.costs - before

    def _costs(self) -> np.ndarray:
        costs = np.zeros(len(self._place))
        for places, columns, blocks in self._blocks:
            open_ = ~self._gone[places]
            if columns.shape[1] == 1:
                missed = np.einsum("co,co->c", self._kernel, self._kernel)[columns[open_, 0]] / blocks[open_, 0, 0]
            else:
                kernel = self._kernel[columns[open_]]  # (candidates, columns of each, outputs)
                missed = np.einsum("jco,jco->j", kernel, np.linalg.inv(blocks[open_]) @ kernel)
            costs[places[open_]] = 0.5 * missed
        return costs


class Product:
    """A square matrix of low rank, as the product of two thin ones that grow."""

    def __init__(self, size: int) -> None:
        self._left, self._right, self._rank = np.empty((size, 0)), np.empty((0, size)), 0

    def add(self, left: np.ndarray, right: np.ndarray) -> None:
        """Adds left @ right."""
        rank = self._rank + len(right)
        if rank > len(self._right):
            room = rank + len(self._right)
            self._left = np.hstack([self._left, np.empty((len(left), room - self._left.shape[1]))])
            self._right = np.vstack([self._right, np.empty((room - len(self._right), len(left)))])
        self._left[:, self._rank : rank] = left
        self._right[self._rank : rank] = right
        self._rank = rank

    def columns(self, chosen: np.ndarray) -> np.ndarray:
        """Some of its columns."""
        return np.asarray(self._left[:, : self._rank] @ self._right[: self._rank, chosen])
