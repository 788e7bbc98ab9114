"""The rate that the final training starts from."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from shrinknet.loop.rates import PEAK, final_optimizer
from shrinknet.loop.settings import Final, Training

COSINE = keras.optimizers.schedules.CosineDecay(0.5, 10)


@pytest.mark.parametrize(
    ("own", "given", "start"),
    [
        (keras.optimizers.Adam(1e-5), None, PEAK * 1e-3),  # what earlier training has left of the rate
        (keras.optimizers.SGD(0.1), None, 0.1),
        (keras.optimizers.SGD(COSINE), None, PEAK * 0.01),  # its schedule is at its end
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.AdamW(1e-4)), None, PEAK * 1e-3),
        (keras.optimizers.Adam(1e-5), 2e-4, 2e-4),
        (keras.optimizers.Adam(1e-5), "sgd", 0.01),
        (keras.optimizers.Adam(1e-5), COSINE, 0.5),
    ],
    ids=["a small rate", "a large rate", "a schedule", "loss scaling", "a rate", "a name", "another schedule"],
)
def test_the_final_training_starts_high_and_ends_at_0(own: Any, given: Any, start: float) -> None:
    optimizer = final_optimizer(Final(steps=10, optimizer=given), Training(), own)
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    assert [float(rate(step)) for step in (0, 10)] == pytest.approx([start, 0], abs=1e-6)
    assert optimizer is not own
