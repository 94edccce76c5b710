"""Jobs on slots: submit, wait, try again what the machine broke, hand back results in order of completion."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from autotl.execution.protocol import Executor, Failed, Finished, Job, Report, Started

MAX_ATTEMPTS = 3
POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0


@dataclass(frozen=True)
class Outcome:
    """How a job ended: `result` when it did what it should, else `failure`."""

    job: Job
    seconds: float
    result: dict[str, Any] | None
    failure: Failed | None


OnReport = Callable[[Job, int, float], bool]


def ignore_reports(job: Job, step: int, value: float) -> bool:
    """An `OnReport` for jobs that nothing stops."""
    return False


@dataclass
class Dispatcher:
    """Keeps slots busy, and knows what runs where."""

    executor: Executor
    on_event: Callable[..., None]  # on_event(kind, **fields), for the run's event log
    running: dict[str, Job] = field(default_factory=dict)
    started: dict[str, float] = field(default_factory=dict)

    def free_slots(self) -> list[str]:
        return [slot.id for slot in self.executor.slots() if slot.busy is None]

    def submit(self, job: Job, slot: str) -> None:
        self.running[job.id] = job
        self.started.setdefault(job.id, monotonic())
        self.on_event("submitted", job=job.id, attempt=job.attempt, slot=slot)
        self.executor.submit(job, slot)

    def outcomes(self, on_report: OnReport = ignore_reports) -> Iterator[Outcome]:
        """Wait a little and yield what has ended. Infrastructure faults are retried here and yield nothing yet.

        Args:
            on_report: sees every intermediate score and answers True to stop that job.
        """
        for event in self.executor.poll(POLL_SECONDS):
            job = self.running.get(event.job_id)
            if job is None or job.attempt != event.attempt:
                continue  # an attempt that was given up
            match event:
                case Started():
                    if job.attempt == 1:
                        self.started[job.id] = monotonic()  # until now it may have waited for the worker to come up
                    self.on_event("started", job=job.id, attempt=job.attempt, slot=event.slot, pid=event.pid)
                case Report():
                    if on_report(job, event.step, event.value):
                        self.executor.stop(job.id, GRACE_SECONDS)
                case Finished():
                    yield self._ended(job, event.result, None)
                case Failed():
                    if event.kind == "infra" and job.attempt < MAX_ATTEMPTS:
                        self._retry(job, event)
                    else:
                        yield self._ended(job, None, event)

    def run_all(self, jobs: Sequence[Job], on_report: OnReport = ignore_reports) -> list[Outcome]:
        """Run jobs on all slots and wait for their ends; the outcomes come in the order of the jobs."""
        waiting, ended = deque(jobs), dict[str, Outcome]()
        while len(ended) < len(jobs):
            for slot in self.free_slots():
                if waiting:
                    self.submit(waiting.popleft(), slot)
            ended |= {outcome.job.id: outcome for outcome in self.outcomes(on_report)}
        return [ended[job.id] for job in jobs]

    def stop_all(self) -> None:
        for job_id in list(self.running):
            self.executor.stop(job_id, GRACE_SECONDS)

    def _ended(self, job: Job, result: dict[str, Any] | None, failure: Failed | None) -> Outcome:
        del self.running[job.id]
        waited = monotonic() - self.started.pop(job.id)
        # what the worker measured, where it did: events may lie unread for a while
        seconds = waited if result is None else float(result.get("seconds", waited))
        self.on_event("ended", job=job.id, attempt=job.attempt, failure=None if failure is None else failure.kind)
        return Outcome(job, seconds, result, failure)

    def _retry(self, job: Job, failure: Failed) -> None:
        self.on_event("retried", job=job.id, attempt=job.attempt, message=failure.message)
        slot = next(iter(self.free_slots()))
        self.submit(next_attempt(job), slot)


def next_attempt(job: Job) -> Job:
    """The same job with the next attempt's number and folder; attempts never share files."""
    attempt = job.attempt + 1
    payload = dict(job.payload)
    for name in ("folder", "log_path"):
        if name in payload:
            before, _, after = payload[name].rpartition(f"attempt-{job.attempt}")
            payload[name] = f"{before}attempt-{attempt}{after}"
    return Job(job.id, attempt, job.target, payload)
