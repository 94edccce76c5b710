"""Few labels out of many: nested draws of so many images of each class, the same for all that is compared."""

from collections.abc import Sequence

import numpy as np

ENOUGH = 0.25  # of the classes must have as many images as a tier asks for


def possible_tiers(labels: np.ndarray, asked: Sequence[int]) -> list[int]:
    """Of some numbers of images per class, those that these labels allow, rising.

    A tier stays where a quarter of the classes have so many images, and where it leaves any image out: the other
    classes then give all they have.

    Args:
        labels: classes of the images, `[N]`.
        asked: images per class.
    """
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    return [tier for tier in sorted(set(asked)) if (counts >= tier).mean() >= ENOUGH and (counts > tier).any()]


def draw_order(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """An order of all images in which the first `n` of each class are its draw of `n`, so that draws are nested.

    Near-duplicates of an image that was drawn come last in their class: ten labels are to be of ten pictures.

    Args:
        labels: classes of the images, `[N]`.
        groups: duplicate groups, `[N]`.
        seed: of the order.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    seen: dict[tuple[int, int], int] = {}
    repeats = np.zeros(len(labels), np.int64)
    for row in order:
        key = (int(labels[row]), int(groups[row]))
        repeats[row] = seen[key] = seen.get(key, -1) + 1
    return order[np.argsort(repeats[order], kind="stable")]


def draw(order: np.ndarray, labels: np.ndarray, tier: int | None) -> np.ndarray:
    """The images of a draw, rising: the first `tier` of each class in the order; None takes all."""
    if tier is None:
        return np.sort(order)
    places = np.zeros(len(order), np.int64)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels[order] == label)
        places[mine] = np.arange(len(mine))
    return np.sort(order[places < tier])
