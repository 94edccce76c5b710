"""Jobs of a run: made, written down before they are sent, and not sent again where an earlier driver has their end."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.execution.protocol import Job
from autotl.runs.directory import Run
from autotl.search.affinity import needs_of
from autotl.search.dispatch import Dispatcher, OnReport, Outcome
from autotl.search.journal import Journal
from autotl.search.past import Past, digest_of

TRIAL_TARGET = "autotl.learn.jobs:run_job"
NOT_DESCRIBED = (
    "number", "config", "manifest", "dataset", "cache", "metric", "folder", "log_path", "earlier", "shares_stores",
)  # fmt: skip


def make_job(
    run: Run, manifest: Manifest, cache: Cache, number: int, kind: str, config: dict[str, Any], seed: int, **fields: Any
) -> Job:
    """A job for the trial of that number, in a folder that no attempt has used before. It is not sent yet.

    Args:
        run: where it works.
        manifest: of the images, as it lies in the run.
        cache: of images and features.
        number: of the trial; the same work has the same number under every driver of the run.
        kind: one of `autotl.learn.jobs.KINDS`.
        config: of what is fitted.
        seed: of all that it draws.
        fields: what else its payload has.
    """
    before = run.attempts(number)
    attempt = max(before, default=0) + 1
    folder = run.attempt_dir(number, attempt)
    payload = {
        "kind": kind,
        "number": number,
        "config": config,
        "manifest": str(run.manifest_path),
        "dataset": manifest.root,
        "cache": {"root": str(cache.root), "max_bytes": cache.max_bytes},
        "seed": seed,
        "folder": str(folder),
        "log_path": str(folder / "log.txt"),
        "earlier": [str(run.attempt_dir(number, earlier)) for earlier in before],
        **fields,
    }
    return Job(f"{kind}-{number}", attempt, TRIAL_TARGET, payload, needs_of(payload))


def write_down(journal: Journal, job: Job) -> Job:
    """Make the folder of a job, and write down what it is to do."""
    what = job.payload
    Path(what["folder"]).mkdir(parents=True, exist_ok=True)
    described = {name: value for name, value in what.items() if name not in NOT_DESCRIBED}
    # without waiting for the disk: nothing reads it but people, and it is written again with the next attempt
    text = json.dumps({**described, **what["config"]}, indent=2, ensure_ascii=False, allow_nan=False)
    (journal.run.trial_dir(what["number"]) / "config.json").write_text(text + "\n", encoding="utf-8")
    stage = what.get("stage", what["kind"])
    fields = {"number": what["number"], "attempt": job.attempt, "stage": stage, "digest": digest_of(job)}
    journal.log("asked", job=job.id, **fields)
    return job


def run_known(
    jobs: Sequence[Job], past: Past, write: Callable[[Job], Job], dispatcher: Dispatcher, on_report: OnReport
) -> list[Outcome]:
    """Run jobs to their ends; those that an earlier driver has run to theirs are not repeated.

    Args:
        jobs: with ids of their own.
        past: what earlier drivers have left.
        write: writes a job down before it is sent.
        dispatcher: runs them.
        on_report: told of their reports.

    Returns:
        The outcomes in the order of the jobs.
    """
    known = {job.id: outcome for job in jobs if (outcome := past.outcome(job)) is not None}
    sent = [write(job) for job in jobs if job.id not in known]
    ended = {outcome.job.id: outcome for outcome in dispatcher.run_all(sent, on_report)}
    return [{**known, **ended}[job.id] for job in jobs]
