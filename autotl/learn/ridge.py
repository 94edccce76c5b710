"""Ridge regression on frozen features: a whole path of penalties with exact leave-one-out from one decomposition.

Targets are +1 for the class and -1 for the others, and the bias is not penalised. Leaving rows out changes a prediction
by a known amount, so no fit is repeated: with H the matrix that maps targets to fitted values, the residuals of rows B,
predicted by the fit to all others, are `(I - H[B, B])^-1 @ residuals[B]`. B holds all views of all images of one
duplicate group; for one view of one image this is the well-known `residual / (1 - h)`.

Source: the path follows fewshot_lsr of big_vision, https://github.com/google-research/big_vision (Apache-2.0); for
leave-one-out see Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd edition, section 7.10.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotl.learn.linear import Basis
from autotl.learn.metrics import fit_temperature, log_loss, softmax
from autotl.learn.tables import Floats, LazyTable, keep_table, map_table, sum_blocks, table_blocks

Integers = NDArray[np.integer]
PENALTIES = tuple(10.0 ** (-4.0 + 0.5 * step) for step in range(9))
"""For features of unit length: 1e-4 to 1."""


class RidgeFit(NamedTuple):
    """The best of a path: its penalty, leave-one-out scores `[n, C]` of the plain view, and what they are worth."""

    penalty: float
    scores: Floats
    temperature: float
    log_loss: float


def best_ridge(
    basis: Basis, labels: Integers, groups: Integers, classes: int, weights: NDArray[np.floating] | None = None
) -> RidgeFit:
    """The penalty with the least leave-one-out log-loss; scores become probabilities by one fitted temperature.

    Args:
        basis: of all rows in all views, one view after the other, each in the order of `labels`.
        labels: class of each image, `[n]`.
        groups: duplicate group of each image, `[n]`: a group is left out as a whole.
        classes: how many classes there are.
        weights: relative weights of the images in the fit, `[n]`; log-loss is never weighted.
    """
    targets = 2.0 * np.eye(classes, dtype=np.float32)[labels] - 1.0

    def judge(penalty: float, scores: Floats) -> RidgeFit:
        temperature = fit_temperature(scores, labels)
        return RidgeFit(penalty, scores, temperature, log_loss(softmax(scores / temperature), labels))

    path = leave_one_out(basis, targets, groups, PENALTIES, weights)
    return min(map(judge, PENALTIES, path), key=lambda fit: fit.log_loss)


def leave_one_out(
    basis: Basis,
    targets: Floats,
    groups: Integers,
    penalties: tuple[float, ...],
    weights: NDArray[np.floating] | None = None,
) -> Iterator[Floats]:
    """What ridge regression predicts for the plain view of each image when its whole group is left out.

    It minimises the sum of `weight * |target - prediction|^2` plus `N * penalty * |W|^2`, N being the number of rows
    before any is left out, and weights having mean one.

    Args:
        basis: of all rows in all views, one view after the other; the first is the plain one.
        targets: of each image, `[n, C]`.
        groups: of each image, `[n]`.
        penalties: all greater than zero.
        weights: relative weights of the images, `[n]`, greater than zero; None weighs them equally.

    Yields:
        Predictions `[n, C]` for each penalty.
    """
    count, views = len(targets), len(basis.rows) // len(targets)
    every = np.ones(count) if weights is None else np.asarray(weights, np.float64) * count / np.sum(weights)
    roots = np.tile(np.sqrt(every), views).astype(np.float32)[:, None]  # [N, 1]
    rows, values = _weighted_coordinates(basis, roots, is_even=weights is None)
    block = basis.room.block
    wanted = np.tile(targets - every @ targets / count, (views, 1)).astype(np.float32) * roots
    products = sum_blocks(rows, block, lambda part, inside: inside.T @ wanted[part]) / len(rows)
    members = _members(groups, views)
    for penalty in penalties:
        shrunk = (1.0 / (values + penalty)).astype(np.float32)
        kernel = products * shrunk[:, None]
        left_out = np.empty_like(wanted)
        for alike in members:
            for part, inside in table_blocks(rows, block, alike):  # [groups, rows of a group], [groups, rows, K]
                root = roots[part]
                fitted = (inside.reshape(part.size, len(kernel)) @ kernel).reshape(*part.shape, -1)
                influence = (inside * shrunk) @ inside.transpose(0, 2, 1) + root @ root.transpose(0, 2, 1)
                unfitted = np.eye(alike.shape[1]) - influence / len(rows)
                left_out[part] = np.linalg.solve(unfitted, wanted[part] - fitted)
        yield (targets - (left_out / roots)[:count]).astype(np.float32, copy=False)


def _members(groups: Integers, views: int) -> list[Integers]:
    """The rows of each group in all views, `[groups, rows]`, one array for each size of a group."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    offsets = np.arange(views) * len(groups)
    found = []
    for size in np.unique(sizes):
        images = order[starts[sizes == size][:, None] + np.arange(size)]
        found.append((images[:, :, None] + offsets).reshape(len(images), -1))
    return found


def _weighted_coordinates(basis: Basis, roots: Floats, is_even: bool) -> tuple[Floats, Floats]:
    """Rows `[N, K]` times the root of their weight, centred, in the eigenvectors of their own covariance."""
    rows, room = basis.rows[:, :-1], basis.room
    if is_even:  # standardised features are centred already
        return rows, basis.values
    middle = sum_blocks(rows, room.block, lambda part, block: roots[part, 0] ** 2 @ block) / np.float32(len(rows))
    weighted = LazyTable(rows.shape, lambda places: (rows[places] - middle) * roots[places])
    values, vectors = np.linalg.eigh(sum_blocks(weighted, room.block, lambda _, block: block.T @ block) / len(rows))
    turned = map_table(weighted, lambda block: block @ vectors, rows.shape[1])
    return keep_table(turned, room), np.maximum(values, 0.0)
