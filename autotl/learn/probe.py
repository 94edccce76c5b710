"""The probe: a head on the pooled features of a wholly frozen backbone.

A linear head is a convex problem and is solved; other heads are trained on the cached features. Either costs about a
hundredth of a pass over the images. Attention is trained too, on the cached feature maps.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.arrays import open_array, read_header
from autotl.learn.config import TrialConfig
from autotl.learn.features import cut_features, pooled_features
from autotl.learn.heads import build_head, set_linear, set_standardiser
from autotl.learn.linear import (
    Basis,
    LinearHead,
    Standardiser,
    fit_basis,
    fit_linear,
    fit_linear_subsets,
    fit_standardiser,
)
from autotl.learn.networks import borrow_network
from autotl.learn.pooling import select_pooled
from autotl.learn.task import Task
from autotl.learn.training import Examples, OnEpoch, Trainable, compile_trainable, predict_logits, smooth_targets, train
from autotl.learn.views import PLAIN, policy_views


def fit_probe(
    task: Task,
    config: TrialConfig,
    rows: np.ndarray,
    held_out: np.ndarray,
    seed: int,
    on_epoch: OnEpoch | None = None,
) -> np.ndarray:
    """Fit the head on `rows` and return logits `[len(held_out), C]` of the plain view of the others."""
    if config.is_convex:
        views = _pooled_views(task, config)
        standardiser, linear = solve_linear(task, config, rows, views)
        with task.ledger.phase("evaluate"):
            return linear.logits(standardiser(views[0][held_out]))
    trainable, examples = _train_head(task, config, rows, seed, on_epoch)
    return predict_logits(trainable, examples, held_out, task.ledger)


def cross_validate_linear(task: Task, config: TrialConfig, folds: list[np.ndarray]) -> np.ndarray:
    """Out-of-fold logits `[N, C]` of a linear head; the heads of all folds are solved together.

    They share one standardisation: it knows the mean and scale of held-out features, and nothing of their labels.
    """
    views = _pooled_views(task, config)
    stores = tuple(str(_store(task, config, view).filename) for view in policy_views(config.augmentation))
    with task.ledger.phase("solve"):
        standardiser, basis = _basis(stores, config.pooling, config.taps)
        seen = np.ones((len(folds), len(task.labels)), bool)
        for number, held_out in enumerate(folds):
            seen[number, held_out] = False
        targets = smooth_targets(task.labels, len(task.classes), config.label_smoothing)
        heads = fit_linear_subsets(
            standardiser(np.concatenate(views)),
            np.tile(targets, (len(views), 1)),
            np.tile(seen, (1, len(views))),
            config.penalty,
            basis,
        )
        logits = np.zeros_like(targets)
        for head, held_out in zip(heads, folds, strict=True):
            logits[held_out] = head.logits(standardiser(views[0][held_out]))
    task.ledger.count("heads_solved", len(folds))
    return logits


def fit_head(task: Task, config: TrialConfig, rows: np.ndarray, seed: int) -> Any:
    """Fit the head on `rows` and return it as a Keras model, from features as `pool` gives them to logits."""
    if config.is_convex:
        views = _pooled_views(task, config)
        standardiser, linear = solve_linear(task, config, rows, views)
        head = build_head(config, views[0].shape[1:], len(task.classes))
        set_standardiser(head, standardiser)
        set_linear(head, linear)
        return head
    trainable, examples = _train_head(task, config, rows, seed, None)
    # a copy: the trained one serves the next trial, and would be saved with its optimizer
    head = build_head(config, examples.views[0].shape[1:], len(task.classes))
    head.set_weights(trainable.model.get_weights())
    return head


def solve_linear(
    task: Task, config: TrialConfig, rows: np.ndarray, views: list[np.ndarray]
) -> tuple[Standardiser, LinearHead]:
    """Solve for the linear head of some rows, seen in all given views."""
    with task.ledger.phase("solve"):
        features = np.concatenate([view[rows] for view in views])
        targets = smooth_targets(task.labels[rows], len(task.classes), config.label_smoothing)
        standardiser = fit_standardiser(features)
        linear = fit_linear(standardiser(features), np.tile(targets, (len(views), 1)), config.penalty)
    task.ledger.count("heads_solved")
    return standardiser, linear


def network_multiply_adds(task: Task, config: TrialConfig) -> int:
    """Multiplications of one image's pass through the backbone, as recorded with its features."""
    return int(read_header(Path(_store(task, config, PLAIN).filename).parent)["spec"]["multiply_adds"])


