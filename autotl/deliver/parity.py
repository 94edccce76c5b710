"""How near an exported model is to the one that it was made of: pure functions of arrays, numpy only."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotl.exporters.contract import Limits

TIE = 1e-3
"""Images whose two best probabilities are closer than this may get either label."""
BATCH_SIZES = (1, 3)


@dataclass(frozen=True)
class Answers:
    """What a model says of the images that models are compared on."""

    chosen: Sequence[NDArray[np.floating]]
    """Probabilities `[n, C]` of the same chosen images, once for each size of batch."""
    validation: NDArray[np.floating]
    """Probabilities `[v, C]` of the whole validation split."""


def choose_balanced(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Chooses up to `count` images, of all classes as evenly as they go.

    Args:
        labels: class of each image, `[n]`.

    Returns:
        Ascending positions in `labels`.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    turns = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        turns[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turns, kind="stable")[:count]])


def synthetic_images(image_size: int, seed: int) -> NDArray[np.uint8]:
    """A black, a white and a noise image, uint8 `[3, S, S, 3]`."""
    noise = np.random.default_rng(seed).integers(0, 256, (image_size, image_size, 3), dtype=np.uint8)
    return np.stack([np.zeros_like(noise), np.full_like(noise, 255), noise])


def compare(expected: Answers, found: Answers, labels: NDArray[np.int64], limits: Limits) -> dict[str, Any]:
    """Compares an exported model with the one that it was made of.

    Args:
        expected: of the trained model; `chosen` holds one array, whatever the batch.
        found: of the exported one.
        labels: true classes of the validation split, `[v]`.
        limits: of its format and precision.

    Returns:
        JSON: passed, problems (what failed, in words), limits, max_difference, mean_difference (None where an answer
        is no number), same_label and compared (the share that keeps its label, and of how many), and validation {n,
        accuracy, reference_accuracy, accuracy_drop}.
    """
    pairs = [*((expected.chosen[0], array) for array in found.chosen), (expected.validation, found.validation)]
    before = np.concatenate([pair[0] for pair in pairs]).astype(np.float64)
    after = np.concatenate([pair[1] for pair in pairs]).astype(np.float64)
    is_finite = np.isfinite(after).all(axis=1)
    differences = np.abs(after - before)
    is_clear = ~_is_tie(before)
    keeps = (before.argmax(axis=1) == _labels(after)) | ~is_clear
    measured = {
        "max_difference": float(differences.max()) if is_finite.all() else None,
        "mean_difference": float(differences.mean()) if is_finite.all() else None,
        "same_label": float((keeps & is_finite)[is_clear | ~is_finite].mean())
        if (is_clear | ~is_finite).any()
        else 1.0,
        "compared": int(is_clear.sum()),
        "validation": _accuracies(expected.validation, found.validation, labels),
    }
    tied_drop = _drop_without_ties(expected.validation, found.validation, labels)
    problems = _problems(measured, tied_drop, limits)
    return {"passed": not problems, "problems": problems, "limits": asdict(limits), **measured}


def _accuracies(
    expected: NDArray[np.floating], found: NDArray[np.floating], labels: NDArray[np.int64]
) -> dict[str, Any]:
    reference, accuracy = float((_labels(expected) == labels).mean()), float((_labels(found) == labels).mean())
    return {
        "n": len(labels),
        "accuracy": accuracy,
        "reference_accuracy": reference,
        "accuracy_drop": reference - accuracy,
    }


def _drop_without_ties(expected: NDArray[np.floating], found: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The drop in accuracy, images left out that a rounding error may give either label."""
    before = _labels(expected)
    after = np.where(_is_tie(expected) & np.isfinite(found).all(axis=1), before, _labels(found))
    return float((before == labels).mean() - (after == labels).mean())


def _labels(probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """The most probable class of each row; -1 for one that is not all numbers."""
    is_finite = np.isfinite(probabilities).all(axis=1)
    return np.where(is_finite, np.where(is_finite[:, None], probabilities, 0.0).argmax(axis=1), -1)


def _is_tie(probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
    best = np.sort(probabilities, axis=1)[:, -2:]
    return best[:, 1] - best[:, 0] < TIE


def _problems(measured: dict[str, Any], drop: float, limits: Limits) -> list[str]:
    """The limits that do not hold, in words."""
    problems = []
    largest = measured["max_difference"]
    if largest is None:
        problems.append("some probabilities are not numbers")
    elif limits.max_difference is not None and largest > limits.max_difference:
        problems.append(f"probabilities differ by up to {largest:.2g}, the limit is {limits.max_difference:g}")
    if measured["same_label"] < limits.same_label:
        problems.append(
            f"{measured['same_label']:.2%} of the images keep their label, the limit is {limits.same_label:.2%}"
        )
    allowed = max(limits.accuracy_drop, 1.0 / measured["validation"]["n"])  # of few images, one may always fall
    if drop > allowed + 1e-12:
        problems.append(f"accuracy falls by {drop:.2%}, the limit is {allowed:.2%}")
    return problems
