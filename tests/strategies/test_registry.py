"""How strategies are found and built, and the errors if they are not."""

from __future__ import annotations

import importlib
import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from shrinknet.errors import OptionError, StrategyError
from shrinknet.strategies import Strategy, load_strategy, strategies
from shrinknet.strategies.cosine import CosineMax
from shrinknet.strategies.random import Random
from shrinknet.strategies.registry import BUILT_IN, ENTRY_POINTS, FOLDER
from shrinknet.testing import FakeNetwork

ROOT = Path(__file__).parents[2]

BODY = """
    def __init__(self, patience=2, seed=None):
        self.patience, self.seed = patience, seed

    def ask(self, network, count):
        return network.candidates()[:1]

    def tell(self, trial):
        pass
"""


def write(path: Path, *names: str, after: str = "", doc: str = '    """Does as it is told."""') -> Path:
    path.write_text("\n".join(f"class {name}:\n{doc}\n{BODY}" for name in names) + after, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_built_in_strategies_are_found_by_name(name: str) -> None:
    assert isinstance(load_strategy(name), Strategy)
    assert strategies()[name].factory is type(load_strategy(name))
    assert strategies()[name].summary.startswith(("Cuts ", "Like "))


def test_the_names_are_those_of_the_design() -> None:
    names = {"cosine-max", "cosine-mean", "cosine-max-abs", "cosine-mean-abs", "random", "sequential"}
    later = {"activation", "bn-scale", "geometric-median", "learned", "rebuildable", "refit", "taylor", "zeros"}
    assert {*names, *later, "norm-l1", "norm-l2", "ablation"} == set(BUILT_IN)


def test_the_built_in_strategies_are_entry_points_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][ENTRY_POINTS] == BUILT_IN


def test_the_built_in_strategies_are_found_without_an_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ())
    assert set(strategies()) == set(BUILT_IN)
    assert isinstance(load_strategy("cosine-max"), CosineMax)


def test_a_strategy_is_returned_as_it_is() -> None:
    mine = CosineMax(patience=7)
    assert load_strategy(mine) is mine
    with pytest.raises(StrategyError, match="CosineMax is already built and takes no parameters; received patience"):
        load_strategy(mine, patience=3)


def test_a_class_is_built() -> None:
    assert isinstance(load_strategy(CosineMax), CosineMax)


def test_the_seed_goes_to_strategies_that_take_one() -> None:
    network = FakeNetwork({"conv": (3, 3, 1, 50)})
    assert load_strategy("random", seed=5).ask(network, 50) == Random(seed=5).ask(network, 50)
    assert load_strategy("random", seed=5).ask(network, 50) != load_strategy("random", seed=6).ask(network, 50)
    assert load_strategy("random", seed=5, trials=1).ask(network, 1) == Random(seed=5).ask(network, 1)
    assert load_strategy("random").ask(network, 50) == Random().ask(network, 50)
    assert isinstance(load_strategy("cosine-max", seed=5), CosineMax)


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "Mine")
    built = load_strategy(str(path), seed=4, patience=9)
    assert (type(built).__name__, built.patience, built.seed) == ("Mine", 9, 4)
    assert load_strategy(path).patience == 2


def test_a_file_next_to_us_needs_no_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "random.py", "Mine")
    monkeypatch.chdir(tmp_path)
    assert type(load_strategy("random.py")).__name__ == "Mine"
    assert type(load_strategy("random")).__name__ == "Random", "a plug-in hides no other module"


def test_a_file_names_its_strategy(tmp_path: Path) -> None:
    path = write(tmp_path / "two.py", "One", "Two", after="\nstrategy = Two\n")
    assert type(load_strategy(path)).__name__ == "Two"
    path = write(tmp_path / "built.py", "One", "Two", after="\nstrategy = Two(patience=5)\n")
    assert load_strategy(path).patience == 5
    path = write(tmp_path / "function.py", "_One", after="\ndef strategy(patience):\n    return _One(patience)\n")
    assert load_strategy(path, patience=6).patience == 6


def test_imported_and_private_classes_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "_Base", after="\nclass Mine(_Base):\n    pass\n")
    path.write_text("from shrinknet.strategies.random import Random\n" + path.read_text(), encoding="utf-8")
    assert type(load_strategy(path)).__name__ == "Mine"


