"""What earlier drivers of a run have left in its event log, read once by the driver that goes on."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from autotl.execution.protocol import Job
from autotl.runs.directory import Run
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.dispatch import Outcome

BEGUN, RESUMED = "search", "resumed"  # the first event of a driver
PLACES = ("folder", "log_path", "earlier", "cache", "manifest", "dataset", "stop_at")
"""What of a payload decides no result."""


@dataclass(frozen=True)
class Past:
    """What is known from before; of a new search, nothing.

    Attributes:
        events: how many there are.
        seconds: of wall time that earlier drivers have spent.
        expected: seconds of the whole search, as its first plan foresaw them.
        space: stages of the search space, as they were then; empty if nobody wrote them down.
        logged: numbers of the trials whose end is in the log.
        asked: by number: the first attempt and the digest of every job that bore it, in their order.
        parts: what the finished parts of a nested search have cost, by number.
    """

    events: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    expected: float | None = None
    space: Sequence[Any] = ()
    logged: frozenset[int] = frozenset()
    asked: Mapping[int, Sequence[tuple[int, str]]] = field(default_factory=dict)
    parts: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def outcome(self, job: Job, *, or_stopped: bool = False) -> Outcome | None:
        """How a job ended that an earlier driver has sent, if it came to an end; its files lie where they were made.

        Args:
            job: as it would be sent now.
            or_stopped: whether an end that it was told to come to counts.
        """
        digest = digest_of(job)
        for folder in reversed(job.payload.get("earlier", ())):
            if self._digest(job.payload["number"], int(folder.rpartition("-")[2])) != digest:
                continue
            result = _read_result(Path(folder) / "result.json")
            if result is None or "needs" in result or (result.get("stopped") and not or_stopped):
                continue
            before = {**job.payload, "folder": folder}
            return Outcome(replace(job, payload=before), float(result.get("seconds", 0.0)), result, None)
        return None

    def _digest(self, number: int, attempt: int) -> str | None:
        """Of the job whose attempt that was."""
        begun = [digest for first, digest in self.asked.get(number, ()) if first <= attempt]
        return begun[-1] if begun else None


def read_past(run: Run) -> Past:
    """What the event log of a run says."""
    events = read_events(run)
    asked: dict[int, list[tuple[int, str]]] = {}
    for event in of_kind(events, "asked"):
        asked.setdefault(event["number"], []).append((event["attempt"], event["digest"]))
    return Past(
        tuple(events),
        spent_seconds(run, events),
        next((event["expected"] for event in of_kind(events, "plan") if "expected" in event), None),
        next((event["stages"] for event in of_kind(events, "space")), ()),
        frozenset(event["number"] for event in of_kind(events, "trial")),
        asked,
        {event["number"]: event["costs"] for event in of_kind(events, "part")},
    )


def of_kind(events: Iterable[Mapping[str, Any]], *kinds: str) -> list[Mapping[str, Any]]:
    """The events of some kinds, in their order."""
    return [event for event in events if event["kind"] in kinds]


def spent_seconds(run: Run, events: Sequence[Mapping[str, Any]], now: datetime | None = None) -> float:
    """Wall time that the drivers of a run have spent so far; the pauses between them do not count.

    Args:
        run: its parts, if it is a nested search, have logs of their own.
        events: of the run.
        now: while it is driven; None for the moment of the last event, the last sign of life of its driver.
    """
    begun = next((event for event in reversed(events) if event["kind"] in (BEGUN, RESUMED)), None)
    if begun is None:
        return 0.0
    ends = [moment(events[-1])]
    ends += [moment(part[-1]) for path in run.path.glob("outer/*") if (part := read_events(Run(path)))]
    end = max(ends) if now is None else now
    return float(begun.get("elapsed", 0.0)) + max(0.0, (end - moment(begun)).total_seconds())


def moment(event: Mapping[str, Any]) -> datetime:
    """When an event was logged."""
    return datetime.fromisoformat(event["time"])


def digest_of(job: Job) -> str:
    """Equal for jobs that do the same, wherever and whenever."""
    what = {name: value for name, value in job.payload.items() if name not in PLACES}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _read_result(path: Path) -> dict[str, Any] | None:
    """What a worker wrote at the end of a job; None where it did not come so far."""
    try:
        result = read_json(path)
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None
