"""Slots that get no more jobs, because one job after the other broke there: a dead GPU, say."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from autotl.execution.protocol import SlotInfo

MOST_BROKEN = 2  # jobs in a row


@dataclass
class Quarantine:
    """Which slots broke which jobs since the last one that did not break.

    One job that breaks again and again says more about itself than about its slot: different ones are counted.
    """

    broken: dict[str, set[str]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)

    def clear(self, slot: str) -> None:
        """A job has ended on the slot as it should, or by its own fault."""
        self.broken.pop(slot, None)

    def blame(self, slot: str, job_id: str, slots: Sequence[SlotInfo]) -> bool:
        """A job broke on the slot. Answers whether that closes it; the last of all slots is never closed."""
        broken = self.broken.setdefault(slot, set())
        broken.add(job_id)
        has_others = any(other.id != slot and other.id not in self.closed for other in slots)
        is_closed = len(broken) >= MOST_BROKEN and has_others and slot not in self.closed
        if is_closed:
            self.closed.add(slot)
        return is_closed

    def usable(self, slots: Sequence[SlotInfo]) -> list[SlotInfo]:
        """Those that may get jobs; all, if there are no others than closed ones."""
        return [slot for slot in slots if slot.id not in self.closed] or list(slots)
