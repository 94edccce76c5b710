"""The kernel's out-of-memory killer: whom it takes first, and whether it has been here. Linux; elsewhere nothing."""

import contextlib
from pathlib import Path

SYSTEM = Path("/")
WORKER_PENALTY = 500  # of the thousandths of memory by which the kernel picks its victim
MOST_PENALTY = 1000


def volunteer() -> None:
    """Have the kernel take this process, and what it starts, ahead of the driver, which holds the search."""
    path = SYSTEM / "proc/self/oom_score_adj"
    with contextlib.suppress(OSError, ValueError):
        path.write_text(str(min(MOST_PENALTY, int(path.read_text()) + WORKER_PENALTY)))


def count_kills(system: Path = SYSTEM) -> int:
    """How many processes the kernel has killed for memory, in this process's control group, which its workers share.

    The count of the whole machine is asked only where the group has none: in it are the victims of other containers.

    Args:
        system: the root of the file system.
    """
    for counter in (*_group_counters(system), system / "proc/vmstat"):
        for line in _lines(counter):
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _group_counters(system: Path) -> list[Path]:
    """Where a group's count may stand, of both versions of control groups."""
    counters = []
    for line in _lines(system / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if not controllers:
            counters.append(system / "sys/fs/cgroup" / group.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            counters.append(system / "sys/fs/cgroup/memory" / group.lstrip("/") / "memory.oom_control")
    return counters


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
