"""The contract of strategies: all strategies that we ship or document pass it, and each of its tests can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from shrinknet.errors import FilterError, OptionError, StrategyError
from shrinknet.filters import Filter
from shrinknet.records import Trial
from shrinknet.strategies import Memory, Network, Strategy, checked_ask, load_strategy, take
from shrinknet.strategies.registry import BUILT_IN
from shrinknet.testing import FakeNetwork, StrategyContract, play

ROOT = Path(__file__).parents[2]
PLUGINS = sorted((ROOT / "strategies").glob("*.py"))


def example(document: str) -> str:
    """The complete strategy in a document."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if "def ask" in block)
    return block


class TestBuiltIn(StrategyContract):
    @pytest.fixture(autouse=True, params=sorted(BUILT_IN))
    def _choose(self, request: pytest.FixtureRequest) -> None:
        self.factory = type(load_strategy(request.param))

    def strategy(self) -> Strategy:
        return load_strategy(self.factory, seed=3)


class TestUnlimited(StrategyContract):
    """The same without limits: they must end when the candidates run out."""

    @pytest.fixture(autouse=True, params=sorted(BUILT_IN))
    def _choose(self, request: pytest.FixtureRequest) -> None:
        self.limit = {"random": "trials", "sequential": "rounds"}.get(request.param, "patience")
        self.factory = type(load_strategy(request.param))

    def strategy(self) -> Strategy:
        return load_strategy(self.factory, **{self.limit: None})


class TestPlugins(StrategyContract):
    @pytest.fixture(autouse=True, params=PLUGINS, ids=lambda path: path.stem)
    def _choose(self, request: pytest.FixtureRequest) -> None:
        self.path = request.param

    def strategy(self) -> Strategy:
        return load_strategy(self.path)


class TestDocumented(StrategyContract):
    @pytest.fixture(autouse=True, params=["strategies/README.md", "docs/strategies.md"])
    def _write(self, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.path = tmp_path / "mine.py"
        self.path.write_text(example(request.param), encoding="utf-8")

    def strategy(self) -> Strategy:
        return load_strategy(self.path)


def test_the_example_has_20_lines_as_promised() -> None:
    assert len(example("strategies/README.md").splitlines()) == 20


def test_the_example_cuts_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "weakest.py").write_text(example("strategies/README.md"), encoding="utf-8")
    network = FakeNetwork({"a": np.full((2, 3), 0.5)}, biases={"a": np.array([5.0, -50.0, 9.0])})
    trials = play(load_strategy(tmp_path / "weakest.py"), network, lambda filters: False)
    assert [trial.filters for trial in trials] == [(Filter("a", 1),), (Filter("a", 0),)]


def test_the_geometric_median_lies_in_the_middle() -> None:
    kernels = {
        "a": np.array([[0.0, 2.0, -2.0, 0.1], [0.0, 0.0, 0.0, 1.0]]),
        "b": np.full((2, 2), 0.3),
        "c": np.array([[0.0, 0.01]]),
    }
    biases = {layer: np.zeros(kernel.shape[1]) for layer, kernel in kernels.items()}
    network = FakeNetwork(kernels, biases=biases, min_filters=0)
    strategy = load_strategy("geometric-median", patience=None)
    order = [str(trial.filters[0]) for trial in play(strategy, network, lambda filters: False)]
    # b holds two equal filters: distance 0. In a the sums of distances are 5.0, 8.1, 8.3 and 5.5, mean 6.7; in c both
    # are 0.01, which is the mean: 1.
    assert order == ["b[0]", "b[1]", "a[0]", "a[3]", "c[0]", "c[1]", "a[1]", "a[2]"]


class Recorded(FakeNetwork):
    """One layer `a` with given outputs, shape (samples, filters)."""

    def __init__(self, outputs: np.ndarray, **options: object) -> None:
        super().__init__({"a": (1, outputs.shape[1])}, **options)  # type: ignore[arg-type]
        self.outputs = outputs

    def activations(self, layer: str) -> np.ndarray:
        return self.outputs


