"""A network as a function from images to answers, whether it is a Keras model, a `.keras` file or a LiteRT file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from shrinknet.errors import ModelError


class Network:
    """Runs a network on batches of images.

    Attributes:
        input_shape: height, width and channels that it expects; None where any will do.
        input_name: of its input, as the file has it.
        name: for messages.
        model: the Keras model; None for a LiteRT file.
    """

    def __init__(self, model: Any, threads: int = 1) -> None:
        """Takes a Keras model, or opens the path of a `.keras`, `.h5` or `.tflite` file.

        Args:
            model: with one input of shape (images, height, width, channels) and one output.
            threads: of the LiteRT interpreter; a Keras model uses TensorFlow's own.

        Raises:
            ModelError: the file is missing, damaged or of another kind, or the model has several inputs or outputs.
        """
        self._run: _Keras | _LiteRT
        if isinstance(model, str | os.PathLike):
            path = Path(model)
            self.name = path.name
            self._run = _LiteRT(path, threads) if path.suffix == ".tflite" else _Keras(_opened(path), path.name)
        else:
            self.name = str(getattr(model, "name", "model"))
            self._run = _Keras(model, self.name)
        self.input_shape, self.input_name = self._run.input_shape, self._run.input_name
        self.model = getattr(self._run, "model", None)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The network's answers to images of shape (images, height, width, channels), float32."""
        return self._run(np.ascontiguousarray(images, np.float32))


class _Keras:
    """A Keras model; smaller batches are filled up to the largest so far, so that it is compiled once."""

    def __init__(self, model: Any, name: str) -> None:
        if len(model.inputs) != 1 or len(model.outputs) != 1 or len(model.inputs[0].shape) != 4:
            raise ModelError(
                f"The model {name} cannot be run on images: expected one input of shape (images, height, width, "
                f"channels) and one output; it has the inputs {[tuple(one.shape) for one in model.inputs]} and "
                f"{len(model.outputs)} outputs."
            )
        self.model, self.batch = model, 0
        self.input_shape, self.input_name = tuple(model.inputs[0].shape[1:]), str(model.inputs[0].name)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.batch = max(self.batch, len(images))
        return np.asarray(self.model.predict_on_batch(_filled(images, self.batch)), np.float32)[: len(images)]


class _LiteRT:
    """A LiteRT file; integers at its borders are turned into numbers and back with the scales it holds."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        from shrinknet.files.streams import quiet

        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"The model {path} cannot be read: {error.strerror}.") from error
        try:
            with quiet():  # it logs its delegates
                self.interpreter = Interpreter(model_content=content, num_threads=threads)
                self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"The file {path} cannot be opened as a LiteRT model; it may be damaged ({str(error)[:200]})."
            ) from error
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4:
            raise ModelError(
                f"The model {path} cannot be run on images: expected one input of shape (images, height, width, "
                f"channels) and one output; it has {len(inputs)} inputs and {len(outputs)} outputs."
            )
        self.input, self.output = inputs[0], outputs[0]
        self.input_name = str(self.input["name"])
        free = self.input.get("shape_signature", self.input["shape"])
        self.input_shape = tuple(int(size) if size > 0 else None for size in free[1:])
        self.fixed = int(free[0]) if free[0] > 0 else None
        self.shape: tuple[int, ...] = tuple(self.input["shape"])

    def __call__(self, images: np.ndarray) -> np.ndarray:
        step = self.fixed or len(images)
        return np.concatenate([self._batch(images[start : start + step]) for start in range(0, len(images), step)])

    def _batch(self, images: np.ndarray) -> np.ndarray:
        size = len(images)
        images = _filled(images, self.fixed or size)
        if images.shape != self.shape:
            self.interpreter.resize_tensor_input(self.input["index"], images.shape)
            self.interpreter.allocate_tensors()
            self.shape = images.shape
        self.interpreter.set_tensor(self.input["index"], _quantized(images, self.input))
        self.interpreter.invoke()
        return _numbers(self.interpreter.get_tensor(self.output["index"]), self.output)[:size]


def _filled(images: np.ndarray, size: int) -> np.ndarray:
    """A batch of `size` images: the last one is repeated."""
    missing = size - len(images)
    return np.concatenate([images, np.repeat(images[-1:], missing, 0)]) if missing > 0 else images


def _opened(path: Path) -> Any:
    import shrinknet.imaging.mask_training  # noqa: F401  registers what a compiled file may hold
    from shrinknet.files.models import open_model

    return open_model(path)


def _quantized(images: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    if not np.issubdtype(detail["dtype"], np.integer):
        return images.astype(detail["dtype"])
    scale, zero = detail["quantization"]
    bounds = np.iinfo(detail["dtype"])
    return np.clip(np.rint(images / scale + zero), bounds.min, bounds.max).astype(detail["dtype"])


def _numbers(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    if not np.issubdtype(detail["dtype"], np.integer):
        return values.astype(np.float32)
    scale, zero = detail["quantization"]
    return ((values.astype(np.float32) - zero) * scale).astype(np.float32)
