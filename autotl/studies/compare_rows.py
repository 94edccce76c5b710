"""The rows of a comparison: what each network came to at each level, and what it cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotl.data.manifest import Manifest
from autotl.errors import NoTrialError
from autotl.search.dispatch import Outcome
from autotl.studies.compare_plan import FREEZE_DEPTHS, FROZEN, Network
from autotl.studies.compare_scores import Measured, measure_all, read_fit
from autotl.studies.fits import read_probabilities

BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class Row:
    """A network at a level, and the numbers of its jobs: one per rate, then one per repeat."""

    network: Network
    level: str
    tuning: tuple[int, ...]
    final: tuple[int, ...]


@dataclass
class Course:
    """What has become of a row: the rate that was chosen, and its last fits; or `reason`, why there are none."""

    row: Row
    rate: float
    tuning_seconds: float = 0.0
    outcomes: tuple[Outcome, ...] = ()
    reason: str | None = None


def tabulate(
    courses: Sequence[Course], manifest: Manifest, timings: Mapping[Network, Mapping[str, Any]], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All rows, failed ones too, and what training more of a network gained over the same one frozen.

    Args:
        courses: in the order of the table.
        manifest: whose val split is what was held out.
        timings: what the check found of each network.
        seed: draws the intervals.

    Raises:
        NoTrialError: all have failed.
    """
    labels = manifest.labels()[manifest.rows("val")]
    done = [course for course in courses if course.reason is None]
    if not done:
        reasons = [f"{one.row.network.record.label}, {one.row.level}: {one.reason}" for one in courses]
        raise NoTrialError("At least one row must come to an end, and none has. " + "; ".join(dict.fromkeys(reasons)))
    measured = measure_all(
        [read_fit([read_probabilities(one) for one in course.outcomes], labels) for course in done], labels, seed
    )
    rows = [{**_about(course), **_spent(course, timings.get(course.row.network))} for course in courses]
    finished = [row for row in rows if row["state"] == "complete"]
    for place, row in enumerate(finished):
        behind = measured.gap(place, measured.best)
        row |= {
            "test": measured.scores(place),
            "repeats": list(measured.fits[place].accuracies),
            "is_best": place == measured.best,
            "behind_best": behind,
            "as_good_as_best": not behind["is_sure"],
        }
    return rows, _gains(finished, measured)


def _gains(rows: Sequence[Mapping[str, Any]], measured: Measured) -> list[dict[str, Any]]:
    frozen = {_key(row): place for place, row in enumerate(rows) if row["level"] == FROZEN}
    return [
        {**dict(zip(("backbone", "label", "weights"), _key(row), strict=True)), "level": row["level"],
         **measured.gap(place, frozen[_key(row)])}
        for place, row in enumerate(rows)
        if row["level"] != FROZEN and _key(row) in frozen
    ]  # fmt: skip


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["backbone"], row["label"], row["weights"]


def _about(course: Course) -> dict[str, Any]:
    network, level = course.row.network, course.row.level
    return {
        **network.to_json(),
        "label": network.record.label,
        "pretrained_on": network.pretrained_on,
        "licence": network.record.weights.licence if network.pretrained_on is not None else None,
        "level": level,
        "freeze_depth": FREEZE_DEPTHS[level],
        "state": "complete" if course.reason is None else "failed",
        "reason": course.reason,
        "rate": None if level == FROZEN else course.rate,
    }


def _spent(course: Course, timing: Mapping[str, Any] | None) -> dict[str, Any]:
    """Cost: seconds on this machine, parameters, multiply-adds and milliseconds of one image, bytes of the weights."""
    parameters = course.row.network.record.parameters
    results = [outcome.result or {} for outcome in course.outcomes]
    fits = [float(result["fit_seconds"]) for result in results]
    return {
        "fit_seconds": round(float(np.mean(fits)), 2) if fits else None,
        "total_seconds": round(course.tuning_seconds + sum(outcome.seconds for outcome in course.outcomes), 2),
        "parameters": parameters,
        "trained_parameters": results[0].get("trained_parameters") if results else None,
        "multiply_adds": None if timing is None else timing["multiply_adds"],
        "milliseconds": None if timing is None else round(1000.0 * float(timing["seconds_per_image"]), 2),
        "weights_bytes": None if parameters is None else BYTES_PER_PARAMETER * parameters,
    }
