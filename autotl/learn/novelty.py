"""How unlike the training images an image is, by the features that a model's head stands on.

The distance is Mahalanobis's to the nearest class mean, with one covariance for all classes (Lee et al.,
https://arxiv.org/abs/1807.03888) and features of unit length (Müller and Hein, https://arxiv.org/abs/2505.18032). Few
images do not determine a covariance of thousands of features: its largest directions are kept and the others share what
variance remains (Tipping and Bishop, https://doi.org/10.1111/1467-9868.00196). `benchmarks/novelty.py` holds it against
the distance to the k-th nearest neighbour (Sun et al., https://arxiv.org/abs/2204.06507).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = 128
FIT_IMAGES = 2000
"""Of a sample that is fitted to, about: what is kept of it does not depend on their number."""
_SMALLEST = 1e-12
_BLOCK = 1024


class Novelty(NamedTuple):
    """What distances are measured by.

    Attributes:
        means: of each class, float16 `[C, D]`.
        directions: orthonormal, of the largest variance within classes, float16 `[R, D]`.
        variances: along them, float32 `[R]`.
        remainder: variance along every other direction, float32 `[]`.
    """

    means: NDArray[np.float16]
    directions: NDArray[np.float16]
    variances: NDArray[np.float32]
    remainder: NDArray[np.float32]


def fit_novelty(features: Any, labels: Any, classes: int) -> Novelty:
    """Fit to features `[N, D]` of unit length of training images.

    Args:
        labels: class of each row, `[N]`; every class occurs.
        classes: how many there are.

    Raises:
        ValueError: no class has two images, so nothing is known of how they vary.
    """
    rows, truth = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if len(rows) <= classes:
        raise ValueError(f"more than one image of some class is needed, not {len(rows)} of {classes} classes")
    sums = np.zeros((classes, rows.shape[1]))
    np.add.at(sums, truth, rows)
    means = sums / np.bincount(truth, minlength=classes)[:, None]
    centred, degrees = rows - means[truth], len(rows) - classes
    # The eigenvectors of the small one of the two products of the rows give those of the other one.
    is_wide = centred.shape[1] > len(centred)
    product = centred @ centred.T if is_wide else centred.T @ centred
    values, vectors = np.linalg.eigh(product / degrees)
    kept = min(DIRECTIONS, degrees // 2, len(values) - 1)  # the more of them, the less their variances can be trusted
    values, vectors = values[::-1][:kept], vectors[:, ::-1][:, :kept]
    is_real = values > _SMALLEST
    values, vectors = values[is_real], vectors[:, is_real]
    directions = (vectors / np.sqrt(values * degrees)).T @ centred if is_wide else vectors.T
    rest = (np.trace(product) / degrees - values.sum()) / max(1, rows.shape[1] - len(values))
    return Novelty(
        means.astype(np.float16),
        directions.astype(np.float16),
        values.astype(np.float32),
        np.asarray(max(rest, _SMALLEST), np.float32),
    )


def measure_distances(novelty: Novelty, features: Any) -> NDArray[np.float32]:
    """Distances `[N]` of features `[N, D]` of unit length: about 1 for the images of the fit, more for any others."""
    means, directions = novelty.means.astype(np.float64), novelty.directions.astype(np.float64)
    variances, rest = novelty.variances.astype(np.float64), float(novelty.remainder)
    weights = 1.0 / variances - 1.0 / rest

    def squares(rows: NDArray[np.float64]) -> tuple[Any, Any]:
        inside = rows @ directions.T
        return inside, (rows**2).sum(axis=1) / rest + inside**2 @ weights

    centres, of_centres = squares(means)
    found = []
    for start in range(0, len(features), _BLOCK):
        rows = np.asarray(features[start : start + _BLOCK], dtype=np.float64)
        inside, of_rows = squares(rows)
        products = rows @ means.T / rest + (inside * weights) @ centres.T
        found.append((of_rows[:, None] + of_centres - 2.0 * products).min(axis=1))
    squared = np.maximum(np.concatenate(found), 0.0) if found else np.zeros(0)
    return np.sqrt(squared / means.shape[1]).astype(np.float32)


def as_percentiles(distances: Any, held_out: Any) -> NDArray[np.float64]:
    """The share of held-out images that are nearer, in percent.

    It is taken of one image more than were held out, so that of new images like those at most one in twenty is at 95
    or above, however few were held out (conformal prediction: Bates et al., https://arxiv.org/abs/2104.08279). With
    less than 19 none can be.

    Args:
        distances: `[N]`.
        held_out: of images that the model has not seen, `[M]`.
    """
    ordered = np.sort(np.asarray(held_out))
    below = np.searchsorted(ordered, np.asarray(distances), side="left")
    return np.asarray(100.0 * below / (len(ordered) + 1))


def threshold(held_out: Any, percentile: float) -> float | None:
    """The distance above which an image is at a percentile or above; None where too few were held out to say."""
    ordered = np.sort(np.asarray(held_out))
    place = int(np.ceil(percentile / 100.0 * (len(ordered) + 1)))
    return float(ordered[place - 1]) if place <= len(ordered) else None


def stratified_rows(labels: Any, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Places of about `count` of the labels `[N]`, ascending: the same share of each class, at least one of each."""
    truth = np.asarray(labels)
    if len(truth) <= count:
        return np.arange(len(truth))
    generator = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(truth):
        places = np.flatnonzero(truth == label)
        chosen.append(generator.permutation(places)[: max(1, count * len(places) // len(truth))])
    return np.sort(np.concatenate(chosen))
