"""The FeatureStore: what a frozen network says of every image, computed once and kept.

A store is content-addressed: its key names the images, the network with its weights, the cut, the view and the number
format, and nothing random precedes it. Whoever needs one opens it, or computes and publishes it; two workers that
compute the same one race harmlessly, and the lock only saves the second one's work.

A deeper cut is computed from a shallower one that is kept, and its store has the same key and the same bytes as if
there had been none: `forward.py` says how.
"""

import importlib.metadata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from autotl.backbones.cuts import Cut
from autotl.backbones.registry import load_backbone, owner_of
from autotl.data.arrays import ArrayWriter, find_array, open_array
from autotl.data.decode import STRETCH
from autotl.data.images import image_store_key, open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache, key_of
from autotl.learn.forward import BATCH as BATCH
from autotl.learn.forward import POOLED, Rows, Stretch, batch_size, plan_pass, run_pass, single_stretch, viewer
from autotl.learn.forward import as_float as as_float
from autotl.learn.forward import forward_batches as forward_batches
from autotl.learn.ledger import Ledger
from autotl.learn.networks import Network, borrow_network, cut_network, multiply_adds, stage_channels
from autotl.learn.views import View

FORMAT = 4
KIND = "features"


@dataclass(frozen=True)
class Sources:
    """What every store of one job has in common: the images, the rows that may be seen, the cache."""

    manifest: Manifest
    rows: tuple[int, ...]  # of the manifest, ascending; never the test split's
    cache: Cache
    ledger: Ledger
    shares: bool = False
    """Whether stores hold all images of the manifest, so that searches of other rows read the same ones."""
    micro_batch: int | None = None
    """How many images may go through a network at a time, where there is memory for no more."""
    resize: str = STRETCH
    """How images are made square, one of `autotl.data.decode.RESIZES`."""

    def at_most(self, batch: int) -> int:
        """So many images at a time as a batch has, or as memory allows."""
        return batch if self.micro_batch is None else min(batch, self.micro_batch)

    @property
    def stored(self) -> tuple[int, ...]:
        """The rows of the manifest that stores hold, ascending."""
        return tuple(range(len(self.manifest.samples))) if self.shares else self.rows

    def images(self, image_size: int) -> np.memmap:
        """All images of the manifest, uint8 `[N, S, S, 3]`."""
        with self.ledger.phase("decode"):
            return open_images(self.manifest, image_size, self.cache, resize=self.resize)

    @property
    def index(self) -> np.ndarray | None:
        """Where `rows` lie in a store, int64 `[len(rows)]`; None where a store holds them and no others."""
        return np.asarray(self.rows, np.int64) if self.shares else None


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
    """All stages pooled in all ways: float16 `[len(stored), 3 * sum(channels)]`.

    `pooling.select_pooled` takes its part of it.

    The store's header has the `channels` of each stage.
    """
    return _open_or_compute(sources, [Tap(backbone, weights, image_size, POOLED)], view)[0]


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
    """Activations at a cut: float16 `[len(stored), h, w, c]` (or tokens `[len(stored), t, c]`).

    With more taps than the last, `[len(stored), n]`: those that lie before the cut travel with it, pooled.
    """
    return _open_or_compute(sources, [Tap(backbone, weights, image_size, cut, freeze_depth, pooling, taps)], view)[0]


def prepare_features(
    sources: Sources, backbone: str, weights: str, image_size: int, view: View, cuts: Sequence[str], pooled: bool
) -> None:
    """Have the stores of several cuts, and of the pooled features, of one view: one pass computes all that are missing.

    Whoever will need them all should ask for them at once; `cut_features` and `pooled_features` then find them.

    Args:
        cuts: names of the network's cuts.
        pooled: whether the store of pooled features is wanted too.
    """
    names = [*cuts, POOLED] if pooled else cuts
    _open_or_compute(sources, [Tap(backbone, weights, image_size, name) for name in names], view)


