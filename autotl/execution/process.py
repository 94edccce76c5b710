"""One running worker program as its supervisor sees it: two pipes, a log, and an end. POSIX."""

import contextlib
import os
import select
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from autotl.execution.protocol import SHOW_STACKS, decode, encode
from autotl.execution.watch import Work

# -P: the folder somebody happens to stand in is no place to import modules from.
WORKER_COMMAND = (sys.executable, "-P", "-m", "autotl.execution.worker")
READ_BYTES = 1 << 20
LOG_TAIL_BYTES = 4000
LAST_PATIENCE_SECONDS = 5.0  # for a process that was killed to be gone


@dataclass(frozen=True)
class Ending:
    """How a worker process ended: its return code (minus the signal that killed it) and the end of its log."""

    code: int
    log_tail: str

    def in_words(self) -> str:
        """E.g. "was killed by signal 9 (SIGKILL)"."""
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            name = f" ({signal.Signals(-self.code).name})"
        except ValueError:
            name = ""
        return f"was killed by signal {-self.code}{name}"


@dataclass
class WorkerProcess:
    """A started worker. Nothing here blocks but `end`.

    Attributes:
        process: it leads a session and process group of its own.
        exit_descriptor: becomes readable when the process ends (Linux), also if a forked child keeps its pipes open;
            None elsewhere, where the end of its stdout has to do.
        log: where its stdout and stderr go unless a job says otherwise.
        unsent: what the pipe has not taken yet.
        unread: the beginning of a message whose end has not arrived.
        is_open: whether more may arrive.
        is_dead: whether `end` has seen it die.
    """

    process: subprocess.Popen[bytes]
    exit_descriptor: int | None
    log: BinaryIO
    unsent: bytearray = field(default_factory=bytearray)
    unread: bytes = b""
    is_open: bool = True
    is_dead: bool = False

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self.process.pid

    def watched(self) -> list[tuple[int, int]]:
        """What to wait for: (descriptor, `selectors` event mask)."""
        watched = [(self._stdout, selectors.EVENT_READ)]
        if self.exit_descriptor is not None:
            watched.append((self.exit_descriptor, selectors.EVENT_READ))
        if self.unsent:
            watched.append((self._stdin, selectors.EVENT_WRITE))
        return watched

    def send(self, message: Mapping[str, Any]) -> None:
        """Write as much as the pipe takes now; `flush` writes the rest when it takes more."""
        self.unsent += encode(message)
        self.flush()

    def flush(self) -> None:
        """Go on with what `send` could not write."""
        try:
            while self.unsent:
                del self.unsent[: os.write(self._stdin, self.unsent)]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self.unsent.clear()  # It has died; reading will show that.

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages in what can be read at once, None when that is nothing; clears `is_open` at the end.

        Raises:
            ValueError: when something else than a message has arrived.
        """
        try:
            content = os.read(self._stdout, READ_BYTES)
        except BlockingIOError:
            return None
        if not content:
            self.is_open = False
            return None
        *lines, self.unread = (self.unread + content).split(b"\n")
        return [decode(line) for line in lines]

    def has_exited(self) -> bool:
        """Whether the process is known to have ended. Does not reap it, so its id stays its own."""
        return self._exits_within(0)

    def end(self, patience_seconds: float) -> Ending:
        """Wait up to `patience_seconds` for the process to end by itself, then kill it and its whole group.

        What it has said before can still be received, until `close`.
        """
        if self.exit_descriptor is not None:
            self._exits_within(patience_seconds)
        elif patience_seconds > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        try:
            code = self.process.wait(LAST_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:  # stuck in the kernel (a dead file server or device): nobody can end it
            code = -signal.SIGKILL
        self.is_dead = True
        return Ending(code, tail(self.log))

    def close(self) -> None:
        """Let go of the pipes and the log of a process that has ended."""
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                cast(BinaryIO, pipe).close()
        self.log.close()
        if self.exit_descriptor is not None:
            os.close(self.exit_descriptor)
            self.exit_descriptor = None
        self.is_open = False

    def private_memory_bytes(self) -> int:
        """Resident memory that is the process's own: mapped feature files, which the kernel can drop, do not count."""
        import psutil

        try:
            memory = psutil.Process(self.pid).memory_info()
        except psutil.Error:
            return 0
        return int(memory.rss - getattr(memory, "shared", 0))

    def work(self) -> Work:
        """What the process, and all that it has started, have done."""
        import psutil

        seconds, written = 0.0, 0
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            for each in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error, AttributeError):  # bytes are not counted everywhere
                    seconds += sum(each.cpu_times()[:4])  # its own, and those of its children that have ended
                    written += each.io_counters().write_chars
        return Work(seconds, written)

    def show_stacks(self) -> None:
        """Have the process write to its current log where each of its threads stands."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, getattr(signal, SHOW_STACKS))

    @property
    def _stdin(self) -> int:
        return cast(BinaryIO, self.process.stdin).fileno()

    @property
    def _stdout(self) -> int:
        return cast(BinaryIO, self.process.stdout).fileno()

    def _exits_within(self, seconds: float) -> bool:
        if self.exit_descriptor is None:
            return False
        waiting = select.poll()
        waiting.register(self.exit_descriptor, select.POLLIN)
        return bool(waiting.poll(seconds * 1000))


def start_worker(environment: Mapping[str, str], log_path: Path | None) -> WorkerProcess:
    """Start the worker program.

    Args:
        environment: complete; it is in place before the interpreter starts, as devices and thread pools need it.
        log_path: appended to; None keeps the log in an unnamed file that goes when the process is forgotten.
    """
    log = open_log(log_path)
    process = subprocess.Popen(
        WORKER_COMMAND,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,  # From the first instruction on: an interpreter that cannot start says so there.
        bufsize=0,
        start_new_session=True,
    )
    for pipe in (process.stdin, process.stdout):
        os.set_blocking(cast(BinaryIO, pipe).fileno(), False)
    return WorkerProcess(process, _exit_descriptor(process.pid), log)


def open_log(path: Path | None) -> BinaryIO:
    """A file to which several descriptors can append and whose end can be read."""
    if path is None:
        return cast(BinaryIO, tempfile.TemporaryFile("a+b"))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+b")


def tail(log: BinaryIO) -> str:
    """The end of a log as text."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES)).decode(errors="replace").strip()


def _exit_descriptor(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # Not Linux, or a sandbox that does not know the call.
        return None
