"""A worker machine as the driver sees it: its slots, the jobs that it has, and both ends of what is said."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autotl.execution.board import Member
from autotl.execution.mail import Mail
from autotl.execution.protocol import Event, Failed, Job, SlotInfo, Started, Terminal
from autotl.execution.shared_words import FROM_WORKER, IS_LEAVING, unpack


@dataclass
class Crew:
    """A worker machine.

    Attributes:
        id: of the member that it is.
        name: of the machine, with the member's number, since a machine may have several workers.
        plan: its slots as it introduced them, by the name that the driver gives them.
        mail: with it.
        jobs: that were given to it and have not ended, by slot.
        pids: of its processes, by slot, as far as they were heard of.
        is_leaving: whether it takes no more jobs.
    """

    id: int
    name: str
    plan: dict[str, SlotInfo]
    mail: Mail = field(default_factory=Mail)
    jobs: dict[str, Job] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    is_leaving: bool = False

    def slots(self) -> list[SlotInfo]:
        """Its slots as they are now; of one that is leaving, those with a job."""
        found = []
        for slot_id, slot in self.plan.items():
            job = self.jobs.get(slot_id)
            if job is not None or not self.is_leaving:
                busy = None if job is None else job.id
                found.append(replace(slot, busy=busy, pid=self.pids.get(slot_id)))
        return found

    def submit(self, job: Job, slot_id: str, sees: list[str]) -> None:
        """Give it a job, whose payload is JSON, and which needs to see some paths."""
        fields = {"id": job.id, "attempt": job.attempt, "target": job.target, "payload": job.payload}
        self.mail.say({"job": fields, "slot": self._local(slot_id), "sees": sees})
        self.jobs[slot_id] = job

    def stop(self, job_id: str, grace_seconds: float) -> None:
        """Have a job stopped, if it has it."""
        if any(job.id == job_id for job in self.jobs.values()):
            self.mail.say({"stop": [job_id, grace_seconds]})

    def read(self, attributes: Mapping[str, Any]) -> list[Event]:
        """What has happened there since the last time. Events of jobs that it does not have are dropped."""
        self.is_leaving = bool(attributes.get(IS_LEAVING, False))
        events = [unpack(packed) for packed in self.mail.read(attributes.get(FROM_WORKER))]
        return [event for each in events if (event := self._understand(each)) is not None]

    def lose(self, kind: str, message: str) -> list[Event]:
        """All its jobs have failed."""
        events: list[Event] = [Failed(job.id, job.attempt, kind, message, "") for job in self.jobs.values()]
        self.jobs.clear()
        return events

    def _understand(self, event: Event) -> Event | None:
        key = (event.job_id, event.attempt)
        slot_id = next((name for name, job in self.jobs.items() if (job.id, job.attempt) == key), None)
        if slot_id is None:
            return None
        if isinstance(event, Started):
            self.pids[slot_id] = event.pid
            return replace(event, slot=slot_id)
        if isinstance(event, Terminal):
            del self.jobs[slot_id]
        return event

    def _local(self, slot_id: str) -> str:
        return slot_id.removeprefix(f"{self.name}/")


def make_crew(member: Member) -> Crew:
    """A worker that has introduced itself."""
    hello = member.hello
    name = f"{hello['host']}.{member.number}"
    slots = [SlotInfo(**fields) for fields in hello["slots"]]
    plan = {f"{name}/{slot.id}": replace(slot, id=f"{name}/{slot.id}", node=hello["host"]) for slot in slots}
    return Crew(member.id, name, plan)
