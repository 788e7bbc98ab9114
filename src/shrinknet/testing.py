"""Tests for strategies: a contract that every strategy must pass, to subclass, and a NumPy network to try it on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from shrinknet.criterion import ratio
from shrinknet.errors import FilterError, StrategyError
from shrinknet.filters import Filter, Group
from shrinknet.records import Trial
from shrinknet.strategies import Network, Strategy, checked_ask
from shrinknet.strategies.simulated import Simulated

FRAMEWORKS = ("keras", "tensorflow", "torch", "jax")
HUGE = 10**9
"""A count beyond any network."""


class FakeNetwork(Simulated):
    """A NumPy network to show to a strategy: small random weights, and scores that are a pure function of them.

    Args:
        layers: layer -> shape of its kernel, (... kernel axes and channels in, filters), or the kernel itself.
        biases: layer -> its bias, shape (filters,); random if missing.
        groups: filters that belong together, each in network order.
        frozen: filters that are not candidates.
        disabled: filters that are disabled from the start, together with their groups.
        min_filters: the number of filters that each layer keeps.
        higher_is_better: direction of `score`.
        seed: of the random weights.

    Example:
        >>> network = FakeNetwork({"conv1": (3, 3, 1, 4), "dense": (4, 2)}, frozen=[Filter("conv1", 0)])
        >>> [str(filter) for filter in network.candidates()]
        ['conv1[1]', 'conv1[2]', 'conv1[3]', 'dense[0]', 'dense[1]']
    """

    def __init__(
        self,
        layers: Mapping[str, Sequence[int] | np.ndarray],
        *,
        biases: Mapping[str, np.ndarray] | None = None,
        groups: Iterable[Sequence[Filter]] = (),
        frozen: Iterable[Filter] = (),
        disabled: Iterable[Filter] = (),
        min_filters: int = 1,
        higher_is_better: bool = True,
        seed: int = 0,
    ) -> None:
        random = np.random.default_rng(seed)
        self._kernels: dict[str, np.ndarray] = {}
        self._biases: dict[str, np.ndarray] = {}
        for layer, given in layers.items():
            kernel = given if isinstance(given, np.ndarray) else random.normal(size=tuple(given))
            self._kernels[layer] = np.array(kernel, np.float32)
            bias = (biases or {}).get(layer, random.normal(size=kernel.shape[-1]))
            self._biases[layer] = np.array(bias, np.float32)
        everything = [Filter(layer, i) for layer, kernel in self._kernels.items() for i in range(kernel.shape[-1])]
        self._groups = {filter: Group((filter,)) for filter in everything}
        self._groups |= {member: Group(tuple(group)) for group in groups for member in group}
        self.listed = tuple(group for filter, group in self._groups.items() if group.name == filter)
        self.layers = tuple(self._kernels)
        self._frozen = set(frozen)
        self._disabled: set[Filter] = set()
        self._min_filters = min_filters
        self._higher_is_better = higher_is_better
        self._trained = 0
        self.disable(*disabled)

    def candidates(self) -> tuple[Filter, ...]:
        """See `Network`."""
        spare = {layer: self.spare(layer) for layer in self._kernels}
        return tuple(group.name for group in self.listed if self._is_candidate(group, spare))

    def enabled(self, layer: str) -> tuple[int, ...]:
        """See `Network`."""
        size = self.kernel(layer).shape[-1]
        return tuple(index for index in range(size) if Filter(layer, index) not in self._disabled)

    def spare(self, layer: str) -> int:
        """See `Network`."""
        return max(0, len(self.enabled(layer)) - self._min_filters)

    def kernel(self, layer: str) -> np.ndarray:
        """See `Network`. Not a copy, so that a strategy that writes into it is detected."""
        if layer not in self._kernels:
            raise FilterError(f"There is no layer {layer!r}; the layers are {', '.join(self._kernels)}.")
        return self._kernels[layer]

    def bias(self, layer: str) -> np.ndarray:
        """See `Network`."""
        return self._biases[layer]

    def group(self, filter: Filter) -> Group:
        """See `Network`."""
        if filter not in self._groups:
            raise FilterError(f"There is no filter {filter}; the layers are {', '.join(self._kernels)}.")
        return self._groups[filter]

    def activations(self, layer: str) -> np.ndarray:
        """The layer's output on fixed random inputs, shape (6, filters) for a dense kernel, else (6, 2, 2, filters)."""
        kernel = self.kernel(layer)
        rows = kernel.reshape(-1, kernel.shape[-1])  # (weights, filters)
        shape = (6, len(rows)) if kernel.ndim == 2 else (6, 2, 2, len(rows))
        inputs = np.random.default_rng(len(rows)).normal(size=shape)
        output: np.ndarray = np.maximum(inputs @ rows + self.bias(layer), 0).astype(np.float32)
        return output

    def score(self, without: Sequence[Filter] = ()) -> float:
        """A share of the total weight: falls (rises, if lower is better) with every filter left out."""
        left_out = {member for filter in without for member in self.group(filter).filters} | self._disabled
        total = kept = 0.0
        for layer, kernel in self._kernels.items():
            weight = np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 1))) + np.abs(self._biases[layer])
            total += float(weight.sum())
            kept += sum(float(weight[i]) for i in range(len(weight)) if Filter(layer, i) not in left_out)
        share = (1 + kept) / (1 + total)
        return share if self._higher_is_better else 2 - share

    @property
    def higher_is_better(self) -> bool:
        """See `Network`."""
        return self._higher_is_better

    @property
    def filters(self) -> tuple[Filter, ...]:
        """Names of all groups, candidates or not, in network order."""
        return tuple(group.name for group in self.listed)

    def disable(self, *filters: Filter) -> None:
        """Disables filters for good, together with their groups."""
        self._disabled.update(member for filter in filters for member in self.group(filter).filters)

    def train(self) -> None:
        """Changes every weight a little, as training after a cut does; the same way in every replay."""
        self._trained += 1
        random = np.random.default_rng(self._trained)
        for weights in [*self._kernels.values(), *self._biases.values()]:
            weights += 0.1 * random.normal(size=weights.shape).astype(np.float32)

    def fingerprint(self) -> str:
        """A digest of everything that a strategy can see, to detect changes."""
        digest = hashlib.sha256(repr((sorted(self._disabled), sorted(self._frozen))).encode())
        for weights in [*self._kernels.values(), *self._biases.values()]:
            digest.update(weights.tobytes())
        return digest.hexdigest()

    def _is_candidate(self, group: Group, spare: Mapping[str, int]) -> bool:
        layers = [member.layer for member in group.filters]
        untouched = not any(member in self._disabled or member in self._frozen for member in group.filters)
        return untouched and all(spare[layer] >= layers.count(layer) for layer in layers)