def test_filters_explained_by_others_are_cut_first() -> None:
    one, two, three = np.random.default_rng(0).normal(size=(3, 200))
    outputs = np.column_stack([one, two, 10 * three, two + 0.1 * one, np.full(200, 8.0), -3 * one])
    path = "rebuildable"
    shown = Recorded(outputs.astype(np.float32), min_filters=0)
    # 0, 1, 3 and 5 lie in one plane: two of them cost nothing, nor does the constant 4; then the weaker come first.
    order = [filter.index for filter in checked_ask(load_strategy(path), shown, 6)]
    assert order == [0, 1, 4, 3, 5, 2]
    # Nothing else varies with 2.
    alone = Recorded(outputs.astype(np.float32), disabled=[Filter("a", i) for i in (0, 3, 4, 5)], min_filters=0)
    assert [filter.index for filter in checked_ask(load_strategy(path), alone, 2)] == [1, 2]


def test_unexplained_shares_agree_with_least_squares() -> None:
    outputs = np.random.default_rng(1).normal(size=(60, 4)) @ np.array(
        [[1, 0.5, 0, 0.2], [0, 1, 0.7, 0], [0, 0, 2, 0.3], [0, 0, 0, 0.4]]
    )
    missed = []
    for index in range(4):
        others = np.column_stack([np.delete(outputs, index, axis=1), np.ones(60)])
        solution, *_ = np.linalg.lstsq(others, outputs[:, index])
        missed.append(np.square(others @ solution - outputs[:, index]).mean())
    path = "rebuildable"
    trials = play(load_strategy(path, patience=None), Recorded(outputs, min_filters=0), lambda filters: False)
    assert [trial.filters[0].index for trial in trials] == np.argsort(missed).tolist()


# Strategies that break the contract in one way each.


class Base:
    """Answers with the first candidates, as the protocol requires; each subclass breaks one rule."""

    def __init__(self) -> None:
        self.memory = Memory(2)

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        return take(network, self.memory.remaining(network), count)

    def tell(self, trial: Trial) -> None:
        self.memory.tell(trial)


class AnswersFrozen(Base):
    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        layer = (network.candidates() or [Filter("conv", 0)])[0].layer
        return [Filter(layer, index) for index in network.enabled(layer)][-1:]


class TakesAll(Base):
    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        return self.memory.remaining(network)[:count]


class IgnoresCount(Base):
    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        return super().ask(network, 2)


class Writes(Base):
    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        for filter in network.candidates():
            network.kernel(filter.layer)[:] += 1
        return super().ask(network, count)


class NeverEnds(Base):
    def tell(self, trial: Trial) -> None:
        pass


class CountsAsks(Base):
    """Gives a different answer at each ask."""

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        self.asked = getattr(self, "asked", 0) + 1
        remaining = self.memory.remaining(network)
        shift = self.asked % max(len(remaining), 1)
        return take(network, remaining[shift:] + remaining[:shift], count)


class KeepsItsFirstRanking(Base):
    """Ranks only once, although the network changes."""

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        if not hasattr(self, "size"):
            self.size = {f: np.abs(network.kernel(f.layer)[..., f.index]).sum() for f in network.candidates()}
        return take(network, sorted(self.memory.remaining(network), key=lambda f: self.size.get(f, 0)), count)


class CountsSplits(Base):
    def tell(self, trial: Trial) -> None:
        self.memory.rejected = self.memory.rejected.union(trial.filters)
        self.memory.tell(trial)


class ImportsKeras(Base):
    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        import keras  # noqa: F401

        return super().ask(network, count)


class Mute:
    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        return ()


