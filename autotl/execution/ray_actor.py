"""The far end of a slot on a cluster: an actor that holds the same supervisor as the local executor, and its worker.

It imports no Ray: it is a plain class, which Ray names by its module, so that a node needs autotl installed and no code
travels. Only bytes with JSON go in and out.
"""

import os
import platform
import selectors
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from autotl.errors import AutotlError, UsageError
from autotl.execution.devices import NO_DEVICE, Gpu, SlotPlan, share_bytes, visible_gpus
from autotl.execution.protocol import Event, Failed, Finished, Job, Report, Started, decode, encode
from autotl.execution.slot import Slot

MUST_AGREE = ("python", "autotl", "keras", "ray")


@dataclass(frozen=True)
class Sight:
    """The answer to the command `look`: those of its paths that cannot be seen from the node."""

    missing: list[str]


News = Event | Sight
NEWS = {kind.__name__: kind for kind in (Started, Report, Finished, Failed, Sight)}


class SlotActor:
    """One slot on a node. Its methods are called from several threads of the actor; a lock is held but for waiting.

    Calls and answers may get lost with a connection. So what goes either way is counted: the driver repeats its
    commands until it knows that they have arrived, the actor its events until it knows that they have.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slot: Slot | None = None
        self._commands = 0  # that were carried out
        self._events: list[News] = []  # that the driver may not have
        self._delivered = 0  # events before those
        self._newest = 0  # call
        self._alarm: int | None = None  # a pipe's end; closing it ends the waiting of that call

    def greet(self, message: bytes) -> bytes:
        """Make the slot, which starts nothing yet, and say who is there.

        Args:
            message: `id`, `threads` and `gpu_share` of the slot, and `environment`, what its workers' is to have from
                the driver's.

        Returns:
            `versions`, and of `device` the fields of `SlotInfo`; or `error`, why there can be no slot here.
        """
        wish = decode(message)
        os.environ.update(wish["environment"])
        try:
            plan = plan_slot(wish["id"], wish["threads"], wish["gpu_share"])
        except UsageError as error:
            return encode({"error": str(error)})
        with self._lock:
            self._slot = Slot(plan)
        device = {"device": plan.device, "memory_bytes": plan.memory_bytes, "device_name": plan.device_name}
        return encode({"versions": versions(), "device": device})

    def exchange(self, message: bytes) -> bytes:
        """Carry out commands, or wait for news where there are none; the next call ends the waiting of the one before.

        Args:
            message: `number` of the call; `commands`, of which the first has the number `first`; `delivered`, how many
                events the driver has dealt with; `waits`, whether to answer only when there are events.

        Returns:
            `commands`, how many were carried out in all; `events`, of which the first has the number `first`; `pid` of
            the worker; or `error`, when no worker can be brought up.
        """
        request = decode(message)
        number, waits = request["number"], request["waits"] and not request["commands"]
        bell, alarm = os.pipe()
        try:
            with self._lock:
                self._begin(number, alarm)
                self._obey(request)
            while True:
                with self._lock:
                    self._events += self._held().collect()
                    if self._events or number != self._newest or not waits:
                        return self._answer()
                    watched, kill_at = self._held().watched(), self._held().kill_at()
                _wait([(bell, selectors.EVENT_READ), *watched], kill_at)
        except AutotlError as error:
            return encode({"error": str(error)})
        finally:
            with self._lock:
                self._end(number)
            os.close(bell)

    def _held(self) -> Slot:
        assert self._slot is not None, "greet comes first"
        return self._slot

    def _begin(self, number: int, alarm: int) -> None:
        """Let this call be the one that waits, and end the waiting of the one before; a late call waits for nothing."""
        if number < self._newest:
            os.close(alarm)
            return
        self._end(self._newest)
        self._newest, self._alarm = number, alarm

    def _end(self, number: int) -> None:
        """The call waits no more."""
        if number == self._newest and self._alarm is not None:
            os.close(self._alarm)
            self._alarm = None

    def _obey(self, request: Mapping[str, Any]) -> None:
        """What is new of the commands. A stop must reach the worker before it hears that its report was seen."""
        for command in request["commands"][self._commands - request["first"] :]:
            self._events += _carry_out(command, self._held())
            self._commands += 1
        del self._events[: max(0, request["delivered"] - self._delivered)]
        self._delivered = max(self._delivered, request["delivered"])
        if not self._events:
            self._held().acknowledge()

    def _answer(self) -> bytes:
        events = [[type(event).__name__, asdict(event)] for event in self._events]
        pid = self._held().info().pid
        return encode({"commands": self._commands, "first": self._delivered, "events": events, "pid": pid})


def plan_slot(slot_id: str, threads: int, gpu_share: float) -> SlotPlan:
    """The slot that this process was given by Ray, which has put the GPU into CUDA_VISIBLE_DEVICES.

    Raises:
        UsageError: when a share of a GPU was asked for whose memory is unknown or too small.
    """
    if gpu_share == 0.0:
        return SlotPlan(slot_id, "cpu", threads, NO_DEVICE)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", NO_DEVICE)
    gpu = next(iter(visible_gpus()), Gpu(visible, "", None))
    memory_bytes = share_bytes(gpu, gpu_share)
    memory_share = 1.0 if memory_bytes is None or gpu.memory_bytes is None else memory_bytes / gpu.memory_bytes
    return SlotPlan(slot_id, f"gpu:{visible}", threads, visible, memory_bytes, gpu.name, memory_share)


def versions() -> dict[str, str]:
    """What the driver and all nodes must have alike, as it is here."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **{name: metadata.version(name) for name in MUST_AGREE if name != "python"}}


def read_news(packed: tuple[str, dict[str, Any]]) -> News:
    """An event as it came in an answer of `exchange`."""
    name, fields = packed
    return NEWS[name](**fields)


def _carry_out(command: Mapping[str, Any], slot: Slot) -> Sequence[News]:
    match command:
        case {"job": fields}:
            slot.submit(Job(**fields))
        case {"stop": [job_id, grace_seconds]}:
            slot.stop(job_id, grace_seconds)
        case {"import": module}:
            slot.warm(module)
        case {"look": paths}:
            return [Sight([path for path in paths if not Path(path).exists()])]
        case {"retire": _}:
            return slot.retire()
        case {"close": _}:
            return slot.close()
    return []


def _wait(watched: list[tuple[int, int]], until: float | None) -> None:
    """Wait for any of the descriptors, at most to that `time.monotonic()`."""
    # Of a descriptor that was closed meanwhile, poll only says so; epoll would raise.
    with selectors.PollSelector() as selector:
        for descriptor, mask in watched:
            selector.register(descriptor, mask)
        selector.select(None if until is None else max(0.0, until - time.monotonic()))
