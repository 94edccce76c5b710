"""The supervisor of one slot: gives its worker a job, turns what comes back into events, and replaces the dead.

It knows neither other slots nor how they are waited for, so `LocalExecutor` holds many of them, and an actor on a
cluster can hold one.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autotl.errors import AutotlError
from autotl.execution.devices import SlotPlan, worker_environment
from autotl.execution.logs import log_bytes, log_tail
from autotl.execution.oom_killer import count_kills
from autotl.execution.process import Ending, WorkerProcess, start_worker
from autotl.execution.protocol import (
    Event,
    Failed,
    Job,
    Report,
    SlotInfo,
    Started,
    Terminal,
    job_message,
    message_event,
)
from autotl.execution.recycling import Recycling as Recycling
from autotl.execution.recycling import Wear
from autotl.execution.running import as_json_object
from autotl.execution.watch import PATIENCE_SECONDS, Watch

MOST_FAILED_STARTS = 3
EXIT_PATIENCE_SECONDS = 2.0  # between a worker's last word and its end; after that it is made to end
STACKS_SECONDS = 1.0  # that a hung worker has for writing where its threads stand


@dataclass
class Slot:
    """One slot. Never waits for its worker's work; all of it happens in `submit`, `stop` and `collect`.

    Attributes:
        plan: what the slot is.
        log_path: of its workers, one after the other; None for an unnamed file.
        extra_env: wins over the environment that the plan makes.
        recycling: when to take a fresh worker.
        count_kills: how many processes the system has killed for memory so far.
    """

    plan: SlotPlan
    log_path: Path | None = None
    extra_env: Mapping[str, str] = field(default_factory=dict)
    recycling: Recycling = field(default_factory=Recycling)
    count_kills: Callable[[], int] = count_kills
    _worker: WorkerProcess | None = None
    _module: str | None = None
    _job: Job | None = None
    _job_started: bool = False
    _reports: int = 0  # that the job has sent
    _seen: int = 0  # of them, by the driver
    _kill_at: float | None = None
    _watch: Watch | None = None  # over the job
    _hung_seconds: float | None = None  # without a sign of life; None while the job does not count as hung
    _kills_before: int = 0
    _wear: Wear = field(default_factory=Wear)
    _failed_starts: int = 0
    _retired: bool = False

    def info(self) -> SlotInfo:
        """The slot as it is now."""
        busy = None if self._job is None else self._job.id
        pid = None if self._worker is None else self._worker.pid
        plan = self.plan
        return SlotInfo(plan.id, plan.device, plan.threads, busy, pid, plan.memory_bytes, plan.device_name)

    def is_busy(self) -> bool:
        """Whether it has a job."""
        return self._job is not None

    def submit(self, job: Job) -> None:
        """Give the free slot a job; starts a worker if there is none. Raises TypeError if the payload is no JSON."""
        job = replace(job, payload=as_json_object(job.payload))
        if self._worker is None:
            self._start()
        self._job, self._job_started, self._kills_before = job, False, self.count_kills()
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
        self._kill_within(grace_seconds)
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
        times = [self._kill_at, None if self._watch is None else self._watch.due()]
        return min((each for each in times if each is not None), default=None)

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
        if any(isinstance(each, Terminal) and self._wear.is_spent(worker, each, self.recycling) for each in events):
            worker.end(0)
            self._forget(worker)
        self._look_after(worker)
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
        self._wear = Wear()
        if self._module is not None:
            self._worker.send({"import": self._module})

    def _send_job(self) -> None:
        assert self._worker is not None and self._job is not None
        self._reports = self._seen = 0
        self._watch_for(max(PATIENCE_SECONDS, _patience_seconds(self._job)))  # it may have to wait for imports
        self._worker.send(job_message(self._job))
        if self._kill_at is not None:  # it was stopped before its first worker died
            self._worker.send({"stop": [self._job.id, self._job.attempt]})

    def _watch_for(self, patience_seconds: float) -> None:
        now = time.monotonic()
        self._watch = Watch(patience_seconds, heard=now, looked=now)

    def _look_after(self, worker: WorkerProcess) -> None:
        """See whether the job hangs, when it is time for it; one that does must say where it stands, and ends then."""
        job, watch, now = self._job, self._watch, time.monotonic()
        if job is None or watch is None or now < watch.due():
            return
        if watch.look(now, worker.work(), log_bytes(job, worker)):
            self._hung_seconds, self._watch = now - watch.heard, None
            worker.show_stacks()
            self._kill_within(STACKS_SECONDS)

    def _kill_within(self, seconds: float) -> None:
        kill_at = time.monotonic() + seconds
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)

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
                self._watch_for(_patience_seconds(job))
                return [Started(job_id, attempt, self.plan.id, worker.pid)]
        event = message_event(message)
        if event is None or job is None or (event.job_id, event.attempt) != (job.id, job.attempt):
            return []
        self._reports += isinstance(event, Report)
        if self._watch is not None:
            self._watch.heard = time.monotonic()
        return [self._ended(event) if isinstance(event, Terminal) else event]

    def _ended(self, event: Terminal) -> Terminal:
        """Free the slot."""
        self._job, self._job_started, self._kill_at = None, False, None
        self._watch = self._hung_seconds = None
        return event

    def _replace(self, worker: WorkerProcess, overdue: bool) -> list[Event]:
        """The worker is dead, or has to die: say what became of its job, and start another."""
        ending = worker.end(0 if overdue else EXIT_PATIENCE_SECONDS)
        events = self._read(worker)  # Its last words count: they may be that the job has finished.
        job = self._job
        if job is not None and (overdue or self._job_started or self._retired):
            kind, message = self._cause(worker, ending, overdue)
            events.append(self._ended(Failed(job.id, job.attempt, kind, message, log_tail(job, ending))))
        elif not events:
            self._failed_starts += 1
        may_start = self._failed_starts < MOST_FAILED_STARTS
        self._forget(worker, start_another=may_start)
        if not may_start and not self._retired:
            raise AutotlError(_no_start_message(self.plan.id, ending))
        return events

    def _cause(self, worker: WorkerProcess, ending: Ending, overdue: bool) -> tuple[str, str]:
        """Why a worker took its job with it: `Failed.kind`, and in words."""
        if self._hung_seconds is not None:
            return "hang", f"no sign of life for {self._hung_seconds:.1f} s; the log says where its threads stood"
        if overdue:
            return "cancelled", "stopped by force: it did not end by itself in the time it was given"
        words = f"the worker of slot {self.plan.id} (process {worker.pid}) {ending.in_words()}"
        if ending.code == -signal.SIGKILL and self.count_kills() > self._kills_before:
            return "oom_host", f"{words}, because the machine had run out of memory"
        return "infra", words

    def _forget(self, worker: WorkerProcess, start_another: bool = True) -> None:
        """Let go of a worker that has ended, and start the next one, with the job that had not begun, if any."""
        worker.close()
        self._worker = None
        if not start_another or self._retired:
            return
        try:
            self._start()
        except OSError as error:  # no process or descriptor to be had; without a job, the next one tries again
            if self._job is not None:
                raise AutotlError(f"A slot needs a worker process, and none can be started: {error}") from error
            return
        if self._job is not None:
            self._send_job()


def _no_start_message(slot_id: str, ending: Ending) -> str:
    return (
        f"A worker must live to take a job: that of slot {slot_id} died {MOST_FAILED_STARTS} times, and the last one "
        f"{ending.in_words()}. The end of its log says why:\n{ending.log_tail}"
    )


def _patience_seconds(job: Job) -> float:
    return float(job.payload.get("patience_seconds", PATIENCE_SECONDS))
