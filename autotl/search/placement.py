"""Where a job may go: to a free slot that is in no quarantine, on a machine that nobody needs for himself."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from autotl.execution.protocol import Job, SlotInfo
from autotl.search.affinity import Affinity
from autotl.search.quarantine import Quarantine


@dataclass
class Placement:
    """What is known about slots.

    Attributes:
        affinity: which of them suit a job.
        quarantine: which of them are given no more jobs.
        alone: ids of the jobs beside which nothing may run, and their machine.
    """

    affinity: Affinity = field(default_factory=Affinity)
    quarantine: Quarantine = field(default_factory=Quarantine)
    alone: dict[str, str] = field(default_factory=dict)

    def free(self, slots: Sequence[SlotInfo]) -> list[SlotInfo]:
        """Those that any job may be given to now."""
        held = self.alone.values()
        return [slot for slot in self.quarantine.usable(slots) if slot.busy is None and slot.node not in held]

    def again(self, job: Job, before: str, broke_on: Collection[str], slots: Sequence[SlotInfo]) -> str | None:
        """The slot for another try of a job; None if it has to wait for one.

        The one that it was on (`before`): after a lack of memory its process is a fresh one. If that may be to blame,
        one where the job has not broken yet: a dead GPU fails so quickly that it would be free for all of the tries.
        """
        beside = [slot for slot in slots if slot.node == self.alone.get(job.id)]
        if not beside:
            self.alone.pop(job.id, None)  # its machine has gone
            usable, free = self.quarantine.usable(slots), self.free(slots)
        elif all(slot.busy is None for slot in beside):
            usable = free = self.quarantine.usable(beside)
        else:
            return None
        if any(slot.id not in broke_on for slot in usable):
            free = [slot for slot in free if slot.id not in broke_on]
        if any(slot.id == before for slot in free):
            return before
        return self.affinity.best(job, free) if free else None
