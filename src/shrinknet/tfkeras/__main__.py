"""`python -m shrinknet.tfkeras JOB`: runs the job in the folder JOB, and writes the results into it."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 1e-5  # of the outputs' scale, between the network in Keras 3 and the same one in tf_keras


def main(job: Path) -> None:
    """Writes `<method>.json` for each method, and `<method>.tflite` unless the method refused the network."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    facts = json.loads((job / "job.json").read_text())
    try:
        from shrinknet.tfkeras import methods  # heavy, and may be missing or broken

        run = _prepared(job, facts)
    except Exception as error:
        for name in facts["methods"]:
            _write(job, name, {"refused": _said(error)})
        return
    for name in facts["methods"]:
        try:
            compressed = run(methods.METHODS[name])
        except Exception as error:
            _write(job, name, {"refused": _said(error)})
            continue
        (job / f"{name}.tflite").write_bytes(compressed.content)
        _write(job, name, {"inputs": compressed.inputs, "outputs": compressed.outputs, "note": compressed.note})


def _end_with_parent() -> None:
    """Ends the process when the pipe on stdin closes, which happens however the parent ends."""
    sys.stdin.buffer.read()
    os._exit(1)


def _prepared(job: Path, facts: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A function that runs one method on a fresh copy of the network."""
    import tf_keras

    from shrinknet.tfkeras.losses import loss_of
    from shrinknet.tfkeras.methods import Training
    from shrinknet.tfkeras.rebuilding import model_from

    weights, data = _arrays(job / "weights.npz"), _arrays(job / "data.npz")
    training = Training(
        x=_listed(data, "x"),
        y=_listed(data, "y"),
        weights=data.get("weights"),
        loss=[loss_of(loss) for loss in facts["losses"]],
        optimizer=facts["optimizer"],
        epochs=facts["epochs"],
        batch_size=facts["batch_size"],
    )

    def run(method: Any) -> Any:
        tf_keras.utils.set_random_seed(facts["seed"])
        model = model_from(facts["description"], weights)
        _check(model, data)
        return method(model, training, facts)

    return run


def _check(model: Any, data: Mapping[str, np.ndarray]) -> None:
    """Refuses a copy that computes something different."""
    from shrinknet.errors import ModelError

    outputs = model(_listed(data, "sample"), training=False)
    for want, got in zip(_listed(data, "expected"), outputs if isinstance(outputs, list) else [outputs], strict=True):
        error = float(np.abs(want - np.asarray(got)).max()) / max(float(np.abs(want).max()), 1e-30)
        if not error <= TOLERANCE:
            raise ModelError(f"Rebuilt in tf_keras, the network differs by {error:.1e} of its outputs' scale.")


def _listed(data: Mapping[str, np.ndarray], kind: str) -> list[np.ndarray]:
    return [data[f"{kind}{index}"] for index in range(sum(name.rstrip("0123456789") == kind for name in data))]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _said(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:2]) if lines and lines[0].startswith("Exception encountered") else "".join(lines[:1])
    return text if type(error).__module__.startswith("shrinknet") else f"{type(error).__name__}: {text}"


def _write(job: Path, name: str, result: Mapping[str, Any]) -> None:
    (job / f"{name}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
