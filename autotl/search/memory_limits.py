"""What training was found to fit into which memory, so that no later trial has to find it out again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autotl.execution.protocol import Job, SlotInfo

TRAINED = ("finetune",)  # recipes that can take a step in parts
BATCH_SIZE = 32  # of these, where nobody says
SMALLEST_MICRO_BATCH = 8
EVENT = "memory_limit"


@dataclass
class MemoryLimits:
    """How many images at a time fit, by device, backbone and image size, and there by freeze depth.

    What did not fit at one freeze depth does not fit where more is trained: a limit holds for smaller depths too.
    """

    known: dict[tuple[str, str, int], dict[float, int]] = field(default_factory=dict)

    def micro_batch(self, job: Job, place: SlotInfo) -> int | None:
        """How many images at a time a job should take on a slot; None where nothing speaks against its whole batch."""
        batch = batch_of(job)
        if batch is None:
            return None
        limits = self.known.get(_key(job.payload["config"], device_of(place)), {})
        depth = _freeze_depth(job.payload["config"])
        limit = min((count for other, count in limits.items() if other >= depth), default=batch)
        return limit if limit < batch else None

    def lower(self, job: Job, place: SlotInfo, micro_batch: int) -> dict[str, Any]:
        """Remember that no more than `micro_batch` images at a time fit; answers it as the fields of an `EVENT`."""
        config, device = job.payload["config"], device_of(place)
        backbone, image_size, depth = config["backbone"], config["image_size"], _freeze_depth(config)
        limit = {"device": device, "backbone": backbone, "image_size": image_size, "freeze_depth": depth}
        self.learn({**limit, "micro_batch": micro_batch})
        return {**limit, "micro_batch": micro_batch}

    def learn(self, event: Mapping[str, Any]) -> None:
        """Take in a limit, as `lower` answered it."""
        limits = self.known.setdefault(_key(event, event["device"]), {})
        depth = float(event["freeze_depth"])
        limits[depth] = min(int(event["micro_batch"]), limits.get(depth, int(event["micro_batch"])))

    def recall(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in the limits of an event log."""
        for event in events:
            if event["kind"] == EVENT:
                self.learn(event)


def read_limits(events: Iterable[Mapping[str, Any]]) -> MemoryLimits:
    """What earlier drivers of a run found out, from its event log."""
    limits = MemoryLimits()
    limits.recall(events)
    return limits


def batch_of(job: Job) -> int | None:
    """How many images at a time a job takes of its own accord; None where fewer of them would be no help."""
    config = job.payload.get("config", {})
    if config.get("recipe") not in TRAINED:
        return None
    batch = int(config.get("batch_size", BATCH_SIZE))
    return min(batch, int(job.payload.get("micro_batch", batch)))


def smaller(batch: int | None) -> int | None:
    """The next smaller micro-batch; None where there is none."""
    if batch is None or batch <= SMALLEST_MICRO_BATCH:
        return None
    return max(SMALLEST_MICRO_BATCH, batch // 2)


def device_of(place: SlotInfo) -> str:
    """The device of a slot by what matters here: its model and how much of its memory the slot has."""
    return "cpu" if place.device == "cpu" else f"{place.device_name}, {place.memory_bytes} bytes"


def _key(fields: Mapping[str, Any], device: str) -> tuple[str, str, int]:
    return device, str(fields["backbone"]), int(fields["image_size"])


def _freeze_depth(config: Mapping[str, Any]) -> float:
    return 0.0 if config["recipe"] == "scratch" else float(config.get("freeze_depth", 1.0))
