"""Which slot suits a job: one whose process has met what the job needs (stores, traced graphs), or whose machine has.

What nobody has met yet is best left to one job; others that need it too would only wait for that one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotl.execution.protocol import Job, SlotInfo

STAGES = 5  # of most networks: freeze depths that are nearest to the same fifth most likely come to the same cut


def needs_of(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """What a job must have before it gets to its own work: passes of the frozen network, and a traced graph.

    Args:
        payload: of the job; one without a backbone needs nothing.
    """
    config = payload.get("config", {})
    if "backbone" not in config:
        return ()
    network = "/".join(str(config.get(name)) for name in ("backbone", "weights", "image_size", "resize"))
    needs = [f"pass {network}, {payload.get('images')} images"]
    if config.get("recipe") != "finetune":
        return tuple(needs)
    cut = round(STAGES * float(config.get("freeze_depth", 1.0)))
    head = "/".join(str(config.get(name)) for name in ("head", "width", "depth", "pooling", "taps"))
    return *needs, f"cut {cut} of {network}, {config.get('augmentation')}", f"graph from {cut} of {network} to {head}"


@dataclass
class Affinity:
    """What was met where, by the names in `Job.needs`.

    Attributes:
        processes: by slot, the last process there that met something, and what it has met.
        nodes: by machine, what its processes have met, those that have ended too.
        making: what is being met for the first time, and by which job.
    """

    processes: dict[str, tuple[int, set[str]]] = field(default_factory=dict)
    nodes: dict[str, set[str]] = field(default_factory=dict)
    making: dict[str, str] = field(default_factory=dict)

    def begin(self, job: Job) -> None:
        """The job is on its way to a slot."""
        for need in job.needs:
            if not any(need in met for met in self.nodes.values()):
                self.making.setdefault(need, job.id)

    def meet(self, job: Job, place: SlotInfo, pid: int) -> None:
        """The job has got as far as to have met all it needs."""
        known_pid, met = self.processes.get(place.id, (pid, set()))
        self.processes[place.id] = (pid, {*job.needs} if known_pid != pid else met | {*job.needs})
        self.nodes.setdefault(place.node, set()).update(job.needs)
        self.end(job)

    def end(self, job: Job) -> None:
        """The job makes nothing any more."""
        for need in job.needs:
            if self.making.get(need) == job.id:
                del self.making[need]

    def is_made_elsewhere(self, job: Job) -> bool:
        """Whether another job is just meeting, for the first time, what this one needs."""
        return any(self.making.get(need, job.id) != job.id for need in job.needs)

    def best(self, job: Job, slots: Sequence[SlotInfo]) -> str:
        """The slot where most of a job's needs were met, the first one of equals."""

        def met(place: SlotInfo) -> tuple[int, int]:
            pid, names = self.processes.get(place.id, (None, set()))
            own = sum(need in names for need in job.needs) if pid == place.pid else 0
            return own, sum(need in self.nodes.get(place.node, ()) for need in job.needs)

        return max(slots, key=met).id
