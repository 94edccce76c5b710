"""How much of their GPUs the jobs use, seen from outside: `nvidia-smi` is asked now and then, and never waited for."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

INTERVAL_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
FORMAT = "--format=csv,noheader,nounits"
GPU_QUESTION = "--query-gpu=uuid,memory.used,utilization.gpu"
PROCESS_QUESTION = "--query-compute-apps=pid,used_memory"


@dataclass
class Seen:
    """What was seen of one slot since it was last taken."""

    memory_bytes: list[int] = field(default_factory=list)
    utilisation: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """Two questions that are on their way. Their answers fit into a pipe, so nobody need read before they have ended.

    Attributes:
        slots: which ones are meant, with their GPU as CUDA_VISIBLE_DEVICES says it and their process.
        asked_at: on the meter's clock.
        questions: about the GPUs, and about the processes on them.
    """

    slots: dict[str, tuple[str, int]]
    asked_at: float
    questions: tuple[subprocess.Popen[str], subprocess.Popen[str]]


class GpuMeter:
    """Peak memory and mean utilisation of the slots that have a GPU and a job. Starts nothing where there are none."""

    def __init__(self, interval_seconds: float = INTERVAL_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        interval_seconds: between two samples, each of which costs some tenths of a second of a core.
        clock: gives seconds.
        """
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._due: float | None = None
        self._sample: Sample | None = None
        self._seen: dict[str, Seen] = {}

    def poll(self, pids: Mapping[str, int]) -> None:
        """Read a sample that is ready, and begin the next one when it is due. Never waits.

        Args:
            pids: the process of each slot on this machine that has a job.
        """
        now = self._clock()
        if self._sample is not None:
            self._read(self._sample, now)
        if self._sample is None and (self._due is None or now >= self._due):
            self._due = now + self._interval_seconds
            self._sample = _begin(pids, now)

    def take(self, slot: str) -> dict[str, float]:
        """What was seen of a slot since it was last taken: of one job, when it is taken at the end of each.

        Returns:
            `gpu_memory_bytes`, the most that its process held; where `nvidia-smi` cannot tell processes apart, as in a
            container, all that was held of its GPU, if it is the only slot on it. `gpu_utilisation`, the mean part of
            the time (0 to 1) in which its GPU was busy, with whatever runs there. What is not known is left out.
        """
        if self._sample is not None:
            self._sample.slots.pop(slot, None)  # it was asked about the job that has ended now
        seen = self._seen.pop(slot, Seen())
        found = {}
        if seen.memory_bytes:
            found["gpu_memory_bytes"] = float(max(seen.memory_bytes))
        if seen.utilisation:
            found["gpu_utilisation"] = sum(seen.utilisation) / len(seen.utilisation)
        return found

    def _read(self, sample: Sample, now: float) -> None:
        if any(question.poll() is None for question in sample.questions):
            if now - sample.asked_at > PATIENCE_SECONDS:  # A driver in trouble; a later question may fare better.
                for question in sample.questions:
                    question.kill()
            return
        self._sample = None
        gpu_rows, process_rows = (_rows(question) for question in sample.questions)
        held = {pid: _bytes(memory) for pid, memory in (row for row in process_rows if len(row) == 2)}
        states = [row for row in gpu_rows if len(row) == 3]
        shared = [gpu for gpu, _ in sample.slots.values()]
        for slot, (gpu, pid) in sample.slots.items():
            state = _state_of(gpu, states)
            if state is None:
                continue
            _, memory, utilisation = state
            seen = self._seen.setdefault(slot, Seen())
            memory_bytes = held.get(str(pid))
            if memory_bytes is None and shared.count(gpu) == 1:
                memory_bytes = _bytes(memory)
            if memory_bytes is not None:
                seen.memory_bytes.append(memory_bytes)
            if utilisation.isdecimal():
                seen.utilisation.append(int(utilisation) / 100)


def _begin(pids: Mapping[str, int], now: float) -> Sample | None:
    """Ask, if one of the processes has a GPU and there is somebody to ask."""
    slots = {slot: (gpu, pid) for slot, pid in pids.items() if (gpu := _gpu_of(pid)) is not None}
    program = shutil.which("nvidia-smi") if slots else None
    if program is None:
        return None
    return Sample(slots, now, (_ask(program, GPU_QUESTION), _ask(program, PROCESS_QUESTION)))


def _gpu_of(pid: int) -> str | None:
    """The GPU of a worker, as its environment said when it started; None without one."""
    import psutil

    try:
        gpu = str(psutil.Process(pid).environ().get("CUDA_VISIBLE_DEVICES", "")).strip()
    except (psutil.Error, OSError):
        return None
    return gpu if gpu and not gpu.startswith("-") else None


def _ask(program: str, question: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [program, question, FORMAT],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is not meant for it.
    )


def _rows(question: subprocess.Popen[str]) -> list[list[str]]:
    """The answer, in cells; none of a question that failed."""
    text, _ = question.communicate()
    if question.returncode != 0:
        return []
    return [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]


def _state_of(gpu: str, states: list[list[str]]) -> list[str] | None:
    """The row of a GPU: by its UUID, or by its position, which is what Ray gives."""
    if gpu.isdecimal():
        return states[int(gpu)] if int(gpu) < len(states) else None
    return next((state for state in states if state[0] == gpu), None)


def _bytes(mebibytes: str) -> int | None:
    return int(mebibytes) * 2**20 if mebibytes.isdecimal() else None
