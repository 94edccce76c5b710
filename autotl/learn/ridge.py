"""Ridge regression on frozen features: a whole path of penalties with exact leave-one-out from one decomposition.

Targets are +1 for the class and -1 for the others, and the bias is not penalised. Leaving rows out changes a prediction
by a known amount, so no fit is repeated: with H the matrix that maps targets to fitted values, the residuals of rows B,
predicted by the fit to all others, are `(I - H[B, B])^-1 @ residuals[B]`. B holds all views of all images of one
duplicate group; for one view of one image this is the well-known `residual / (1 - h)`.

Source: the path follows fewshot_lsr of big_vision, https://github.com/google-research/big_vision (Apache-2.0); for
leave-one-out see Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd edition, section 7.10.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotl.learn.linear import Basis
from autotl.learn.metrics import fit_temperature, log_loss, softmax

Floats = NDArray[np.float32]
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
    fits = []
    for penalty, scores in zip(PENALTIES, leave_one_out(basis, targets, groups, PENALTIES, weights), strict=True):
        temperature = fit_temperature(scores, labels)
        fits.append(RidgeFit(penalty, scores, temperature, log_loss(softmax(scores / temperature), labels)))
    return min(fits, key=lambda fit: fit.log_loss)


def leave_one_out(
    basis: Basis,
    targets: Floats,
    groups: Integers,
    penalties: tuple[float, ...],
    weights: NDArray[np.floating] | None = None,
) -> Floats:
    """What ridge regression predicts for the plain view of each image when its whole group is left out: `[P, n, C]`.

    It minimises the sum of `weight * |target - prediction|^2` plus `N * penalty * |W|^2`, N being the number of rows
    before any is left out, and weights having mean one.

    Args:
        basis: of all rows in all views, one view after the other; the first is the plain one.
        targets: of each image, `[n, C]`.
        groups: of each image, `[n]`.
        penalties: all greater than zero.
        weights: relative weights of the images, `[n]`, greater than zero; None weighs them equally.
    """
    count, views = len(targets), len(basis.rows) // len(targets)
    every = np.ones(count) if weights is None else np.asarray(weights, np.float64) * count / np.sum(weights)
    roots = np.tile(np.sqrt(every), views).astype(np.float32)[:, None]  # [N, 1]
    rows, values = _weighted_coordinates(basis, roots, is_even=weights is None)
    wanted = np.tile(targets - every @ targets / count, (views, 1)).astype(np.float32) * roots
    products = rows.T @ wanted / len(rows)
    blocks = _blocks(groups, views)
    found = np.empty((len(penalties), *targets.shape), np.float32)
    for number, penalty in enumerate(penalties):
        shrunk = (1.0 / (values + penalty)).astype(np.float32)
        left_out = wanted - rows @ (products * shrunk[:, None])
        for block in blocks:  # [groups, rows of a group]
            inside, root = rows[block], roots[block]
            influence = (inside * shrunk) @ inside.transpose(0, 2, 1) + root @ root.transpose(0, 2, 1)
            left_out[block] = np.linalg.solve(np.eye(block.shape[1]) - influence / len(rows), left_out[block])
        found[number] = targets - (left_out / roots)[:count]
    return found


def _blocks(groups: Integers, views: int) -> list[Integers]:
    """The rows of each group in all views, `[groups, rows]`, one array for each size of a group."""
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    by_size: dict[int, list[Integers]] = {}
    for images in members:
        by_size.setdefault(len(images), []).append(images)
    offsets = np.arange(views) * len(groups)
    return [(np.stack(alike)[:, :, None] + offsets).reshape(len(alike), -1) for _, alike in sorted(by_size.items())]


def _weighted_coordinates(basis: Basis, roots: Floats, is_even: bool) -> tuple[Floats, Floats]:
    """Rows `[N, K]` times the root of their weight, centred, in the eigenvectors of their own covariance."""
    rows = basis.rows[:, :-1]
    if is_even:  # standardised features are centred already
        return rows, basis.values
    weighted = (rows - (roots[:, 0] ** 2) @ rows / len(rows)) * roots
    values, vectors = np.linalg.eigh(weighted.T @ weighted / len(rows))
    return weighted @ vectors, np.maximum(values, 0.0)
