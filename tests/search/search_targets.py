"""Fake targets, imported by name where a job runs (see tests/execution/targets.py)."""

import os
import signal
from pathlib import Path

from autotl.errors import DataError, TrialError


def double(payload, report):
    return {"value": 2 * payload["value"]}


def count(payload, report):
    for step in range(payload["steps"]):
        if report(step, step / 10, {}):
            return {"steps": step + 1}
    return {"steps": payload["steps"]}


def fail(payload, report):
    match payload["how"]:
        case "plain":
            raise KeyError("colour")
        case "invalid":
            raise TrialError("the loss is not finite")
        case "data":
            raise DataError("an image has vanished")
        case "memory":
            raise MemoryError
    raise AssertionError(payload)


def die_until(payload, report):
    """Leaves a file in its folder, and is killed, as by the system, in every attempt before the last one."""
    folder = Path(payload["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "was-here").touch()
    attempts = sorted(path.name for path in folder.parent.iterdir())
    if len(attempts) < payload["attempts"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempts": attempts, "log_path": payload["log_path"]}
