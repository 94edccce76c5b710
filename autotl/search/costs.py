"""The cost ledger of a search: seconds by phase and counts, of all jobs and by stage, and what the slots waited."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

WORK = ("multiply_adds_forwarded", "multiply_adds_trained")
"""The counts that say how much was computed, the same on every machine. The test pass is in neither of them."""


def work_of(counts: Mapping[str, float]) -> float:
    """Multiplications that the counts of a ledger stand for, forwarded and trained together."""
    return sum(counts.get(name, 0.0) for name in WORK)


@dataclass
class Costs:
    """Adds up what the jobs report."""

    seconds: dict[str, float] = field(default_factory=dict)  # by phase
    counts: dict[str, float] = field(default_factory=dict)
    busy_seconds: float = 0.0  # of all slots together
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    """By stage, in the order they began: `seconds` of slots and `multiply_adds`."""

    def add(self, seconds: Mapping[str, float]) -> None:
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def add_job(self, ledger: Mapping[str, Any], wall_seconds: float, stage: str = "other") -> None:
        """Add what a job reports.

        Args:
            ledger: its `seconds` by phase and its `counts`.
            wall_seconds: how long it had its slot; what its phases do not explain counts as `other`.
            stage: which part of the search it belongs to.
        """
        self.add(ledger["seconds"])
        for name, value in ledger["counts"].items():
            self.counts[name] = self.counts.get(name, 0) + value
        known = sum(ledger["seconds"].values())
        self.add({"other": max(0.0, wall_seconds - known)})
        self.busy_seconds += wall_seconds
        spent = self.stages.setdefault(stage, {"seconds": 0.0, "multiply_adds": 0.0})
        spent["seconds"] += wall_seconds
        spent["multiply_adds"] += work_of(ledger["counts"])

    def absorb(self, other: Self, stage: str) -> None:
        """Add what another search cost, as one stage of this one."""
        self.add(other.seconds)
        for name, value in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + value
        self.busy_seconds += other.busy_seconds
        spent = self.stages.setdefault(stage, {"seconds": 0.0, "multiply_adds": 0.0})
        spent["seconds"] += other.busy_seconds
        spent["multiply_adds"] += work_of(other.counts)

    def summary(self, slot_seconds: float) -> dict[str, float]:
        """Seconds by phase, `idle` (slot time that no job used) included; they add up to the slots' time."""
        idle = max(0.0, slot_seconds - self.busy_seconds)
        phases = {**self.seconds, "idle": idle}
        return {name: round(value, 3) for name, value in sorted(phases.items(), key=lambda item: -item[1])}
