"""The tool that injects bugs: it edits a copy, reports mutants that tests miss, and refuses those it cannot judge."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "mutants.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("shrinknet_mutants", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def probe(tmp_path: Path) -> str:
    """A test of how a filter prints, which imports nothing heavy."""
    path = tmp_path / "test_probe.py"
    path.write_text(
        "from shrinknet.filters import Filter\n\ndef test_it():\n    assert str(Filter('a', 1)) == 'a[1]'\n"
    )
    return str(path)


def test_every_edit_applies_and_names_are_unique(tool: ModuleType) -> None:
    names = [mutant.name for mutant in tool.MUTANTS]
    assert len(set(names)) == len(names)
    for mutant in tool.MUTANTS:
        text = (tool.PACKAGE / mutant.file).read_text()
        assert text.count(mutant.old) == 1, f"{mutant.name}: the old text must occur in {mutant.file} exactly once"
        assert mutant.invariant in tool.INVARIANTS


@pytest.mark.slow
def test_mutants_are_judged_and_the_checkout_is_not_touched(
    tool: ModuleType, probe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tool.PACKAGE / "filters.py").read_text()
    mutant = tool.Mutant("brackets", 1, "filters.py", 'f"{self.layer}[{self.index}]"', 'f"{self.layer}"', (probe,))
    harmless = tool.Mutant("harmless", 3, "filters.py", "order=True", "order=False", (probe,))
    broken = tool.Mutant("syntax", 2, "filters.py", "from __future__", "from __past__", (probe,))
    monkeypatch.setattr(tool, "MUTANTS", (mutant, harmless, broken))
    assert tool.main(["--only", "brackets", "--only", "harmless", "--only", "syntax"]) == 1
    said = capsys.readouterr()
    verdicts = dict(reversed(line.split(maxsplit=2)[::2]) for line in said.out.splitlines())
    assert verdicts == {"brackets": "noticed", "harmless": "MISSED", "syntax": "ERROR"}
    assert "harmless breaks invariant 3" in said.err
    assert "exit code 2" in said.err  # tests that cannot be collected prove nothing
    assert (tool.PACKAGE / "filters.py").read_text() == before


def test_invariants_without_a_mutant_are_reported(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "MUTANTS", ())
    assert tool.main([]) == 1
    assert "There is no mutant for invariant 6." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "old", "match"),
    [("nowhere.py", "x", "does not exist"), ("filters.py", "no such text", "0 times"), ("filters.py", "def ", "times")],
)
def test_an_edit_that_does_not_apply_is_an_error(
    tool: ModuleType, tmp_path: Path, file: str, old: str, match: str
) -> None:
    (tmp_path / "shrinknet").mkdir()
    (tmp_path / "shrinknet" / "filters.py").write_text((tool.PACKAGE / "filters.py").read_text())
    with pytest.raises(tool.MutantError, match=match):
        tool.inject(tool.Mutant("unfit", 1, file, old, "y", ()), tmp_path)
