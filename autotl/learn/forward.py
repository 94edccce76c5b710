"""One pass of a frozen network over images or a stored cut: stretch by stretch, from cut to cut, in batches.

What a store holds must not depend on what else a cache holds: the same search gives the same result on cold and on warm
stores. Yet a deeper cut is to be computed from a shallower one that is kept, in float16. Both hold because every pass
goes the same way: at each *joint* (a fixed choice among the network's cuts, see `Network.joints`) it is rounded to
float16 as a store is, whether that store is read, written or neither. So a cut is the same function of the cut before
it in every pass, by the same compiled model on batches of the same shape, and comes out the same to the last bit.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.backbones.cuts import Cut
from autotl.data.arrays import release_pages
from autotl.data.parallel import map_in_order
from autotl.learn.folding import fold_normalisation
from autotl.learn.networks import Network, multiply_adds
from autotl.learn.views import MIRRORED, PLAIN, View, view_layers

POOLED = "pooled"  # features of all stages, in the place of a cut's name
BATCH = 32
MAX_BATCH_PIXELS = BATCH * 260**2
"""Larger images come in smaller batches: activations take memory by the pixel."""
HIGHEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Stretch:
    """A part of a pass: from the image (None) or a joint to a cut."""

    start: Cut | None
    end: Cut
    pools: bool
    """Whether it gives the pooled features of the stages that end in it as well."""
    model: Any
    """From uint8, float32 or float16 batches to activations, or to `[activations, pooled, ...]`; float16."""
    multiply_adds: int  # of one image


@dataclass(frozen=True)
class Rows:
    """Some rows of a memory map, in an order of their own."""

    array: np.ndarray
    index: np.ndarray  # int64

    def __len__(self) -> int:
        return len(self.index)

    def read(self, start: int, stop: int) -> np.ndarray:
        chunk: np.ndarray = self.array[self.index[start:stop]]
        release_pages(self.array)
        return chunk

    @property
    def nbytes(self) -> int:
        return len(self.index) * self.array[:1].nbytes


def plan_pass(
    network: Network, ends: Collection[Cut], pooled: bool, is_kept: Callable[[Cut], bool], view: View
) -> list[Stretch]:
    """The stretches that lead to some cuts, in the order to run them.

    Args:
        network: the backbone.
        ends: the cuts whose activations are wanted.
        pooled: whether the pooled features of all stages are wanted; these take the whole way from the image.
        is_kept: whether a joint need not be computed, since it can be read.
        view: of the images.
    """
    main = {network.cuts[-1], *network.joints} if pooled else set()
    starts: dict[Cut, Cut | None] = {}
    for wanted in main | set(ends):
        end: Cut | None = wanted
        while end is not None and end not in starts:
            starts[end] = network.joint_before(end)
            end = starts[end]
            if end is not None and not pooled and end not in ends and is_kept(end):
                break
    return [
        _stretch(network, start, end, end in main, _dtype(view) if start is None else "float16")
        for end, start in sorted(starts.items(), key=lambda item: item[0].index)
    ]


def single_stretch(network: Network, prefix: Any, end: Cut, view: View) -> Stretch:
    """A pass that is not divided: of a prefix of the network that hands on more than the activations at a cut."""
    return _made_once(network, prefix, lambda: prefix, None, end, False, _dtype(view))


def run_pass(
    stretches: Sequence[Stretch],
    inputs: Mapping[Cut | None, Rows],
    see: Callable[[np.ndarray], np.ndarray],
    batch: int,
    most: int | None = None,
) -> Generator[dict[str, np.ndarray]]:
    """Yield float16 activations by the name of their cut, and `POOLED` where asked for, batch by batch.

    The next batches are read while the network runs, at most four ahead.

    Args:
        stretches: of `plan_pass`.
        inputs: what they start from: the images (None) and kept joints.
        see: gives the view of a batch of images.
        batch: number of images in a batch; the last one is filled up with zeros, so that all have one shape.
        most: images that go through a stretch at a time, where a batch would take too much memory. Views are drawn as
            without it, and activations agree to rounding.
    """

    def read(start: int) -> dict[Cut | None, np.ndarray]:
        return {place: rows.read(start, start + batch) for place, rows in inputs.items()}

    starts = range(0, min(map(len, inputs.values())), batch)
    chunks = map_in_order(read, starts, threads=1)
    with closing(chunks):  # type: ignore[type-var]  # a generator, which ends its thread when it is closed
        for chunk in chunks:
            length = min(map(len, chunk.values()))
            at = {place: fill_up(rows, batch) for place, rows in chunk.items()}
            if None in at:
                at[None] = see(at[None])
            pooled: list[np.ndarray] = []
            for stretch in stretches:
                at[stretch.end], *pools = _compute(stretch.model, at[stretch.start], batch if most is None else most)
                pooled += [part[:length] for part in pools]
            found = {stretch.end.name: at[stretch.end][:length] for stretch in stretches}
            yield {**found, POOLED: np.concatenate(pooled, axis=1)} if pooled else found


def _compute(model: Any, rows: np.ndarray, most: int) -> list[np.ndarray]:
    """The outputs of a model, at most so many rows at a time, in parts of one shape."""
    if len(rows) > most:
        starts = range(0, len(rows), most)
        parts = [_compute(model, fill_up(rows[start : start + most], most), most) for start in starts]
        return [np.concatenate(outputs)[: len(rows)] for outputs in zip(*parts, strict=True)]
    outputs = model.predict_on_batch(rows)
    return [np.asarray(each) for each in (outputs if isinstance(outputs, list) else [outputs])]


def batch_size(image_size: int) -> int:
    """Images in a batch of a pass: 32 up to 260 px, then as many as keep the number of pixels.

    It depends on nothing but the size, because random views are drawn batch by batch: another number would be other
    views. On 2 cores EfficientNet-Lite0 at 128 px runs 272, 333, 357, 331 and 342 images a second of processor time in
    batches of 8, 16, 32, 64 and 128.
    """
    return max(1, min(BATCH, MAX_BATCH_PIXELS // image_size**2))


def viewer(view: View, image_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """The function that turns a batch of uint8 images `[B, S, S, 3]` into what a view shows of them.

    Random views are float32; they are drawn by a random state of this function's own, in the order of the calls.
    """
    if view == PLAIN:
        return lambda images: images
    if view == MIRRORED:
        return lambda images: np.ascontiguousarray(images[:, :, ::-1])
    import keras

    layers: Any = view_layers(view)
    image = keras.Input((image_size, image_size, 3), dtype="uint8")
    model = keras.Model(image, layers(as_float(image)))
    return lambda images: np.asarray(model.predict_on_batch(images))


def as_float(images: Any) -> Any:
    """uint8 to float32 as a plain layer: backbones take floats in 0..255."""
    import keras

    return keras.layers.Rescaling(1.0, name="to_float")(images)


def forward_batches(model: Any, images: np.ndarray, rows: Sequence[int], batch: int = BATCH) -> Iterator[np.ndarray]:
    """Yield the model's outputs for the given rows, in order, in batches of one shape (the last is padded)."""
    for start in range(0, len(rows), batch):
        chunk = images[np.asarray(rows[start : start + batch])]
        yield np.asarray(model.predict_on_batch(fill_up(chunk, batch)))[: len(chunk)]