def play(
    strategy: Strategy,
    network: FakeNetwork,
    accept: Callable[[tuple[Filter, ...]], bool] = lambda filters: True,
    *,
    count: int = 1,
    limit: int | None = None,
    before_ask: Callable[[list[Trial]], None] = lambda trials: None,
) -> list[Trial]:
    """Runs a strategy to its end, as `minimize` would, and returns the trials.

    Args:
        strategy: the strategy to run.
        network: loses the accepted filters, and is trained a little after each acceptance.
        accept: decides a trial by its filters.
        count: how many filters to ask for at once.
        limit: trials after which the strategy is assumed to run forever; None: (filters + 1) squared, enough to try
            every filter again after every acceptance.
        before_ask: called before each `ask` with the trials so far.

    Raises:
        AssertionError: the strategy did not end within `limit` trials.
        StrategyError: an answer is invalid.
    """
    limit = (len(network.filters) + 1) ** 2 if limit is None else limit
    reference = network.score()
    trials: list[Trial] = []
    while True:
        before_ask(trials)
        filters = checked_ask(strategy, network, count)
        if not filters:
            return trials
        _require(len(trials) < limit, f"the strategy has not ended after {limit} trials; the last ones: {trials[-3:]}")
        score = network.score(without=filters)
        accepted = accept(filters)
        kept = ratio(score, reference, network.higher_is_better)
        trials.append(Trial(len(trials) + 1, filters, score, reference, kept, accepted))
        if accepted:
            network.disable(*filters)
            network.train()
            reference = network.score()
        strategy.tell(trials[-1])


