"""Whether a job still gets on, or its process hangs.

A job shows that it gets on by an event or a line in its log. One that shows nothing may be deep in a long step: then it
takes processor time, or writes (a download, say). One that does neither is waiting for what will not come. So a silent
idle job is given up when its patience ends, and a silent busy one (it may turn in a circle) much later. That a process
answers says nothing: the thread that answers is not the one that hangs.
"""

from dataclasses import dataclass
from typing import NamedTuple

PATIENCE_SECONDS = 600.0
BUSY_FACTOR = 10  # times its patience is what a job may be silent while it works
IDLE_SHARE = 0.01  # of one core's time: less is no work
IDLE_BYTES = 2**16  # written between two looks: threads that wake each other write a little, too


class Work(NamedTuple):
    """What the processes of a job have done since they began."""

    cpu_seconds: float = 0.0
    written_bytes: int = 0


NOTHING = Work()


@dataclass
class Watch:
    """A look at one job from time to time, twice within its patience.

    Attributes:
        patience_seconds: how long it may be silent and idle.
        heard: when it last showed that it gets on, in seconds of any clock.
        looked: when the last look was.
        work: of the job's processes by then.
        log_bytes: the size of its log by then.
    """

    patience_seconds: float
    heard: float
    looked: float
    work: Work = NOTHING
    log_bytes: int = 0

    def due(self) -> float:
        """When to look next."""
        return max(self.heard, self.looked) + self.patience_seconds / 2

    def look(self, now: float, work: Work, log_bytes: int) -> bool:
        """Look, and answer whether the job hangs."""
        worked = work.cpu_seconds - self.work.cpu_seconds  # less than nothing where a child that had worked has ended
        is_resting = 0.0 <= worked < IDLE_SHARE * (now - self.looked)
        is_idle = is_resting and work.written_bytes - self.work.written_bytes < IDLE_BYTES
        if log_bytes != self.log_bytes:
            self.heard = now
        self.looked, self.work, self.log_bytes = now, work, log_bytes
        return now - self.heard >= (1 if is_idle else BUSY_FACTOR) * self.patience_seconds
