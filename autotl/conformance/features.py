"""Checks of what a backbone computes: finite, repeatable, independent of the batch, normalised exactly once."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from autotl.backbones.contract import RANDOM
from autotl.backbones.graph import calls, flatten
from autotl.conformance.measure import BATCH_TOLERANCE, batch_difference, is_same_twice, outputs_of
from autotl.conformance.rules import Rule, RuleError

if TYPE_CHECKING:
    from autotl.conformance.backbone import BackboneSubject

SCALED_SPANS = (0.5, 12.0)
"""How far black and white lie apart after scaling: 1 for 0..1, 2 for -1..1, 4.4 for ImageNet's deviations."""
CENTRED_SPANS = (100.0, 600.0)
"""The same where only the mean is subtracted (caffe)."""
LARGEST_OFFSET = 0.25
"""Of the middle from zero, as a share of the span, where only the mean is subtracted."""


def _check_finite(subject: "BackboneSubject") -> str:
    wrong = int(np.sum(~np.isfinite(subject.features)))
    if wrong:
        raise RuleError(f"{wrong} of {subject.features.size} features are not.", "Look for divisions and logarithms.")
    return f"from {subject.features.min():.3g} to {subject.features.max():.3g}"


def _check_repeatable(subject: "BackboneSubject") -> str:
    if not is_same_twice(subject.model, subject.images, subject.features):
        raise RuleError("the same images gave other features the second time.", "Take out what is random in inference.")
    return "the same twice"


def _check_inference(subject: "BackboneSubject") -> str:
    model, images = subject.model, subject.images
    before = [np.array(value) for value in model.get_weights()]
    worst = batch_difference(model, images, subject.features)
    if worst > BATCH_TOLERANCE:
        raise RuleError(
            f"the features of an image depend on its batch, by {worst:.1e}: batch normalisation or dropout is not in "
            "inference mode.",
            "Do not call layers with training=True.",
        )
    if not _is_unchanged(model, before):
        raise RuleError(
            "calling the model with training=False changed its weights.", "Update statistics only when training."
        )
    layers = _batch_normalisations(model)
    trainable = [layer.trainable for layer in layers]
    for layer in layers:
        layer.trainable = False  # as in every search
    model(images, training=True)
    unchanged = _is_unchanged(model, before)
    for layer, value in zip(layers, trainable, strict=True):
        layer.trainable = value
    model.set_weights(before)
    if not unchanged:
        raise RuleError(
            "with batch normalisation frozen, a call with training=True still changes statistics.",
            "Use keras.layers.BatchNormalization, or keep the statistics of your own layer when it is not trainable.",
        )
    return f"independent of the batch to {worst:.0e}, {len(layers)} batch normalisations stay as they are"


def _check_normalised(subject: "BackboneSubject") -> str:
    import keras

    model, images, features = subject.model, subject.images, subject.features
    scale = float(np.max(np.abs(features)))
    if np.max(np.abs(features - outputs_of(model, images / 255))) <= 1e-3 * scale:
        raise RuleError(
            "dividing the images by 255 changed nothing.", "Take RGB in 0..255, with a fixed normalisation inside."
        )
    if np.max(np.abs(features[2] - features[0])) <= 1e-6 * scale:
        raise RuleError(
            "black and noise have the same features.", "See what the first layers do to an image in 0..255."
        )
    reached = reached_by_pixels(model)
    if reached.is_left_to_batch_norm and subject.weights == RANDOM:
        return "left to a batch normalisation, which random weights say nothing of"
    spans = []
    for tensor in reached.tensors:
        # built from the same flattened graph that the tensor was found in: flattening again makes other tensors
        values = images if tensor is reached.image else outputs_of(keras.Model(reached.image, tensor), images)
        _insist_on_range(float(values.min()), float(values.max()))
        spans.append(f"{values.min():.3g} to {values.max():.3g}")
    return f"the first layer with weights sees {', '.join(dict.fromkeys(spans))}"


def _insist_on_range(low: float, high: float) -> None:
    span, middle = high - low, (high + low) / 2
    found = f"of images in 0..255, the first layer with weights sees {low:.3g} to {high:.3g}."
    if SCALED_SPANS[0] <= span <= SCALED_SPANS[1]:
        return
    if CENTRED_SPANS[0] <= span <= CENTRED_SPANS[1]:
        if abs(middle) <= LARGEST_OFFSET * span:
            return
        advice = "Put the normalisation of the original network inside the model" if low >= 0 else "Normalise only once"
    elif span < SCALED_SPANS[0]:
        advice = "Normalise only once"
    else:
        advice = "Put the normalisation of the original network inside the model, once"
    raise RuleError(found, f"{advice} (keras.layers.Rescaling).")


class Reached(NamedTuple):
    """What the pixels are when they first meet weights."""

    image: Any
    """The input of the graph."""
    tensors: list[Any]
    """What the first layers with weights take."""
    is_left_to_batch_norm: bool


def reached_by_pixels(model: Any) -> Reached:
    """Follow the pixels to the first layers with weights; normalisations have weights too, and are passed."""
    import keras

    graph = flatten(model)
    raw = {id(graph.inputs[0])}
    found: dict[int, Any] = {}
    has_batch_norm = False
    for node in calls(graph):
        inputs = [tensor for tensor in node.input_tensors if id(tensor) in raw]
        operation = node.operation
        is_batch_norm = isinstance(operation, keras.layers.BatchNormalization)
        is_normalisation = is_batch_norm or isinstance(operation, keras.layers.Normalization)
        if inputs and not is_normalisation and isinstance(operation, keras.layers.Layer) and operation.count_params():
            found.update({id(tensor): tensor for tensor in inputs})
        elif inputs and len(inputs) == len(node.input_tensors):
            raw.update(id(tensor) for tensor in node.outputs)
            has_batch_norm = has_batch_norm or is_batch_norm
    return Reached(graph.inputs[0], list(found.values()), has_batch_norm)


def _batch_normalisations(model: Any) -> list[Any]:
    import keras

    layers = model._flatten_layers(include_self=False)
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def _is_unchanged(model: Any, before: list[np.ndarray]) -> bool:
    return all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


FINITE = Rule("finite", "Features of black, white and noisy images are finite.", _check_finite)
REPEATABLE = Rule(
    "repeatable", "The same images have the same features, whenever they are computed.", _check_repeatable
)
INFERENCE = Rule("inference", "An image has the same features in any batch, and nothing learns.", _check_inference)
NORMALISED = Rule("normalisation", "Images in 0..255 are normalised inside the model, once.", _check_normalised)