class StrategyContract:
    """The contract that every strategy must pass. Subclass it in a test module and define how to build the strategy.

    It does not need pytest; pytest collects it by the subclass's name.

    Example:
        >>> class TestMine(StrategyContract):
        ...     def strategy(self):
        ...         return load_strategy("strategies/mine.py")
    """

    def strategy(self) -> Strategy:
        """A new strategy, built the same way at each call. Override this."""
        raise NotImplementedError(f"{type(self).__name__} must override strategy(), which builds the tested strategy.")

    def networks(self) -> dict[str, FakeNetwork]:
        """The networks for the tests, new ones at each call. Override this to add more."""
        tied = [(Filter("conv1", i), Filter("conv2", i)) for i in range(4)]
        twice = [(Filter("grouped", i), Filter("grouped", i + 3)) for i in range(3)]
        zeros = np.zeros((3, 3, 1, 3), np.float32)
        return {
            "two layers": FakeNetwork({"conv1": (3, 3, 1, 4), "conv2": (3, 3, 4, 5)}, min_filters=2),
            "one layer": FakeNetwork({"dense": (6, 5)}, higher_is_better=False, seed=1),
            "groups across layers": FakeNetwork({"conv1": (3, 3, 1, 6), "conv2": (3, 3, 6, 4)}, groups=tied, seed=2),
            "groups in a layer": FakeNetwork({"grouped": (3, 3, 2, 6), "dense": (6, 3)}, groups=twice, seed=3),
            "two left": FakeNetwork({"conv": (3, 3, 1, 4)}, disabled=[Filter("conv", 0), Filter("conv", 2)], seed=4),
            "some frozen": FakeNetwork({"conv": (1, 1, 2, 5)}, frozen=[Filter("conv", 1), Filter("conv", 4)], seed=5),
            "weights of zero": FakeNetwork({"conv": zeros}, biases={"conv": np.zeros(3)}),
        }

    def test_has_the_two_methods(self) -> None:
        """It has `ask` and `tell`."""
        built = self.strategy()
        _require(isinstance(built, Strategy), f"{built!r} lacks the methods ask and tell")

    def test_answers_legal_candidates(self) -> None:
        """It names each candidate at most once, no more than asked for, and leaves every layer its last filters."""
        for name, network in self.networks().items():
            for count in (1, 2, 3, HUGE):
                _legal(name, self.strategy(), network, count)

    def test_has_no_answer_without_candidates(self) -> None:
        """It returns an empty answer if there is nothing to cut."""
        bare = FakeNetwork({"conv": (3, 3, 1, 1), "dense": (4, 2)}, min_filters=2)
        frozen = FakeNetwork({"conv": (3, 3, 1, 3)}, frozen=[Filter("conv", index) for index in range(3)])
        for name, network in {"nothing to spare": bare, "all frozen": frozen}.items():
            for count in (1, HUGE):
                _legal(name, self.strategy(), network, count)

    def test_changes_nothing_it_is_shown(self) -> None:
        """It does not write into the arrays it is given."""
        for name, network in self.networks().items():
            before = network.fingerprint()
            _legal(name, self.strategy(), network, 2)
            _require(network.fingerprint() == before, f"{name}: asking the strategy changed the network it was shown")

    def test_gives_the_same_answer_when_asked_twice(self) -> None:
        """Asking has no side effects: without a trial in between the answer is the same."""
        for name, network in self.networks().items():
            built = self.strategy()
            first, second = (_legal(name, built, network, 2) for _ in range(2))
            _require(first == second, f"{name}: asked twice, it answered {_text(first)}, then {_text(second)}")

    def test_takes_split_trials_for_nothing(self) -> None:
        """It ignores a batch that is tried again in parts."""
        for name, network in self.networks().items():
            built = self.strategy()
            before = _legal(name, built, network, 2)
            if not before:
                continue
            for number in range(1, 30):
                built.tell(Trial(number, before, 0.5, 1.0, 0.5, accepted=False, split=True))
            after = _legal(name, built, network, 2)
            _require(before == after, f"{name}: a split trial changed its answer, {_text(before)}, to {_text(after)}")

    def test_ends_when_everything_is_accepted(self) -> None:
        """It ends if every trial is accepted, since fewer candidates are left after each."""
        self._ends(lambda filters: True)

    def test_ends_when_everything_is_rejected(self) -> None:
        """It ends instead of asking for the same filters forever."""
        self._ends(lambda filters: False)

    def test_ends_whatever_becomes_of_the_trials(self) -> None:
        """It ends if trials are decided at random."""
        for seed in range(5):
            self._ends(_coin(seed))

    def test_goes_on_where_an_interrupted_run_stopped(self) -> None:
        """A new strategy that is told the old trials gives the same answers, at every point of a run."""
        for seed in range(3):
            for count in (1, 2):
                for name, network in self.networks().items():
                    self._replays(name, network, seed, count)

    def test_imports_no_framework(self) -> None:
        """Neither its module nor `ask` imports Keras or a backend."""
        built = self.strategy()
        with _without_frameworks():
            for name, network in self.networks().items():
                _legal(name, built, network, 2)
        module = type(built).__module__
        source = inspect.getsourcefile(type(built)) if module != "__main__" else None
        if source is not None and module != type(self).__module__:
            found = _frameworks_imported_by(module, source)
            _require(not found, f"importing {source} imports {found}; a strategy may only use NumPy")

    def _ends(self, accept: Callable[[tuple[Filter, ...]], bool]) -> None:
        for count in (1, 3):
            for name, network in self.networks().items():
                try:
                    play(self.strategy(), network, accept, count=count)
                except (StrategyError, AssertionError) as error:
                    raise AssertionError(f"{name}, count {count}: {error}") from error

    def _replays(self, name: str, network: FakeNetwork, seed: int, count: int) -> None:
        replayed: list[tuple[Filter, ...]] = []

        def replay(trials: list[Trial]) -> None:
            told = self.strategy()
            for trial in trials:
                told.tell(trial)
            replayed.append(_legal(name, told, network, count))

        trials = play(self.strategy(), network, _coin(seed), count=count, before_ask=replay)
        asked = [*(trial.filters for trial in trials), ()]
        for number, (first, second) in enumerate(zip(asked, replayed, strict=True)):
            _require(
                first == second,
                f"{name}: after {number} trials it asked for {_text(first)}, but a new one that was told these trials "
                f"asked for {_text(second)}; the answer of ask may depend only on the constructor's arguments, the "
                f"trials told and the network",
            )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _legal(name: str, strategy: Strategy, network: Network, count: int) -> tuple[Filter, ...]:
    try:
        return checked_ask(strategy, network, count)
    except StrategyError as error:
        raise AssertionError(f"{name}, count {count}: {error}") from error


