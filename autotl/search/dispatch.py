"""Jobs on slots: submit, wait, try again what the machine broke, hand back results in order of completion.

What is tried again, and how, is decided in `retries`, which slots may get a job in `placement`. Here it is carried out.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from autotl.errors import AutotlError
from autotl.execution.protocol import Event, Executor, Failed, Finished, Job, Report, SlotInfo, Started, free_slot
from autotl.execution.telemetry import GpuMeter
from autotl.search.memory_limits import EVENT, MemoryLimits
from autotl.search.patience import Patience
from autotl.search.placement import Placement
from autotl.search.retries import BLAMED, Again, decide, next_attempt

POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0
NO_SLOT_SECONDS = 600.0  # a cluster may lose its last node and get another


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
class Course:
    """A job on its way through one try or several.

    Attributes:
        began: when its work began, on the dispatcher's clock.
        heard: when its last event came.
        sent: the job as its slot got it.
        place: that slot.
        pid: the process there, once the job has begun.
        failures: of its tries so far.
        broke_on: names of the slots that may be to blame for them.
    """

    began: float
    heard: float
    sent: Job
    place: SlotInfo
    pid: int | None = None
    failures: list[Failed] = field(default_factory=list)
    broke_on: set[str] = field(default_factory=set)


@dataclass
class Dispatcher:
    """Keeps slots busy, and knows what runs where.

    Attributes:
        on_event: `on_event(kind, **fields)`, for the run's event log.
        make_room: called when the disk is full, before the job that met it is tried again.
        look: called before every wait; what it raises ends the search between two events.
        limits: what is known to fit into memory.
        running: jobs that have not ended, those that wait to be tried again among them.
    """

    executor: Executor
    on_event: Callable[..., None]
    make_room: Callable[[], object] | None = None
    look: Callable[[], None] | None = None
    limits: MemoryLimits = field(default_factory=MemoryLimits)
    meter: GpuMeter = field(default_factory=GpuMeter)
    clock: Callable[[], float] = monotonic
    running: dict[str, Job] = field(default_factory=dict)
    _courses: dict[str, Course] = field(default_factory=dict)
    _waiting: list[Job] = field(default_factory=list)  # to be tried again, the longest first
    _stopped: set[str] = field(default_factory=set)  # jobs that are not tried again
    _unread: list[Event] = field(default_factory=list)
    _placement: Placement = field(default_factory=Placement)
    _patience: Patience = field(default_factory=Patience)

    def afresh(self, on_event: Callable[..., None], events: Iterable[Mapping[str, Any]]) -> "Dispatcher":
        """One for another search on the same slots, which knows of no job, and of memory what both know.

        Args:
            on_event: of the other search.
            events: that it has logged before.
        """
        self.limits.recall(events)
        return Dispatcher(self.executor, on_event, self.make_room, self.look, self.limits, self.meter, self.clock)

    def free_slots(self) -> list[str]:
        """Where a job can go now. There may be none, but while the executor has no slot at all, one is waited for.

        Raises:
            AutotlError: when there was none for `NO_SLOT_SECONDS`.
        """
        return [slot.id for slot in self._placement.free(self._slots())]

    def best_slot(self, job: Job, free_slots: Sequence[str]) -> str:
        """The one of some free slots that has met most of what the job needs, the first one of equals."""
        if not job.needs or len(free_slots) == 1:
            return free_slots[0]
        slots = {slot.id: slot for slot in self.executor.slots()}
        return self._placement.affinity.best(job, [slots[name] for name in free_slots])

    def is_produced_elsewhere(self, job: Job) -> bool:
        """Whether another job is just making, for the first time, what this one needs: better run another one."""
        return self._placement.affinity.is_made_elsewhere(job)

    def submit(self, job: Job, slot: str) -> None:
        """Run a job on a free slot. Raises `UsageError` when the slot is unknown or busy."""
        place, now = free_slot(slot, self.executor.slots()), self.clock()
        payload = {"patience_seconds": self._patience.of(job), **job.payload}
        micro_batch = self.limits.micro_batch(job, place)
        if micro_batch is not None:
            payload["micro_batch"] = micro_batch
        sent = replace(job, payload=payload)
        course = self._courses.setdefault(job.id, Course(now, now, sent, place))
        course.heard, course.sent, course.place, course.pid = now, sent, place, None
        self.running[job.id] = job
        self._placement.affinity.begin(job)
        self.on_event("submitted", job=job.id, attempt=job.attempt, slot=slot)
        self.executor.submit(sent, slot)

    def outcomes(self, on_report: OnReport = ignore_reports) -> Iterator[Outcome]:
        """Wait a little and yield what has ended. What is tried again yields nothing yet.

        Args:
            on_report: sees every intermediate score and answers True to stop that job.

        Raises:
            AutotlError: the disk is full, and making room did not help; after all that has ended was yielded.
        """
        disk_full: Failed | None = None
        for event in self._news():
            job = self.running.get(event.job_id)
            if job is None or job.attempt != event.attempt:
                continue  # an attempt that was given up
            match event:
                case Started():
                    self._begin(job, event)
                case Report():
                    self._get_on(job)
                    if on_report(job, event.step, event.value):
                        self.executor.stop(job.id, GRACE_SECONDS)
                case Finished():
                    self._get_on(job)
                    self._placement.quarantine.clear(self._courses[job.id].place.id)
                    yield self._ended(job, event.result, None)
                case Failed():
                    decision = self._decide(job, event)
                    if isinstance(decision, Again):
                        self._prepare(job, decision)
                    elif decision.kind == "disk" and job.id not in self._stopped:
                        disk_full = decision  # the job has not ended: it runs when the search goes on
                    else:
                        yield self._ended(job, None, decision)
        self._send_waiting()
        if disk_full is not None:
            raise AutotlError(
                f"A search needs room on the disk, and there is none ({disk_full.message}). What has finished is "
                "saved: make room, and continue with autotl resume."
            )

    def run_all(self, jobs: Sequence[Job], on_report: OnReport = ignore_reports) -> list[Outcome]:
        """Run jobs on all slots and wait for their ends; the outcomes come in the order of the jobs."""
        waiting, ended = deque(jobs), dict[str, Outcome]()
        while len(ended) < len(jobs):
            free = self.free_slots()
            while waiting and free:
                job = next((each for each in waiting if not self.is_produced_elsewhere(each)), waiting[0])
                slot = self.best_slot(job, free)
                waiting.remove(job)
                free.remove(slot)
                self.submit(job, slot)
            ended |= {outcome.job.id: outcome for outcome in self.outcomes(on_report)}
        return [ended[job.id] for job in jobs]

    def stop_all(self) -> None:
        """Ask all jobs to end; none of them is tried again."""
        self._stopped |= self.running.keys()
        for job in self._waiting:
            self._unread.append(Failed(job.id, job.attempt, "cancelled", "stopped before it was tried again", ""))
        self._waiting.clear()
        for job_id in self.running:
            self.executor.stop(job_id, GRACE_SECONDS)

    def _news(self) -> list[Event]:
        on_gpu = [course for course in self._courses.values() if course.place.device != "cpu" and not course.place.node]
        if on_gpu:
            self.meter.poll({course.place.id: course.pid for course in on_gpu if course.pid is not None})
        if self.look is not None:
            self.look()
        events, self._unread = self._unread, []
        return events + self.executor.poll(0.0 if events else POLL_SECONDS)

    def _slots(self) -> list[SlotInfo]:
        """All slots; waits while there are none, and keeps what happens meanwhile for `outcomes`."""
        since = self.clock()
        while not (slots := self.executor.slots()):
            if self.clock() - since > NO_SLOT_SECONDS:
                raise AutotlError(
                    f"A search needs a slot to run its trials on, and for {NO_SLOT_SECONDS / 60:.0f} minutes there was "
                    "none. What has finished is saved: see to the machines, and continue with autotl resume."
                )
            if self.look is not None:
                self.look()
            self._unread += self.executor.poll(POLL_SECONDS)
        return slots

    def _begin(self, job: Job, event: Started) -> None:
        course = self._courses[job.id]
        course.pid, course.heard = event.pid, self.clock()
        if not course.failures:
            course.began = course.heard  # until now it may have waited for the worker to come up
        self.on_event("started", job=job.id, attempt=job.attempt, slot=event.slot, pid=event.pid)

    def _get_on(self, job: Job) -> None:
        """The job has reported, or finished."""
        course, now = self._courses[job.id], self.clock()
        self._patience.note(job, now - course.heard)
        course.heard = now
        if job.needs and course.pid is not None:
            self._placement.affinity.meet(job, course.place, course.pid)

    def _decide(self, job: Job, failure: Failed) -> Again | Failed:
        """Whether to try again. Takes down what the failure says about the slot."""
        course = self._courses[job.id]
        slot = course.place.id
        course.failures.append(failure)
        if failure.kind not in BLAMED:
            self._placement.quarantine.clear(slot)
        else:
            course.broke_on.add(slot)
            if self._placement.quarantine.blame(slot, job.id, self.executor.slots()):
                message = f"One job after the other broke on {slot}: it gets no more of them."
                self.on_event("quarantined", slot=slot, message=message)
        return failure if job.id in self._stopped else decide(course.sent, course.failures)

    def _prepare(self, job: Job, again: Again) -> None:
        """Have the job wait for a slot for its next try."""
        course = self._courses[job.id]
        failure = course.failures[-1]
        self.on_event("retried", job=job.id, attempt=job.attempt, failure=failure.kind, message=failure.message)
        if "micro_batch" in again.changes:
            self.on_event(EVENT, **self.limits.lower(job, course.place, again.changes["micro_batch"]))
        if again.makes_room and self.make_room is not None:
            self.make_room()
        if again.is_alone:
            self._placement.alone[job.id] = course.place.node
        self._placement.affinity.end(job)
        self.meter.take(course.place.id)  # not to be counted as the next job's
        self.running[job.id] = next_attempt(job, again.changes)
        self._waiting.append(self.running[job.id])

    def _send_waiting(self) -> None:
        """Give what is to be tried again to free slots."""
        for job in list(self._waiting):
            course = self._courses[job.id]
            slot = self._placement.again(job, course.place.id, course.broke_on, self.executor.slots())
            if slot is not None:
                self._waiting.remove(job)
                self.submit(job, slot)

    def _ended(self, job: Job, result: dict[str, Any] | None, failure: Failed | None) -> Outcome:
        course = self._courses.pop(job.id)
        del self.running[job.id]
        self._placement.affinity.end(job)
        self._placement.alone.pop(job.id, None)
        self._stopped.discard(job.id)
        waited = self.clock() - course.began
        # what the worker measured, where it did: events may lie unread for a while
        seconds = waited if result is None else float(result.get("seconds", waited))
        kind = None if failure is None else failure.kind
        usage = self.meter.take(course.place.id)
        self.on_event("ended", job=job.id, attempt=job.attempt, slot=course.place.id, failure=kind, **usage)
        return Outcome(job, seconds, result, failure)
