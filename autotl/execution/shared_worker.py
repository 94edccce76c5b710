"""`autotl worker`: the slots of this machine for a search whose driver is elsewhere; they meet in a database."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotl.errors import AutotlError, UsageError
from autotl.execution.board import Board, Gone, Member, Pace, Unreachable, open_board
from autotl.execution.contact import Contact
from autotl.execution.devices import SlotPlan
from autotl.execution.local import LocalExecutor
from autotl.execution.mail import Mail
from autotl.execution.protocol import Event, Failed, Finished, Job, Report, SlotInfo, Started, Terminal
from autotl.execution.shared_words import (
    DRIVER,
    FROM_DRIVER,
    FROM_WORKER,
    IS_LEAVING,
    pack,
    unseen,
    versions,
    with_cache,
    worker_hello,
)

GRACE_SECONDS = 10.0  # for running jobs to come to the end of a step when the worker is stopped
OVER, LOST, GIVEN_UP = "over", "lost", "given up"
ENDINGS = {
    OVER: "the search has ended here",
    LOST: "the search's driver is gone; waits for it to go on",
    GIVEN_UP: "was silent for too long and given up; begins anew",
}


@dataclass(frozen=True)
class Service:
    """What a worker does, and for whom.

    Attributes:
        url: of the database.
        study: the name of the search there.
        plans: the slots that it gives.
        wait_seconds: for a driver to come, or to come back.
        cache_root: where stores go on this machine; None leaves them where the driver has them.
        tell: is told in words what happens.
        look: called between two events; what it raises ends the service in order.
        pace: how often things are done.
    """

    url: str
    study: str
    plans: Sequence[SlotPlan]
    wait_seconds: float
    cache_root: Path | None
    tell: Callable[[str], None]
    look: Callable[[], None]
    pace: Pace = field(default_factory=Pace)


@dataclass
class Tally:
    """How many jobs ended well and how many did not."""

    finished: int = 0
    failed: int = 0


@dataclass
class Session:
    """The time that a worker spends with one driver.

    Attributes:
        service: what is to be done.
        board: where the driver is met.
        contact: with the database.
        me: the worker, as a member.
        driver: the other one.
        executor: of the slots.
        tally: of all sessions.
        ending: how it ended; None while it lasts.
    """

    service: Service
    board: Board
    contact: Contact
    me: int
    driver: int
    executor: LocalExecutor
    tally: Tally
    ending: str | None = None
    _mail: Mail = field(default_factory=Mail)
    _missing: list[str] = field(default_factory=list)
    _exchange_at: float = 0.0
    _beat_at: float = 0.0

    def run(self) -> str:
        """Work until the driver ends, is lost, or has given this worker up: `OVER`, `LOST` or `GIVEN_UP`.

        Raises:
            UsageError: this machine does not see the files of the search.
            AutotlError: the database has been away for too long, or no worker process comes up.
        """
        grace_seconds = 0.0
        try:
            while self.ending is None:
                self.service.look()
                self._note(self.executor.poll(self.service.pace.look_seconds))
                if time.monotonic() >= self._exchange_at:
                    self.contact.attempt(self._exchange)
                    self._exchange_at = time.monotonic() + self.service.pace.look_seconds
                if self._missing:
                    raise UsageError(_not_seen(self._missing))
        except KeyboardInterrupt:
            grace_seconds = GRACE_SECONDS
            raise
        finally:
            self._leave(grace_seconds)
        return self.ending

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            self._mail.say(pack(event))
            if not isinstance(event, Report):
                self._exchange_at = 0.0  # somebody waits for it
            match event:
                case Started():
                    self.service.tell(f"{event.job_id} began on {event.slot}")
                case Finished():
                    self.tally.finished += 1
                    self.service.tell(f"{event.job_id} ended")
                case Failed():
                    self.tally.failed += 1
                    self.service.tell(f"{event.job_id} failed ({event.kind}): {event.message}")

    def _exchange(self) -> None:
        """Give signs of life, write what there is to say, and do what the driver wants. May be repeated."""
        try:
            now = time.monotonic()
            if now >= self._beat_at:
                self.ending = self._look_around()
                self._beat_at = now + self.service.pace.beat_seconds
            if self.ending is None:
                self._write()
                for command in self._mail.read(self.board.read(self.me).get(FROM_DRIVER)):
                    self._carry_out(command)
        except Gone:
            self.ending = GIVEN_UP

    def _look_around(self) -> str | None:
        """Give a sign of life, and see whether all is as it was."""
        self.board.beat(self.me)
        if self.contact.may_bury():
            self.board.bury()
        if self.board.has_left(self.me) is not None:
            return GIVEN_UP
        in_order = self.board.has_left(self.driver)
        return None if in_order is None else OVER if in_order else LOST

    def _write(self) -> None:
        if self._mail.has_news():
            letter = self._mail.letter()
            self.board.write(self.me, FROM_WORKER, letter)
            self._mail.wrote(letter)

    def _carry_out(self, command: Mapping[str, Any]) -> None:
        match command:
            case {"job": fields, "slot": slot_id, "sees": paths}:
                job = Job(**{**fields, "payload": with_cache(fields["payload"], self.service.cache_root)})
                self._missing = self._missing or unseen(paths)
                if self._missing:
                    self._note([Failed(job.id, job.attempt, "infra", _not_seen(self._missing), "")])
                else:
                    self.executor.submit(job, slot_id)
            case {"stop": [job_id, grace_seconds]}:
                self.executor.stop(job_id, grace_seconds)
            case {"import": module}:
                self.executor.warm(module)

    def _leave(self, grace_seconds: float) -> None:
        """End what runs. To the driver that is a loss, however it ended: nobody but the driver stops a job for good."""
        events: list[Event] = []
        try:
            if grace_seconds > 0:
                self._try(lambda: self.board.write(self.me, IS_LEAVING, True))
            events += self.executor.shutdown(grace_seconds)
        finally:
            events += self.executor.shutdown(0)
            if self.ending is None:
                self._note([_lost(event) if isinstance(event, Terminal) else event for event in events])
            self._try(self._write)
            self._try(lambda: self.board.leave(self.me))

    def _try(self, action: Callable[[], None]) -> None:
        with contextlib.suppress(Unreachable, Gone):  # then the silence tells it, or it is known already
            action()


def serve(service: Service) -> Tally:
    """Work for the driver of a study until it ends in order; one that was killed is waited for.

    Raises:
        UsageError: the database cannot be reached, the driver has other versions, or its files are not to be seen.
        PluginError: the Python driver of the database is not installed.
        AutotlError: no driver came, or the database has been away for too long.
    """
    tally, pace = Tally(), service.pace
    board = open_board(service.url, service.study, pace)
    contact = Contact(pace, time.monotonic())
    ending = None
    try:
        while ending != OVER:
            executor = LocalExecutor(service.plans)
            me, driver = _join(service, board, contact, executor.slots())
            hello, slots = driver.hello, ", ".join(plan.id for plan in service.plans)
            service.tell(f"works on {slots} for process {hello['pid']} on {hello['host']}")
            ending = Session(service, board, contact, me.id, driver.id, executor, tally).run()
            service.tell(ENDINGS[ending])
    finally:
        board.close()
    return tally


def _join(service: Service, board: Board, contact: Contact, slots: Sequence[SlotInfo]) -> tuple[Member, Member]:
    """Become a worker of the driver of the study, once there is one.

    Returns:
        The worker, and the driver.

    Raises:
        UsageError: the driver has other versions.
        AutotlError: none came.
    """
    deadline = time.monotonic() + service.wait_seconds
    found: list[tuple[Member, Member]] = []

    def join() -> None:
        if contact.may_bury():
            board.bury()
        drivers = [each for each in board.members().values() if each.hello["role"] == DRIVER]
        if drivers:
            _check_versions(drivers[0])
            found.append((board.enrol(worker_hello(drivers[0].id, slots)), drivers[0]))

    while True:
        service.look()
        contact.attempt(join)
        if found:
            return found[0]
        if time.monotonic() >= deadline:
            raise AutotlError(
                f"A worker needs a search to work for: none of the name {service.study!r} was there for "
                f"{service.wait_seconds:g} s. Start it (autotl search DATASET --storage {service.url} --study "
                f"{service.study}), or go on with it (autotl resume RUN)."
            )
        time.sleep(service.pace.look_seconds)


def _check_versions(driver: Member) -> None:
    here, there = versions(), driver.hello["versions"]
    names = [name for name in here if here[name] != there.get(name)]
    differing = [f"{name} is {here[name]} here and {there.get(name)} there" for name in names]
    if names:
        raise UsageError(
            f"A worker has the versions of the driver: {', '.join(differing)}. Install here what is there."
        )


def _lost(event: Terminal) -> Failed:
    return Failed(event.job_id, event.attempt, "infra", "its worker was stopped", "")


def _not_seen(missing: Sequence[str]) -> str:
    return (
        f"A worker sees the run's folder and the images under the same paths as the driver: {' and '.join(missing)} "
        "cannot be seen here. Put them on a shared file system (--out says where the run goes), or leave this machine "
        "out."
    )
