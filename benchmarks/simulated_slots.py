"""An executor whose slots and clock are made up: what a driver does with hundreds of slots, without their machines.

The clock is the real one, which the driver's own work moves on, plus every wait, which is skipped. So the seconds of
the driver are real, those of the trials are not, and an hour of a cluster takes a minute here.
"""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

from fake_trials import EPOCHS, result, score, slowness

from autotl.execution.protocol import Event, Finished, Job, Report, SlotInfo, Started, free_slot


@dataclass
class Running:
    """A fake trial on its slot: `epoch` counts the finished ones, -1 before it has begun."""

    job: Job
    slot: str
    began: float
    epoch: int = -1
    is_stopped: bool = False

    @property
    def epoch_seconds(self) -> float:
        return float(self.job.payload["epoch_seconds"] * slowness(self.job.payload["config"]))


@dataclass
class SimulatedSlots:
    """Implements `Executor` for fake trials.

    Attributes:
        count: of the slots.
        intervals: when each trial was submitted and when it ended, in simulated seconds.
    """

    count: int
    intervals: list[tuple[float, float]] = field(default_factory=list)
    _skipped_seconds: float = 0.0
    _running: dict[str, Running] = field(default_factory=dict)  # by slot
    _due: list[tuple[float, int, Running]] = field(default_factory=list)
    _answered: list[Running] = field(default_factory=list)  # that reported: the next poll shows that it was dealt with
    _order: Iterator[int] = field(default_factory=itertools.count)
    _started: float = field(default_factory=perf_counter)

    def now(self) -> float:
        """Simulated seconds since the beginning."""
        return perf_counter() - self._started + self._skipped_seconds

    def slots(self) -> list[SlotInfo]:
        """All of them, as they are now."""
        names = (f"slot-{number}" for number in range(self.count))
        busy = {slot: running.job.id for slot, running in self._running.items()}
        return [SlotInfo(name, "cpu", 1, busy.get(name), None) for name in names]

    def submit(self, job: Job, slot_id: str) -> None:
        """Begin a fake trial."""
        free_slot(slot_id, self.slots())
        running = self._running[slot_id] = Running(job, slot_id, self.now())
        self._push(running, 0.0)

    def stop(self, job_id: str, grace_seconds: float) -> None:
        """The job ends with the report that the driver has in hand."""
        for running in self._running.values():
            running.is_stopped = running.is_stopped or running.job.id == job_id

    def warm(self, module: str) -> None:
        """Nothing."""

    def shutdown(self, grace_seconds: float) -> list[Event]:
        """Nothing."""
        return []

    def poll(self, timeout_seconds: float) -> list[Event]:
        """What is due now, or else what is due next."""
        events: list[Event] = []
        for running in self._answered:
            if running.is_stopped or running.epoch == EPOCHS:
                events.append(self._end(running))
            else:
                self._push(running, running.epoch_seconds)
        self._answered = []
        if not events and self._due:
            self._skipped_seconds += max(0.0, self._due[0][0] - self.now())
        while self._due and self._due[0][0] <= self.now():
            events.append(self._advance(heapq.heappop(self._due)[2]))
        return events

    def _push(self, running: Running, seconds: float) -> None:
        heapq.heappush(self._due, (self.now() + seconds, next(self._order), running))

    def _advance(self, running: Running) -> Event:
        job = running.job
        running.epoch += 1
        if running.epoch == 0:
            self._push(running, running.epoch_seconds)
            return Started(job.id, job.attempt, running.slot, 0)
        self._answered.append(running)
        return Report(job.id, job.attempt, running.epoch, score(job.payload["config"], running.epoch), {})

    def _end(self, running: Running) -> Event:
        del self._running[running.slot]
        self.intervals.append((running.began, self.now()))
        job = running.job
        curve = [score(job.payload["config"], epoch) for epoch in range(1, running.epoch + 1)]
        answer = result(curve, running.epoch_seconds, stopped=running.epoch < EPOCHS)
        return Finished(job.id, job.attempt, answer)
