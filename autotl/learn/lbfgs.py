"""L-BFGS for smooth convex functions of many variables, in float32.

scipy's is the reference (and the tests hold this one against it), but importing scipy.optimize costs a worker one to
two seconds before its first trial, and its bookkeeping in float64 takes as long as the functions minimised here.

Source: Nocedal and Wright, Numerical Optimization, 2nd edition, algorithm 7.5.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Function = Callable[[Floats], tuple[float, Floats]]

MEMORY = 6
SUFFICIENT_DECREASE = 1e-4
HALVINGS = 20


def minimise(function: Function, start: Floats, iterations: int = 200, tolerance: float = 1e-6) -> Floats:
    """Walk downhill from `start`, a vector, until a step gains less than `tolerance`, relative to the value.

    Args:
        function: gives a value and its gradient; convex, and scaled such that a step along the gradient is sensible.
        iterations: at most so many steps.
    """
    point = start
    value, gradient = function(point)
    history: deque[tuple[Floats, Floats, float]] = deque(maxlen=MEMORY)
    for _ in range(iterations):
        direction = _newton_direction(gradient, history)
        slope = float(gradient @ direction)
        length = 1.0
        for _ in range(HALVINGS):
            step = length * direction
            next_value, next_gradient = function(point + step)
            if next_value <= value + SUFFICIENT_DECREASE * length * slope:
                break
            length *= 0.5
        else:
            return point  # the rest is rounding
        change = next_gradient - gradient
        curvature = float(step @ change)
        if curvature > 0.0:  # always, but for rounding: the function is convex
            history.append((step, change, 1.0 / curvature))
        gain = value - next_value
        point, value, gradient = point + step, next_value, next_gradient
        if gain <= tolerance * max(abs(value), 1.0):
            return point
    return point


def _newton_direction(gradient: Floats, history: deque[tuple[Floats, Floats, float]]) -> Floats:
    """Minus the inverse Hessian, as the last steps show it, times the gradient."""
    direction = -gradient
    weights = []
    for step, change, inverse in reversed(history):
        weight = inverse * float(step @ direction)
        weights.append(weight)
        direction = direction - weight * change
    if history:
        _, change, inverse = history[-1]
        direction = direction / (inverse * float(change @ change))
    for (step, change, inverse), weight in zip(history, reversed(weights), strict=True):
        direction = direction + (weight - inverse * float(change @ direction)) * step
    return direction
