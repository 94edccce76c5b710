"""Whether a job that failed is tried again, and how. Nothing here acts: it is the fault table, as functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autotl.execution.protocol import Failed, Job
from autotl.search.memory_limits import batch_of, smaller

MOST_TRIES = {"infra": 3, "hang": 2, "oom_host": 2, "disk": 2}  # in all, by the kind of failure; of others one
BLAMED = ("infra", "hang")  # kinds that may be the slot's fault


@dataclass(frozen=True)
class Again:
    """Try once more.

    Attributes:
        changes: of the payload.
        is_alone: while no other job runs on the same machine.
        makes_room: after freeing what can be freed of the disk.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    is_alone: bool = False
    makes_room: bool = False


def decide(job: Job, failures: Sequence[Failed]) -> Again | Failed:
    """What to do about a job that has failed: another try, or the failure that it ends with.

    What the machine did is tried again; what the job itself did would happen again. A job that did not fit into memory
    takes half as many images at a time, until there is no smaller number, and then counts as infeasible ("oom").

    Args:
        job: as it was sent.
        failures: of all its tries, the oldest first.
    """
    last = failures[-1]
    tries = sum(failure.kind == last.kind for failure in failures)
    is_alone = any(failure.kind == "oom_host" for failure in failures)
    if last.kind == "oom":
        micro_batch = smaller(batch_of(job))
        if micro_batch is not None:
            return Again({"micro_batch": micro_batch}, is_alone)
        return Again(is_alone=is_alone) if tries == 1 else last  # a fresh process has all of the memory
    if tries < MOST_TRIES.get(last.kind, 1):
        return Again(is_alone=is_alone, makes_room=last.kind == "disk")
    return replace(last, kind="oom") if last.kind == "oom_host" else last


def next_attempt(job: Job, changes: Mapping[str, Any] | None = None) -> Job:
    """The same job with the next attempt's number and folder; attempts never share files.

    Where earlier attempts may have left something to go on from, the payload says in `earlier`, the oldest first.

    Args:
        changes: of the payload.
    """
    payload = {**job.payload, **({} if changes is None else changes)}
    for name in ("folder", "log_path"):
        before, marker, after = payload.get(name, "").rpartition(f"attempt-{job.attempt}")
        if marker:
            payload[name] = f"{before}attempt-{job.attempt + 1}{after}"
            if name == "folder":
                payload["earlier"] = [*payload.get("earlier", ()), job.payload["folder"]]
    return replace(job, attempt=job.attempt + 1, payload=payload)
