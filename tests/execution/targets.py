"""Fake targets, imported by name where a job runs; no framework, no sleeping."""

import ctypes
import errno
import os
import select
import signal
import sys
import time
from pathlib import Path

from autotl.errors import DataError, TrialError

kept = []


class ResourceExhaustedError(Exception):
    """Named as TensorFlow names it."""


def echo(payload, report):
    return {"payload": payload, "pid": os.getpid()}


def count(payload, report):
    for step in range(payload["steps"]):
        if report(step, step / 10, {"step": step}):
            return {"stopped": True, "reports": step + 1}
    return {"stopped": False, "reports": payload["steps"]}


def until_stopped(payload, report):
    """Reports a hundred times a second, waiting for nothing in between, until it is told to stop."""
    never, _keep_open = os.pipe()
    step = 0
    while not report(step, 0.5, {}):
        step += 1
        select.select([never], [], [], 0.01)
    return {"stopped": True}


def until_file(payload, report):
    """Reports once, waits until there is a file, and leaves a line in another one."""
    never, _keep_open = os.pipe()
    report(0, 0.5, {"number": payload["number"]})
    while not Path(payload["awaits"]).exists():
        select.select([never], [], [], 0.02)
    return {**touch(payload, report), "number": payload["number"]}


def hang(payload, report):
    report(0, 0.0, {})
    while True:
        signal.pause()


def hang_in_silence(payload, report):
    while True:
        signal.pause()


def write_without_reports(payload, report):
    """Says that it gets on, only in its log, until it has done so for `seconds`."""
    never, _keep_open = os.pipe()
    end = time.monotonic() + payload["seconds"]
    while time.monotonic() < end:
        print("still here")
        select.select([never], [], [], 0.02)
    return {}


def hang_with_child(payload, report):
    """Leaves a forked child that holds every descriptor of the worker, the protocol's included."""
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    report(0, 0.0, {"child": child})
    while True:
        signal.pause()


def fail(payload, report):
    match payload["how"]:
        case "plain":
            raise KeyError("colour")
        case "invalid":
            raise TrialError("a head needs at least one unit")
        case "data":
            raise DataError("no images")
        case "exit":
            sys.exit(7)
        case "memory":
            raise MemoryError
        case "tensorflow":
            raise ResourceExhaustedError("failed to allocate")
        case "jax":
            raise RuntimeError("RESOURCE_EXHAUSTED: while trying to allocate")
        case "torch":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        case "disk":
            raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")
        case "quota":
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        case "tensorflow disk":
            raise ResourceExhaustedError("model.keras; No space left on device")
        case "gpu":
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
        case "wrapped":
            try:
                raise MemoryError
            except MemoryError as error:
                raise ValueError("could not fit") from error
        case "not json":
            return {"value": object()}
        case "no dict":
            return [1]
    raise AssertionError(payload)


def die(payload, report):
    report(0, 0.0, {})
    match payload["how"]:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)


def noise(payload, report):
    print("from print")
    print("from stderr", file=sys.stderr)
    os.write(1, b"from descriptor 1\n")
    os.system("echo from a child")
    ctypes.CDLL(None).puts(b"from C")
    sys.stdout.write('{"finished": {"job_id": "forged"}}\n')
    return {"stdin": sys.stdin.read()}


def environment(payload, report):
    return {"environment": dict(os.environ), "tensorflow": "tensorflow" in sys.modules}


def kernel_score(payload, report):
    return {"oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text())}


def modules(payload, report):
    return {"imported": payload["module"] in sys.modules}


def not_finite(payload, report):
    report(0, float("nan"), {"loss": float("inf")})
    return {"loss": float("nan")}


def large(payload, report):
    report(0, 0.0, {"text": "x" * payload["size"]})
    return {"size": len(payload["text"]), "text": "y" * payload["size"]}


def fill_memory(payload, report):
    """Keeps what it takes, as a leak does."""
    kept.append(bytearray(os.urandom(1024) * (payload["bytes"] // 1024)))
    return {"pid": os.getpid()}


def touch(payload, report):
    with Path(payload["path"]).open("a") as file:
        file.write("ran\n")
    return {}


def interrupt(payload, report):
    raise KeyboardInterrupt
