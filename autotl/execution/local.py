"""The default executor: one long-lived worker process per slot on this machine. POSIX."""

import selectors
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from autotl.execution.devices import SlotPlan
from autotl.execution.protocol import Event, Job, SlotInfo, free_slot
from autotl.execution.slot import Recycling, Slot


class LocalExecutor:
    """Implements `Executor`. Starts no process before the first `warm` or `submit`."""

    def __init__(
        self,
        plans: Sequence[SlotPlan],
        log_dir: Path | None = None,
        extra_env: Mapping[str, str] | None = None,
        recycling: Recycling | None = None,
    ) -> None:
        """Args:
        plans: the slots (`plan_slots`).
        log_dir: for `worker-<slot>.log`, which gets what workers say outside of jobs that have a log of their own;
            None keeps it in unnamed files, of which only the end is ever shown.
        extra_env: for the workers; wins over the environment that `plans` make.
        recycling: when to replace a worker; None for the default.
        """
        self._slots = {
            plan.id: Slot(
                plan,
                log_path=None if log_dir is None else log_dir / f"worker-{plan.id}.log",
                extra_env={} if extra_env is None else extra_env,
                recycling=Recycling() if recycling is None else recycling,
            )
            for plan in plans
        }
        self._events: list[Event] = []

    def slots(self) -> list[SlotInfo]:
        """All slots, as they are now."""
        return [slot.info() for slot in self._slots.values()]

    def submit(self, job: Job, slot_id: str) -> None:
        """Run `job` on a free slot; see `Executor.submit`."""
        free_slot(slot_id, self.slots())
        self._slots[slot_id].submit(job)

    def warm(self, module: str) -> None:
        """Start all workers and have them import `module`."""
        for slot in self._slots.values():
            slot.warm(module)

    def stop(self, job_id: str, grace_seconds: float) -> None:
        """Ask a job to end, and kill its process group after `grace_seconds`, which makes it Failed("cancelled")."""
        for slot in self._slots.values():
            slot.stop(job_id, grace_seconds)

    def poll(self, timeout_seconds: float) -> list[Event]:
        """What has happened; waits up to `timeout_seconds` for the first event.

        Raises:
            AutotlError: when a worker cannot be brought up. Events of other slots are kept for the next call.
        """
        deadline = time.monotonic() + timeout_seconds
        for slot in self._slots.values():  # who polls again has dealt with the reports of the last time
            slot.acknowledge()
        while True:
            self._collect(max(0.0, deadline - time.monotonic()) if not self._events else 0.0)
            if self._events or time.monotonic() >= deadline:
                events, self._events = self._events, []
                return events

    def shutdown(self, grace_seconds: float) -> list[Event]:
        """Stop all jobs, wait up to `grace_seconds` for them, and end all processes, whatever happens meanwhile."""
        events: list[Event] = []
        try:
            for slot in self._slots.values():
                self._events += slot.retire()
                job_id = slot.info().busy
                if job_id is not None:
                    slot.stop(job_id, grace_seconds)
            while any(slot.is_busy() for slot in self._slots.values()):
                events += self.poll(grace_seconds)
        finally:
            for slot in self._slots.values():
                self._events += slot.close()
        events += self._events
        self._events = []
        return events

    def _collect(self, timeout_seconds: float) -> None:
        """Wait once for any slot, and take what the slots with news have to say."""
        due = {slot_id: at for slot_id, slot in self._slots.items() if (at := slot.kill_at()) is not None}
        now = time.monotonic()
        wait_seconds = min([timeout_seconds, *(max(0.0, at - now) for at in due.values())])
        with selectors.PollSelector() as selector:  # epoll would cost a system call for each descriptor
            for slot_id, slot in self._slots.items():
                for descriptor, mask in slot.watched():
                    selector.register(descriptor, mask, slot_id)
            ready = {key.data for key, _ in selector.select(wait_seconds)}
        now = time.monotonic()
        ready |= {slot_id for slot_id, at in due.items() if now >= at}
        for slot_id, slot in self._slots.items():
            if slot_id in ready:
                self._events += slot.collect()
