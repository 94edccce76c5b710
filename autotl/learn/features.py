"""The FeatureStore: what a frozen network says of every image, computed once and kept.

A store is content-addressed: its key names the images, the network with its weights, the cut, the view and the number
format, and nothing random precedes it. Whoever needs one opens it, or computes and publishes it; two workers that
compute the same one race harmlessly, and the lock only saves the second one's work.
"""

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from autotl.backbones.registry import load_backbone, owner_of
from autotl.data.arrays import ArrayWriter, find_array, open_array
from autotl.data.images import image_store_key, open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache, key_of
from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network, cut_network, multiply_adds, stored_taps
from autotl.learn.views import View, view_layers

FORMAT = 2
BATCH = 32
KIND = "features"
POOLED = "pooled"
HIGHEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Sources:
    """What every store of one search has in common: the images, the rows that may be seen, the cache."""

    manifest: Manifest
    rows: tuple[int, ...]  # of the manifest, ascending; never the test split's
    cache: Cache
    ledger: Ledger


class Tap(NamedTuple):
    """Where features are taken: which network, and which place in it."""

    backbone: str
    weights: str
    image_size: int
    name: str  # of the cut, or POOLED
    freeze_depth: float = 1.0
    pooling: str = "avg"  # of the taps before the cut, where there are any
    taps: str = "last"


def pooled_features(sources: Sources, backbone: str, weights: str, image_size: int, view: View) -> np.ndarray:
    """All stages pooled in all ways: float16 `[len(rows), 3 * sum(channels)]`; `pooling.select_pooled` takes its part.

    The store's header has the `channels` of each stage.
    """
    return _open_or_compute(sources, Tap(backbone, weights, image_size, POOLED), view)


def cut_features(
    sources: Sources,
    backbone: str,
    weights: str,
    image_size: int,
    freeze_depth: float,
    cut: str,
    view: View,
    pooling: str = "avg",
    taps: str = "last",
) -> np.ndarray:
    """Activations at a cut: float16 `[len(rows), h, w, c]` (or tokens `[len(rows), t, c]`).

    With more taps than the last, `[len(rows), n]`: those that lie before the cut travel with it, pooled.
    """
    return _open_or_compute(sources, Tap(backbone, weights, image_size, cut, freeze_depth, pooling, taps), view)


def _spec(sources: Sources, tap: Tap, view: View) -> dict[str, Any]:
    record = load_backbone(tap.backbone)
    spec = {
        "format": FORMAT,
        "images": image_store_key([sources.manifest.samples[row].sha256 for row in sources.rows], tap.image_size),
        "backbone": tap.backbone,
        "plugin": plugin_version(tap.backbone),
        "weights": record.weights.digest if tap.weights == "pretrained" else tap.weights,
        "tap": tap.name,
        "view": view.to_json(),
        "dtype": "float16",
        "keras": importlib.metadata.version("keras"),
    }
    return spec if tap.taps == "last" else {**spec, "taps": tap.taps, "pooling": tap.pooling}


def plugin_version(backbone: str) -> str:
    """The distribution that owns a backbone, with its version: its next release may build another graph."""
    owner = owner_of(backbone)
    return f"{owner.distribution} {owner.version}"


def _open_or_compute(sources: Sources, tap: Tap, view: View) -> np.ndarray:
    spec = _spec(sources, tap, view)
    key = key_of(spec)
    store = find_array(sources.cache.find(KIND, key))
    if store is None:
        with sources.cache.lock(KIND, key):
            store = find_array(sources.cache.find(KIND, key))  # another worker may have built it while this one waited
            if store is None:
                store = _compute(sources, spec, key, tap, view)
    sources.ledger.count("bytes_opened", store.nbytes)
    return store


def _compute(sources: Sources, spec: dict[str, Any], key: str, tap: Tap, view: View) -> np.memmap:
    """Run the frozen part over the images once and publish what it says."""
    ledger = sources.ledger
    with ledger.phase("decode"):
        images = open_images(sources.manifest, tap.image_size, sources.cache)
    network = borrow_network(tap.backbone, tap.image_size, tap.weights, ledger)
    header = {**spec, "multiply_adds": multiply_adds(network.model)}
    with ledger.phase("build"):
        if tap.name == POOLED:
            frozen, header["channels"] = stored_taps(network)
        else:
            _, frozen, _ = cut_network(network, tap.freeze_depth, tap.pooling, tap.taps)
        forward = _forward_model(frozen, view)
    with ledger.phase("forward"), sources.cache.building(KIND) as folder:
        with ArrayWriter(folder, "float16", forward.output_shape[1:], header) as writer:
            for outputs in forward_batches(forward, images, sources.rows):
                writer.append(np.clip(outputs, -HIGHEST, HIGHEST))  # an outlier of an inner stage is no infinity
        published = sources.cache.publish(KIND, key, folder)
    ledger.count("images_forwarded", len(sources.rows))
    sources.cache.evict(keep=published)
    return open_array(published)


def _forward_model(frozen: Any, view: View) -> Any:
    import keras

    image = keras.Input(frozen.input_shape[1:], dtype="uint8")
    layers = view_layers(view)
    seen = image if layers is None else layers(image, training=True)
    return keras.Model(image, frozen(as_float(seen), training=False))


def as_float(images: Any) -> Any:
    """uint8 to float32 as a plain layer: backbones take floats in 0..255."""
    import keras

    return keras.layers.Rescaling(1.0, name="to_float")(images)


def forward_batches(model: Any, images: np.ndarray, rows: Sequence[int], batch: int = BATCH) -> Any:
    """Yield the model's outputs for the given rows, in order, in batches of one shape (the last is padded)."""
    for start in range(0, len(rows), batch):
        chunk = images[np.asarray(rows[start : start + batch])]
        count = len(chunk)
        if count < batch:
            chunk = np.concatenate([chunk, np.zeros((batch - count, *chunk.shape[1:]), chunk.dtype)])
        yield np.asarray(model.predict_on_batch(chunk))[:count]
