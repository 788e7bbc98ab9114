"""Setup before any test: quiet libraries, and reproducible property tests."""

from __future__ import annotations

import os

# Before anything imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import pytest

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")

# No deadline: the first example of a property traces and compiles. Derandomized: everybody sees the same failures.
hypothesis.settings.register_profile("shrinknet", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("shrinknet")


def pytest_configure(config: pytest.Config) -> None:
    """Without the slow tests, TensorFlow's graph optimizer is off: it takes a seventh of the time, and changes no test.

    `make test-all` leaves it on, as users have it.
    """
    collects = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if BACKEND == "tensorflow" and config.option.markexpr == "not slow" and not collects:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `tensorflow("reason")` on other backends, with that reason."""
    for item in items:
        for mark in item.iter_markers("tensorflow"):
            if BACKEND != "tensorflow":
                item.add_marker(pytest.mark.skip(reason=f"needs the TensorFlow backend: {mark.args[0]}"))


@pytest.fixture
def no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two LiteRT conversions take longer than a small run; tests/cli/test_models.py measures real latency."""
    monkeypatch.setattr("shrinknet.loop.result.measured_latencies", lambda models, *_, **__: [None] * len(models))
