"""What a measurement of transfer gain says: tables by tier of labels, and where transfer does harm."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autotl.studies.gain_plan import ARMS, FROZEN, RANDOM_FEATURES, SCRATCH, TUNED
from autotl.studies.gain_scores import Measured, accuracy, gain, labels_needed
from autotl.studies.gain_words import conclude

PAIRS = ((FROZEN, SCRATCH), (FROZEN, RANDOM_FEATURES), (TUNED, SCRATCH))
TierFacts = tuple[int, int | None, int, int, int]  # place, per_class, images, draws, epochs
Results = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]


def describe(
    request: Mapping[str, Any],
    measured: Measured,
    balanced: Measured,
    tiers: Sequence[TierFacts],
    results: Results,
    cost: tuple[float, int],
) -> dict[str, Any]:
    """The tables of a result.

    Args:
        request: of the study; `transfers_by` is the arm that stands for transfer.
        measured: accuracies by arm and tier.
        balanced: balanced accuracies.
        tiers: what each tier is.
        results: of the fits, by arm and tier.
        cost: seconds of one image's forward pass, and the number of classes.

    Returns:
        tiers [{per_class, images, labels (per class, in the mean), draws, epochs, arms {NAME: {accuracy, accuracy_ci95,
        seconds}}, gains [{arm, over, points, points_ci95, is_sure}], scratch_needs {labels, labels_ci95, times, most},
        equal_seconds {seconds, scratch, seconds_to_equal, longest} or None, balanced {arms, gains} (by balanced
        accuracy)}], negative (the gains that are surely below zero by either reading, with their tier and whether it
        `is_balanced`) and conclusion.
    """
    one, classes = cost
    transfer = request["transfers_by"]
    labels = {place: images / classes for place, _, images, _, _ in tiers}
    rows: list[dict[str, Any]] = []
    for place, per_class, images, draws, epochs in tiers:
        seconds = {arm: _seconds(results[arm, place], images * one if arm in (FROZEN, RANDOM_FEATURES) else 0.0)
                   for arm in ARMS}  # fmt: skip
        rows.append(
            {
                "per_class": per_class,
                "images": images,
                "labels": round(labels[place], 2),
                "draws": draws,
                "epochs": epochs,
                "arms": {arm: {**accuracy(measured, arm, place), "seconds": seconds[arm]} for arm in ARMS},
                "gains": _gains(measured, place),
                "balanced": {
                    "arms": {arm: accuracy(balanced, arm, place) for arm in ARMS},
                    "gains": _gains(balanced, place),
                },
                "scratch_needs": labels_needed(measured, transfer, SCRATCH, labels, place),
                "equal_seconds": _equal_seconds(
                    results[SCRATCH, place][0], seconds[transfer], measured.values[transfer, place]
                ),
            }
        )  # fmt: skip
    negative = [
        {"per_class": row["per_class"], "images": row["images"], "is_balanced": found is not plain, **found}
        for row in rows
        for plain, other in zip(row["gains"], row["balanced"]["gains"], strict=True)
        if (found := next((one for one in (plain, other) if one["is_sure"] and one["points"] < 0), None)) is not None
    ]
    tables = {"tiers": rows, "negative": negative}
    return {**tables, "conclusion": conclude(transfer, tables)}


def _gains(measured: Measured, place: int) -> list[dict[str, Any]]:
    return [{"arm": arm, "over": other, **gain(measured, arm, other, place)} for arm, other in PAIRS]


def _seconds(results: Sequence[Mapping[str, Any]], passes: float) -> float:
    """Of a fit in the mean over draws, with the passes of a frozen network over its images: as if none were cached."""
    return round(passes + float(np.mean([result["fit_seconds"] for result in results])), 2)


def _equal_seconds(scratch: Mapping[str, Any], seconds: float, wanted: float) -> dict[str, Any] | None:
    """What scratch has come to after the seconds of transfer, and when it is as accurate; None without a curve."""
    curve = scratch.get("curve")
    if not curve:
        return None
    done = [point["accuracy"] for point in curve if point["seconds"] <= seconds]
    equal = [point["seconds"] for point in curve if point["accuracy"] >= wanted]
    return {
        "seconds": seconds,
        "scratch": done[-1] if done else None,
        "seconds_to_equal": min(equal) if equal else None,
        "longest": curve[-1]["seconds"],
    }
