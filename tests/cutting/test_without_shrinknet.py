"""A slim network is plain Keras: it loads and computes the same bits without shrinknet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from zoo import disable_half, redraw

from shrinknet import Switches, slim, switched
from shrinknet.unpooling import max_unpooling

SCRIPT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "shrinknet":
            raise ImportError("shrinknet is not installed here")

sys.meta_path.insert(0, Refuse())
try:
    import shrinknet
except ImportError:
    pass
else:
    sys.exit("shrinknet can be imported")
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np

folder = sys.argv[1]
data = np.load(folder + "/data.npz")
for name in sys.argv[2:]:
    model = keras.models.load_model(f"{folder}/{name}.keras")
    assert model.optimizer is not None
    received, wanted = np.asarray(model(data["x"])), data[name]
    assert received.tobytes() == wanted.tobytes(), (name, np.abs(received - wanted).max())
    model.fit(data["x"], np.zeros_like(wanted), verbose=0)
print("equal")
"""


def block(inputs: Any) -> Any:
    """Most things that slimming changes: shuffled, gathered, normalised and split channels, constants, nesting."""
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    x = layers.GroupNormalization(2)(x)
    x = layers.Reshape((8, 8, 8))(layers.Permute((1, 2, 4, 3))(layers.Reshape((8, 8, 2, 4))(x)))
    x = layers.LayerNormalization()(x * np.linspace(1, 2, 8, dtype="float32"))
    inner = keras.Sequential([keras.Input((8, 8, 8)), layers.Conv2D(6, 3, padding="same"), layers.PReLU()])
    y = layers.Conv2D(8, 1)(layers.DepthwiseConv2D(3, padding="same")(inner(x)))
    y = max_unpooling(layers.MaxPooling2D()(y), x)
    return layers.Concatenate()([y[..., ::2], keras.ops.relu(x + y)])


@pytest.mark.slow
def test_it_loads_and_computes_the_same_bits(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 2))
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype("float32")
    models = {
        "block": keras.Model(inputs, layers.Conv2D(3, 1)(block(inputs))),
        "sequence": keras.Sequential(
            [keras.Input((8, 8, 2)), layers.Conv2D(6, 3, activation="relu"), layers.Flatten(), layers.Dense(2)]
        ),
    }
    wanted = {}
    for name, model in models.items():
        redraw(model)
        model.compile("adam", "mse", metrics=["mae"])
        net = switched(model)
        assert disable_half(Switches(net))
        small = slim(net)
        small.save(tmp_path / f"{name}.keras")
        wanted[name] = np.asarray(small(x))
    np.savez(tmp_path / "data.npz", x=x, **wanted)
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, str(tmp_path), *models], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "equal"
