"""The conformance kit for plugin authors: one call in a test says whether a backbone keeps the contract.

```
from autotl.testing import check_backbone


def test_my_network_keeps_the_contract():
    check_backbone(MY_NETWORK)
```
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotl.backbones.contract import API_VERSION, RANDOM, Backbone
from autotl.backbones.cuts import Cut, find_cuts, split_model, stage_cuts
from autotl.backbones.graph import functional
from autotl.errors import UsageError

SPLIT_TOLERANCE = 1e-5
BATCH_TOLERANCE = 1e-4
"""Relative to the largest feature; kernels for one image and for three may add up in another order."""


@dataclass(frozen=True)
class Conformance:
    """What `check_backbone` measured on a backbone that passed."""

    name: str
    image_size: int
    cuts: int
    stages: tuple[Cut, ...]
    split_difference: float
    """Largest difference between the model and any of its splits, relative to the largest feature."""
    seconds: float


def check_backbone(backbone: Backbone, image_size: int | None = None, weights: str = RANDOM) -> Conformance:
    """Build a backbone and check everything that autotl relies on.

    Args:
        backbone: the record that the plugin's entry point names.
        image_size: in pixels; the smallest that the backbone takes when `None`, to be quick.
        weights: "random" needs no download; "pretrained" also checks the loading of weights.

    Returns:
        What was measured.

    Raises:
        AssertionError: a rule of the contract is broken; the message names it and what was found.
        PluginError: the model is not a Functional graph with one input and one output.
    """
    started = time.perf_counter()
    _check_record(backbone)
    size = backbone.min_image_size if image_size is None else backbone.resolve_size(image_size)
    model = backbone.build(size, weights)
    _check_model(backbone, model, size)
    images = _images(size)
    features = _features(model, images)
    _check_features(model, images, features)
    _check_saving(model, images, features)
    stages = stage_cuts(model)
    difference = _check_splits(model, stages, images, features)
    seconds = time.perf_counter() - started
    return Conformance(backbone.name, size, len(find_cuts(model)), tuple(stages), difference, seconds)


def _check_record(backbone: Backbone) -> None:
    assert isinstance(backbone, Backbone), f"A plugin publishes a Backbone, this is a {type(backbone).__name__}."
    assert backbone.api_version == API_VERSION, f"api_version must be {API_VERSION}, it is {backbone.api_version}."
    assert backbone.image_size >= backbone.min_image_size > 0, "The native image_size must be at least min_image_size."
    for field in ("source", "licence", "dataset"):
        assert getattr(backbone.weights, field), f"weights.{field} must say something, it is empty."
    assert isinstance(backbone.available(), bool), "available() must return a bool."
    for request in ((backbone.min_image_size - 1, RANDOM), (backbone.min_image_size, "no such weights")):
        try:
            backbone.build(*request)
        except UsageError:
            continue
        raise AssertionError(f"build{request} must raise a UsageError, it returned.")


def _check_model(backbone: Backbone, model: Any, size: int) -> None:
    import keras

    graph = functional(model)
    shape = tuple(graph.inputs[0].shape)
    assert shape == (None, size, size, 3), f"The input must be [B, {size}, {size}, 3], it is {shape}."
    rank = len(graph.outputs[0].shape)
    assert rank in (3, 4), f"The output must be [B, h, w, c] or [B, T, c], it has rank {rank}."
    parameters = model.count_params()
    assert parameters == backbone.parameters, f"The record says {backbone.parameters} parameters, it has {parameters}."
    for layer in model._flatten_layers():
        assert not isinstance(layer, keras.layers.Lambda), (
            f"A backbone must not use Lambda layers, which safe loading refuses; {layer.name} is one. "
            "Use a layer class or keras.ops."
        )


def _images(size: int) -> np.ndarray:
    """Black, white and seeded noise: float32 `[3, S, S, 3]` in 0..255."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3))
    return np.stack([np.zeros_like(noise), np.full_like(noise, 255), noise]).astype("float32")


def _features(model: Any, images: np.ndarray) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Largest difference, relative to the largest value when that exceeds one."""
    return float(np.max(np.abs(one - other))) / max(1.0, float(np.max(np.abs(one))))


def _check_features(model: Any, images: np.ndarray, features: np.ndarray) -> None:
    before = [np.array(value) for value in model.get_weights()]
    assert np.isfinite(features).all(), "Features of black, white and noisy images must be finite."
    assert np.array_equal(features, _features(model, images)), "The same images must give the same features twice."
    for number in range(len(images)):
        alone = _features(model, images[number : number + 1])[0]
        difference = _difference(features[number], alone)
        assert difference <= BATCH_TOLERANCE, (
            f"An image must have the same features in any batch, they differ by {difference:.1e}: "
            "batch normalisation or dropout is not in inference mode."
        )
    dimmed = _features(model, images / 255)
    scale = float(np.max(np.abs(features)))
    assert np.max(np.abs(features - dimmed)) > 1e-3 * scale, (
        "The model must take RGB in 0..255 and normalise inside; dividing the images by 255 changed nothing."
    )
    unchanged = all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))
    assert unchanged, "Calling the model with training=False must not change its weights (batch statistics?)."


def _check_saving(model: Any, images: np.ndarray, features: np.ndarray) -> None:
    import keras

    with tempfile.TemporaryDirectory(prefix="autotl-check-") as directory:
        path = Path(directory) / "model.keras"
        model.save(path)
        loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
        assert np.array_equal(features, _features(loaded, images)), "A saved and loaded model must compute the same."
        for name in ("index", "name", "shape"):
            saved, fresh = ([getattr(cut, name) for cut in stage_cuts(each)] for each in (loaded, model))
            assert saved == fresh, f"A saved and loaded model must have the same stages, by {name}: {fresh}, {saved}."


def _check_splits(model: Any, stages: list[Cut], images: np.ndarray, features: np.ndarray) -> float:
    everything = {id(variable) for variable in model.weights}
    trained = sum(_size(variable) for variable in model.trainable_variables)
    largest = 0.0
    for cut in stages:
        prefix, tail = split_model(model, cut)
        features_again = _features(prefix, images) if tail is None else _features(tail, _features(prefix, images))
        difference = _difference(features, features_again)
        assert difference <= SPLIT_TOLERANCE, (
            f"Splitting at {cut.name} must change nothing, it does by {difference:.1e}."
        )
        largest = max(largest, difference)
        parts = [variable for part in (prefix, tail) if part is not None for variable in part.weights]
        assert {id(variable) for variable in parts} == everything, f"Splitting at {cut.name} must share all variables."
        left = 0 if tail is None else sum(_size(variable) for variable in tail.trainable_variables)
        assert left < trained, f"A deeper cut must leave less to train, {cut.name} leaves {left} after {trained}."
        trained = left
    assert trained == 0, "The last stage must be the output of the model."
    return largest


def _size(variable: Any) -> int:
    return int(np.prod(variable.shape))
