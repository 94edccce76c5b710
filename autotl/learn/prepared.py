"""Features as heads read them: the chosen poolings and taps of a store, in all views; and ready to be solved for."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from autotl.data.arrays import open_array, read_header
from autotl.learn.config import TrialConfig
from autotl.learn.examples import smooth_targets
from autotl.learn.features import cut_features, pooled_features
from autotl.learn.linear import Basis, Standardiser, fit_basis, fit_standardiser
from autotl.learn.networks import borrow_network
from autotl.learn.pooling import pooled_table
from autotl.learn.recent import keep_recent
from autotl.learn.tables import ROOM, Floats, LazyTable, Room, Table, hold_table, map_table, stack_tables
from autotl.learn.task import Task
from autotl.learn.views import PLAIN, View, policy_views

KEPT_BYTES = 96 * 2**20  # of eigenvectors and rows: what a few small problems need


class Prepared(NamedTuple):
    """Images in all views, one view after the other, ready to be solved for; `targets` are `[N, C]`."""

    standardiser: Standardiser
    basis: Basis
    targets: Floats
    views: int


def prepare(task: Task, config: TrialConfig, rows: np.ndarray | None = None) -> Prepared:
    """Standardise the features of some images (or all) and find their eigenvectors, which serve every penalty and fold.

    What was prepared last is kept. Features that are not cached are computed.
    """
    views = policy_views(config.augmentation)
    stores = tuple(_pooled_store(task, config, view) for view in views)
    index = task.sources.index
    chosen = None
    if index is not None or (rows is not None and not np.array_equal(rows, task.everything)):
        positions = task.everything if rows is None else rows
        chosen = (positions if index is None else index[positions]).astype(np.int64).tobytes()
    with task.ledger.phase("solve"):
        folder = str(task.sources.cache.root)
        standardiser, basis = _standardised(stores, _stored_pooling(config), config.taps, chosen, folder)
        labels = task.labels if rows is None else task.labels[rows]
        targets = smooth_targets(labels, len(task.classes), config.label_smoothing)
    return Prepared(standardiser, basis, np.tile(targets, (len(views), 1)), len(views))


def pooled_views(task: Task, config: TrialConfig) -> list[Table]:
    """Float32 features `[N, D]`, one table for each cached view of the augmentation policy; averages for attention."""
    return [_pooled_view(task, config, view) for view in policy_views(config.augmentation)]


def plain_view(task: Task, config: TrialConfig) -> Table:
    """Float32 features `[N, D]` of the images as they are."""
    return _pooled_view(task, config, PLAIN)


def map_views(task: Task, config: TrialConfig) -> list[np.ndarray]:
    """Float16 feature maps as stored, `[., h, w, c]`, one array for each cached view: what attention pools."""
    network = borrow_network(config.backbone, config.image_size, config.weights, task.ledger)
    place = (config.backbone, config.weights, config.image_size, 1.0, network.cuts[-1].name)
    return [cut_features(task.sources, *place, view) for view in policy_views(config.augmentation)]


def recorded_multiply_adds(task: Task, config: TrialConfig) -> int:
    """Multiplications of one image's pass through the backbone, as recorded with its features."""
    return int(read_header(Path(_pooled_store(task, config, PLAIN)).parent)["spec"]["multiply_adds"])


def _pooled_store(task: Task, config: TrialConfig, view: View) -> str:
    store = pooled_features(task.sources, config.backbone, config.weights, config.image_size, view)
    return str(store.filename)  # type: ignore[attr-defined]


def _pooled_view(task: Task, config: TrialConfig, view: View) -> Table:
    table: Table = _open_pooled(_pooled_store(task, config, view), _stored_pooling(config), config.taps)
    index = task.sources.index
    return hold_table(table if index is None else stack_tables([table], index), ROOM)


def _open_pooled(path: str, pooling: str, taps: str) -> LazyTable:
    folder = Path(path).parent
    return pooled_table(open_array(folder), read_header(folder)["spec"]["channels"], pooling, taps)


def _stored_pooling(config: TrialConfig) -> str:
    return "avg" if config.pooling == "attention" else config.pooling  # attention starts as the average


def _bytes(made: tuple[Standardiser, Basis]) -> int:
    return made[1].nbytes


@keep_recent(KEPT_BYTES, _bytes)
def _standardised(
    stores: tuple[str, ...], pooling: str, taps: str, rows: bytes | None, folder: str
) -> tuple[Standardiser, Basis]:
    """The standardisation and the eigenvectors of some rows in all views; `rows` are the bytes of their places.

    Where they are too many for memory, the rows of the basis are a file in `folder`.
    """
    views = [_open_pooled(store, pooling, taps) for store in stores]
    places = np.arange(len(views[0])) if rows is None else np.frombuffer(rows, np.int64)
    room = Room(folder=folder)
    features = hold_table(stack_tables(views, places), room)
    standardiser = fit_standardiser(features, room)
    return standardiser, fit_basis(map_table(features, standardiser.__call__, features.shape[1]), room)
