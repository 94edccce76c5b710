"""The event log of a run as its driver writes it: reports and signs of life no more often than anybody reads them."""

import math
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from autotl.execution.protocol import Job
from autotl.runs.directory import Run
from autotl.runs.events import append_event

REPORT_SECONDS = 1.0  # from one report of a job in the log to the next, at least
PULSE_SECONDS = 60.0  # from one sign of life in the log to the next


@dataclass(frozen=True)
class Journal:
    """Writes the events of a run.

    Attributes:
        run: whose log it is.
        logged_at: when each job last reported, and when the last sign of life was given.
    """

    run: Run
    logged_at: dict[str, float] = field(default_factory=dict)

    def log(self, kind: str, **fields: Any) -> None:
        """Add an event."""
        append_event(self.run, kind, **fields)

    def note_report(self, job: Job, step: int, value: float) -> None:
        """A job told its score; the log has one a second at most."""
        if self._is_due(job.id, REPORT_SECONDS):
            self.log("report", job=job.id, step=step, value=value)

    def note_life(self) -> None:
        """The driver is there; the log says so once a minute."""
        if self._is_due("alive", PULSE_SECONDS):
            self.log("alive")

    def _is_due(self, what: str, seconds: float) -> bool:
        now = monotonic()
        is_due = now - self.logged_at.get(what, -math.inf) >= seconds
        if is_due:
            self.logged_at[what] = now
        return is_due
