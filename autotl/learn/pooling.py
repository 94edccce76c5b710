"""From a feature map to a vector: the poolings, in Keras and as slices of what a store holds.

Four poolings have nothing to learn. Average, maximum and generalised mean of every stage are computed in one pass and
stored side by side, so another pooling, or other taps, is another slice and never another pass. Attention learns which
positions matter; it belongs to the head and reads the map itself.

Everything has a name that begins with `pool`, also within a tapped backbone: automatic names would be counted together
with the backbone's own, and its cuts are found by name.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotl.data.arrays import release_pages
from autotl.learn.tables import ROOM, LazyTable, Places

STORED = {"avg": (0, 1), "max": (1, 2), "both": (0, 2), "gem": (2, 3)}  # columns, in units of a tap's channels
PARTS = 3
GEM_FLOOR = 1e-6  # values below it count as this much: a mean of powers takes no negative numbers
TAP_COUNTS = {"last": 1, "last2": 2}
_ALL = slice(None)


def pool(features: Any, pooling: str, name: str = "pool") -> Any:
    """Reduce `[B, h, w, c]` or `[B, t, c]` over positions: to `[B, c]`, or `[B, 2c]` for "both" (average, maximum).

    For attention the features are returned as they are: the head pools them.
    """
    import keras

    if pooling == "attention":
        return features
    layers = keras.layers
    features = _with_positions(features, name)
    spatial = len(features.shape) == 4
    average = layers.GlobalAveragePooling2D if spatial else layers.GlobalAveragePooling1D
    maximum = layers.GlobalMaxPooling2D if spatial else layers.GlobalMaxPooling1D
    if pooling == "avg":
        return average(name=f"{name}_average")(features)
    if pooling == "max":
        return maximum(name=f"{name}_maximum")(features)
    if pooling == "gem":
        return _generalised_mean(features, average, name)
    both = [pool(features, "avg", name), pool(features, "max", name)]
    return layers.Concatenate(name=f"{name}_both")(both)


def pool_stored(features: Any, name: str) -> Any:
    """All that a store keeps of one tap: `[B, 3c]`, average, maximum and generalised mean."""
    import keras

    features = _with_positions(features, name)
    parts = [pool(features, pooling, name) for pooling in ("avg", "max", "gem")]
    return keras.layers.Concatenate(name=f"{name}_stored")(parts)


def attend(features: Any) -> Any:
    """Weigh the positions of `[B, h, w, c]` or `[B, t, c]` by a softmax of their product with a learned query.

    Gives `[B, c]`. The query starts at zero, so attention starts as average pooling. Its products are scaled by
    `1 / sqrt(c)` (Vaswani et al., https://arxiv.org/abs/1706.03762), so that one rate suits any number of channels.
    """
    import keras

    layers = keras.layers
    channels = features.shape[-1]
    positions = layers.Reshape((-1, channels), name="pool_positions")(features)
    scaled = layers.Rescaling(channels**-0.5, name="pool_scale")(positions)
    scores = layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="pool_query")(scaled)
    weights = layers.Softmax(axis=1, name="pool_weights")(scores)
    pooled = layers.Dot(axes=1, name="pool_sum")([weights, positions])
    return layers.Reshape((channels,), name="pool_attention")(pooled)


def tapped(items: Sequence[Any], taps: str) -> list[Any]:
    """Those of a network's stages that are pooled."""
    return list(items)[-TAP_COUNTS.get(taps, len(items)) :]


def select_pooled(
    stored: np.ndarray, channels: Sequence[int], pooling: str, taps: str, rows: Places | slice = _ALL
) -> np.ndarray:
    """What a head sees of a store `[N, 3 * sum(channels)]`, one tap after the other, as float32.

    Args:
        stored: for each tap in order, its average, maximum and generalised mean.
        channels: of each tap.
        rows: which ones, all by default.
    """
    parts = [stored[:, columns][rows] for columns in _columns(channels, pooling, taps)]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def pooled_table(
    stored: np.ndarray, channels: Sequence[int], pooling: str, taps: str, block: int = ROOM.block
) -> LazyTable:
    """What a head sees of a store, float32 `[N, D]` (see `select_pooled`), read from it whenever rows are asked for.

    At most `block` bytes of the store are in this process's memory at a time, and none when it has been read.
    """
    size = sum(columns.stop - columns.start for columns in _columns(channels, pooling, taps))
    step = max(1, block // stored[:1].nbytes)

    def read(rows: Places) -> np.ndarray:
        found = np.empty((len(rows), size), np.float32)
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            found[part] = select_pooled(stored, channels, pooling, taps, rows[part])
            release_pages(stored)
        return found

    return LazyTable((len(stored), size), read)


def _columns(channels: Sequence[int], pooling: str, taps: str) -> list[slice]:
    low, high = STORED[pooling]
    starts = PARTS * np.cumsum([0, *channels[:-1]])
    places = tapped(list(zip(starts, channels, strict=True)), taps)
    return [slice(int(start + low * width), int(start + high * width)) for start, width in places]


def _with_positions(features: Any, name: str) -> Any:
    """A vector `[B, c]` is a feature map of one position."""
    import keras

    one = keras.layers.Reshape((1, features.shape[-1]), name=f"{name}_position")
    return one(features) if len(features.shape) == 2 else features


def _generalised_mean(features: Any, average: Any, name: str) -> Any:
    """`mean(x ** 3) ** (1 / 3)` of clipped features, between average and maximum (Radenović et al.,
    https://arxiv.org/abs/1711.02512)."""
    import keras

    layers = keras.layers
    positive = layers.ReLU(name=f"{name}_positive")(features)
    cubes = layers.Multiply(name=f"{name}_cubes")([positive, positive, positive])
    mean = average(name=f"{name}_mean_cube")(cubes)
    # the floor keeps the root's slope finite where a channel is dead
    return keras.ops.cbrt(layers.Rescaling(1.0, offset=GEM_FLOOR**3, name=f"{name}_floor")(mean))
