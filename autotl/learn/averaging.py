"""Averages of weights: over the steps of one fit, and over several fits of one architecture."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

Weights = list[np.ndarray]


def trainable_weights(trainable: Any) -> Weights:
    """Copies of what a fit has trained, tail and head, in the model's order.

    All fits of one architecture to the same rows agree in everything else: what is frozen, and the statistics that the
    head standardises by.

    Args:
        trainable: a `training.Trainable`.
    """
    return [np.array(variable.numpy()) for variable in trainable.model.trainable_variables]


def set_trainable_weights(trainable: Any, weights: Sequence[np.ndarray]) -> None:
    """Give a tail and head the weights of another fit, or of an average of fits, of the same architecture."""
    for variable, value in zip(trainable.model.trainable_variables, weights, strict=True):
        variable.assign(value)


@contextmanager
def averaged(trainable: Any) -> Iterator[None]:
    """Within it the model has the running averages of its weights; after it the weights that training goes on from."""
    raw = trainable_weights(trainable)
    use_averages(trainable)
    try:
        yield
    finally:
        set_trainable_weights(trainable, raw)


def use_averages(trainable: Any) -> None:
    """Give the model the running averages of its weights."""
    set_trainable_weights(trainable, [average.numpy() for average in trainable.model.optimizer.averages])


def greedy_soup(candidates: Sequence[Weights], score: Callable[[Weights], float]) -> tuple[Weights, list[int]]:
    """Average the weights of several fits, one after the other, as long as each of them helps.

    Greedy soup of Wortsman et al. (https://arxiv.org/abs/2203.05482).

    Args:
        candidates: weights of fits of one architecture from one start, best first; at least one.
        score: of weights, lower is better.

    Returns:
        The average, and the positions of the candidates in it; the first one is always a member.
    """
    members, soup = [0], list(candidates[0])
    best = score(soup)
    for number in range(1, len(candidates)):
        count = len(members)
        tried = [(have * count + new) / (count + 1) for have, new in zip(soup, candidates[number], strict=True)]
        reached = score(tried)
        if reached < best:
            members, soup, best = [*members, number], tried, reached
    return soup, members