def _spec(sources: Sources, tap: Tap, view: View) -> dict[str, Any]:
    record = load_backbone(tap.backbone)
    shown = [sources.manifest.samples[row].sha256 for row in sources.stored]
    spec = {
        "format": FORMAT,
        "images": image_store_key(shown, tap.image_size, sources.resize),
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


def _open_or_compute(sources: Sources, taps: Sequence[Tap], view: View) -> list[np.memmap]:
    """The stores of some places of one network and view; one pass computes those that are missing."""
    keys = {tap: key_of(_spec(sources, tap, view)) for tap in taps}
    stores = {tap: store for tap, key in keys.items() if (store := _find(sources, key)) is not None}
    missing = {tap: key for tap, key in keys.items() if tap not in stores}
    with ExitStack() as locks:
        for key in sorted(missing.values()):  # in one order everywhere, so that no two workers wait for each other
            locks.enter_context(sources.cache.lock(KIND, key))
        for tap, key in list(missing.items()):
            store = _find(sources, key)
            if store is not None:  # another worker built it while this one waited
                stores[tap] = store
                del missing[tap]
        if missing:
            stores |= _compute(sources, missing, view)
    for store in stores.values():
        sources.ledger.count("bytes_opened", store.nbytes)
    return [stores[tap] for tap in taps]


def _find(sources: Sources, key: str) -> np.memmap | None:
    return find_array(sources.cache.find(KIND, key))


def _compute(sources: Sources, wanted: Mapping[Tap, str], view: View) -> dict[Tap, np.memmap]:
    """Run the frozen part over the images once and publish what it says, under the given keys."""
    ledger, one = sources.ledger, next(iter(wanted))
    network = borrow_network(one.backbone, one.image_size, one.weights, ledger)
    parts = len(network.parts)
    with ledger.phase("build"):
        stretches, inputs = _plan(sources, network, list(wanted), view)
        headers = {tap: _header(sources, network, tap, view) for tap in wanted}
        see = viewer(view, one.image_size)
    if any(stretch.start is None for stretch in stretches):
        inputs[None] = Rows(sources.images(one.image_size), np.asarray(sources.stored))
    batch = batch_size(one.image_size)
    passes = run_pass(stretches, inputs, see, batch, sources.at_most(batch))
    with ledger.phase("forward"), closing(passes) as batches:
        stores = _write(sources.cache, wanted, headers, batches)
    count, traces = len(sources.stored), len(network.parts) - parts + (view.strength > 0.0)
    if traces:
        ledger.count("traces", traces)
    ledger.count("images_forwarded", count)
    for tap in wanted:
        ledger.count(f"forwarded/{tap.name}", count)
    ledger.count("multiply_adds_forwarded", count * sum(stretch.multiply_adds for stretch in stretches))
    ledger.count("bytes_read", sum(rows.nbytes for rows in inputs.values()))
    return stores


def _plan(
    sources: Sources, network: Network, taps: Sequence[Tap], view: View
) -> tuple[list[Stretch], dict[Cut | None, Rows]]:
    """What to run, and the kept cuts to start from."""
    kept: dict[Cut, np.ndarray] = {}
    one = taps[0]
    if one.taps != "last":  # what travels with a cut is laid out for its own tail: no other pass can go on from it
        cut, prefix, _ = cut_network(network, one.freeze_depth, one.pooling, one.taps)
        assert cut is not None
        return [single_stretch(network, prefix, cut, view)], {}

    def is_kept(cut: Cut) -> bool:
        store = _find(sources, key_of(_spec(sources, one._replace(name=cut.name), view)))
        if store is not None:
            kept[cut] = store  # mapped at once: an eviction cannot come between
        return store is not None

    names = {tap.name for tap in taps}
    ends = [cut for cut in network.cuts if cut.name in names]
    stretches = plan_pass(network, ends, POOLED in names, is_kept, view)
    starts = {stretch.start for stretch in stretches}
    return stretches, {cut: Rows(store, np.arange(len(store))) for cut, store in kept.items() if cut in starts}


def _header(sources: Sources, network: Network, tap: Tap, view: View) -> dict[str, Any]:
    header = {**_spec(sources, tap, view), "multiply_adds": multiply_adds(network.model)}
    return {**header, "channels": stage_channels(network)} if tap.name == POOLED else header


def _write(
    cache: Cache,
    wanted: Mapping[Tap, str],
    headers: Mapping[Tap, Mapping[str, Any]],
    batches: Iterable[Mapping[str, np.ndarray]],
) -> dict[Tap, np.memmap]:
    """Write batches as they come, and publish when all are written. Memory holds one batch."""
    with ExitStack() as building:
        folders = {tap: building.enter_context(cache.building(KIND)) for tap in wanted}
        with ExitStack() as writing:
            writers: dict[Tap, ArrayWriter] = {}
            for found in batches:
                for tap in wanted:
                    rows = found[tap.name]
                    if tap not in writers:
                        writer = ArrayWriter(folders[tap], "float16", rows.shape[1:], headers[tap])
                        writers[tap] = writing.enter_context(writer)
                    writers[tap].append(rows)
        return {tap: open_array(cache.publish(KIND, key, folders[tap])) for tap, key in wanted.items()}
