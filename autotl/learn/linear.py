"""The linear head as a convex problem: multinomial logistic regression on frozen features, solved to its optimum.

Minimises mean cross-entropy plus `penalty / 2 * ||W||^2` by L-BFGS. Features of a network are strongly correlated, so
the plain problem takes over a hundred iterations; in coordinates that are whitened by the features' own covariance
(an exact change of variables, the optimum is the same) it takes about half as many. The eigenvectors depend on the
features alone and serve every penalty and every fold.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotl.learn.lbfgs import minimise

Floats = NDArray[np.float32]
SMALLEST_EIGENVALUE = 1e-6  # relative to the largest; below it there is only rounding in float32


class Standardiser(NamedTuple):
    """`(x - mean) * scale` brings features `[N, D]` to zero mean and about unit length."""

    mean: Floats
    scale: Floats

    def __call__(self, features: Floats) -> Floats:
        return ((features - self.mean) * self.scale).astype(np.float32)


class LinearHead(NamedTuple):
    """`kernel [D, C]` and `bias [C]` on standardised features."""

    kernel: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        return features @ self.kernel + self.bias


class Basis(NamedTuple):
    """Eigenvectors `[D, K]` and eigenvalues `[K]` of the standardised features' covariance, K at most N and D."""

    vectors: Floats
    values: Floats


def fit_standardiser(features: Floats) -> Standardiser:
    """Per-feature scaling, floored at a tenth of the average deviation so that dead features stay small."""
    mean = features.mean(axis=0)
    deviation = features.std(axis=0)
    floored = deviation + 0.1 * np.sqrt(np.mean(deviation**2)) + 1e-6
    return Standardiser(mean, (1.0 / (floored * np.sqrt(features.shape[1]))).astype(np.float32))


def fit_basis(features: Floats) -> Basis:
    """Diagonalise the covariance of standardised features `[N, D]`.

    With fewer rows than features it is done through the rows' products, and only the span of the rows is kept: the
    optimum of a penalised linear head lies in it, so the problem is the same and smaller.
    """
    count, size = features.shape
    if count >= size:
        values, vectors = np.linalg.eigh(features.T @ features / count)
        return Basis(vectors.astype(np.float32), np.maximum(values, 0.0).astype(np.float32))
    values, rows = np.linalg.eigh(features @ features.T / count)
    spanned = values > SMALLEST_EIGENVALUE * values[-1]
    values, rows = values[spanned], rows[:, spanned]
    return Basis((features.T @ (rows / np.sqrt(count * values))).astype(np.float32), values.astype(np.float32))


def fit_linear(features: Floats, targets: Floats, penalty: float) -> LinearHead:
    """Solve for the head of all rows; see `fit_linear_subsets`."""
    everything = np.ones((1, len(features)), bool)
    return fit_linear_subsets(features, targets, everything, penalty, fit_basis(features))[0]


def fit_linear_subsets(
    features: Floats, targets: Floats, subsets: NDArray[np.bool_], penalty: float, basis: Basis
) -> list[LinearHead]:
    """Solve for one head for each subset of the rows, all at once.

    The heads share nothing but the features: their problems are solved as one separable problem, so that every
    product with the features, which is bound by memory, serves all of them. Five folds cost little more than one fit.

    Args:
        features: standardised, `[N, D]`.
        targets: class probabilities, `[N, C]` (one-hot, or smoothed).
        subsets: `[F, N]`, which rows each head is fitted to.
        penalty: weight of the squared norm of the kernel, greater than zero.
        basis: of these features: their span is searched, and it decides how fast the optimum is reached.
    """
    heads, classes, size = len(subsets), targets.shape[1], len(basis.values)
    curvature = 1.0 / classes * (1.0 - 1.0 / classes)  # of the softmax at the start, where all classes are equal
    stretch = 1.0 / np.sqrt(curvature * basis.values + penalty)
    # with W = V @ diag(stretch) @ U the Hessian in U is near the identity at the start
    rotated = (features @ basis.vectors) * stretch
    shares = (subsets / subsets.sum(axis=1, keepdims=True)).T.astype(np.float32)[:, :, None]  # [N, F, 1]
    squares = (penalty * stretch**2)[:, None]

    def loss_and_gradient(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(size + 1, heads * classes)
        kernel, bias = weights[:-1], weights[-1]
        logits = (rotated @ kernel + bias).reshape(-1, heads, classes)
        logits -= logits.max(axis=2, keepdims=True)
        exponentials = np.exp(logits)
        totals = exponentials.sum(axis=2, keepdims=True)
        shrunk = kernel * squares
        loss = -float(np.sum(shares * targets[:, None, :] * (logits - np.log(totals)), dtype=np.float64))
        loss += 0.5 * float(np.sum(kernel * shrunk, dtype=np.float64))
        slope = (shares * (exponentials / totals - targets[:, None, :])).reshape(-1, heads * classes)
        gradient = np.concatenate([rotated.T @ slope + shrunk, slope.sum(axis=0, keepdims=True)])
        return loss, gradient.ravel()

    solution = minimise(loss_and_gradient, np.zeros((size + 1) * heads * classes, np.float32))
    weights = solution.reshape(size + 1, heads, classes)
    kernels = np.tensordot(basis.vectors, weights[:-1] * stretch[:, None, None], axes=1)
    return [LinearHead(np.ascontiguousarray(kernels[:, head]), weights[-1, head]) for head in range(heads)]
