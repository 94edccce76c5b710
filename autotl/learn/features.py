"""The FeatureStore: what a frozen network says of every image, computed once and kept.

A store is content-addressed: its key names the images, the network with its weights, the cut, the view and the number
format, and nothing random precedes it. Whoever needs one opens it, or computes and publishes it; two workers that
compute the same one race harmlessly, and the lock only saves the second one's work.
"""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.backbones.registry import list_backbones, load_backbone
from autotl.data.arrays import ArrayWriter, find_array, open_array
from autotl.data.images import image_store_key, open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache, key_of
from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network, cut_network, multiply_adds
from autotl.learn.views import View, view_layers

FORMAT = 1
BATCH = 32
KIND = "features"
POOLED = "pooled"


@dataclass(frozen=True)
class Sources:
    """What every store of one search has in common: the images, the rows that may be seen, the cache."""

    manifest: Manifest
    rows: tuple[int, ...]  # of the manifest, ascending; never the test split's
    cache: Cache
    ledger: Ledger


def pooled_features(sources: Sources, backbone: str, weights: str, image_size: int, view: View) -> np.ndarray:
    """Average and maximum over the positions of the last feature map: float16 `[len(rows), 2 * channels]`."""
    return _open_or_compute(sources, backbone, weights, image_size, 1.0, POOLED, view)


def cut_features(
    sources: Sources, backbone: str, weights: str, image_size: int, freeze_depth: float, cut: str, view: View
) -> np.ndarray:
    """Activations at a cut: float16 `[len(rows), h, w, c]` (or tokens `[len(rows), t, c]`)."""
    return _open_or_compute(sources, backbone, weights, image_size, freeze_depth, cut, view)


def _spec(sources: Sources, backbone: str, weights: str, image_size: int, tap: str, view: View) -> dict[str, Any]:
    record = load_backbone(backbone)
    return {
        "format": FORMAT,
        "images": image_store_key([sources.manifest.samples[row].sha256 for row in sources.rows], image_size),
        "backbone": backbone,
        "plugin": plugin_version(backbone),
        "weights": record.weights.digest if weights == "pretrained" else weights,
        "tap": tap,
        "view": view.to_json(),
        "dtype": "float16",
        "keras": importlib.metadata.version("keras"),
    }


def plugin_version(backbone: str) -> str:
    """The distribution that owns a backbone, with its version: its next release may build another graph."""
    return next(f"{item.distribution} {item.version}" for item in list_backbones() if item.name == backbone)


def _open_or_compute(
    sources: Sources, backbone: str, weights: str, image_size: int, freeze_depth: float, tap: str, view: View
) -> np.ndarray:
    spec = _spec(sources, backbone, weights, image_size, tap, view)
    key = key_of(spec)
    store = find_array(sources.cache.find(KIND, key))
    if store is None:
        with sources.cache.lock(KIND, key):
            store = find_array(sources.cache.find(KIND, key))  # another worker may have built it while this one waited
            if store is None:
                store = _compute(sources, spec, key, backbone, weights, image_size, freeze_depth, view)
    sources.ledger.count("bytes_opened", store.nbytes)
    return store


def _compute(
    sources: Sources,
    spec: dict[str, Any],
    key: str,
    backbone: str,
    weights: str,
    image_size: int,
    freeze_depth: float,
    view: View,
) -> np.memmap:
    """Run the frozen part over the images once and publish what it says."""
    ledger = sources.ledger
    with ledger.phase("decode"):
        images = open_images(sources.manifest, image_size, sources.cache)
    network = borrow_network(backbone, image_size, weights, ledger)
    with ledger.phase("build"):
        forward = _forward_model(network, freeze_depth, spec["tap"], view)
    with ledger.phase("forward"), sources.cache.building(KIND) as folder:
        header = {**spec, "multiply_adds": multiply_adds(network.model)}
        with ArrayWriter(folder, "float16", forward.output_shape[1:], header) as writer:
            for outputs in forward_batches(forward, images, sources.rows):
                writer.append(outputs)
        published = sources.cache.publish(KIND, key, folder)
    ledger.count("images_forwarded", len(sources.rows))
    sources.cache.evict(keep=published)
    return open_array(published)


def _forward_model(network: Any, freeze_depth: float, tap: str, view: View) -> Any:
    import keras

    _, prefix, _ = cut_network(network, freeze_depth)
    image = keras.Input(prefix.input_shape[1:], dtype="uint8")
    layers = view_layers(view)
    seen = image if layers is None else layers(image, training=True)
    output = prefix(as_float(seen), training=False)
    return keras.Model(image, pool(output, "both") if tap == POOLED else output)


def as_float(images: Any) -> Any:
    """uint8 to float32 as a plain layer: backbones take floats in 0..255."""
    import keras

    return keras.layers.Rescaling(1.0, name="to_float")(images)


def pool(features: Any, pooling: str) -> Any:
    """Reduce `[B, h, w, c]` or `[B, t, c]` over positions: to `[B, c]`, or `[B, 2c]` for "both" (average, maximum)."""
    import keras

    layers = keras.layers
    spatial = len(features.shape) == 4
    average = layers.GlobalAveragePooling2D if spatial else layers.GlobalAveragePooling1D
    maximum = layers.GlobalMaxPooling2D if spatial else layers.GlobalMaxPooling1D
    if pooling == "avg":
        return average(name="average_pooling")(features)
    if pooling == "max":
        return maximum(name="maximum_pooling")(features)
    return layers.Concatenate(name="pooling")([average()(features), maximum()(features)])


def select_pooling(pooled: np.ndarray, pooling: str) -> np.ndarray:
    """The part of pooled features `[N, 2c]` that a head with this pooling sees, as float32."""
    channels = pooled.shape[1] // 2
    columns = {"avg": slice(0, channels), "max": slice(channels, None), "both": slice(None)}[pooling]
    return pooled[:, columns].astype(np.float32)


def forward_batches(model: Any, images: np.ndarray, rows: Sequence[int], batch: int = BATCH) -> Any:
    """Yield the model's outputs for the given rows, in order, in batches of one shape (the last is padded)."""
    for start in range(0, len(rows), batch):
        chunk = images[np.asarray(rows[start : start + batch])]
        count = len(chunk)
        if count < batch:
            chunk = np.concatenate([chunk, np.zeros((batch - count, *chunk.shape[1:]), chunk.dtype)])
        yield np.asarray(model.predict_on_batch(chunk))[:count]
