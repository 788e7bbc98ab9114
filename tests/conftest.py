"""Set up before any test: quiet libraries, and property tests that are the same each time."""

from __future__ import annotations

import os

# Before anything imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import pytest

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")

# No deadline: the first example of a property traces and compiles. Derandomized: a failure is the same for everybody.
hypothesis.settings.register_profile("shrinknet", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("shrinknet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked `tensorflow("reason")` on the other backends, and says why."""
    for item in items:
        for mark in item.iter_markers("tensorflow"):
            if BACKEND != "tensorflow":
                item.add_marker(pytest.mark.skip(reason=f"needs the TensorFlow backend: {mark.args[0]}"))


@pytest.fixture
def no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Converting to LiteRT twice a run takes longer than small runs do; test_model_commands.py measures for real."""
    monkeypatch.setattr("shrinknet.loop.result.measured_latency", lambda model, sample: None)
