"""What the driver of a search and its workers on other machines say to each other on the board.

The worker's letter holds events. The driver's letter holds commands: `{"job": {...}, "slot": id, "sees": [path]}`,
`{"stop": [job_id, grace_seconds]}`, `{"import": module}`. Both are kept in the worker's own place.
"""

import os
import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from autotl.execution.backend import configured_backend
from autotl.execution.protocol import Event, Failed, Finished, Job, Report, SlotInfo, Started

FROM_DRIVER = "from_driver"
FROM_WORKER = "from_worker"
IS_LEAVING = "is_leaving"
DRIVER = "driver"
WORKER = "worker"
MUST_AGREE = ("autotl", "keras", "optuna")
LANDMARKS = ("dataset", "manifest")  # of a payload: what every machine must see under the same path

EVENTS = {kind.__name__: kind for kind in (Started, Report, Finished, Failed)}


def driver_hello() -> dict[str, Any]:
    """How a driver introduces itself."""
    where = {"host": socket.gethostname(), "place": _place(), "pid": os.getpid()}
    return {"role": DRIVER, **where, "versions": versions()}


def worker_hello(driver_id: int, slots: Sequence[SlotInfo]) -> dict[str, Any]:
    """How a worker introduces itself to the driver that it works for."""
    return {
        "role": WORKER,
        "serves": driver_id,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "slots": [asdict(slot) for slot in slots],
    }


def versions() -> dict[str, str]:
    """What the driver and all workers must have alike, as it is here."""
    python = ".".join(platform.python_version_tuple()[:2])
    backend = configured_backend(os.environ)
    return {"python": python, "backend": backend, **{name: metadata.version(name) for name in MUST_AGREE}}


def _place() -> str:
    """What process ids mean the same in: one boot of one machine, and a container of its own there; "" if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def pack(event: Event) -> list[Any]:
    """An event as JSON."""
    return [type(event).__name__, asdict(event)]


def unpack(packed: Sequence[Any]) -> Event:
    """The event that was packed."""
    name, fields = packed
    return EVENTS[name](**fields)


def landmarks(job: Job) -> list[str]:
    """The files and folders that a job reads and that are here."""
    found = [str(job.payload[name]) for name in LANDMARKS if name in job.payload]
    return [path for path in found if Path(path).exists()]


def unseen(paths: Sequence[str]) -> list[str]:
    """Those that are not to be seen from this machine."""
    return [path for path in paths if not Path(path).exists()]


def with_cache(payload: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    """A payload whose stores lie in another folder; None leaves them where the driver has them."""
    if root is None or "cache" not in payload:
        return dict(payload)
    return {**payload, "cache": {**payload["cache"], "root": str(root)}}