def test_a_folder_of_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "my_own.py", "Mine")
    write(tmp_path / "_helpers.py", "Helper")
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    assert type(load_strategy("my-own")).__name__ == "Mine"
    listed = strategies()
    assert set(listed) == {*BUILT_IN, "my-own", "broken"}
    assert listed["my-own"].summary == "Does as it is told."
    assert listed["broken"].factory is None
    assert "could not be imported: ModuleNotFoundError in line 1" in listed["broken"].summary


def test_a_folder_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "missing"))
    with pytest.raises(StrategyError, match=f"{FOLDER} is set to .*missing, which is not a folder"):
        load_strategy("cosine-max")


def test_a_name_shared_by_two_strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "cosine_max.py", "Mine")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(StrategyError, match=r"More than one strategy is called 'cosine-max': .*:CosineMax, .*max.py"):
        load_strategy("cosine-max")
    assert type(load_strategy(path)).__name__ == "Mine"
    assert strategies()["cosine-max"].factory is None


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with three entry points: one is broken, and one repeats ours, as an installation does."""
    write(tmp_path / "a_package.py", "Mine")
    info = tmp_path / "a_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n", encoding="utf-8")
    points = f"[{ENTRY_POINTS}]\nfrom-outside = a_package:Mine\nlost = a_package:Lost\nrandom = {BUILT_IN['random']}\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


@pytest.mark.usefixtures("package")
def test_entry_points_of_installed_packages() -> None:
    assert type(load_strategy("from-outside")).__name__ == "Mine"
    assert isinstance(load_strategy("random"), Random)
    assert strategies()["from-outside"].summary == "Does as it is told."
    with pytest.raises(StrategyError, match="'lost' of the entry point a_package:Lost could not be imported: Attrib"):
        load_strategy("lost")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(StrategyError, match=r"Unknown strategy 'cosin-max'\. Did you mean 'cosine-max'\? Known: ablat"):
        load_strategy("cosin-max")
    with pytest.raises(StrategyError, match=r"Unknown strategy 'zzz'\. Known: ablation, .*zeros\. For a plug"):
        load_strategy("zzz")


def test_no_strategy_at_all() -> None:
    with pytest.raises(StrategyError, match=r"Expected a strategy: a name, .*; received 3\."):
        load_strategy(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class Mine:\n    def ask(self): ...\n", "no class with the methods ask and tell; its classes are Mine"),
        ("x = 1\n", r"mine.py contains no class with the methods ask and tell\."),
        ("strategy = 3\n", "`strategy` is 3; expected a class or a strategy"),
        ("\n\n1 / 0\n", "could not be imported: ZeroDivisionError in line 3: division by zero"),
        ("def f(:\n", "could not be imported: SyntaxError"),
        ("raise SystemExit(3)\n", "could not be imported: SystemExit"),
        ("strategy = list\n", r"returned \[\], which lacks the methods ask and tell"),
    ],
)
def test_files_without_a_strategy(source: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    with pytest.raises(StrategyError, match=message):
        load_strategy(path)


def test_files_with_two_strategies(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "One", "Two")
    with pytest.raises(StrategyError, match=r"contains 2 strategies, One, Two; expected one, or .* `strategy = One`"):
        load_strategy(path)


def test_paths_that_are_not_python_files(tmp_path: Path) -> None:
    with pytest.raises(StrategyError, match=r"plug-in file .*missing.py does not exist; expected the path of a single"):
        load_strategy(tmp_path / "missing.py")
    with pytest.raises(StrategyError, match="is a folder, not a file"):
        load_strategy(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(StrategyError, match=r"notes.txt is not a Python file; expected a path ending in \.py"):
        load_strategy(str(tmp_path / "notes.txt"))


def test_parameters_that_are_not_the_strategys(tmp_path: Path) -> None:
    with pytest.raises(StrategyError, match="cosine-max has no parameter 'patiance', did you mean 'patience'"):
        load_strategy("cosine-max", patiance=3)
    with pytest.raises(StrategyError, match=r"sequential has no parameter 'zzz'\. It takes: rounds\."):
        load_strategy("sequential", zzz=3)
    with pytest.raises(OptionError, match="patience to be an integer of at least 1, or None"):
        load_strategy("cosine-max", patience=0)
    needy = write(tmp_path / "needy.py", "_One", after="\ndef strategy(patience):\n    return _One(patience)\n")
    with pytest.raises(StrategyError, match=r"needs a value for its parameter 'patience'\. It takes: patience\."):
        load_strategy(needy)


def test_a_constructor_that_raises(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "_One", after="\ndef strategy(patience=1):\n    return 1 / 0\n")
    with pytest.raises(StrategyError, match="could not be built: ZeroDivisionError: division by zero"):
        load_strategy(path)