@pytest.mark.parametrize(
    ("broken", "test", "message"),
    [
        (Mute, "test_has_the_two_methods", "lacks the methods ask and tell"),
        (AnswersFrozen, "test_answers_legal_candidates", "which can only be cut with its group"),
        (AnswersFrozen, "test_has_no_answer_without_candidates", "nothing to spare.*must stay"),
        (TakesAll, "test_answers_legal_candidates", "leaves enough"),
        (IgnoresCount, "test_answers_legal_candidates", "2 filters where at most 1"),
        (Writes, "test_changes_nothing_it_is_shown", "two layers: asking the strategy changed the network"),
        (CountsAsks, "test_gives_the_same_answer_when_asked_twice", "two layers: asked twice, it answered"),
        (CountsAsks, "test_goes_on_where_an_interrupted_run_stopped", "after 1 trials it asked for"),
        (KeepsItsFirstRanking, "test_goes_on_where_an_interrupted_run_stopped", "only on the constructor's arguments"),
        (CountsSplits, "test_takes_split_trials_for_nothing", "a split trial changed its answer"),
        (NeverEnds, "test_ends_when_everything_is_rejected", "has not ended after"),
        (TakesAll, "test_ends_whatever_becomes_of_the_trials", "leaves enough"),
        (TakesAll, "test_ends_when_everything_is_accepted", "leaves enough"),
        (ImportsKeras, "test_imports_no_framework", "ModuleNotFoundError.*keras"),
    ],
)
def test_a_breach_is_found(broken: Callable[[], Strategy], test: str, message: str) -> None:
    check = type("TestBroken", (StrategyContract,), {"strategy": lambda self: broken()})()
    with pytest.raises(AssertionError, match=message):
        getattr(check, test)()


def test_an_import_of_keras_by_the_module_is_found(tmp_path: Path) -> None:
    (tmp_path / "keras.py").touch()  # a stand-in: the real one takes seconds
    source = "import sys\nsys.path.insert(0, {!r})\nimport keras\nsys.path.pop(0)\nfrom shrinknet.testing import *\n\n"
    path = tmp_path / "mine.py"
    path.write_text(source.format(str(tmp_path)) + example("strategies/README.md"), encoding="utf-8")
    kept = sys.modules.get("keras")
    try:
        check = type("TestMine", (StrategyContract,), {"strategy": lambda self: load_strategy(path)})()
        with pytest.raises(AssertionError, match=r"mine.py imports keras; a strategy may only use NumPy"):
            check.test_imports_no_framework()
    finally:
        sys.modules.pop("keras", None)
        if kept is not None:
            sys.modules["keras"] = kept


def test_a_contract_without_a_strategy_says_what_to_override() -> None:
    with pytest.raises(NotImplementedError, match=r"TestEmpty must override strategy\(\)"):
        type("TestEmpty", (StrategyContract,), {})().test_has_the_two_methods()


