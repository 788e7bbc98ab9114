"""Patches pruning in tensorflow-model-optimization 0.8.1 for recent versions of TensorFlow.

Its wrapper passes variables through `merge_call`, from which recent versions of TensorFlow return plain tensors, which
have no `assign`. With a single replica, as here, the variables can be assigned to directly.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning


def patch_pruning() -> None:
    """Makes pruning assign to its variables directly, from now on."""
    Pruning.weight_mask_op = _mask_weights
    Pruning.conditional_mask_update = _update_masks_when_due


@tf.autograph.experimental.do_not_convert
def _mask_weights(self: Any) -> Any:
    return tf.group([weight.assign(weight * tf.cast(mask, weight.dtype)) for weight, mask, _ in self._pruning_vars])


@tf.autograph.experimental.do_not_convert
def _update_masks_when_due(self: Any) -> Any:
    step = self._step_fn()
    due = tf.equal(step, 1) if self._sparsity_m_by_n else self._pruning_schedule(step)[0]

    def update() -> Any:
        assigned = []
        for weight, mask, threshold in self._pruning_vars:
            new_threshold, new_mask = self._maybe_update_block_mask(weight)
            assigned += [threshold.assign(new_threshold), mask.assign(new_mask)]
        return tf.group(assigned)

    return tf.cond(due, update, tf.no_op)
