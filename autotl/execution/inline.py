"""The executor without processes: jobs run in this one, one after the other, for debugging and tests."""

import contextlib
import os
import sys
from collections import deque

from autotl.execution.devices import core_count
from autotl.execution.protocol import Event, Failed, Job, SlotInfo, Started, free_slot
from autotl.execution.running import as_json_object, make_reporter, run_job


class InlineExecutor:
    """Implements `Executor`. `submit` queues; each `poll` runs one queued job to its end, on this thread.

    So breakpoints and profilers work, and the output of jobs stays in sight: `payload["log_path"]` is not used, and
    what they print goes to stderr, since stdout is for the result of the search. The price: a job sees only the stops
    that were asked for before it began, and nothing can be ended by force.
    """

    def __init__(self, slot_count: int = 1) -> None:
        """Args:
        slot_count: how many jobs can be queued.
        """
        self._queues: dict[str, Job | None] = {f"inline-{index}": None for index in range(slot_count)}
        self._order: deque[str] = deque()
        self._stops: set[str] = set()
        self._events: list[Event] = []

    def slots(self) -> list[SlotInfo]:
        """All slots, as they are now."""
        return [
            SlotInfo(slot_id, "cpu", core_count(), None if job is None else job.id, os.getpid())
            for slot_id, job in self._queues.items()
        ]

    def submit(self, job: Job, slot_id: str) -> None:
        """Queue `job`; see `Executor.submit`."""
        free_slot(slot_id, self.slots())
        self._queues[slot_id] = Job(job.id, job.attempt, job.target, as_json_object(job.payload))
        self._order.append(slot_id)

    def warm(self, module: str) -> None:
        """Nothing: in one process an early import would save no time."""

    def stop(self, job_id: str, grace_seconds: float) -> None:
        """Have a queued job told to stop at its first report."""
        if any(job is not None and job.id == job_id for job in self._queues.values()):
            self._stops.add(job_id)

    def poll(self, timeout_seconds: float) -> list[Event]:
        """Run the job that was queued first, and return all of its events; returns at once when there is none."""
        if self._order:
            self._run(self._order.popleft())
        events, self._events = self._events, []
        return events

    def shutdown(self, grace_seconds: float) -> list[Event]:
        """Drop the queued jobs: they are cancelled."""
        events: list[Event] = []
        for slot_id in self._order:
            job = self._queues[slot_id]
            assert job is not None
            events.append(Failed(job.id, job.attempt, "cancelled", "stopped by shutdown", ""))
            self._queues[slot_id] = None
        self._order.clear()
        self._stops.clear()
        return events

    def _run(self, slot_id: str) -> None:
        job = self._queues[slot_id]
        assert job is not None
        report = make_reporter(job, self._events.append, lambda _: job.id in self._stops)
        self._events.append(Started(job.id, job.attempt, slot_id, os.getpid()))
        try:
            with contextlib.redirect_stdout(sys.stderr):
                self._events.append(run_job(job, report))
        except KeyboardInterrupt:
            self._events.append(Failed(job.id, job.attempt, "cancelled", "stopped by Ctrl-C", ""))
            raise
        finally:  # Ctrl-C in a job goes on to whoever polls.
            self._queues[slot_id] = None
            self._stops.discard(job.id)