def _text(filters: Iterable[Filter]) -> str:
    return ", ".join(map(str, filters)) or "nothing"


def _coin(seed: int) -> Callable[[tuple[Filter, ...]], bool]:
    random = np.random.default_rng(seed)
    return lambda filters: bool(random.integers(2))


@contextlib.contextmanager
def _without_frameworks() -> Iterator[None]:
    """Within the block, importing a framework fails, whether or not it was imported before."""
    kept = {name: sys.modules[name] for name in FRAMEWORKS if name in sys.modules}
    sys.modules.update(dict.fromkeys(FRAMEWORKS))  # type: ignore[arg-type]  # None makes an import fail
    try:
        yield
    finally:
        for name in FRAMEWORKS:
            del sys.modules[name]
        sys.modules.update(kept)


@functools.cache
def _frameworks_imported_by(module: str, source: str) -> str:
    """Names of the frameworks that a fresh Python process has loaded after importing the module."""
    command = [sys.executable, "-c", _FRESH, module, source, *FRAMEWORKS]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    _require(done.returncode == 0, f"{source} cannot be imported by itself: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


_FRESH = """
import importlib.util, runpy, sys

_, module, source, *frameworks = sys.argv
try:
    spec = importlib.util.find_spec(module)
except ImportError:
    spec = None
if spec is not None and spec.origin == source:
    importlib.import_module(module)
else:  # a plug-in file
    runpy.run_path(source)
print(*sorted(sys.modules.keys() & set(frameworks)), sep=", ")
"""
