"""The supervisor of one slot: gives its worker a job, turns what comes back into events, and replaces the dead.

It knows neither other slots nor how they are waited for, so `LocalExecutor` holds many of them, and an actor on a
cluster can hold one.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from autotl.errors import AutotlError
from autotl.execution.devices import SlotPlan, worker_environment
from autotl.execution.process import Ending, WorkerProcess, start_worker, tail
from autotl.execution.protocol import Event, Failed, Job, Report, SlotInfo, Started, Terminal, message_event
from autotl.execution.running import as_json_object

MOST_FAILED_STARTS = 3
EXIT_PATIENCE_SECONDS = 2.0  # between a worker's last word and its end; after that it is made to end


@dataclass(frozen=True)
class Recycling:
    """When a worker is replaced by a fresh one between two jobs. Out of memory always is a reason: what a framework
    does after it cannot be trusted.

    Attributes:
        jobs: after so many; a worker's imports take seconds, so this is only for leaks nobody can see.
        growth_bytes: when its private memory has grown by this much since its first job ended.
    """

    jobs: int = 256
    growth_bytes: int = 2 * 2**30


@dataclass
class Slot:
    """One slot. Never waits for its worker's work; all of it happens in `submit`, `stop` and `collect`.

    Attributes:
        plan: what the slot is.
        log_path: of its workers, one after the other; None for an unnamed file.
        extra_env: wins over the environment that the plan makes.
        recycling: when to take a fresh worker.
    """

    plan: SlotPlan
    log_path: Path | None = None
    extra_env: Mapping[str, str] = field(default_factory=dict)
    recycling: Recycling = field(default_factory=Recycling)
    _worker: WorkerProcess | None = None
    _module: str | None = None
    _job: Job | None = None
    _job_started: bool = False
    _reports: int = 0  # that the job has sent
    _seen: int = 0  # of them, by the driver
    _kill_at: float | None = None
    _jobs_done: int = 0
    _first_memory_bytes: int = 0
    _failed_starts: int = 0
    _retired: bool = False

    def info(self) -> SlotInfo:
        """The slot as it is now."""
        busy = None if self._job is None else self._job.id
        pid = None if self._worker is None else self._worker.pid
        return SlotInfo(self.plan.id, self.plan.device, self.plan.threads, busy, pid)

    def is_busy(self) -> bool:
        """Whether it has a job."""
        return self._job is not None

    def submit(self, job: Job) -> None:
        """Give the free slot a job; starts a worker if there is none. Raises TypeError if the payload is no JSON."""
        job = replace(job, payload=as_json_object(job.payload))
        if self._worker is None:
            self._start()
        self._job, self._job_started = job, False
        self._send_job()

    def warm(self, module: str) -> None:
        """Import `module` in this worker and in all that follow, before they are given jobs."""
        self._module = module
        if self._worker is None:
            self._start()
        else:
            self._worker.send({"import": module})

    def stop(self, job_id: str, grace_seconds: float) -> None:
        """Ask the job to end, and set the time at which its worker is killed if it has not. The earliest time holds."""
        if self._worker is None or self._job is None or self._job.id != job_id:
            return
        kill_at = time.monotonic() + grace_seconds
        if self._kill_at is None or kill_at < self._kill_at:
            self._kill_at = kill_at
        self._worker.send({"stop": [self._job.id, self._job.attempt]})

    def acknowledge(self) -> None:
        """Tell the worker that all reports collected so far were dealt with; it waits for that before it goes on."""
        if self._worker is not None and self._job is not None and self._reports > self._seen:
            self._worker.send({"seen": [self._job.id, self._job.attempt, self._reports]})
            self._seen = self._reports

    def watched(self) -> list[tuple[int, int]]:
        """What to wait for before `collect` has something to do: (descriptor, `selectors` event mask)."""
        return [] if self._worker is None else self._worker.watched()

    def kill_at(self) -> float | None:
        """The `time.monotonic()` at which `collect` must be called in any case."""
        return self._kill_at

    def collect(self) -> list[Event]:
        """What has happened; also moves everything on.

        Raises:
            AutotlError: when the worker program dies again and again before it gets to a job.
        """
        worker = self._worker
        if worker is None:
            return []
        worker.flush()
        events = self._read(worker)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            return events + self._replace(worker, overdue=True)
        if worker.has_exited() or not worker.is_open:
            return events + self._replace(worker, overdue=False)
        if any(isinstance(event, Terminal) and self._is_spent(worker, event) for event in events):
            worker.end(0)
            self._forget(worker)
        return events

    def retire(self) -> list[Event]:
        """From now on a worker that ends is not replaced, and an idle one ends at once."""
        self._retired = True
        return self.close() if self._job is None or self._worker is None else []

    def close(self) -> list[Event]:
        """End the worker at once, with everything it has started; a job it had is cancelled."""
        self._retired = True
        events: list[Event] = []
        if self._worker is not None:
            self._worker.end(0)
            events = self._read(self._worker)
            self._forget(self._worker)
        if self._job is not None:
            cancelled = Failed(self._job.id, self._job.attempt, "cancelled", "stopped by shutdown", "")
            events.append(self._ended(cancelled))
        return events

    def _start(self) -> None:
        """Start a worker and tell it at once all it has to do."""
        environment = worker_environment(self.plan, os.environ, self.extra_env)
        self._worker = start_worker(environment, self.log_path)
        self._jobs_done = 0
        if self._module is not None:
            self._worker.send({"import": self._module})

    def _send_job(self) -> None:
        assert self._worker is not None and self._job is not None
        self._reports = self._seen = 0
        self._worker.send({"job": asdict(self._job)})

    def _read(self, worker: WorkerProcess) -> list[Event]:
        """The events in what can be read at once; from a process that has ended, all there are."""
        events: list[Event] = []
        try:
            while (messages := worker.receive()) is not None:
                for message in messages:
                    events.extend(self._understand(message, worker))
                if not worker.is_dead:
                    break  # Others may have news too.
        except (ValueError, TypeError):  # Something in a job wrote into the pipe: nothing after it can be trusted.
            worker.is_open = False
        return events

    def _understand(self, message: Mapping[str, Any], worker: WorkerProcess) -> list[Event]:
        job = self._job
        match message:
            case {"hello": _} if self._module is None:
                self._failed_starts = 0
            case {"imported": _}:
                self._failed_starts = 0
            case {"started": [job_id, attempt]} if job is not None and (job_id, attempt) == (job.id, job.attempt):
                self._failed_starts = 0
                self._job_started = True
                return [Started(job_id, attempt, self.plan.id, worker.pid)]
        event = message_event(message)
        if event is None or job is None or (event.job_id, event.attempt) != (job.id, job.attempt):
            return []
        self._reports += isinstance(event, Report)
        return [self._ended(event) if isinstance(event, Terminal) else event]

    def _ended(self, event: Terminal) -> Terminal:
        """Free the slot."""
        self._job, self._job_started, self._kill_at = None, False, None
        return event

    def _is_spent(self, worker: WorkerProcess, event: Terminal) -> bool:
        """Whether the worker should not get another job after this one."""
        self._jobs_done += 1
        memory_bytes = worker.private_memory_bytes()
        if self._jobs_done == 1:
            self._first_memory_bytes = memory_bytes
        out_of_memory = isinstance(event, Failed) and event.kind == "oom"
        has_grown = memory_bytes - self._first_memory_bytes > self.recycling.growth_bytes
        return out_of_memory or has_grown or self._jobs_done >= self.recycling.jobs

    def _replace(self, worker: WorkerProcess, overdue: bool) -> list[Event]:
        """The worker is dead, or has to die: say what became of its job, and start another."""
        ending = worker.end(0 if overdue else EXIT_PATIENCE_SECONDS)
        events = self._read(worker)  # Its last words count: they may be that the job has finished.
        job = self._job
        if job is not None and overdue:
            message = "stopped by force: it did not end by itself in the time it was given"
            events.append(self._ended(Failed(job.id, job.attempt, "cancelled", message, _log_tail(job, ending))))
        elif job is not None and self._job_started:
            message = f"the worker of slot {self.plan.id} (process {worker.pid}) {ending.in_words()}"
            events.append(self._ended(Failed(job.id, job.attempt, "infra", message, _log_tail(job, ending))))
        elif not events:
            self._failed_starts += 1
        may_start = self._failed_starts < MOST_FAILED_STARTS
        self._forget(worker, start_another=may_start)
        if not may_start and not self._retired:
            raise AutotlError(_no_start_message(self.plan.id, ending))
        return events

    def _forget(self, worker: WorkerProcess, start_another: bool = True) -> None:
        """Let go of a worker that has ended, and start the next one, with the job that had not begun, if any."""
        worker.close()
        self._worker = None
        if start_another and not self._retired:
            self._start()
            if self._job is not None:
                self._send_job()


def _no_start_message(slot_id: str, ending: Ending) -> str:
    return (
        f"A worker must live to take a job: that of slot {slot_id} died {MOST_FAILED_STARTS} times, and the last one "
        f"{ending.in_words()}. The end of its log says why:\n{ending.log_tail}"
    )


def _log_tail(job: Job, ending: Ending) -> str:
    """The end of the job's own log, or of the worker's."""
    log_path = job.payload.get("log_path")
    if log_path is None:
        return ending.log_tail
    try:
        with Path(log_path).open("rb") as log:
            return tail(log)
    except OSError:
        return ending.log_tail
