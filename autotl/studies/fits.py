"""Jobs of the kind "fit" as studies send them: on a manifest in two parts, watched, and read again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.manifest import Manifest
from autotl.errors import DataError
from autotl.execution.protocol import Job
from autotl.search.dispatch import Outcome
from autotl.studies.session import Session


def in_two_parts(manifest: Manifest) -> Manifest:
    """Images to fit to as "train", those of the test as "val": jobs see no test split, and studies are scored on it.

    Raises:
        DataError: there is no test split.
    """
    if not len(manifest.rows("test")):
        raise DataError("A study is scored on a test split, and these images have none. Add one.")
    samples = (replace(one, split="val" if one.split == "test" else "train") for one in manifest.samples)
    return replace(manifest, samples=tuple(samples))


def run_fits(session: Session, jobs: Sequence[Job]) -> dict[int, Outcome]:
    """Run fits and tell of each; the outcomes by the jobs' numbers. A fit that fails is an outcome too."""

    def on_report(job: Job, step: int, value: float) -> bool:
        session.tell("epoch", number=job.payload["number"], step=step, value=value)
        return False

    outcomes = session.run_jobs(jobs, on_report)
    for outcome in outcomes:
        session.tell("trial", **_news(outcome))
    return {outcome.job.payload["number"]: outcome for outcome in outcomes}


def read_probabilities(outcome: Outcome) -> np.ndarray:
    """What a fit said of the held-out images, `[M, C]`."""
    with np.load(Path(outcome.job.payload["folder"]) / "fit.npz", allow_pickle=False) as file:
        return np.asarray(file["probabilities"])


def reason_of(outcome: Outcome) -> str:
    """Why a job came to nothing."""
    return "it was stopped" if outcome.failure is None else outcome.failure.message


def _news(outcome: Outcome) -> Mapping[str, Any]:
    what, result = outcome.job.payload, outcome.result
    return {
        "number": what["number"],
        "stage": what["stage"],
        "state": "failed" if result is None else "complete",
        "score": None if result is None else result["scores"]["accuracy"],
        "seconds": outcome.seconds,
        "config": what["config"],
        "error": reason_of(outcome) if result is None else None,
    }
