"""The linear head as a convex problem: multinomial logistic regression on frozen features, solved to its optimum.

Minimises mean cross-entropy plus `penalty / 2 * ||W||^2` by L-BFGS. Features of a network are strongly correlated, so
the plain problem takes hundreds of iterations; in coordinates that are whitened by the features' own covariance (an
exact change of variables, the optimum is the same) it takes some twenty-five. The eigenvectors depend on the features
alone and serve every penalty and every fold, and ridge regression (`ridge.py`) too.

Arrays of weights are `[C, F, K + 1]`: class, head, coordinate, the last one being the bias. With the rows' axis last in
memory the softmax over classes is a sum of whole rows of memory, nine times faster than over the last axis.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotl.learn.lbfgs import minimise
from autotl.learn.tables import ROOM, Floats, Room, Table, keep_table, map_table, sum_blocks, table_blocks

SMALLEST_EIGENVALUE = 1e-6  # relative to the largest; below it there is only rounding in float32
SMALLEST_CURVATURE = 1e-4  # of the softmax: keeps the scale of a class finite that is never in doubt
BLOCK_CELLS = 2_000_000  # of logits at a time: bounds memory, whatever the number of rows


class Standardiser(NamedTuple):
    """`(x - mean) * scale` brings features `[N, D]` to zero mean and about unit length."""

    mean: Floats
    scale: Floats

    def __call__(self, features: Floats) -> Floats:
        centred = features - self.mean
        centred *= self.scale
        return centred.astype(np.float32, copy=False)


class LinearHead(NamedTuple):
    """`kernel [D, C]` and `bias [C]` on standardised features."""

    kernel: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        return features @ self.kernel + self.bias


class Basis(NamedTuple):
    """Eigenvectors `[D, K]` and eigenvalues `[K]` of the standardised features' covariance, K at most N and D; and the
    features in these coordinates, `[N, K + 1]`, with a last column of ones that the bias is the weight of."""

    vectors: Floats
    values: Floats
    rows: Floats
    room: Room = ROOM

    @property
    def nbytes(self) -> int:
        """Of memory; in part of a temporary file where the rows are many."""
        return self.vectors.nbytes + self.values.nbytes + self.rows.nbytes


def fit_standardiser(features: Table, room: Room = ROOM) -> Standardiser:
    """Per-feature scaling, floored at a tenth of the average deviation so that dead features stay small.

    The features `[N, D]` are read once: the means and squared deviations of blocks are merged, which loses nothing to
    cancellation (Chan, Golub and LeVeque, https://www.jstor.org/stable/2683386).
    """
    seen, size = 0, features.shape[1]
    mean, squares = np.zeros(size), np.zeros(size)
    for _, block in table_blocks(features, room.block):
        change = block.mean(axis=0) - mean
        share = len(block) / (seen + len(block))
        squares += len(block) * block.var(axis=0) + seen * share * change**2
        mean += share * change
        seen += len(block)
    deviation = np.sqrt(squares / seen)
    floored = deviation + 0.1 * np.sqrt(np.mean(deviation**2)) + 1e-6
    return Standardiser(mean.astype(np.float32), (1.0 / (floored * np.sqrt(size))).astype(np.float32))


def fit_basis(features: Table, room: Room = ROOM) -> Basis:
    """Diagonalise the covariance of standardised features `[N, D]`.

    With fewer rows than features it is done through the rows' products, and only the span of the rows is kept: the
    optimum of a penalised linear head lies in it, so the problem is the same and smaller.

    Args:
        features: with fewer rows than features they are held in memory, which the number of features bounds.
        room: for the rows of the basis.
    """
    count, size = features.shape
    if count >= size:
        values, vectors = np.linalg.eigh(sum_blocks(features, room.block, lambda _, rows: rows.T @ rows) / count)
        values = np.maximum(values, 0.0)
        rotated = map_table(features, lambda block: _with_ones(block @ vectors), size + 1)
        return Basis(vectors, values, keep_table(rotated, room), room)
    whole = features[:]
    values, vectors = np.linalg.eigh(whole @ whole.T / count)
    spanned = values > SMALLEST_EIGENVALUE * values[-1]
    values, vectors = values[spanned], vectors[:, spanned]
    lengths = np.sqrt(count * values)
    return Basis(whole.T @ (vectors / lengths), values, _with_ones(vectors * lengths), room)


def share_rows(subsets: NDArray[np.bool_], weights: NDArray[np.floating] | None = None) -> Floats:
    """How much each row counts in each head's loss, `[F, N]`, summing to one for each head.

    Args:
        subsets: which rows each head is fitted to, `[F, N]`.
        weights: relative weights of the rows, `[F, N]` or `[N]`.
    """
    weighted = subsets.astype(np.float64) if weights is None else subsets * weights
    shares: Floats = (weighted / weighted.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def fit_linear(
    features: Floats, targets: Floats, penalty: float, weights: NDArray[np.floating] | None = None
) -> LinearHead:
    """Solve for the head of all rows of standardised features `[N, D]`, with `weights [N]`; see `solve_heads`."""
    basis = fit_basis(features)
    shares = share_rows(np.ones((1, len(features)), bool), weights)
    return make_heads(basis, solve_heads(basis, targets, shares, penalty))[0]


def solve_heads(
    basis: Basis,
    targets: Floats,
    shares: Floats,
    penalty: float,
    start: Floats | None = None,
    tolerance: float = 1e-6,
) -> Floats:
    """Solve for the weights `[C, F, K + 1]` of several heads on the same features, in the coordinates of the basis.

    The heads share nothing but the features: their problems are solved as one separable problem, so that every
    product with the features, which is bound by memory, serves all of them. Five folds cost little more than one fit.

    Args:
        basis: of the features: their span is searched, and it decides how fast the optimum is reached.
        targets: class probabilities, `[N, C]` (one-hot, or smoothed).
        shares: how much each row counts in each head's loss, `[F, N]`.
        penalty: weight of the squared norm of the kernel, greater than zero.
        start: weights to start from: those of another penalty or other folds save half of the way. None is zero.
        tolerance: the relative gain of a step that is not worth another one.
    """
    size = basis.rows.shape[1]
    classes, heads = targets.shape[1], len(shares)
    penalties = np.full(size, penalty, np.float32)
    penalties[-1] = 0.0  # the bias is free
    wanted = np.ascontiguousarray(targets.T)[:, None, :]  # [C, 1, N]
    begin = np.zeros((classes, heads, size), np.float32) if start is None else start
    # With W = V @ diag(stretch) @ U the Hessian in U is near the identity at the start.
    curvature = np.maximum(_curvature(basis, shares, begin), SMALLEST_CURVATURE)
    spread = np.append(basis.values, np.float32(1.0))  # the ones' mean square is one
    stretch: Floats = (1.0 / np.sqrt(curvature[:, :, None] * spread + penalties)).astype(np.float32)
    block = max(1, BLOCK_CELLS // (classes * heads))

    def loss_and_gradient(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(begin.shape) * stretch
        gradient = weights * penalties
        loss = 0.5 * float(np.vdot(weights, gradient))
        for part, rows in table_blocks(basis.rows, basis.room.block, most=block):
            chances, totals, logits = _softmax(weights, rows)
            share = shares[:, part]
            losses = np.log(totals) - (logits * wanted[:, :, part]).sum(axis=0)
            loss += float(np.vdot(share.astype(np.float64), losses))
            chances *= share / totals
            chances -= share * wanted[:, :, part]
            gradient += (chances.reshape(classes * heads, -1) @ rows).reshape(begin.shape)
        return loss, (gradient * stretch).ravel()

    found = minimise(loss_and_gradient, (begin / stretch).ravel(), tolerance=tolerance)
    return found.reshape(begin.shape) * stretch


def make_heads(basis: Basis, weights: Floats) -> list[LinearHead]:
    """Heads on standardised features from weights `[C, F, K + 1]` in the coordinates of their basis."""
    classes, count, _ = weights.shape
    flat = weights[:, :, :-1].reshape(classes * count, -1)
    kernels = (basis.vectors @ flat.T).reshape(-1, classes, count)
    return [LinearHead(np.ascontiguousarray(kernels[:, :, head]), weights[:, head, -1]) for head in range(count)]


def _with_ones(rows: Floats) -> Floats:
    return np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)


def _softmax(weights: Floats, rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Softmax of rows `[N, K + 1]` not yet divided by its totals, `[C, F, N]`; the totals `[F, N]`; and the logits, of
    which the largest is zero."""
    logits = (weights.reshape(-1, weights.shape[2]) @ rows.T).reshape(*weights.shape[:2], -1)
    logits -= logits.max(axis=0)
    exponentials = np.exp(logits)
    return exponentials, exponentials.sum(axis=0), logits


def _curvature(basis: Basis, shares: Floats, weights: Floats) -> Floats:
    """Mean of `p * (1 - p)` for each class and head, `[C, F]`."""
    classes, heads, _ = weights.shape
    if not weights.any():
        return np.full((classes, heads), (1.0 - 1.0 / classes) / classes, np.float32)
    total = np.zeros((classes, heads), np.float32)
    most = max(1, BLOCK_CELLS // (classes * heads))
    for part, rows in table_blocks(basis.rows, basis.room.block, most=most):
        exponentials, totals, _ = _softmax(weights, rows)
        chances = exponentials / totals
        total += np.einsum("fn,cfn->cf", shares[:, part], chances * (1.0 - chances))
    return total
