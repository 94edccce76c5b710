"""The worker program, `python -m autotl.execution.worker`: one for all executors, one process per slot.

JSON lines on stdin: `{"job": {...}}`, `{"stop": [id, attempt]}`, `{"seen": [id, attempt, reports]}` (so many reports
were dealt with, and a stop would have come before), `{"import": module}`. JSON lines on stdout:
`{"hello": {...}}`, `{"imported": module}`, `{"started": [id, attempt]}` and the events of `protocol`. Everything else
that this process writes to stdout or stderr, from Python or C, goes to the log: the stderr it was started with, or
`payload["log_path"]` while a job that has one is running. On `SHOW_STACKS` it writes there where its threads stand.

The process lasts over many jobs and ends when stdin does. That is how a driver that was killed takes its workers with
it: the kernel closes the pipe.
"""

import contextlib
import ctypes
import faulthandler
import importlib
import os
import platform
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from autotl.execution.oom_killer import volunteer
from autotl.execution.protocol import SHOW_STACKS, Failed, Job, Terminal, decode, encode, event_message
from autotl.execution.running import failure, make_reporter, run_job

ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Line:
    """The worker's end of the conversation with its driver."""

    incoming: BinaryIO
    outgoing: int
    inbox: "queue.SimpleQueue[dict[str, Any]]" = field(default_factory=queue.SimpleQueue)
    stops: set[tuple[str, int]] = field(default_factory=set)
    seen: dict[tuple[str, int], int] = field(default_factory=dict)
    news: threading.Condition = field(default_factory=threading.Condition)  # of stops and seen
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message; a driver that no longer listens is gone, and so is this process then."""
        content = encode(message)
        with self.lock:
            while content:
                try:
                    content = content[os.write(self.outgoing, content) :]
                except BrokenPipeError:
                    end()

    def listen(self) -> None:
        """Take messages until the driver is gone. Runs in a thread, so that a stop reaches a busy job."""
        try:
            for text in self.incoming:
                message = decode(text)
                if "stop" in message or "seen" in message:
                    self._note(message)
                else:
                    self.inbox.put(message)
        finally:
            end()

    def is_stopped(self, key: tuple[str, int], reports: int) -> bool:
        """Whether a job is to stop, once the driver has dealt with its reports: it ends after the one that told so.

        A driver that is busy is waited for a while, not for ever.
        """
        with self.news:
            self.news.wait_for(lambda: key in self.stops or self.seen.get(key, 0) >= reports, ANSWER_SECONDS)
            return key in self.stops

    def _note(self, message: Mapping[str, Any]) -> None:
        with self.news:
            if "stop" in message:
                job_id, attempt = message["stop"]
                self.stops.add((job_id, attempt))
            else:
                job_id, attempt, reports = message["seen"]
                self.seen[job_id, attempt] = reports
            self.news.notify_all()

    def forget(self, key: tuple[str, int]) -> None:
        """The job has ended."""
        with self.news:
            self.stops.discard(key)
            self.seen.pop(key, None)


def main() -> None:
    """Serve one driver until it is gone."""
    # Ctrl-C in the terminal is the driver's to handle: it decides what becomes of the jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    volunteer()
    line = take_streams()
    faulthandler.enable()  # A crash in native code leaves its Python stack in the log.
    faulthandler.register(getattr(signal, SHOW_STACKS))
    threading.Thread(target=line.listen, name="driver", daemon=True).start()
    line.send({"hello": {"pid": os.getpid(), "python": platform.python_version(), "autotl": _version()}})
    while True:
        message = line.inbox.get()
        if "job" in message:
            execute(Job(**message["job"]), line)
        elif "import" in message:
            warm(message["import"], line)


def take_streams() -> Line:
    """Keep the pipes of the protocol to ourselves, and give everybody else the log as stdout and stderr.

    Copies made by `os.dup` are not inherited by programs that a job starts.
    """
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        # A killed process must have written its last lines, and an odd file name must not end a job.
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    return Line(os.fdopen(incoming, "rb"), outgoing)


def execute(job: Job, line: Line) -> None:
    """Run one job and send its events."""
    key = (job.id, job.attempt)
    report = make_reporter(job, lambda event: line.send(event_message(event)), lambda n: line.is_stopped(key, n))
    line.send({"started": [job.id, job.attempt]})
    outcome: Terminal | None = None
    try:
        with output_to(job.payload.get("log_path")):
            outcome = run_job(job, report)
            if isinstance(outcome, Failed):
                print(outcome.detail, file=sys.stderr)
    except OSError as error:  # The log itself cannot be written.
        outcome = failure(job, error) if outcome is None else outcome
    line.forget(key)
    line.send(event_message(outcome))


def warm(module: str, line: Line) -> None:
    """Import a module before it is needed; if that fails, the job that needs it will say so better."""
    try:
        importlib.import_module(module)
    except Exception:
        traceback.print_exc()
    line.send({"imported": module})


@contextlib.contextmanager
def output_to(path: str | None) -> Iterator[None]:
    """Send stdout and stderr, down to the descriptors that C code writes to, to the end of a file."""
    if path is None:
        yield
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    before = os.dup(2)
    _point_output_at(log)
    os.close(log)
    try:
        yield
    finally:
        _point_output_at(before)
        os.close(before)


def _point_output_at(descriptor: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):  # A job may have closed them, or filled the disk.
            stream.flush()
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)  # C's own buffers belong to the log that was current when they were filled.
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def end() -> None:
    """End this process at once, and with it whatever its jobs have started: nobody is left to want their results."""
    if os.name == "posix" and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _version() -> str:
    try:
        return metadata.version("autotl")
    except metadata.PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main()