def _pooled_views(task: Task, config: TrialConfig) -> list[np.ndarray]:
    """Float32 features `[N, D]`, one array for each cached view of the augmentation policy; averages for attention."""
    return [
        _load_pooled(str(_store(task, config, view).filename), _stored_pooling(config), config.taps)
        for view in policy_views(config.augmentation)
    ]


def _stored_pooling(config: TrialConfig) -> str:
    return "avg" if config.pooling == "attention" else config.pooling  # attention starts as the average


def _map_views(task: Task, config: TrialConfig) -> list[np.ndarray]:
    """Float16 feature maps `[N, h, w, c]`, one array for each cached view: what attention pools."""
    network = borrow_network(config.backbone, config.image_size, config.weights, task.ledger)
    place = (config.backbone, config.weights, config.image_size, 1.0, network.cuts[-1].name)
    return [cut_features(task.sources, *place, view) for view in policy_views(config.augmentation)]


def _store(task: Task, config: TrialConfig, view: Any) -> Any:
    return pooled_features(task.sources, config.backbone, config.weights, config.image_size, view)


@lru_cache(maxsize=16)
def _load_pooled(path: str, pooling: str, taps: str) -> np.ndarray:
    folder = Path(path).parent
    return select_pooled(open_array(folder), read_header(folder)["spec"]["channels"], pooling, taps)


@lru_cache(maxsize=8)
def _basis(stores: tuple[str, ...], pooling: str, taps: str) -> tuple[Standardiser, Basis]:
    """The standardisation and the eigenvectors of all rows in all views: they serve every penalty and every fold."""
    features = np.concatenate([_load_pooled(store, pooling, taps) for store in stores])
    standardiser = fit_standardiser(features)
    return standardiser, fit_basis(standardiser(features))


def _train_head(
    task: Task, config: TrialConfig, rows: np.ndarray, seed: int, on_epoch: OnEpoch | None
) -> tuple[Trainable, Examples]:
    pooled = _pooled_views(task, config)
    views = _map_views(task, config) if config.pooling == "attention" else pooled
    shape, classes = views[0].shape[1:], len(task.classes)
    with task.ledger.phase("import"):
        import keras
    with task.ledger.phase("build"):
        trainable = _compiled_head(architecture(config), shape, classes)
        keras.utils.set_random_seed(seed)
        trainable.model.set_weights(build_head(config, shape, classes).get_weights())  # as if it were built anew
        set_standardiser(trainable.model, fit_standardiser(np.concatenate([view[rows] for view in pooled])))
    if config.head == "linear":  # the best one for the average, where attention starts
        set_linear(trainable.model, solve_linear(task, config, rows, pooled)[1])
    examples = Examples(views, task.labels, classes)
    train(trainable, examples, rows, config, seed, task.ledger, on_epoch)
    return trainable, examples


def architecture(config: TrialConfig) -> TrialConfig:
    """The configuration with all but the head's architecture at a fixed value: a part of the key of a traced graph."""
    kept: dict[str, Any] = (
        {"width": config.width, "depth": config.depth, "dropout": config.dropout} if config.head == "mlp" else {}
    )
    kept |= {"pooling": config.pooling, "taps": config.taps}
    return TrialConfig(backbone="", image_size=1, head=config.head, options=config.options, **kept)


@lru_cache(maxsize=4)
def _compiled_head(shape: TrialConfig, features: tuple[int, ...], classes: int) -> Trainable:
    head = build_head(shape, features, classes)
    return compile_trainable(head, list(head.trainable_variables))
