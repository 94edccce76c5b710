"""Which slots this machine offers, found without importing a framework, and the environment that makes each of them.

A driver must never initialise CUDA: `nvidia-smi` answers instead.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from autotl.errors import UsageError

QUERY_TIMEOUT_SECONDS = 15.0
NO_DEVICE = "-1"


@dataclass(frozen=True)
class Gpu:
    """A GPU this process may use.

    Attributes:
        visible_as: the entry of CUDA_VISIBLE_DEVICES that selects it: a UUID, which no ordering can confuse.
        name: the model; "" when unknown.
        memory_bytes: all of its memory; None when unknown.
    """

    visible_as: str
    name: str
    memory_bytes: int | None


@dataclass(frozen=True)
class SlotPlan:
    """A slot to be made.

    Attributes:
        id: its name, unique in one executor.
        device: "cpu" or "gpu:0", counted within the GPUs this process may see.
        threads: CPU threads for its jobs.
        visible_devices: CUDA_VISIBLE_DEVICES of its process.
        memory_bytes: of the GPU; None for a CPU slot or when unknown.
        device_name: the model of the GPU, or "".
    """

    id: str
    device: str
    threads: int
    visible_devices: str = NO_DEVICE
    memory_bytes: int | None = None
    device_name: str = ""


def plan_slots(jobs: int | None, gpus: str = "all") -> list[SlotPlan]:
    """One slot per chosen GPU, or CPU slots that share the cores when there is none.

    Args:
        jobs: how many trials at a time: caps the GPU slots; the number of CPU slots, 1 when None.
        gpus: "all", "none", or positions such as "0,1" within the GPUs this process may see.

    Raises:
        UsageError: when `jobs` is below 1, or `gpus` names a GPU that is not there.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"At least one job must run at a time: {jobs} was given. Give --jobs 1 or more.")
    chosen = _choose(gpus)
    if chosen:
        chosen = chosen[:jobs]
        threads = max(1, core_count() // len(chosen))
        return [
            SlotPlan(f"gpu-{index}", f"gpu:{index}", threads, gpu.visible_as, gpu.memory_bytes, gpu.name)
            for index, gpu in chosen
        ]
    count = 1 if jobs is None else jobs
    return [SlotPlan(f"cpu-{index}", "cpu", max(1, core_count() // count)) for index in range(count)]


def core_count() -> int:
    """The CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    cores = os.cpu_count()
    return 1 if cores is None else cores


def visible_gpus() -> list[Gpu]:
    """The GPUs that the user's own CUDA_VISIBLE_DEVICES, if any, lets this process see, in its order."""
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    if mask is not None and not mask.strip():
        return []
    installed = query_gpus()
    if mask is None:
        return installed
    visible: list[Gpu] = []
    for entry in (part.strip() for part in mask.split(",")):
        gpu = _selected_by(entry, installed)
        if gpu is None:  # CUDA, too, ignores what follows the first entry it cannot use.
            break
        visible.append(gpu)
    return visible


def query_gpus() -> list[Gpu]:
    """All GPUs `nvidia-smi` knows, in PCI order; none when there is no working one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=uuid,memory.total,name", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = []
    for line in answer.stdout.splitlines():
        uuid, _, rest = line.partition(",")
        mebibytes, _, name = rest.partition(",")
        if uuid.strip().startswith("GPU-"):
            memory = mebibytes.strip()
            gpus.append(Gpu(uuid.strip(), name.strip(), int(memory) * 2**20 if memory.isdigit() else None))
    return gpus


def worker_environment(plan: SlotPlan, inherited: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a slot's process starts: devices and threads are fixed before any import.

    Args:
        plan: the slot.
        inherited: the driver's environment; what it says of the backend, logging and hashing is kept.
        extra: wins over everything.
    """
    threads = str(plan.threads)
    defaults = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true", "PYTHONHASHSEED": "0"}
    fixed = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": plan.visible_devices,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
    }
    return {**defaults, **inherited, **fixed, **extra}


def _choose(gpus: str) -> list[tuple[int, Gpu]]:
    """The GPUs that `--gpus` asks for, with their positions."""
    wish = gpus.strip().lower()
    if wish == "none":
        return []
    if wish != "all" and not all(part.strip().isdecimal() for part in wish.split(",")):
        raise UsageError(f'GPUs are chosen by "all", "none" or positions such as "0,1": {gpus!r} was given.')
    visible = visible_gpus()
    if wish == "all":
        return list(enumerate(visible))
    positions = list(dict.fromkeys(int(part) for part in wish.split(",")))
    missing = [position for position in positions if position >= len(visible)]
    if missing:
        raise UsageError(
            f"A chosen GPU must be visible: --gpus {gpus} was given, and {len(visible)} GPU(s) are visible "
            f"(nvidia-smi, CUDA_VISIBLE_DEVICES). Choose among them, or give --gpus none for the CPU."
        )
    return [(position, visible[position]) for position in positions]


def _selected_by(entry: str, installed: list[Gpu]) -> Gpu | None:
    """The GPU that one entry of CUDA_VISIBLE_DEVICES selects: a position, or the start of a UUID."""
    if entry.isdecimal():
        return installed[int(entry)] if int(entry) < len(installed) else None
    if entry.startswith("MIG-"):  # A part of a GPU, which the query does not list.
        return Gpu(entry, "", None)
    matches = [gpu for gpu in installed if entry.startswith("GPU-") and gpu.visible_as.startswith(entry)]
    return matches[0] if len(matches) == 1 else None