def test_strategies_and_the_contract_need_neither_keras_nor_pytest() -> None:
    code = (
        "import sys, shrinknet.testing, shrinknet.strategies as s; s.strategies(); "
        "print(sorted({'keras', 'tensorflow', 'pytest', 'pandas', 'hypothesis'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Answers that are refused. Layer a: 5 filters, 0 disabled, 1 frozen, 4 tied to b[1]; b keeps its last two.

TIED = (Filter("a", 4), Filter("b", 1))


def network() -> FakeNetwork:
    return FakeNetwork(
        {"a": (2, 5), "b": (5, 3), "c": (3, 2)},
        groups=[TIED],
        frozen=[Filter("a", 1)],
        disabled=[Filter("a", 0)],
        min_filters=2,
    )


class Says:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def ask(self, network: Network, count: int) -> Sequence[Filter]:
        return self.answer  # type: ignore[return-value]

    def tell(self, trial: Trial) -> None: ...


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"The strategy Says answered None; expected a list or tuple of Filter"),
        (Filter("a", 2), r"answered Filter\(layer='a', index=2\); expected a list"),
        ("a[2]", r"answered 'a\[2\]'; expected a list"),
        ({Filter("a", 2)}, r"answered \{.*\}; expected a list or tuple of Filter, best first"),
        (["a[2]"], r"answered with 'a\[2\]', which is not a Filter"),
        ([Filter("a", 2)] * 2, r"The strategy Says asked for a\[2\] twice in one answer"),
        ([Filter("a", 0)], r"The strategy Says asked for a\[0\], which is already disabled\."),
        ([Filter("a", 1)], r"Says asked for a\[1\], which may not be cut: it is frozen\."),
        ([Filter("a", 5)], r"Says asked for a\[5\], which does not exist: a has the filters 0 to 4\."),
        ([Filter("a", -2)], r"Says asked for a\[-2\], which does not exist"),
        ([Filter("z", 0)], r"asked for z\[0\], but there is no layer 'z' to cut; the candidates are in a, b\."),
        ([Filter("c", 0)], r"asked for c\[0\], which is one of the last filters of its layer and must stay\."),
        ([Filter("b", 1)], r"asked for b\[1\], which can only be cut with its group, named a\[4\]"),
        ([Filter("a", 2), Filter("a", 3), Filter("b", 0), Filter("a", 4)], r"asked for 4 filters where at most 3"),
        ([Filter("b", 0), Filter("a", 4)], r"asked for b\[0\], a\[4\]: a\[4\] would be one of the last filters"),
        ([Filter("a", 2), Filter("a", 3), Filter("b", 0)], None),
        ([Filter("a", 2), Filter("a", 3), Filter("a", 4)], r"a\[4\] would be one of the last filters of its layer"),
        ([], None),
    ],
)
def test_an_answer_is_checked(answer: object, message: str | None) -> None:
    if message is None:
        assert checked_ask(Says(answer), network(), 3) == tuple(answer)  # type: ignore[arg-type]
    else:
        with pytest.raises(StrategyError, match=message):
            checked_ask(Says(answer), network(), 3)


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(OptionError, match="to be at least 1; received 0"):
        checked_ask(Says([]), network(), 0)


def test_rules_of_the_caller_are_respected() -> None:
    asked = [Filter("a", 2), Filter("a", 3)]
    assert checked_ask(Says(asked), network(), 3, allowed=lambda filters: None) == tuple(asked)
    with pytest.raises(StrategyError, match=r"Says asked for a\[2\], a\[3\]: there is room for one\."):
        checked_ask(Says(asked), network(), 3, allowed=lambda filters: "there is room for one.")


def test_a_strategy_that_raises_is_named() -> None:
    class Raises(Says):
        def ask(self, network: Network, count: int) -> Sequence[Filter]:
            raise ZeroDivisionError("no norms")

    with pytest.raises(StrategyError, match="The strategy Raises failed in ask: ZeroDivisionError: no norms"):
        checked_ask(Raises(None), network(), 1)


def test_errors_of_the_network_go_through_as_they_are() -> None:
    class Asks(Says):
        def ask(self, network: Network, count: int) -> Sequence[Filter]:
            return [Filter("z", int(network.kernel("z").sum()))]

    with pytest.raises(FilterError, match="There is no layer 'z'"):
        checked_ask(Asks(None), network(), 1)


def test_interrupts_go_through() -> None:
    class Interrupted(Says):
        def ask(self, network: Network, count: int) -> Sequence[Filter]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked_ask(Interrupted(None), network(), 1)


def test_take_passes_over_what_may_not_go_together() -> None:
    shown = network()
    ranked = [Filter("b", 0), Filter("a", 4), Filter("a", 2), Filter("a", 3)]
    assert take(shown, ranked, 2) == (Filter("b", 0), Filter("a", 2)), "a[4] would take a second filter of b"
    assert take(shown, ranked[1:], 9) == (Filter("a", 4), Filter("a", 2)), "a keeps its last two"
    assert take(shown, iter(ranked), 1) == (Filter("b", 0),)