def fill_up(chunk: np.ndarray, batch: int) -> np.ndarray:
    """The chunk with rows of zeros behind it, `[batch, ...]`."""
    if len(chunk) == batch:
        return chunk
    return np.concatenate([chunk, np.zeros((batch - len(chunk), *chunk.shape[1:]), chunk.dtype)])


def _dtype(view: View) -> str:
    """Of the images in a view: random ones lie between the pixels."""
    return "float32" if view.strength > 0.0 else "uint8"


def _stretch(network: Network, start: Cut | None, end: Cut, pools: bool, dtype: str) -> Stretch:
    return _made_once(network, "network", lambda: network.between(start, end, pools), start, end, pools, dtype)


def _made_once(
    network: Network, of: Any, build: Callable[[], Any], start: Cut | None, end: Cut, pools: bool, dtype: str
) -> Stretch:
    """A stretch is made once for a network, and its graph traced once: it serves all views of the images."""
    key = ("stretch", of, start, end, pools, dtype)
    if key not in network.parts:
        core = build()
        quick = fold_normalisation(core)  # borrowed networks have their original weights: these do not change any more
        network.parts[key] = Stretch(start, end, pools, _in_half_precision(quick, dtype), multiply_adds(core))
    stretch: Stretch = network.parts[key]
    return stretch


def _in_half_precision(core: Any, dtype: str) -> Any:
    """The same model from `dtype` to float16. Its inside computes in float32; an outlier is no infinity."""
    import keras

    inputs = keras.Input(core.input_shape[1:], dtype=dtype)
    outputs = keras.tree.flatten(core(as_float(inputs), training=False))
    return keras.Model(inputs, [keras.ops.cast(keras.ops.clip(one, -HIGHEST, HIGHEST), "float16") for one in outputs])
