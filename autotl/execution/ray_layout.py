"""Where on a cluster slots can be: worked out from what its nodes have, before anything is asked of Ray."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotl.execution.executors import Slots


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is alive.

    Attributes:
        id: Ray's, of its own for every start.
        name: its host's name, with a number where two have the same.
        is_here: whether the driver runs on it.
        cpus: that Ray may give away.
        gpus: that Ray may give away.
    """

    id: str
    name: str
    is_here: bool
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Place:
    """Room for a slot.

    Attributes:
        id: of the slot.
        node: where it is.
        threads: CPU threads for its jobs.
        cpus: that it takes; less than one where slots are more than CPUs.
        gpu_share: of one GPU that it takes; 0 for a CPU slot.
    """

    id: str
    node: Node
    threads: int
    cpus: float
    gpu_share: float


@dataclass(frozen=True)
class Layout:
    """How slots are laid over nodes, fixed when the search begins.

    Attributes:
        gpu_share: of a GPU that a slot gets; 0 where slots are of CPUs.
        cpu_slots: on each node, where slots are of CPUs.
        most: slots in all; None for no limit.
    """

    gpu_share: float
    cpu_slots: int
    most: int | None


def lay_out(nodes: Sequence[Node], wanted: Slots) -> Layout:
    """Slots of GPUs where the cluster has any and they are not unwanted, else CPU slots spread over its nodes."""
    if wanted.gpus != "none" and any(node.gpus for node in nodes):
        return Layout(wanted.gpu_share, 0, wanted.jobs)
    workers = max(1, sum(node.cpus > 0 for node in nodes))
    return Layout(0.0, 1 if wanted.jobs is None else math.ceil(wanted.jobs / workers), wanted.jobs)


def places(nodes: Sequence[Node], layout: Layout) -> list[Place]:
    """All room for slots, the first place of each node before the second of any."""
    rounds = itertools.zip_longest(*(_places_on(node, layout) for node in nodes))
    return [place for one_of_each in rounds for place in one_of_each if place is not None]


def _places_on(node: Node, layout: Layout) -> list[Place]:
    if layout.gpu_share > 0.0:
        kind, count = "gpu", node.gpus * int(1.0 / layout.gpu_share + 1e-9)
    else:
        kind, count = "cpu", layout.cpu_slots if node.cpus > 0 else 0
    if count == 0:
        return []
    threads = max(1, node.cpus // count)
    cpus = threads if node.cpus >= count else node.cpus * 1000 // count / 1000  # Ray counts in ten thousandths
    return [Place(f"{node.name}-{kind}-{index}", node, threads, cpus, layout.gpu_share) for index in range(count)]
