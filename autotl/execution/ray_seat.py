"""One slot of a cluster as the driver sees it, and its end of the conversation with the slot's actor.

One call of `SlotActor.exchange` is always under way, and it ends when there is news. Because a connection may break
with calls and answers in it, commands are repeated until the actor says that they were carried out, and the actor
repeats events until it hears that they have arrived.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotl.execution.protocol import Job, SlotInfo, encode
from autotl.execution.ray_layout import Place


@dataclass
class Line:
    """A conversation. Times are those of `time.monotonic()`.

    Attributes:
        actor: Ray's handle of a `SlotActor`.
        greeting: the message of the first call.
        answer: Ray's reference to the answer that is waited for; None when no call is under way.
        is_connected: whether the actor has answered `greet`; until then commands wait.
        suspect_since: when the connection broke; None while it holds.
        retry_at: when to call again on a broken connection.
        commands: not yet known to be carried out.
        carried_out: how many commands are, before those.
        received: events so far; the next call says that they were dealt with, so the job may go on.
        number: of the last call.
    """

    actor: Any
    greeting: Mapping[str, Any]
    answer: Any = None
    is_connected: bool = False
    suspect_since: float | None = None
    retry_at: float = 0.0
    commands: list[dict[str, Any]] = field(default_factory=list)
    carried_out: int = 0
    received: int = 0
    number: int = 0

    def tell(self, command: dict[str, Any]) -> None:
        """Send a command."""
        self.commands.append(command)
        if self.is_connected:
            self.ask()

    def ask(self) -> None:
        """Call the actor, which ends the call before. On a broken connection it answers at once, if it can."""
        if not self.is_connected:
            self.answer = self.actor.greet.remote(encode(self.greeting))
            return
        self.number += 1
        message = {
            "number": self.number,
            "first": self.carried_out,
            "commands": self.commands,
            "delivered": self.received,
            "waits": self.suspect_since is None,
        }
        self.answer = self.actor.exchange.remote(encode(message))

    def must_ask(self, now: float) -> bool:
        """Whether a call should be under way and none is."""
        return self.answer is None and (self.suspect_since is None or now >= self.retry_at)

    def read(self, reply: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The new events in an answer."""
        del self.commands[: reply["commands"] - self.carried_out]
        self.carried_out = reply["commands"]
        events: list[tuple[str, dict[str, Any]]] = reply["events"][self.received - reply["first"] :]
        self.received += len(events)
        return events

    def suspect(self, now: float, retry_seconds: float) -> None:
        """The connection broke, and with it the call."""
        if self.suspect_since is None:
            self.suspect_since = now
        self.retry_at = now + retry_seconds


@dataclass
class Seat:
    """A slot as the driver sees it.

    Attributes:
        place: where it is.
        line: to its actor.
        made_at: the `time.monotonic()` at which the actor was asked for.
        is_open: whether it may be given jobs.
        job: that it has.
        pid: of its worker, on its node.
        device: the fields of `SlotInfo` that say which.
    """

    place: Place
    line: Line
    made_at: float
    is_open: bool = False
    job: Job | None = None
    pid: int | None = None
    device: Mapping[str, Any] = field(default_factory=dict)

    def info(self) -> SlotInfo:
        """The slot as it is now."""
        place, busy = self.place, None if self.job is None else self.job.id
        node = "" if place.node.is_here else place.node.name
        return SlotInfo(place.id, threads=place.threads, busy=busy, pid=self.pid, node=node, **self.device)
