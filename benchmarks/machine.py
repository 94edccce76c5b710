"""On what a benchmark ran: a small record for result files, and the same as one line for tables."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("autotl", "keras", "tensorflow", "jax", "torch", "keras-tuner", "optuna", "numpy")


def machine_record() -> dict[str, Any]:
    """Processor, usable cores, memory, load and versions; nothing in it names the machine or a path.

    `load` is the load average of the last minute as the benchmark begins, for judging its times: about 0 on an idle
    machine, 1 for every core that other work keeps busy.
    """
    return {
        "processor": _processor(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.system(),
        "python": platform.python_version(),
        "keras_backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "versions": _versions(PACKAGES),
    }


def describe_machine(record: dict[str, Any]) -> str:
    """One line of Markdown that says on what, with which versions, and under which load."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{record['cores']} cores ({record['processor']}), {record['memory_gib']:g} GiB, load {record['load']:.1f} "
        f"before the start; Python {record['python']}, backend {record['keras_backend']}, {versions}."
    )


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, without a newline at its end."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
