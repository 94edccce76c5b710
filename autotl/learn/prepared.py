"""Features as heads read them: the chosen poolings and taps of a store, in all views; and ready to be solved for."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autotl.data.arrays import open_array, read_header
from autotl.learn.config import TrialConfig
from autotl.learn.features import cut_features, pooled_features
from autotl.learn.linear import Basis, Floats, Standardiser, fit_basis, fit_standardiser
from autotl.learn.networks import borrow_network
from autotl.learn.pooling import select_pooled
from autotl.learn.task import Task
from autotl.learn.training import smooth_targets
from autotl.learn.views import PLAIN, View, policy_views


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
    chosen = None if rows is None or np.array_equal(rows, task.everything) else rows.astype(np.int64).tobytes()
    with task.ledger.phase("solve"):
        standardiser, basis = _standardised(stores, _stored_pooling(config), config.taps, chosen)
        labels = task.labels if rows is None else task.labels[rows]
        targets = smooth_targets(labels, len(task.classes), config.label_smoothing)
    return Prepared(standardiser, basis, np.tile(targets, (len(views), 1)), len(views))


def pooled_views(task: Task, config: TrialConfig) -> list[np.ndarray]:
    """Float32 features `[N, D]`, one array for each cached view of the augmentation policy; averages for attention."""
    return [_pooled_view(task, config, view) for view in policy_views(config.augmentation)]


def plain_view(task: Task, config: TrialConfig) -> np.ndarray:
    """Float32 features `[N, D]` of the images as they are."""
    return _pooled_view(task, config, PLAIN)


def map_views(task: Task, config: TrialConfig) -> list[np.ndarray]:
    """Float16 feature maps `[N, h, w, c]`, one array for each cached view: what attention pools."""
    network = borrow_network(config.backbone, config.image_size, config.weights, task.ledger)
    place = (config.backbone, config.weights, config.image_size, 1.0, network.cuts[-1].name)
    return [cut_features(task.sources, *place, view) for view in policy_views(config.augmentation)]


def recorded_multiply_adds(task: Task, config: TrialConfig) -> int:
    """Multiplications of one image's pass through the backbone, as recorded with its features."""
    return int(read_header(Path(_pooled_store(task, config, PLAIN)).parent)["spec"]["multiply_adds"])


def _pooled_store(task: Task, config: TrialConfig, view: View) -> str:
    store = pooled_features(task.sources, config.backbone, config.weights, config.image_size, view)
    return str(store.filename)  # type: ignore[attr-defined]


def _pooled_view(task: Task, config: TrialConfig, view: View) -> np.ndarray:
    return _load_pooled(_pooled_store(task, config, view), _stored_pooling(config), config.taps)


def _stored_pooling(config: TrialConfig) -> str:
    return "avg" if config.pooling == "attention" else config.pooling  # attention starts as the average


@lru_cache(maxsize=4)
def _load_pooled(path: str, pooling: str, taps: str) -> np.ndarray:
    folder = Path(path).parent
    return select_pooled(open_array(folder), read_header(folder)["spec"]["channels"], pooling, taps)


@lru_cache(maxsize=3)
def _standardised(stores: tuple[str, ...], pooling: str, taps: str, rows: bytes | None) -> tuple[Standardiser, Basis]:
    """The standardisation and the eigenvectors of some rows, given as the bytes of their positions, in all views."""
    chosen = slice(None) if rows is None else np.frombuffer(rows, np.int64)
    features = np.concatenate([_load_pooled(store, pooling, taps)[chosen] for store in stores])
    standardiser = fit_standardiser(features)
    return standardiser, fit_basis(standardiser(features))
