"""How long a job may be silent before its process counts as hung: by how long such jobs were silent so far."""

from dataclasses import dataclass, field

from autotl.execution.protocol import Job
from autotl.execution.watch import PATIENCE_SECONDS

PAUSES = 10  # the patience, in longest pauses so far


@dataclass
class Patience:
    """The longest pause between two events of a job, in seconds, by kind of job."""

    longest: dict[str, float] = field(default_factory=dict)

    def note(self, job: Job, pause_seconds: float) -> None:
        """A job got on after a pause."""
        kind = _kind(job)
        self.longest[kind] = max(pause_seconds, self.longest.get(kind, 0.0))

    def of(self, job: Job) -> float:
        """Seconds."""
        return max(PATIENCE_SECONDS, PAUSES * self.longest.get(_kind(job), 0.0))


def _kind(job: Job) -> str:
    return str(job.payload.get("kind", job.target))
