"""The cost ledger of a search: seconds by phase, summed over jobs, and what the slots waited."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Costs:
    """Adds up what the jobs report. `idle` is slot time that no job used."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    busy_seconds: float = 0.0

    def add(self, seconds: Mapping[str, float]) -> None:
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def add_job(self, ledger: Mapping[str, Any], wall_seconds: float) -> None:
        self.add(ledger["seconds"])
        for name, value in ledger["counts"].items():
            self.counts[name] = self.counts.get(name, 0) + value
        known = sum(ledger["seconds"].values())
        self.add({"other": max(0.0, wall_seconds - known)})
        self.busy_seconds += wall_seconds

    def summary(self, slot_seconds: float) -> dict[str, float]:
        """Seconds by phase, `idle` included; they add up to the slots' time."""
        idle = max(0.0, slot_seconds - self.busy_seconds)
        phases = {**self.seconds, "idle": idle}
        return {name: round(value, 3) for name, value in sorted(phases.items(), key=lambda item: -item[1])}
