"""Injects one named bug at a time into a copy of the source, and fails unless the tests notice.

A test that cannot fail is worse than none: each invariant of docs/design.md has at least one mutant here that breaks
it, and the tests for that invariant must fail. The checkout itself is never touched.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "shrinknet"
INVARIANTS = range(8)  # of docs/design.md
TIME_LIMIT = 600  # seconds for the tests of one mutant


@dataclass(frozen=True)
class Mutant:
    """One bug to inject.

    Attributes:
        name: what goes wrong, in a few words with dashes.
        invariant: number of the invariant in docs/design.md that it breaks.
        file: path under src/shrinknet.
        old: text that occurs in the file exactly once.
        new: its replacement.
        tests: arguments for pytest, such as `tests/network/test_switches.py`; test ids work too.
    """

    name: str
    invariant: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


OPTIMIZERS, SWITCHES, ANY_MODEL, CHECKPOINT, STORE, RESUME, MINIMIZE = (
    f"tests/{name}.py"
    for name in (
        "network/test_optimizers",
        "network/test_switches",
        "network/test_any_model",
        "network/test_checkpoint",
        "runs/test_store",
        "runs/test_resume",
        "loop/test_minimize",
    )
)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "statistics-of-a-layer-not-carried",
        0,
        "network/copying.py",
        "            new.load_own_variables({key: _array(value) for key, value in store.items()})",
        "            {key: _array(value) for key, value in store.items()}",
        (f"{ANY_MODEL}::test_an_adapted_normalization_is_carried",),
    ),
    Mutant(
        "copy-not-compared-with-the-model",
        0,
        "network/switching.py",
        "        _prove(model, recorded, net, sample)\n    return net",
        "        pass\n    return net",
        (f"{ANY_MODEL}::test_a_copy_that_is_another_function_is_never_returned",),
    ),
    Mutant(
        "composite-layer-compared-in-inference-only",
        0,
        "network/switching.py",
        "modes: Sequence[bool] = (False, True)",
        "modes: Sequence[bool] = (False, False)",
        (f"{ANY_MODEL}::test_what_cannot_be_followed_is_left_as_it_is_and_the_rest_is_cut",),
    ),
    Mutant(
        "cut-the-neighbouring-filter",
        1,
        "graph/channels.py",
        "return {axis: np.flatnonzero(~gone[channels]) for",
        "return {axis: np.flatnonzero(~np.roll(gone[channels], 1)) for",
        (f"{SWITCHES}::test_what_is_cut_out_computes_what_the_switches_did",),
    ),
    Mutant(
        "slim-network-not-verified",
        1,
        "network/proving.py",
        "        return largest_difference(expected, received, tolerance)",
        "        return largest_difference(expected, received, float('inf'))",
        (f"{SWITCHES}::test_a_wrong_cut_is_never_returned",),
    ),
    Mutant(
        "output-filters-can-be-cut",
        1,
        "graph/tracing.py",
        """        book.pins.append((out.reshape(-1), "it reaches the model's output"))""",
        "        out.reshape(-1)",
        (f"{SWITCHES}::test_filters_that_reach_the_output_are_refused_with_the_reason",),
    ),
    Mutant(
        "reader-not-gated",
        2,
        "layers/base.py",
        "(kernel, ops.where(live.value, kernel.value, ops.zeros((), kernel.dtype)))",
        "(kernel, kernel.value)",
        (f"{SWITCHES}::test_disabled_is_a_reader_with_zeros_there",),
    ),
    Mutant(
        "regularizer-sees-disabled-channels",
        2,
        "network/guarded.py",
        "variable.regularizer(_live(variable, masks.get(id(variable))))",
        "variable.regularizer(variable)",
        (f"{SWITCHES}::test_no_gradient_passes_a_disabled_channel",),
    ),
    Mutant(
        "frozen-slice-not-restored",
        3,
        "network/optimizers.py",
        "            variable.assign(ops.where(mask.value, old, variable.value))",
        "            ops.where(mask.value, old, variable.value)",
        (f"{OPTIMIZERS}::test_frozen_does_not_move_by_one_bit[AdamW-strong]",),
    ),
    Mutant(
        "averaging-overwrites-frozen-slices",
        3,
        "network/optimizers.py",
        "    def finalize_variable_values(self: Any, var_list: Any) -> None:",
        "    def finalize_nothing(self: Any, var_list: Any) -> None:",
        (f"{OPTIMIZERS}::test_frozen_does_not_move_by_one_bit[Adam-average]",),
    ),
    Mutant(
        "frozen-gradients-enter-the-clipping-norm",
        3,
        "network/optimizers.py",
        "grad if mask is None or grad is None else",
        "grad if mask is None or grad is not None else",
        (f"{OPTIMIZERS}::test_dead_gradients_do_not_enter_a_global_clipping_norm",),
    ),
    Mutant(
        "compiling-again-loses-the-freezing",
        3,
        "network/guarded.py",
        "        keep_frozen(self)\n        own_buffers(self.optimizer)",
        "        own_buffers(self.optimizer)",
        (f"{OPTIMIZERS}::test_the_users_later_compile_does_not_lose_it",),
    ),
    Mutant(
        "toggling-retraces-the-training-step",
        4,
        "network/switches.py",
        "            self.net.train_function = None  # it was traced with the optimizer as it was before",
        "        self.net.train_function = None",
        (f"{SWITCHES}::test_toggling_traces_nothing",),
    ),
    Mutant(
        "new-mask-at-each-toggle",
        4,
        "network/optimizers.py",
        "        if key not in held:",
        "        if key in held or key not in held:",
        (f"{OPTIMIZERS}::test_toggling_what_is_frozen_traces_nothing",),
    ),
    Mutant(
        "last-slot-not-reset",
        5,
        "network/optimizers.py",
        "    for variable, value in zip(current, initial, strict=True):",
        "    for variable, value in list(zip(current, initial, strict=True))[:-1]:",
        (f"{OPTIMIZERS}::test_reset_equals_a_newly_built_optimizer[Adam]",),
    ),
    Mutant(
        "slots-zeroed",
        5,
        "network/optimizers.py",
        "    initial = state_variables(fresh)",
        "    initial = [keras.Variable(ops.zeros_like(variable.value)) for variable in state_variables(fresh)]",
        (f"{OPTIMIZERS}::test_reset_equals_a_newly_built_optimizer[Adagrad]",),
    ),
    Mutant(
        "seeds-not-in-the-checkpoint",
        6,
        "network/checkpoint.py",
        "    variables = [*net.variables, *",
        "    variables = [*net.weights, *",
        (f"{CHECKPOINT}::test_training_after_a_restore_is_training_from_the_checkpoint[momentum-by_fit]",),
    ),
    Mutant(
        "optimizer-not-in-the-checkpoint",
        6,
        "network/checkpoint.py",
        "*(optimizer.variables if optimizer is not None else ())]",
        "]",
        (f"{CHECKPOINT}::test_training_after_a_restore_is_training_from_the_checkpoint[momentum-by_fit]",),
    ),
    Mutant(
        "masks-stay-after-a-rollback",
        6,
        "network/checkpoint.py",
        "        if optimizer is not None and is_freezing(optimizer):",
        "        if optimizer is not None and not is_freezing(optimizer):",
        (f"{CHECKPOINT}::test_freezing_that_was_installed_later_goes_back",),
    ),
    Mutant(
        "rejected-trial-kept",
        6,
        "loop/trials.py",
        "        if not trial.accepted:\n            self._roll_back()",
        "        if trial.accepted:\n            self._roll_back()",
        (f"{MINIMIZE}::test_accepted_trials_are_cut_out_and_rejected_ones_leave_no_trace",),
    ),
    Mutant(
        "renamed-before-synced",
        7,
        "files/disk.py",
        "                disk.sync(file)\n",
        "",
        (f"{STORE}::test_a_file_is_synced_before_it_is_renamed_and_its_folder_afterwards",),
    ),
    Mutant(
        "one-generation-only",
        7,
        "runs/generations.py",
        '        return f"{self.name}-{number % 2}"',
        '        return f"{self.name}-{number % 1}"',
        (f"{RESUME}::test_the_older_checkpoint_stands_in_for_a_damaged_one",),
    ),
    Mutant(
        "checksum-not-compared",
        7,
        "runs/store.py",
        " or digest != data[-64:]:",
        ":",
        (f"{STORE}::test_every_flipped_bit_and_every_cut_is_detected_or_harmless",),
    ),
    Mutant(
        "journal-rows-not-chained",
        7,
        "runs/journal.py",
        'f"{row} {before} {record}"',
        'f"{row} {record}"',
        (f"{STORE}::test_a_row_of_another_journal_is_noticed",),
    ),
    Mutant(
        "stream-restarts-from-the-beginning",
        7,
        "loop/trials.py",
        "            self.bench.engine.go_to(saved.snapshot.position)\n            for trial",
        "            for trial",
        (f"{RESUME}::test_a_stream_is_taken_on_from_the_same_batch[tf.data]",),
    ),
    Mutant(
        "old-trials-are-not-told",
        7,
        "loop/trials.py",
        "                self.search.learn(trial)",
        "                self.search.trials.append(trial)",
        (f"{RESUME}::test_killed_in_any_phase",),
    ),
    Mutant(
        "warm-up-restarts-from-the-beginning",
        7,
        "loop/warming.py",
        "if mark > done and not stagnates(",
        "if not stagnates(",
        (f"{RESUME}::test_killed_in_any_phase",),
    ),
    Mutant(
        "two-writers",
        7,
        "runs/lock.py",
        "_lock(self._handle, path, fcntl.LOCK_EX)",
        "_lock(self._handle, path, fcntl.LOCK_SH)",
        (f"{RESUME}::test_the_same_process_is_refused_too",),
    ),
)


class MutantError(Exception):
    """A mutant that cannot be injected or judged, and must be fixed."""


def inject(mutant: Mutant, source: Path) -> None:
    """Makes the mutant's edit in the copy of the package under `source`.

    Raises:
        MutantError: the file is missing, or does not contain the old text exactly once.
    """
    path = source / "shrinknet" / mutant.file
    if not path.is_file():
        raise MutantError(f"{mutant.name}: src/shrinknet/{mutant.file} does not exist.")
    text = path.read_text(encoding="utf-8")
    found = text.count(mutant.old)
    if found != 1:
        raise MutantError(f"{mutant.name}: src/shrinknet/{mutant.file} contains the old text {found} times, not once.")
    if mutant.new == mutant.old:
        raise MutantError(f"{mutant.name}: the new text equals the old text.")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def run_tests(source: Path, tests: Sequence[str]) -> int:
    """Pytest's exit code for these tests, with the package imported from `source`.

    Raises:
        MutantError: the package would be imported from elsewhere, or the tests take longer than the time limit.
    """
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    where = "import shrinknet; print(shrinknet.__file__)"
    imported = subprocess.run([sys.executable, "-c", where], cwd=ROOT, env=environment, capture_output=True, text=True)
    if imported.returncode == 0 and Path(imported.stdout.strip()).parents[1] != source:
        raise MutantError(f"The tests would import {imported.stdout.strip()}, not the copy in {source}.")
    # Without a cache, and with slow tests: exactly the listed tests run.
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow", *tests]
    try:
        run = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=TIME_LIMIT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise MutantError(f"{' '.join(tests)} took longer than {TIME_LIMIT} seconds.") from error
    if run.returncode not in (0, 1):  # 2: interrupted or not collected; 4: no such test; 5: no test
        raise MutantError(f"pytest {' '.join(tests)} ended with exit code {run.returncode}:\n{run.stdout[-2000:]}")
    return run.returncode


def with_copy(mutant: Mutant | None, tests: Sequence[str]) -> int:
    """Pytest's exit code on a fresh copy of the source, with the mutant injected if there is one."""
    with tempfile.TemporaryDirectory(prefix="shrinknet-mutant-") as folder:
        source = Path(folder).resolve()
        shutil.copytree(PACKAGE, source / "shrinknet", ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            inject(mutant, source)
        return run_tests(source, tests)


def judge(mutants: Sequence[Mutant]) -> list[str]:
    """Runs them all; returns one sentence for each problem."""
    wrong: list[str] = []
    selection = sorted({test for mutant in mutants for test in mutant.tests})
    if with_copy(None, selection) != 0:
        return [f"The tests already fail without a mutant: pytest {' '.join(selection)}"]
    for mutant in mutants:
        try:
            noticed = with_copy(mutant, mutant.tests) != 0
        except MutantError as error:
            wrong.append(str(error))
            verdict = "ERROR"
        else:
            verdict = "noticed" if noticed else "MISSED"
            if not noticed:
                wrong.append(
                    f"{mutant.name} breaks invariant {mutant.invariant}, but {' '.join(mutant.tests)} still pass."
                )
        print(f"{verdict:<8} {mutant.invariant}  {mutant.name}", flush=True)
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the mutants and exit")
    parser.add_argument("--only", metavar="NAME", action="append", help="only this mutant; may be repeated")
    options = parser.parse_args(arguments)
    if options.list:
        for mutant in MUTANTS:
            print(f"{mutant.invariant}  {mutant.name}  {mutant.file}  {' '.join(mutant.tests)}")
        return 0
    unknown = set(options.only or ()) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"there is no mutant called {', '.join(sorted(unknown))}; --list shows all")
    chosen = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only]
    missing = set() if options.only else set(INVARIANTS) - {mutant.invariant for mutant in MUTANTS}
    wrong = [f"There is no mutant for invariant {number}." for number in sorted(missing)]
    try:
        wrong += judge(chosen) if chosen else []
    except MutantError as error:
        wrong.append(str(error))
    for sentence in wrong:
        print(f"Error: {sentence}", file=sys.stderr)
    if not wrong:
        print(f"All {len(chosen)} mutants were noticed.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
