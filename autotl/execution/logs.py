"""The log of a job: its own file, or what its worker writes where it has none."""

import os
from pathlib import Path

from autotl.execution.process import Ending, WorkerProcess, tail
from autotl.execution.protocol import Job


def log_bytes(job: Job, worker: WorkerProcess) -> int:
    """Its size."""
    log_path = job.payload.get("log_path")
    try:
        return os.fstat(worker.log.fileno()).st_size if log_path is None else Path(log_path).stat().st_size
    except OSError:
        return 0


def log_tail(job: Job, ending: Ending) -> str:
    """Its end."""
    log_path = job.payload.get("log_path")
    if log_path is None:
        return ending.log_tail
    try:
        with Path(log_path).open("rb") as log:
            return tail(log)
    except OSError:
        return ending.log_tail
