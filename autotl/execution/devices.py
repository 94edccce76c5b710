"""Which slots this machine offers, found without importing a framework, and the environment that makes each of them.

A driver must never initialise CUDA: `nvidia-smi` answers instead.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotl.errors import UsageError
from autotl.execution.backend import configured_backend

QUERY_TIMEOUT_SECONDS = 15.0
NO_DEVICE = "-1"
# What a process takes of a GPU outside of its framework's allocator, for CUDA's context, kernels and libraries: 300 MB
# and more (pytorch#107667). Two caps of a half would not fit side by side.
RUNTIME_BYTES = 2**30
SMALLEST_PART_BYTES = 2**30
MEMORY_LIMIT = "AUTOTL_GPU_MEMORY_BYTES"
"""In a worker's environment: what its framework may allocate on a GPU that it shares (`autotl.learn.memory_cap`)."""
# Settings of a person's own that would lift the cap; the first one is an error beside its new name (jaxlib 0.6).
AGAINST_A_CAP = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_ALLOCATOR", "TF_GPU_ALLOCATOR")


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
        memory_bytes: of the GPU that its jobs may fill; None for a CPU slot or when unknown.
        device_name: the model of the GPU, or "".
        memory_share: `memory_bytes` as a part of the GPU's memory; below 1 it is a hard cap.
    """

    id: str
    device: str
    threads: int
    visible_devices: str = NO_DEVICE
    memory_bytes: int | None = None
    device_name: str = ""
    memory_share: float = 1.0


def plan_slots(jobs: int | None, gpus: str = "all", share: float = 1.0) -> list[SlotPlan]:
    """A slot for each chosen GPU or each share of one, or CPU slots that share the cores when there is no GPU.

    Larger GPUs come first, and no GPU gets a second slot before each has its first.

    Args:
        jobs: how many trials at a time: caps the GPU slots; the number of CPU slots, 1 when None.
        gpus: "all", "none", or positions such as "0,1" within the GPUs this process may see.
        share: of a GPU that a slot gets: as many slots on each as fit, two for 0.5, three for 0.3.

    Raises:
        UsageError: when `jobs` is below 1, `gpus` names a GPU that is not there, or a share is none or too small.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"At least one job must run at a time: {jobs} was given. Give --jobs 1 or more.")
    if not 0.0 < share <= 1.0:
        raise UsageError(f"A job's share of a GPU is above 0 and at most 1, not {share:g}. Give --gpu-share 0.5, say.")
    chosen = _choose(gpus)
    if chosen:
        return _gpu_slots(chosen, jobs, share)
    count = 1 if jobs is None else jobs
    return [SlotPlan(f"cpu-{index}", "cpu", max(1, core_count() // count)) for index in range(count)]


def gpu_slot(slot_id: str, device: str, threads: int, gpu: Gpu, share: float) -> SlotPlan:
    """A slot on a GPU or on a part of one; raises as `share_bytes` does."""
    memory_bytes = share_bytes(gpu, share)
    memory_share = 1.0 if memory_bytes is None else memory_bytes / _known_bytes(gpu)
    return SlotPlan(slot_id, device, threads, gpu.visible_as, memory_bytes, gpu.name, memory_share)


def share_bytes(gpu: Gpu, share: float) -> int | None:
    """What a slot's jobs may fill of a GPU; of a part of one, less than the part, so that all parts fit side by side.

    Raises:
        UsageError: when a part is asked for of a GPU whose memory is unknown or too small for it.
    """
    if share == 1.0:
        return gpu.memory_bytes
    name = f"{gpu.visible_as} {gpu.name}".strip()
    if gpu.memory_bytes is None:
        raise UsageError(
            f"A GPU is shared by memory, and nvidia-smi does not say how much {name} has: --gpu-share {share:g} was "
            "given. Leave it out with --gpus, or give --gpu-share 1."
        )
    part_bytes = int(share * gpu.memory_bytes) - RUNTIME_BYTES
    if part_bytes < SMALLEST_PART_BYTES:
        raise UsageError(
            f"A share of a GPU has room for CUDA itself ({RUNTIME_BYTES / 2**30:.0f} GiB) and at least "
            f"{SMALLEST_PART_BYTES / 2**30:.0f} GiB for a job: --gpu-share {share:g} was given, and {name} has "
            f"{gpu.memory_bytes / 2**30:.1f} GiB. Give a larger share, or choose other cards with --gpus."
        )
    return part_bytes


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

    A slot on a share of a GPU allocates its part at once and nothing beyond: that is how JAX is capped
    (https://docs.jax.dev/en/latest/gpu_memory_allocation.html); TensorFlow and PyTorch read no such variable, and
    `autotl.learn.memory_cap` tells them. TensorFlow allows no growth beside a cap.

    Args:
        plan: the slot.
        inherited: the driver's environment; what it says of the backend, logging and hashing is kept.
        extra: wins over everything.
    """
    threads = str(plan.threads)
    kept = {name: value for name, value in inherited.items() if name != MEMORY_LIMIT}
    defaults = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "PYTHONHASHSEED": "0",
        "KERAS_BACKEND": configured_backend(inherited),
    }
    fixed = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": plan.visible_devices,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
    }
    if plan.memory_share < 1.0:
        kept = {name: value for name, value in kept.items() if name not in AGAINST_A_CAP}
        fixed[MEMORY_LIMIT] = str(plan.memory_bytes)
        fixed["TF_FORCE_GPU_ALLOW_GROWTH"] = "false"
        fixed["XLA_CLIENT_MEM_FRACTION"] = f"{plan.memory_share:.4f}"
        fixed["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
    return {**defaults, **kept, **fixed, **extra}


def _gpu_slots(chosen: Sequence[tuple[int, Gpu]], jobs: int | None, share: float) -> list[SlotPlan]:
    parts = int(1.0 / share + 1e-9)  # 1 / (1 / 93) is a little less than 93
    largest_first = sorted(chosen, key=lambda numbered: -_known_bytes(numbered[1]))
    places = [(part, index, gpu) for part in range(parts) for index, gpu in largest_first][:jobs]
    threads = max(1, core_count() // len(places))
    return [
        gpu_slot(f"gpu-{index}" if parts == 1 else f"gpu-{index}.{part}", f"gpu:{index}", threads, gpu, share)
        for part, index, gpu in places
    ]


def _known_bytes(gpu: Gpu) -> int:
    return 0 if gpu.memory_bytes is None else gpu.memory_bytes


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
