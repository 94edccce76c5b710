"""The probe: a head on the pooled features of a wholly frozen backbone.

A linear head is a convex problem and is solved; other heads are trained on the cached features. Either costs about a
hundredth of a pass over the images. Attention is trained too, on the cached feature maps.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.data.folds import make_folds
from autotl.learn.balance import class_weights
from autotl.learn.config import BEST, TrialConfig
from autotl.learn.examples import Examples
from autotl.learn.heads import build_head, set_linear, set_standardiser
from autotl.learn.linear import (
    LinearHead,
    Standardiser,
    fit_standardiser,
    make_heads,
    share_rows,
    solve_heads,
)
from autotl.learn.penalty import best_penalty, guess_penalty, held_out_logits
from autotl.learn.prepared import Prepared, map_views, plain_view, pooled_views, prepare, recorded_multiply_adds
from autotl.learn.ridge import RidgeFit, best_ridge
from autotl.learn.seeding import seed_building
from autotl.learn.tables import ROOM, Floats, Table, stack_tables, table_blocks
from autotl.learn.task import Task
from autotl.learn.training import OnEpoch, Trainable, compile_trainable, predict_logits, train

FOLDS = 5  # that choose the penalty of a single fit


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
        standardiser, linear, _ = solve_linear(task, config, rows, seed)
        plain = plain_view(task, config)
        with task.ledger.phase("evaluate"):
            blocks = table_blocks(plain, ROOM.block, held_out)
            return np.concatenate([linear.logits(standardiser(rows)) for _, rows in blocks])
    trainable, examples = _train_head(task, config, rows, seed, on_epoch)
    return predict_logits(trainable, examples, held_out, task.ledger)


def cross_validate_linear(
    task: Task, config: TrialConfig, partitions: list[list[np.ndarray]]
) -> tuple[np.ndarray, float]:
    """Out-of-fold logits of a linear head, once for each partition of the rows; heads of folds are solved together.

    They share one standardisation: it knows the mean and scale of held-out features, and nothing of their labels. With
    the penalty "best" the first partition chooses it.

    Args:
        partitions: repeats of a cross-validation, each a list of folds that part the rows.

    Returns:
        Logits `[len(partitions), N, C]`, and the penalty that was used.
    """
    prepared = prepare(task, config)
    with task.ledger.phase("solve"):
        penalty, weights = _settle(task, config, prepared, task.everything, partitions[0])
        logits = [held_out_logits(prepared.basis, weights, partitions[0])]
        for folds in partitions[1:]:
            shares = _shares(config, task.labels, _seen(folds), prepared.views)
            start = np.repeat(weights.mean(axis=1, keepdims=True), len(folds), axis=1)
            weights = solve_heads(prepared.basis, prepared.targets, shares, penalty, start)
            logits.append(held_out_logits(prepared.basis, weights, folds))
    task.ledger.count("heads_solved", sum(len(folds) for folds in partitions))
    return np.stack(logits), penalty


def fit_head(task: Task, config: TrialConfig, rows: np.ndarray, seed: int) -> Any:
    """Fit the head on `rows` and return it as a Keras model, from features as `pool` gives them to logits."""
    if config.is_convex:
        standardiser, linear, _ = solve_linear(task, config, rows, seed)
        head = build_head(config, linear.kernel.shape[:1], len(task.classes))
        set_standardiser(head, standardiser)
        set_linear(head, linear)
        return head
    trainable, examples = _train_head(task, config, rows, seed, None)
    # a copy: the trained one serves the next trial, and would be saved with its optimizer
    head = build_head(config, examples.views[0].shape[1:], len(task.classes))
    head.set_weights(trainable.model.get_weights())
    return head


def solve_linear(
    task: Task, config: TrialConfig, rows: np.ndarray, seed: int
) -> tuple[Standardiser, LinearHead, float]:
    """Solve for the linear head of some rows in all views; with the penalty "best", the best by their own folds.

    Args:
        rows: positions of the images.
        seed: of the folds.

    Returns:
        The standardisation of features, the head on standardised features, and the penalty that was used.
    """
    prepared = prepare(task, config, rows)
    labels = task.labels[rows]
    with task.ledger.phase("solve"):
        penalty, start = config.penalty, None
        if penalty == BEST:
            folds = make_folds(labels, task.groups[rows], FOLDS, seed)
            penalty, weights = _settle(task, config, prepared, rows, folds)
            start = weights.mean(axis=1, keepdims=True)
            task.ledger.count("heads_solved", len(folds))
        shares = _shares(config, labels, np.ones((1, len(rows)), bool), prepared.views)
        weights = solve_heads(prepared.basis, prepared.targets, shares, float(penalty), start)
    task.ledger.count("heads_solved")
    return prepared.standardiser, make_heads(prepared.basis, weights)[0], float(penalty)


def network_multiply_adds(task: Task, config: TrialConfig) -> int:
    """Multiplications of one image's pass through the backbone."""
    return recorded_multiply_adds(task, config)


