"""When a worker has done enough, and the next job gets a fresh process."""

from dataclasses import dataclass

from autotl.execution.process import WorkerProcess
from autotl.execution.protocol import Failed, Terminal

UNTRUSTED = ("oom", "infra")  # what a framework does after running out of memory, or on a broken GPU, is anyone's guess


@dataclass(frozen=True)
class Recycling:
    """When a worker is replaced between two jobs. After a failure in `UNTRUSTED` it always is.

    Attributes:
        jobs: after so many; a worker's imports take seconds, so this is only for leaks nobody can see.
        growth_bytes: when its private memory has grown by this much since its first job ended.
    """

    jobs: int = 256
    growth_bytes: int = 2 * 2**30


@dataclass
class Wear:
    """What one worker has been through.

    Attributes:
        jobs: that it has ended.
        first_memory_bytes: its private memory after the first of them.
    """

    jobs: int = 0
    first_memory_bytes: int = 0

    def is_spent(self, worker: WorkerProcess, event: Terminal, recycling: Recycling) -> bool:
        """Whether the worker should not get another job after the one that has ended with `event`."""
        self.jobs += 1
        memory_bytes = worker.private_memory_bytes()
        if self.jobs == 1:
            self.first_memory_bytes = memory_bytes
        is_untrusted = isinstance(event, Failed) and event.kind in UNTRUSTED
        has_grown = memory_bytes - self.first_memory_bytes > recycling.growth_bytes
        return is_untrusted or has_grown or self.jobs >= recycling.jobs
