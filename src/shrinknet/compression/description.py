"""Description: a Keras network as plain data (JSON and arrays), from which another version of Keras can rebuild it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from shrinknet.errors import ModelError
from shrinknet.internals import functional_of, nodes_of


class Description:
    """The network as plain data.

    Attributes:
        facts: its name; its inputs (tensor, name, shape, dtype); its calls in order, each with name, kind (the class),
            config, trainable, weights (names of arrays, None for an operation that is not a layer), arguments, tensors
            (the number of leading arguments that are tensors), outputs; and its outputs. Tensors are numbered.
        arrays: weights and constants by name.
    """

    def __init__(self, model: Any, inputs: list[str]) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.numbers = 0
        self.calls: list[dict[str, Any]] = []
        functional = functional_of(model)
        tensors = [self._new() for _ in functional.inputs]
        specs = [
            {"tensor": number, "name": name, "shape": list(tensor.shape), "dtype": tensor.dtype}
            for number, name, tensor in zip(tensors, inputs, functional.inputs, strict=True)
        ]
        outputs = self._walk(functional, tensors, "")
        self.facts = {"name": model.name, "inputs": specs, "calls": self.calls, "outputs": outputs}

    def _new(self) -> int:
        self.numbers += 1
        return self.numbers

    def _walk(self, functional: Any, inputs: list[int], prefix: str) -> list[int]:
        known = {id(tensor): number for tensor, number in zip(functional.inputs, inputs, strict=True)}
        for node in nodes_of(functional):
            path = prefix + node.operation.name
            taken = [known[id(tensor)] for tensor in node.arguments.keras_tensors]
            if isinstance(node.operation, keras.Model):
                outputs = self._walk(functional_of(node.operation), taken, path + "/")
            else:
                outputs = [self._new() for _ in node.outputs]
                self._call(node, path, known, outputs)
            known.update({id(tensor): number for tensor, number in zip(node.outputs, outputs, strict=True)})
        return [known[id(tensor)] for tensor in functional.outputs]

    def _call(self, node: Any, path: str, known: dict[int, int], outputs: list[int]) -> None:
        operation = node.operation
        is_layer = isinstance(operation, keras.layers.Layer)
        values = list(node.arguments.args) + ([] if is_layer else list(node.arguments.kwargs.values()))
        if is_layer and any(keras.tree.flatten(list(node.arguments.kwargs.values()))):
            raise ModelError(f"The layer {path} is called with keyword arguments, which cannot be rebuilt in tf_keras.")
        tensors = [any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(value)) for value in values]
        call = {
            "name": path,
            "kind": type(operation).__name__,
            "config": self._config(operation, path),
            "trainable": bool(getattr(operation, "trainable", False)),
            "weights": self._weights(operation, path) if is_layer else None,
            "arguments": [self._argument(value, known) for value in values],
            "tensors": tensors.index(False) if False in tensors else len(tensors),
            "outputs": outputs,
        }
        self.calls.append(call)

    def _config(self, operation: Any, path: str) -> dict[str, Any]:
        if isinstance(operation, keras.layers.Layer):
            config = dict(operation.get_config())
            for key, value in config.items():
                if key.endswith("activation") and isinstance(value, dict):
                    raise ModelError(f"The activation of {path} is a custom function, which tf_keras cannot load.")
            return {key: value for key, value in config.items() if key not in ("name", "trainable", "dtype")}
        plain = (str, int, float, bool, tuple, list, type(None))
        return {key: value for key, value in vars(operation).items() if isinstance(value, plain) and key[0] != "_"}

    def _weights(self, layer: Any, path: str) -> list[str]:
        names = []
        for index, weight in enumerate(layer.weights):
            names.append(f"{path}/{index}")
            self.arrays[names[-1]] = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")))
        return names

    def _argument(self, value: Any, known: dict[int, int]) -> Any:
        if isinstance(value, keras.KerasTensor):
            return {"tensor": known[id(value)]}
        if isinstance(value, list):
            return [self._argument(item, known) for item in value]
        if isinstance(value, tuple):
            return {"tuple": [self._argument(item, known) for item in value]}
        if isinstance(value, slice):
            return {"slice": [value.start, value.stop, value.step]}
        if value is Ellipsis:
            return {"ellipsis": True}
        if hasattr(value, "shape"):
            name = f"constant/{len(self.arrays)}"
            self.arrays[name] = np.asarray(keras.ops.convert_to_numpy(value))
            return {"array": name}
        return value
