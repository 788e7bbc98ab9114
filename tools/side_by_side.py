"""Runs the same minimizations with two source trees and compares every trial and every weight, bit for bit.

`python tools/side_by_side.py ../other/src src` shows whether a refactoring changed what is computed. Both trees run on
this machine, one after the other. The last bits differ between processors, so no expected results can be recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

SCENARIOS = ("arrays", "streams", "layers", "edges", "histories")

PROGRAM = r"""
import hashlib, inspect, json, os, sys, tempfile
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
from shrinknet import minimize

# Defaults have changed on purpose; the method of the thesis has not.
THESIS = {"preset": "thesis"} if "preset" in inspect.signature(minimize).parameters else {}

random = np.random.default_rng(0)
X = random.normal(size=(48, 8, 8, 1)).astype("float32")
Y = (X.mean((1, 2)) > 0).astype("float32")

def classifier():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(6, 3, activation="relu", name="conv1"),
        layers.BatchNormalization(), layers.Conv2D(5, 3, padding="same", activation="relu", name="conv2"),
        layers.Conv2D(5, 3, padding="same", activation="relu", name="conv3"), layers.Flatten(),
        layers.Dropout(0.2, seed=1), layers.Dense(1, activation="sigmoid", name="out")], name="small")
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model

def digest(result):
    bits = hashlib.sha256()
    for net in (result.model, result.uncut, result.control):
        for weight in net.weights if net is not None else ():
            bits.update(np.asarray(weight).tobytes())
    trials = [[str(t.filters), float(t.score).hex(), t.accepted, t.split, t.filters_left, t.parameters, t.multiply_adds]
              for t in result.records]
    return {"weights": bits.hexdigest(), "baseline": float(result.baseline).hex(), "trials": trials,
            "scores": [s and float(s).hex() for s in (result.summary.after.score, result.summary.control_score)]}

def run(**options):
    settings = dict(warmup_steps=30, steps=6, seed=3, batch_size=10, verbose=0, control=True, threshold=0.9, **THESIS)
    return digest(minimize(classifier(), (X, Y), (X, Y), test_data=(X, Y), **{**settings, **options}))

def arrays():
    return [run(strategy=name, pace=pace, reference=reference, max_trials=6, trial_optimizer=optimizer)
            for name, pace, reference, optimizer in (
                ("random", "one", "last", None), ("cosine-max", "adaptive", "baseline", None),
                ("ablation", 2, "last", 0.003), ("norm-l2", "adaptive", "last", "sgd"))]

def streams():
    import tensorflow as tf
    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48, seed=1).batch(12)
    options = dict(warmup_steps=20, steps=5, seed=1, verbose=0, strategy="random", max_trials=3, threshold=0.5,
                   **THESIS)
    return digest(minimize(classifier(), data, data, **options))

def layers():
    return run(candidates="layers", strategy="sequential", threshold=0.2, max_trials=3)

def edges():
    from shrinknet.applications.edges.run import minimize_edges
    with tempfile.TemporaryDirectory() as folder:
        done = minimize_edges(folder + "/run", crop=32, widths=(3, 2, 1), warmup_steps=40, steps=10, seed=1,
                              strategy="ablation", max_trials=3, **THESIS)
        return digest(done.result)

def histories():
    from shrinknet.experiments import strategies
    Strategies = strategies.Strategies
    settings = Strategies.preset("smoke", crop=32, train_crops=2, warmup_steps=20, steps=5, thresholds=(0.9,),
                                 strategies=("random", "cosine-max"))
    unit = strategies.repetition(settings, 0)
    for run in unit["runs"]:
        run.pop("steps", None)  # was not counted at first
    return unit

print(json.dumps(globals()[sys.argv[1]](), default=str))
"""


def answers(tree: Path, scenario: str) -> object:
    """What a tree computes in a scenario, as JSON."""
    environment = {**os.environ, "PYTHONPATH": str(tree.resolve()), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-c", PROGRAM, scenario]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{scenario} failed with {tree}:\n{run.stderr[-3000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", type=Path, nargs=2, help="the two src folders")
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    options = parser.parse_args()
    differ = 0
    for scenario in options.only or SCENARIOS:
        first, second = (answers(tree, scenario) for tree in options.trees)
        differ += first != second
        print(f"{scenario:<10} {'the same bits' if first == second else 'DIFFERENT'}", flush=True)
        if first != second:
            print(json.dumps(first)[:2000], json.dumps(second)[:2000], sep="\n", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
