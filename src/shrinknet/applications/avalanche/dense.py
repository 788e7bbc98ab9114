"""Dense networks: a window classifier converted into a network that classifies every pixel of an image in one pass.

Neighbouring windows share nearly all of their pixels and intermediate results. A dense network computes them once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from shrinknet.applications.avalanche.dense_fields import Field, NotDense, Pair
from shrinknet.applications.avalanche.dense_layers import ReflectedBorders
from shrinknet.applications.avalanche.dense_rules import cut, rule_for, settled
from shrinknet.errors import ModelError
from shrinknet.imaging.windows import reach
from shrinknet.internals import functional_of, nodes_of

Step = Callable[[dict[int, Any], "_Names"], None]  # adds a tensor of the whole image to those that are there


def dense_network(classifier: Any, *, size: Pair | None = None) -> Any:
    """A fully convolutional network whose output at each pixel is the classifier's for the window around that pixel.

    The outputs are equal up to rounding. Borders are extended by reflection inside the network. Pooling and
    convolution with a stride become dilation, `Flatten` with `Dense` becomes a convolution, and global pooling a mean
    or maximum that slides. Weights are copied. The input's name ends in how many pixels before and behind a pixel its
    answer depends on, so that exported files can tell, see `halo_of`.

    Args:
        classifier: a Sequential or Functional model from windows, shape (windows, height, width, channels), to numbers,
            shape (windows, outputs), whose convolutions and poolings do not pad.
        size: height and width of the images, for exported files that run on tiles of one size; None: any.

    Returns:
        A Keras model from images, shape (images, height, width, channels), to shape (images, height, width, outputs).

    Raises:
        ModelError: the model cannot be converted exactly; the sentence names the layer and says why.
    """
    functional = functional_of(classifier)
    shape = window_shape(classifier)
    steps: list[Step] = []
    fields = {id(functional.inputs[0]): Field("map", shape[:2], shape[2], (1, 1), (shape[0] - 1, shape[1] - 1))}
    _plan(functional, fields, steps, "")
    answer, lay = settled(fields[id(functional.outputs[0])])
    if answer.extent != (1, 1):
        raise ModelError(
            f"The model {classifier.name} gives {answer.extent[0]} x {answer.extent[1]} answers for a window; expected "
            "one, as of a classifier that ends in Flatten or global pooling."
        )
    before, behind = ((reach(shape[0])[side], reach(shape[1])[side]) for side in (0, 1))
    image = keras.Input((*(size or (None, None)), shape[2]), name=input_name(before, behind))
    tensors = {id(functional.inputs[0]): ReflectedBorders(before, behind, name="borders")(image)}
    names = _Names()
    for step in steps:
        step(tensors, names)
    made = cut(lay("answer", tensors[id(functional.outputs[0])]), answer.margin)
    return keras.Model(image, made, name=f"{classifier.name}_dense")


def is_dense(model: Any) -> bool:
    """Whether a Keras model answers for every pixel of a whole image, as `dense_network` makes it."""
    return any(isinstance(layer, ReflectedBorders) for layer in getattr(model, "layers", ()))


def window_shape(classifier: Any) -> tuple[int, int, int]:
    """Height, width and channels of the windows that a classifier takes.

    Raises:
        ModelError: it is no window classifier.
    """
    shape = tuple(classifier.inputs[0].shape[1:]) if len(classifier.inputs) == 1 else ()
    if len(shape) != 3 or None in shape or len(classifier.outputs) != 1:
        raise ModelError(
            f"The model {classifier.name} is no window classifier: expected one input of a fixed shape (windows, "
            f"height, width, channels) and one output; it has {len(classifier.outputs)} outputs, and inputs of "
            f"{[tuple(one.shape) for one in classifier.inputs]}."
        )
    return shape


def input_name(before: Pair, behind: Pair) -> str:
    """The name of a dense network's input, which says how many pixels around a pixel its answer depends on."""
    return f"image_halo_{before[0]}_{before[1]}_{behind[0]}_{behind[1]}"


def halo_of(name: str) -> tuple[Pair, Pair] | None:
    """Rows and columns before and behind a pixel that its answer depends on, from the name of an input; None: unknown.

    Example:
        >>> halo_of("serving_default_image_halo_16_16_16_16:0")
        ((16, 16), (16, 16))
    """
    found = re.search(r"image_halo_(\d+)_(\d+)_(\d+)_(\d+)", name)
    if found is None:
        return None
    top, left, bottom, right = map(int, found.groups())
    return (top, left), (bottom, right)


def _plan(functional: Any, fields: dict[int, Field], steps: list[Step], path: str) -> None:
    """Finds the field of every tensor, and notes the steps that make the tensors of the whole image."""
    for node in nodes_of(functional):
        operation, name = node.operation, path + node.operation.name
        if isinstance(operation, keras.Model):
            _enter(operation, node, fields, steps, name)
            continue
        read = [id(tensor) for tensor in node.arguments.keras_tensors]
        output = node.outputs[0]
        try:
            if len(node.outputs) != 1:
                raise NotDense("it has several outputs")
            if not isinstance(operation, layers.Layer):
                _check_constants(node)
            found, make = rule_for(operation)(operation, [fields[one] for one in read], output.shape)
        except NotDense as reason:
            raise ModelError(
                f"The layer {name} ({type(operation).__name__}) cannot be applied to whole images: {reason}. Predict "
                "window by window, or with approximate_network."
            ) from None
        fields[id(output)] = found
        steps.append(_step(node, operation, read, id(output), make))


def _step(node: Any, operation: Any, read: list[int], output: int, make: Any) -> Step:
    def step(tensors: dict[int, Any], names: _Names) -> None:
        made = make(names(operation.name), *(tensors[one] for one in read))
        if not isinstance(operation, layers.Layer):  # its rule hands the tensors on, cut to one size
            arguments, keywords = node.arguments.fill_in(dict(zip(read, made, strict=True)))
            made = operation(*arguments, **keywords)
        tensors[output] = made

    return step


def _enter(model: Any, node: Any, fields: dict[int, Field], steps: list[Step], name: str) -> None:
    """A model inside of the model: its operations one by one."""
    inner = functional_of(model)
    if len(inner.inputs) != 1 or len(inner.outputs) != 1:
        raise ModelError(f"The model {name} inside of the classifier has several inputs or outputs; expected one.")
    outside, inside = id(node.arguments.keras_tensors[0]), id(inner.inputs[0])
    own = {inside: fields[outside]}
    noted: list[Step] = []
    _plan(inner, own, noted, name + "/")
    fields[id(node.outputs[0])] = own[id(inner.outputs[0])]

    def step(tensors: dict[int, Any], names: _Names) -> None:
        within = {inside: tensors[outside]}
        for one in noted:
            one(within, names)
        tensors[id(node.outputs[0])] = within[id(inner.outputs[0])]

    steps.append(step)


class _Names:
    """Names for the new layers: those of the old ones, numbered where one comes again."""

    def __init__(self) -> None:
        self.taken = {"borders"}

    def __call__(self, name: str) -> str:
        tried, number = name, 1
        while tried in self.taken:
            tried, number = f"{name}_again{number}", number + 1
        self.taken.add(tried)
        return tried


def _check_constants(node: Any) -> None:
    """Refuses arrays among the arguments of an operation: they would be spread over the image in another way."""
    for value in keras.tree.flatten((node.arguments.args, node.arguments.kwargs)):
        if getattr(value, "shape", ()) and not isinstance(value, keras.KerasTensor):
            raise NotDense("it has an array as a constant")
