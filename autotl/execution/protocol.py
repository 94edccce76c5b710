"""What a driver and an executor say to each other, and how it looks on a pipe.

The contract of every executor: payloads and results are JSON, arrays travel as paths; the events of a job come in
order; there is exactly one terminal event (`Finished` or `Failed`) per (job, attempt), also when a process dies in
between; a slot whose process died comes back by itself; an executor never retries a job that has started.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from autotl.errors import UsageError

Reporter = Callable[[int, float, dict[str, Any]], bool]
"""`report(step, value, extra)`: tell the driver; True means that the job was asked to stop."""

Target = Callable[[dict[str, Any], Reporter], dict[str, Any]]
"""`run(payload, report) -> result`: what a job does."""

SHOW_STACKS = "SIGUSR1"
"""The signal that has a worker write where each of its threads stands to its current log, whatever it is doing."""


@dataclass(frozen=True)
class Job:
    """A piece of work.

    Attributes:
        id: names the work; stays the same when it is tried again.
        attempt: counts the tries from 1; events of an older attempt are never mistaken for this one's.
        target: the `Target` as "module:function", imported where the job runs.
        payload: JSON, given to the target. `log_path`, if there, receives all output of the job. `patience_seconds`, if
            there, is how long it may do nothing at all before its process counts as hung (see `watch`).
        needs: names of what the job opens or makes where it runs (stores, traced graphs), for whoever chooses its slot;
            no worker hears of them.
    """

    id: str
    attempt: int
    target: str
    payload: dict[str, Any]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlotInfo:
    """A place where one job runs at a time.

    Attributes:
        id: the name to submit to.
        device: "cpu" or "gpu:0", counted within the GPUs this process may see.
        threads: how many CPU threads a job here should use.
        busy: the id of its job, None when free.
        pid: its process, None when there is none at the moment.
        memory_bytes: of the GPU that its jobs may fill; None for a CPU slot or when unknown.
        device_name: the model of the GPU, or "".
        node: the machine it is on; "" for the driver's own.
    """

    id: str
    device: str
    threads: int
    busy: str | None
    pid: int | None
    memory_bytes: int | None = None
    device_name: str = ""
    node: str = ""


@dataclass(frozen=True)
class Started:
    """The job's own code begins now."""

    job_id: str
    attempt: int
    slot: str
    pid: int


@dataclass(frozen=True)
class Report:
    """The job's score after a step."""

    job_id: str
    attempt: int
    step: int
    value: float
    extra: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """Terminal: the target returned; also when it did so because it was asked to stop."""

    job_id: str
    attempt: int
    result: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """Terminal: no result.

    Attributes:
        kind: "user" (an exception), "invalid" (`TrialError`) or another `AutotlError.kind`, "oom" (out of memory),
            "oom_host" (the system ended the process to get memory back), "disk" (full), "hang" (no sign of life for too
            long), "infra" (the process died, or its GPU did), "cancelled" (stopped by force).
        message: one line for people.
        detail: the traceback, or the end of the log of a process that died.
    """

    job_id: str
    attempt: int
    kind: str
    message: str
    detail: str


Terminal = Finished | Failed
Event = Started | Report | Finished | Failed


class Executor(Protocol):
    """Runs jobs on slots. Belongs to one thread, which must keep polling; `poll` is the only call that waits."""

    def slots(self) -> list[SlotInfo]:
        """All slots, as they are now."""

    def submit(self, job: Job, slot_id: str) -> None:
        """Run `job` on a free slot. Raises `UsageError` when the slot is unknown or busy."""

    def poll(self, timeout_seconds: float) -> list[Event]:
        """What has happened; waits up to `timeout_seconds` for the first event. Raises `AutotlError` when a slot's
        process cannot be brought up at all."""

    def stop(self, job_id: str, grace_seconds: float) -> None:
        """Ask a job to end: its next `report` says so, and after `grace_seconds` it is ended by force where the
        executor can. A job that is not running is left alone: it may have ended a moment ago."""

    def warm(self, module: str) -> None:
        """Import `module` in the slots' processes ahead of the first job; a hint, which may do nothing."""

    def shutdown(self, grace_seconds: float) -> list[Event]:
        """Stop all jobs, end all processes; the events that this brought. May be called again."""


def free_slot(slot_id: str, slots: Sequence[SlotInfo]) -> SlotInfo:
    """The slot of that name, if a job can be given to it.

    Raises:
        UsageError: when there is no such slot or it is busy.
    """
    slot = next((slot for slot in slots if slot.id == slot_id), None)
    if slot is None:
        names = ", ".join(slot.id for slot in slots)
        raise UsageError(f"A job goes to a slot of the executor: {slot_id!r} was given. Its slots are {names}.")
    if slot.busy is not None:
        raise UsageError(f"A slot has one job at a time: {slot_id} is busy with {slot.busy}. Poll until it has ended.")
    return slot


def encode(message: Mapping[str, Any]) -> bytes:
    """One message as one line. NaN and infinities are kept as Python writes them: both ends are Python."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message in a line. Raises `ValueError` when it is none."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"a message is a JSON object, not {line[:80]!r}")
    return message


def job_message(job: Job) -> dict[str, Any]:
    """A job as it is sent to a worker: `{"job": {...}}`, the fields of `Job` but for its needs."""
    return {"job": {"id": job.id, "attempt": job.attempt, "target": job.target, "payload": job.payload}}


def event_message(event: Report | Finished | Failed) -> dict[str, Any]:
    """An event as a worker sends it: `{"report": {...}}`, `{"finished": {...}}` or `{"failed": {...}}`."""
    return {type(event).__name__.lower(): asdict(event)}


def message_event(message: Mapping[str, Any]) -> Report | Finished | Failed | None:
    """The event in a worker's message; None when it carries another thing."""
    match message:
        case {"report": fields}:
            return Report(**fields)
        case {"finished": fields}:
            return Finished(**fields)
        case {"failed": fields}:
            return Failed(**fields)
    return None
