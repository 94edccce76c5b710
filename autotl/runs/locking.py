"""Who drives a run: one process at a time, and what another one can find out about it. POSIX."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import filelock

from autotl.errors import UsageError
from autotl.runs.directory import Run
from autotl.runs.files import read_json, write_json

PATIENCE_SECONDS = 0.5  # for those who only look who holds the lock


@dataclass(frozen=True)
class Holder:
    """The process that drives a run."""

    pid: int
    host: str


@contextlib.contextmanager
def lock_run(run: Run) -> Iterator[None]:
    """Be the only driver of `run` for the length of a `with` block.

    The kernel frees the lock when its holder dies, however it dies, so there are no stale locks.

    Raises:
        UsageError: when another process drives the run; names its process id.
    """
    lock = filelock.FileLock(run.lock_path, timeout=PATIENCE_SECONDS)
    try:
        lock.acquire()
    except filelock.Timeout:
        holder = _read_holder(run)
        who = "another process" if holder is None else f"process {holder.pid} on {holder.host}"
        raise UsageError(
            f"One process at a time drives a run: {run.path} is being driven by {who}. "
            f"Wait for it, stop it (autotl stop {run.path}), or give this search a folder of its own."
        ) from None
    try:
        write_json(run.lock_holder_path, asdict(Holder(os.getpid(), socket.gethostname())))
        yield
    finally:
        lock.release()


def is_driven(run: Run) -> bool:
    """Whether a process holds the run's lock, here or on another machine that shares the file system.

    Nothing is written; a driver that starts at this very moment waits for as long as it takes to look.
    """
    try:
        descriptor = os.open(run.lock_path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def find_holder(run: Run) -> Holder | None:
    """The process that drives the run; None if there is none, or if it has not said yet who it is."""
    return _read_holder(run) if is_driven(run) else None


def _read_holder(run: Run) -> Holder | None:
    """Who took the lock last; the file may be missing for the moment between locking and writing it."""
    try:
        found = read_json(run.lock_holder_path)
        return Holder(int(found["pid"]), str(found["host"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
