"""The executor whose slots are on other machines, which meet the driver in a database: `autotl worker` runs there."""

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, field, replace

from autotl.errors import AutotlError, UsageError
from autotl.execution.board import Board, Gone, Member, Pace, Unreachable, open_board
from autotl.execution.contact import Contact
from autotl.execution.executors import ExecutorPlugin, Slots
from autotl.execution.protocol import Event, Job, SlotInfo, free_slot
from autotl.execution.running import as_json_object
from autotl.execution.shared_crew import Crew, make_crew
from autotl.execution.shared_words import DRIVER, FROM_DRIVER, driver_hello, landmarks

logger = logging.getLogger(__name__)
CLOSE_SECONDS = 5.0


@dataclass
class SharedExecutor:
    """Implements `Executor`. Slots come and go with the workers.

    A worker that has given no sign of life for too long is gone, and its jobs have failed ("infra"); what it may still
    say of them later is not heard. While the database is away jobs go on, and their events come later.

    Attributes:
        board: where driver and workers meet.
        me: the driver, as a member.
        pace: how often things are done.
        contact: with the database.
    """

    board: Board
    me: int
    pace: Pace
    contact: Contact
    _crews: dict[int, Crew] = field(default_factory=dict)
    _events: list[Event] = field(default_factory=list)
    _sees: dict[str, None] = field(default_factory=dict)  # all landmarks of jobs so far
    _modules: list[str] = field(default_factory=list)
    _look_at: float = 0.0
    _bury_at: float = 0.0
    _closed: threading.Event = field(default_factory=threading.Event)

    def slots(self) -> list[SlotInfo]:
        """The slots of all workers that are there."""
        return [slot for crew in self._crews.values() for slot in crew.slots()]

    def submit(self, job: Job, slot_id: str) -> None:
        """Run `job` on a free slot; see `Executor.submit`. It is sent by the next `poll`."""
        free_slot(slot_id, self.slots())
        job = replace(job, payload=as_json_object(job.payload))
        self._sees.update(dict.fromkeys(landmarks(job)))
        crew = next(crew for crew in self._crews.values() if slot_id in crew.plan)
        crew.submit(job, slot_id, list(self._sees))

    def warm(self, module: str) -> None:
        """Have all workers import `module`, also those that come later."""
        self._modules.append(module)
        for crew in self._crews.values():
            crew.mail.say({"import": module})

    def stop(self, job_id: str, grace_seconds: float) -> None:
        """Ask a job to end, and have its process group killed after `grace_seconds`."""
        for crew in self._crews.values():
            crew.stop(job_id, grace_seconds)

    def poll(self, timeout_seconds: float) -> list[Event]:
        """What has happened; waits up to `timeout_seconds` for the first event.

        Raises:
            AutotlError: the database has been away for too long, or another driver has taken over.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            self.contact.attempt(self._exchange)
            now = time.monotonic()
            if self._events or now >= deadline:
                events, self._events = self._events, []
                return events
            pause = self._look_at - now if now < self._look_at else self.pace.look_seconds
            time.sleep(min(pause, deadline - now))

    def shutdown(self, grace_seconds: float) -> list[Event]:
        """Stop all jobs, wait up to `grace_seconds` for them, and let the workers go."""
        if self._closed.is_set():
            return []
        events: list[Event] = []
        busy = [slot.busy for slot in self.slots() if slot.busy is not None]
        deadline = time.monotonic() + grace_seconds
        try:
            for job_id in busy:
                self.stop(job_id, grace_seconds)
            while any(crew.jobs for crew in self._crews.values()) and (left := deadline - time.monotonic()) > 0:
                events += self.poll(left)
        except AutotlError as error:
            logger.warning("%s", error)
        finally:
            self._closed.set()
            with contextlib.suppress(Unreachable):  # the workers will notice
                self.board.leave(self.me)
            self.board.close()
        for crew in self._crews.values():
            events += crew.lose("cancelled", "stopped by shutdown")
        return events

    def is_closed(self) -> bool:
        """Whether `shutdown` was called."""
        return self._closed.is_set()

    def keep_beating(self) -> None:
        """Give signs of life until `shutdown`; in a thread, since the driver does not poll while it reads images."""
        while not self._closed.wait(self.pace.beat_seconds):
            with contextlib.suppress(Unreachable):  # `poll` tells of it
                self.board.beat(self.me)

    def _exchange(self) -> None:
        """Write what there is to say, and see what others have written if it is time to. May be repeated."""
        self._write()
        now = time.monotonic()
        if now < self._look_at:
            return
        if now >= self._bury_at and self.contact.may_bury():
            self.board.bury()
            self._bury_at = now + self.pace.beat_seconds
        members = self.board.members()
        if self.me not in members:
            raise AutotlError(
                f"The driver of the search {self.board.name!r} gave no sign of life for "
                f"{self.pace.grace_seconds} s, and was given up. Go on with: autotl resume RUN"
            )
        for member in members.values():
            if member.id not in self._crews and member.hello.get("serves") == self.me:
                self._welcome(member)
        for crew in list(self._crews.values()):
            if crew.id in members:
                self._events += crew.read(members[crew.id].attributes)
            else:
                self._events += crew.read(self.board.read(crew.id))  # its last words count
                self._events += crew.lose("infra", f"its worker {crew.name} is gone")
                del self._crews[crew.id]
        self._write()
        self._look_at = now + self.pace.look_seconds

    def _welcome(self, member: Member) -> None:
        crew = self._crews[member.id] = make_crew(member)
        for module in self._modules:
            crew.mail.say({"import": module})

    def _write(self) -> None:
        for crew in self._crews.values():
            if crew.mail.has_news():
                letter = crew.mail.letter()
                with contextlib.suppress(Gone):  # the next look tells what became of its jobs
                    self.board.write(crew.id, FROM_DRIVER, letter)
                crew.mail.wrote(letter)


def open_shared(wanted: Slots, pace: Pace | None = None) -> SharedExecutor:
    """The executor on the workers of a study.

    Args:
        wanted: `address` is the URL of the database, `study` the name that driver and workers have agreed on.
        pace: how often things are done; None for the default.

    Raises:
        UsageError: the database cannot be reached, or another driver is at work under that name.
        PluginError: the Python driver of the database is not installed.
    """
    if wanted.address is None or not wanted.study:
        raise UsageError(
            "Driver and workers meet under a name in a database. Give both: "
            "--storage postgresql+psycopg://HOST/DATABASE --study NAME."
        )
    if wanted.jobs is not None or wanted.gpus != "all" or wanted.gpu_share != 1.0:
        raise UsageError(
            "With --storage each worker says what its machine gives: --jobs, --gpus and --gpu-share are options of "
            "autotl worker. Give them there."
        )
    pace = Pace() if pace is None else pace
    board = open_board(wanted.address, wanted.study, pace)
    executor = SharedExecutor(board, take_charge(board, pace), pace, Contact(pace, time.monotonic()))
    threading.Thread(target=executor.keep_beating, name="beats", daemon=True).start()
    logger.warning(
        "The search waits for workers. On each machine that is to compute:\n  autotl worker --storage %s --study %s",
        wanted.address,
        wanted.study,
    )
    return executor


def take_charge(board: Board, pace: Pace) -> int:
    """Become the driver of a study, once the one before is gone: the first to come is it.

    Raises:
        UsageError: it is not gone.
    """
    me = board.enrol(driver_hello())
    deadline = time.monotonic() + pace.grace_seconds + pace.beat_seconds
    while True:
        board.bury()
        others = [each for each in board.members().values() if each.hello["role"] == DRIVER and each.id < me.id]
        for other in [each for each in others if _has_died_here(each, me)]:
            board.leave(other.id, in_order=False)
            others.remove(other)
        if not others:
            return me.id
        if time.monotonic() > deadline:
            board.leave(me.id)
            hello = others[0].hello
            raise UsageError(
                f"A study has one driver: {board.name!r} has process {hello['pid']} on {hello['host']}. "
                "Stop that search (autotl stop RUN), or give this one another --study."
            )
        board.beat(me.id)
        time.sleep(pace.look_seconds)


def _has_died_here(member: Member, me: Member) -> bool:
    """Whether a driver was a process of this machine that is no more."""
    import psutil

    is_here = all(member.hello.get(name) == me.hello[name] for name in ("host", "place"))
    return is_here and not psutil.pid_exists(int(member.hello["pid"]))


SHARED = ExecutorPlugin("shared", open_shared, "On the machines that run `autotl worker`, through a database.")
