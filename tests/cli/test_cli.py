"""The command line: help, exit codes, error messages, output streams, the progress bar."""

from __future__ import annotations

import dataclasses
import errno
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from shrinknet.cli import program
from shrinknet.cli.edges import DEMO
from shrinknet.cli.exits import MEANINGS, Program
from shrinknet.errors import ExportError, OptionError
from shrinknet.loop.options import KEYWORDS
from shrinknet.loop.progress import Progress, line
from shrinknet.minimizer import check_options

RECORD = {
    "before": {"filters": 10, "parameters": 891, "multiply_adds": 3, "bytes": 4, "score": 0.4, "validation_score": 0.3},
    "after": {"filters": 6, "parameters": 331, "multiply_adds": 1, "bytes": 2, "score": 0.39, "validation_score": 0.3},
    "control_score": float("nan"),
    "trials": [{"accepted": True}, {"accepted": False}],
    "model": "runs/x/model.keras",
    "page": "runs/x/index.html",
    "run": "runs/x",
    "stopped": "The target is reached.",
}


EDGES = {"widths", "edges", "crop", "kernel", "images", "on_error", "learning_rate", "formats"}


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, (*path, name))


@pytest.mark.parametrize("path", list(commands(program)), ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_works_everywhere(path: tuple[str, ...], flag: str) -> None:
    result = CliRunner().invoke(program, [*path, flag])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")


@pytest.mark.parametrize("path", [path for path in commands(program) if path], ids=" ".join)
def test_every_command_and_option_is_described(path: tuple[str, ...]) -> None:
    command: click.Command = program
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help
    if not isinstance(command, click.Group):
        assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_exit_codes_are_in_the_help() -> None:
    text = CliRunner().invoke(program, ["-h"]).stdout
    assert {0, 2, 70, 74, 130, 143} <= set(MEANINGS)
    for code, meaning in MEANINGS.items():
        assert f"{code:>3}  {meaning}" in text


def ending_in(error: BaseException) -> Program:
    @click.command()
    def go() -> None:
        raise error

    return Program("test", {"go": go})


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OptionError("threshold is 2."), 2, "Error: threshold is 2.\n"),
        (ExportError("it differs."), 70, "Error: it differs.\n"),
        (ZeroDivisionError("oops"), 70, "(ZeroDivisionError: oops)"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), 74, "No space left on device: runs/a."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (click.UsageError("no such thing"), 2, "Error: no such thing"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_are_sentences_and_exit_codes(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHRINKNET_TRACEBACK", raising=False)
    result = CliRunner().invoke(ending_in(error), ["go"])
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_traceback_is_printed_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    hint = CliRunner().invoke(ending_in(ZeroDivisionError("oops")), ["go"]).stderr
    assert "SHRINKNET_TRACEBACK=1" in hint
    monkeypatch.setenv("SHRINKNET_TRACEBACK", "1")
    result = CliRunner().invoke(ending_in(ZeroDivisionError("oops")), ["go"])
    assert "Traceback" in result.stderr
    assert result.exit_code == 70


SCRIPT = """
import os, signal, sys, time
import click
from shrinknet.cli.exits import Program
from shrinknet.cli.output import json_option, show, working

@click.command()
@click.option("--patient", is_flag=True)
@json_option
def go(patient, as_json):
    try:
        with working():
            print("noise of a library", flush=True)
            os.write(1, b"noise of its C part\\n")
            if os.environ.get("SIGNAL"):
                os.kill(os.getpid(), int(os.environ["SIGNAL"]))
                time.sleep(60)
    except KeyboardInterrupt:
        if not patient:
            raise
    show({"a": float("nan")}, "for people", as_json=as_json)

Program("test", {"go": go})()
"""


def run_script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, "go", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_json_is_alone_on_stdout() -> None:
    run = run_script("--json")
    assert run.stdout == '{"a": null}\n'
    assert run.stderr == "noise of a library\nnoise of its C part\n"
    assert run_script().stdout == "for people\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_command_with_their_exit_code(number: signal.Signals) -> None:
    cut_short = run_script(SIGNAL=str(int(number)))
    assert cut_short.returncode == 128 + number
    assert "Interrupted." in cut_short.stderr
    assert "Traceback" not in cut_short.stderr
    ended_well = run_script("--patient", SIGNAL=str(int(number)))  # like a run that keeps what it has decided so far
    assert ended_well.returncode == 128 + number
    assert ended_well.stdout == "for people\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces the work of `minimize edges`, and records its options."""
    options: dict[str, Any] = {}

    def minimize_edges(**given: Any) -> Any:
        options.update(given)
        print("noise of a library")
        return types.SimpleNamespace(to_dict=lambda: dict(RECORD))

    run = types.ModuleType("shrinknet.applications.edges.run")
    page = types.ModuleType("shrinknet.report")
    monkeypatch.setattr(run, "minimize_edges", minimize_edges, raising=False)
    monkeypatch.setattr(page, "write_page", lambda run: Path(run) / "index.html", raising=False)
    monkeypatch.setitem(sys.modules, run.__name__, run)
    monkeypatch.setitem(sys.modules, page.__name__, page)
    return options


def test_minimize_edges_passes_its_options_on(asked: dict[str, Any], tmp_path: Path) -> None:
    words = f"""--widths 4,3,1 --pace 3 --target 50% --edges sobel --crop 64 --kernel 3 --seed 7 --threshold 0.9
        --reference baseline --warmup-steps 5 --warmup-patience 2 --steps 6 --max-trials 2 --max-seconds 1.5
        --min-filters 2 --strategy norm-l1 --run {tmp_path}/run --images {tmp_path} --on-error skip
        --force --strict --new-data --learning-rate 0.01 --score loss,mae --mode min --trial-optimizer 1e-3 --no-reset
        --candidates layers --batch-size 4 --no-control --formats onnx --strategy-option patience=3
        --strategy-option relative=true --preset thesis --repair fold --final-steps 9 --final-optimizer sgd
        --schedule constant --trial-training always --checks 2 --only conv1 --never conv2 --never out --round-to 2
        --validation-steps 3 --no-latency"""
    result = CliRunner().invoke(program, ["minimize", "edges", *words.split()])
    assert result.exit_code == 0, result.stderr
    assert asked == {
        "widths": (4, 3, 1), "pace": 3, "target": 0.5, "edges": "sobel", "crop": 64, "kernel": 3, "seed": 7,
        "threshold": 0.9, "reference": "baseline", "warmup_steps": 5, "warmup_patience": 2, "steps": 6, "max_trials": 2,
        "max_seconds": 1.5, "min_filters": 2, "strategy": ("norm-l1", {"patience": 3, "relative": True}),
        "run_dir": tmp_path / "run", "images": tmp_path, "on_error": "skip", "force": True, "strict": True,
        "new_data": True, "learning_rate": 0.01, "score": ["loss", "mae"], "mode": "min", "trial_optimizer": 1e-3,
        "reset": False, "candidates": "layers", "batch_size": 4, "control": False, "formats": ("onnx",),
        "max_drop": None, "preset": "thesis", "repair": "fold", "final_steps": 9, "final_optimizer": "sgd",
        "schedule": "constant", "train": "always", "checks": 2, "only": ("conv1",), "never": ("conv2", "out"),
        "round_to": 2, "validation_steps": 3, "latency": False,
    }  # fmt: skip
    check_options(**{name: value for name, value in asked.items() if name not in EDGES})
    assert "891" in result.stdout and "331" in result.stdout
    assert "1 cuts kept, 1 rolled back. The target is reached." in result.stdout
    assert result.stdout.endswith("page   runs/x/index.html\n")
    assert "noise" not in result.stdout


def test_minimize_edges_prints_one_object(asked: dict[str, Any]) -> None:
    result = CliRunner().invoke(program, ["minimize", "edges", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {**RECORD, "control_score": None}


def test_demo_is_minimize_edges_with_small_settings(asked: dict[str, Any]) -> None:
    result = CliRunner().invoke(program, ["demo"])
    assert result.exit_code == 0, result.stderr
    assert {name: asked[name] for name in DEMO} == DEMO
    assert asked["run_dir"] == Path("runs/demo")
    assert asked["widths"] == (5, 5, 1)


def test_defaults_are_those_of_the_functions(asked: dict[str, Any]) -> None:
    from shrinknet.minimizer import minimize

    assert CliRunner().invoke(program, ["minimize", "edges"]).exit_code == 0
    defaults = {name: parameter.default for name, parameter in inspect.signature(minimize).parameters.items()}
    defaults |= {
        name: next(field.default for field in dataclasses.fields(kind) if field.name == attribute)
        for name, (_, kind, attribute) in KEYWORDS.items()
    }
    given = {name: value for name, value in asked.items() if name not in {*EDGES, "run_dir", "control"}}
    defaults["reference"] = None  # the preset's
    defaults["warmup_steps"] = 10_000  # the network of this command is not trained yet
    assert given.keys() <= defaults.keys()
    assert given == {name: defaults[name] for name in given}


@pytest.mark.parametrize(
    "words",
    ["--pace none", "--pace 0", "--target 0", "--target 1.5", "--target half", "--widths 5,,1", "--widths 5,0",
     "--threshold 0", "--threshold 1.1", "--edges prewitt", "--images nowhere", "--crop 2"],
)  # fmt: skip
def test_bad_options_are_refused_by_name(asked: dict[str, Any], words: str) -> None:
    result = CliRunner().invoke(program, ["minimize", "edges", *words.split()])
    assert result.exit_code == 2
    assert f"Invalid value for '{words.split()[0]}'" in result.stderr
    assert not asked


def test_report_prints_the_path_of_the_page(asked: dict[str, Any], tmp_path: Path) -> None:
    result = CliRunner().invoke(program, ["report", str(tmp_path), "--json"])
    assert json.loads(result.stdout) == {"page": str(tmp_path / "index.html")}
    missing = CliRunner().invoke(program, ["report", str(tmp_path / "nowhere")])
    assert missing.exit_code == 2
    assert "does not exist" in missing.stderr


def test_strategies_are_listed() -> None:
    rows = json.loads(CliRunner().invoke(program, ["strategies", "--json"]).stdout)["strategies"]
    summaries = {row["name"]: row["summary"] for row in rows}
    assert {"cosine-max", "random", "sequential"} <= set(summaries)
    assert all(summaries.values())
    text = CliRunner().invoke(program, ["strategies"]).stdout
    assert re.search(rf"^cosine-max +{re.escape(summaries['cosine-max'])}$", text, re.MULTILINE)


def test_doctor_tries_a_cut() -> None:
    result = CliRunner().invoke(program, ["doctor", "--json"])
    assert result.exit_code == 0, result.stderr
    findings = json.loads(result.stdout)
    assert findings["ok"]
    assert "cut out" in findings["check"]["message"]
    assert {package["package"] for package in findings["packages"]} >= {"keras", "click"}
    assert "pip install 'jax>=" in findings["extras"]["jax"]["command"]
    assert findings["hardware"]["cores"] >= 1


def test_doctor_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shrinknet.cli.checks.check_a_cut", lambda: {"ok": False, "message": "it differs"})
    result = CliRunner().invoke(program, ["doctor"])
    assert result.exit_code == 1
    assert "it differs" in result.stdout
    assert "A check failed" in result.stdout


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_score_and_filters_left_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with Progress(stream) as progress:
        progress.begin("trial 3")
        progress.state(0.4321, 8)
        for step in range(1, 2001):
            progress.step(step, 2000)
    lines = stream.getvalue().split("\r\x1b[2K")
    assert lines[-2] == line("trial 3", 2000, 2000, 0.4321, 8)
    assert "2,000/2,000" in lines[-2] and "score 0.4321" in lines[-2] and "filters left 8" in lines[-2]
    assert lines[-1] == ""  # it is removed at the end
    assert len(lines) < 1000  # not drawn at every step


def test_progress_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    progress = Progress(stream)
    progress.begin("warm-up")
    progress.step(0, 10_000)
    assert len(stream.getvalue().removeprefix("\r\x1b[2K")) == 29


def test_there_is_no_progress_bar_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.step(1, 1)
    assert stream.getvalue() == ""
    monkeypatch.setenv("TERM", "dumb")
    Progress(terminal := Terminal()).step(1, 1)
    assert terminal.getvalue() == ""


def test_progress_line_without_score_or_steps() -> None:
    assert line("warm-up", 0, 0, None, None) == f"warm-up  [{'#' * 24}]  0/0"


@pytest.mark.slow
def test_tensorflows_startup_messages_are_suppressed() -> None:
    run = subprocess.run([sys.executable, "-m", "shrinknet", "doctor"], capture_output=True, text=True, check=False)
    assert run.stdout.endswith("All is well.\n")
    assert run.stderr == ""