def _settle(
    task: Task, config: TrialConfig, prepared: Prepared, rows: np.ndarray, folds: list[np.ndarray]
) -> tuple[float, Floats]:
    """The penalty, chosen if it is "best", and the weights of one head for each fold of the rows."""
    shares = _shares(config, task.labels[rows], _seen(folds), prepared.views)
    if config.penalty != BEST:
        penalty = float(config.penalty)
        return penalty, solve_heads(prepared.basis, prepared.targets, shares, penalty)
    guess = guess_penalty(_fit_ridge(task, config, prepared, rows))
    return best_penalty(prepared.basis, prepared.targets, shares, task.labels[rows], folds, guess)


def _fit_ridge(task: Task, config: TrialConfig, prepared: Prepared, rows: np.ndarray) -> RidgeFit:
    labels, classes = task.labels[rows], len(task.classes)
    weights = None if config.balance == "none" else class_weights(labels, classes)[labels]
    return best_ridge(prepared.basis, labels, task.groups[rows], classes, weights)


def _seen(folds: list[np.ndarray]) -> NDArray[np.bool_]:
    """Which rows the head of each fold is fitted to, `[F, n]`."""
    seen = np.ones((len(folds), sum(len(fold) for fold in folds)), bool)
    for number, held_out in enumerate(folds):
        seen[number, held_out] = False
    return seen


def _shares(config: TrialConfig, labels: np.ndarray, seen: NDArray[np.bool_], views: int) -> Floats:
    """How much each row counts in each head's loss, `[F, N]`. For a solved head balanced sampling is what it is in the
    mean: weights."""
    weights = None
    if config.balance != "none":
        classes = int(labels.max()) + 1
        weights = np.stack([class_weights(labels[rows], classes)[labels] for rows in seen])
    return np.tile(share_rows(seen, weights), (1, views)) / np.float32(views)


def _train_head(
    task: Task, config: TrialConfig, rows: np.ndarray, seed: int, on_epoch: OnEpoch | None
) -> tuple[Trainable, Examples]:
    pooled = pooled_views(task, config)
    views: Sequence[Table] = map_views(task, config) if config.pooling == "attention" else pooled
    shape, classes = views[0].shape[1:], len(task.classes)
    with task.ledger.phase("import"):
        import keras  # noqa: F401
    with task.ledger.phase("build"):
        trainable = _compiled_head(architecture(config), shape, classes)
        seed_building(seed)
        trainable.model.set_weights(build_head(config, shape, classes).get_weights())  # as if it were built anew
        set_standardiser(trainable.model, fit_standardiser(stack_tables(pooled, rows)))
    if config.head == "linear":  # the best one for the average, where attention starts
        set_linear(trainable.model, solve_linear(task, config, rows, seed)[1])
    index = task.sources.index if config.pooling == "attention" else None  # maps come as they are stored
    examples = Examples(views, task.labels, classes, index)
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
