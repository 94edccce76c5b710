"""The best penalty of a linear head, found by few solves: each starts from its neighbour's solution.

Held-out log-loss over the logarithm of the penalty is a smooth, flat valley. The walk starts where ridge regression's
leave-one-out has its optimum, goes downhill in equal steps until it rises, or until a smaller penalty hardly pays, and
takes the lowest point of the parabola through its last three places. On the way solutions are rough, only the last one
is exact.
"""

import math
from typing import NamedTuple

import numpy as np

from autotl.learn.linear import Basis, solve_heads
from autotl.learn.metrics import fit_temperature, log_loss, softmax
from autotl.learn.ridge import Integers, RidgeFit
from autotl.learn.tables import Floats, table_blocks

LOWEST, HIGHEST = 1e-6, 1.0
STEP = math.log(10.0) / 2.0
SMALLEST_GAIN = 2e-3  # nats, for a step down: folds differ by far more, and smaller penalties cost more to solve
ROUGH = 1e-5  # relative gain of a step that ends a solve on the way
HEAVIER = 3.0  # than the curvature says: what was best on three networks' features, one to ten times


class Place(NamedTuple):
    """A penalty's logarithm, its held-out log-loss, and the weights `[C, F, K + 1]` that it was measured with."""

    logarithm: float
    loss: float
    weights: Floats


def guess_penalty(ridge: RidgeFit) -> float:
    """The penalty of logistic regression that shrinks as ridge regression's does.

    Along a direction of the features with variance v ridge regression shrinks by `v / (v + penalty)`; logistic
    regression's loss has the curvature p * (1 - p) there instead of one.
    """
    chances = softmax(ridge.scores / ridge.temperature)
    return float(HEAVIER * ridge.penalty * np.mean(chances * (1.0 - chances)))


def best_penalty(
    basis: Basis, targets: Floats, shares: Floats, labels: Integers, folds: list[np.ndarray], guess: float
) -> tuple[float, Floats]:
    """The penalty with the least log-loss on held-out rows, after one fitted temperature; and its heads' weights.

    Args:
        basis: of all rows in all views; the first rows are the plain view's, in the order of `labels`.
        targets: class probabilities, `[N, C]`.
        shares: how much each row counts in the loss of each fold's head, `[F, N]`.
        labels: class of each image, `[n]`.
        folds: which images each head is measured on.
        guess: where to begin.
    """

    def visit(logarithm: float, start: Floats | None) -> Place:
        weights = solve_heads(basis, targets, shares, math.exp(logarithm), start, ROUGH)
        logits = held_out_logits(basis, weights, folds)
        loss = log_loss(softmax(logits / fit_temperature(logits, labels)), labels)
        return Place(logarithm, loss, weights)

    low, high = math.log(LOWEST), math.log(HIGHEST)
    first = visit(min(max(math.log(guess), low), high - STEP), None)
    larger = visit(first.logarithm + STEP, first.weights)
    step, trail = (STEP, [first, larger]) if larger.loss < first.loss else (-STEP, [larger, first])
    wanted_gain = 0.0 if step > 0.0 else SMALLEST_GAIN
    while low <= trail[-1].logarithm + step <= high:
        trail.append(visit(trail[-1].logarithm + step, trail[-1].weights))
        if trail[-2].loss - trail[-1].loss < wanted_gain:
            break
    penalty = math.exp(_lowest(trail[-3:]))
    nearest = min(trail, key=lambda place: abs(place.logarithm - math.log(penalty)))
    return penalty, solve_heads(basis, targets, shares, penalty, nearest.weights)


def held_out_logits(basis: Basis, weights: Floats, folds: list[np.ndarray]) -> Floats:
    """Logits of the plain view of all images `[n, C]`, each from the head of the fold that held it out."""
    logits = np.empty((sum(len(fold) for fold in folds), len(weights)), np.float32)
    for number, held_out in enumerate(folds):
        for part, rows in table_blocks(basis.rows, basis.room.block, held_out):
            logits[part] = rows @ weights[:, number].T
    return logits


def _lowest(places: list[Place]) -> float:
    """Where the parabola through three equally spaced places is lowest, between the outer ones."""
    best = min(places, key=lambda place: place.loss)
    if len(places) < 3:
        return best.logarithm
    before, middle, after = places
    bend = before.loss - 2.0 * middle.loss + after.loss
    if bend <= 0.0:
        return best.logarithm
    shift = np.clip(0.5 * (before.loss - after.loss) / bend, -1.0, 1.0)
    return middle.logarithm + float(shift) * (after.logarithm - middle.logarithm)
