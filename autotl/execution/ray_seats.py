"""All slots of a cluster: made where a node has room, listened to, and lost with their actor or node."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotl.errors import AutotlError, UsageError
from autotl.execution.cluster import Cluster
from autotl.execution.protocol import Event, Failed, Terminal, decode
from autotl.execution.ray_actor import Sight, read_news, versions
from autotl.execution.ray_layout import Layout, Place, places
from autotl.execution.ray_seat import Line, Seat

logger = logging.getLogger(__name__)
# Settings of the driver's that its workers on other machines need too; what is not of the machine itself.
SHARED_SETTINGS = ("AUTOTL_", "JAX_", "KERAS_", "PYTHONHASHSEED", "TF_", "XLA_")
MOST_FAILED_STARTS = 3


@dataclass(frozen=True)
class Patience:
    """How long things may take.

    Attributes:
        start_seconds: for the first slot to come up; what Ray has not placed by then makes way for others.
        settle_seconds: for the other slots after the first; those that come later are added.
        look_seconds: between two looks at which nodes there are.
        suspect_seconds: a broken connection, before the slot counts as lost.
        retry_seconds: between two calls on a broken connection.
    """

    start_seconds: float = 60.0
    settle_seconds: float = 15.0
    look_seconds: float = 3.0
    suspect_seconds: float = 30.0
    retry_seconds: float = 1.0


@dataclass
class Seats:
    """All of them.

    Attributes:
        cluster: that they are on.
        layout: of slots over nodes.
        patience: how long things may take.
        greetings: commands that new slots get first, by kind.
        all: by the slot's name.
        refused: places that cannot be used, and why.
        is_closing: whether no slots are made any longer, and faults of nodes no longer matter.
    """

    cluster: Cluster
    layout: Layout
    patience: Patience
    greetings: dict[str, Any] = field(default_factory=dict)
    all: dict[str, Seat] = field(default_factory=dict)
    refused: dict[Place, str] = field(default_factory=dict)
    is_closing: bool = False
    _failed_starts: dict[Place, int] = field(default_factory=dict)
    _next_look: float = 0.0
    _is_settled: bool = False

    def settle(self) -> None:
        """Wait until all slots are up, or for a while when some are.

        Raises:
            UsageError: a node cannot be used as it is, or no slot came up.
        """
        deadline = time.monotonic() + self.patience.start_seconds
        self.look_around()
        while self._is_undecided() and time.monotonic() < deadline:
            self.wait(deadline - time.monotonic())
            self.look_around()
            if self.refused:
                raise UsageError(next(iter(self.refused.values())))
            if self._open_count():
                deadline = min(deadline, time.monotonic() + self.patience.settle_seconds)
        if not self._open_count():
            raise UsageError(self._no_slot_message())
        self._is_settled = True

    def tell_all(self, kind: str, value: Any) -> None:
        """Send a command to every slot, also to those that come later."""
        self.greetings[kind] = value
        for seat in self.all.values():
            seat.line.tell({kind: value})

    def look_around(self) -> list[Event]:
        """See which nodes there are, if it is time to; lets slots go with their nodes, and makes new ones.

        Raises:
            AutotlError: the cluster is gone, or none of its nodes can be used.
        """
        now = time.monotonic()
        if self.is_closing or now < self._next_look:
            return []
        self._next_look = now + self.patience.look_seconds
        nodes = self.cluster.nodes()
        alive = {node.id for node in nodes}
        self.refused = {place: why for place, why in self.refused.items() if place.node.id in alive}
        gone = [seat for seat in self.all.values() if seat.place.node.id not in alive]
        events = [event for seat in gone for event in self._lose(seat, "its node has left the cluster")]
        for place in places(nodes, self.layout):
            if place.id not in self.all and place not in self.refused and self._has_room(now):
                self._make(place, now)
        if not self.all and self.refused:
            raise AutotlError(f"No node of the cluster can be used any longer. {next(iter(self.refused.values()))}")
        return events

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Wait once, a moment at most, for news of any slot. What earlier calls answered counts as dealt with.

        Raises:
            UsageError: a node that was there from the beginning does not see what it must.
        """
        events: list[Event] = []
        now = time.monotonic()
        for seat in list(self.all.values()):
            since = seat.line.suspect_since
            if since is not None and now - since >= self.patience.suspect_seconds:
                events += self._lose(seat, f"its actor could not be reached for {now - since:.0f} s")
            elif seat.line.must_ask(now):
                seat.line.ask()
        pause = 0.0 if events else min(timeout_seconds, self.patience.retry_seconds)
        for seat in self._ready(pause):
            if self.all.get(seat.place.id) is seat:
                events += self._hear(seat)
        return events

    def close(self, patience_seconds: float) -> list[Event]:
        """End all workers, then all actors, whatever happens meanwhile."""
        events: list[Event] = []
        deadline = time.monotonic() + patience_seconds
        try:
            for seat in self.all.values():
                seat.line.tell({"close": True})
            while any(seat.line.commands and seat.line.is_connected for seat in self.all.values()):
                if time.monotonic() >= deadline:
                    break
                events += self.wait(deadline - time.monotonic())
        finally:
            for seat in self.all.values():
                self.cluster.end_actor(seat.line.actor)
        for seat in self.all.values():
            seat.line.is_connected, seat.pid = False, None
            if seat.job is not None:
                events.append(Failed(seat.job.id, seat.job.attempt, "cancelled", "stopped by shutdown", ""))
                seat.job = None
        return events

    def _is_undecided(self) -> bool:
        return bool(self._failed_starts) or not all(seat.is_open for seat in self.all.values())

    def _open_count(self) -> int:
        return sum(seat.is_open for seat in self.all.values())

    def _has_room(self, now: float) -> bool:
        """Whether another slot is wanted. One that Ray has not placed for long does not count: others may be free."""
        oldest = now - self.patience.start_seconds
        wanted = sum(seat.is_open or seat.made_at > oldest for seat in self.all.values())
        return self.layout.most is None or wanted < self.layout.most

    def _make(self, place: Place, now: float) -> None:
        """Ask for a slot; it is open when its actor has answered."""
        environment = {name: value for name, value in os.environ.items() if name.startswith(SHARED_SETTINGS)}
        wish = {"id": place.id, "threads": place.threads, "gpu_share": place.gpu_share}
        line = Line(self.cluster.start_actor(place), greeting={**wish, "environment": environment})
        seat = self.all[place.id] = Seat(place, line, made_at=now)
        for kind, value in self.greetings.items():
            seat.line.tell({kind: value})

    def _ready(self, timeout_seconds: float) -> list[Seat]:
        """The slots that have answered."""
        waiting = {seat.line.answer: seat for seat in self.all.values() if seat.line.answer is not None}
        if not waiting:
            time.sleep(timeout_seconds)
            return []
        ray, answers = self.cluster.ray, list(waiting)
        ready, _ = ray.wait(answers, num_returns=1, timeout=timeout_seconds)
        if ready and len(answers) > 1:
            ready, _ = ray.wait(answers, num_returns=len(answers), timeout=0)
        return [waiting[answer] for answer in ready]

    def _hear(self, seat: Seat) -> list[Event]:
        """Take an answer that has come."""
        ray, line = self.cluster.ray, seat.line
        answer, line.answer = line.answer, None
        try:
            reply = decode(ray.get(answer))
        except ray.exceptions.ActorUnavailableError:
            line.suspect(time.monotonic(), self.patience.retry_seconds)
            return []
        except ray.exceptions.RayError as error:
            ended = f"its actor ended. {error}"
            return self._lose(seat, ended) if line.is_connected else self._fail_to_start(seat, str(error))
        line.suspect_since = None
        if "error" in reply:
            return self._refuse(seat, reply["error"])
        if not line.is_connected:
            return self._welcome(seat, reply)
        seat.pid = reply["pid"]
        return [event for packed in line.read(reply) for event in self._understand(seat, read_news(packed))]

    def _welcome(self, seat: Seat, reply: Mapping[str, Any]) -> list[Event]:
        """The actor is up."""
        here, there = versions(), reply["versions"]
        differing = [
            f"{name} is {here[name]} here and {there[name]} there" for name in here if here[name] != there[name]
        ]
        if differing:
            told = f"{', '.join(differing)}. Install there what is here, or leave the node out"
            return self._refuse(seat, f"the versions must be those of the driver: {told}.")
        if self.layout.most is not None and self._open_count() >= self.layout.most:
            return self._lose(seat, "others came first")
        self._failed_starts.pop(seat.place, None)
        seat.device = reply["device"]
        seat.line.is_connected = True
        seat.is_open = "look" not in self.greetings
        return []

    def _understand(self, seat: Seat, news: Event | Sight) -> list[Event]:
        if isinstance(news, Sight):
            if news.missing and seat.is_open and not self.is_closing:
                raise UsageError(_refusal(seat.place, _not_seen(news.missing)))
            if news.missing:
                return self._refuse(seat, _not_seen(news.missing))
            seat.is_open = True
            return []
        if isinstance(news, Terminal):
            seat.job = None
        return [news]

    def _lose(self, seat: Seat, reason: str) -> list[Event]:
        """The slot is gone, and its job has failed; where its node has room, the next look makes another."""
        del self.all[seat.place.id]
        self.cluster.end_actor(seat.line.actor)
        job, seat.job = seat.job, None
        if job is None:
            return []
        first_line = f"the slot {seat.place.id} was lost: {reason}".partition("\n")[0]
        return [Failed(job.id, job.attempt, "infra", first_line, reason)]

    def _fail_to_start(self, seat: Seat, reason: str) -> list[Event]:
        count = self._failed_starts[seat.place] = self._failed_starts.get(seat.place, 0) + 1
        if count < MOST_FAILED_STARTS:
            return self._lose(seat, reason)
        last_line = reason.strip().rpartition("\n")[2]
        return self._refuse(
            seat,
            f"the actor of a slot failed {count} times to start. Python there must have autotl[ray] in the "
            f"driver's version. The end of what Ray says: {last_line}",
        )

    def _refuse(self, seat: Seat, reason: str) -> list[Event]:
        """There can be no slot at this place."""
        message = _refusal(seat.place, reason)
        if self._is_settled and message not in self.refused.values():
            logger.warning(message)  # at the start it is an error
        self.refused[seat.place] = message
        self._failed_starts.pop(seat.place, None)
        return self._lose(seat, reason)

    def _no_slot_message(self) -> str:
        places = [seat.place for seat in self.all.values()]
        asked = [f"{place.cpus:g} CPU and {place.gpu_share:g} GPU on {place.node.name}" for place in places]
        return (
            f"A search needs a slot, and none came up in {self.patience.start_seconds:.0f} s. Asked for: "
            f"{'; '.join(asked) if asked else 'nothing, since no node has a CPU'}. What Ray has free: "
            f"{self.cluster.free()}. Wait until others are done (`ray status`), or ask for less with --jobs or "
            "--gpu-share."
        )


def _refusal(place: Place, reason: str) -> str:
    return f"Node {place.node.name} of the cluster cannot be used: {reason}"


def _not_seen(missing: Sequence[str]) -> str:
    return (
        f"it does not see {' and '.join(missing)}. The run's folder and the images must have the same path on every "
        "node: put them on a shared file system (--out says where the run goes), or leave the node out."
    )
