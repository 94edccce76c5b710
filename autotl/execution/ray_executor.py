"""The executor for a Ray cluster: on each slot an actor with a worker process, the same as on one machine."""

import time
from dataclasses import replace
from pathlib import Path

from autotl.errors import UsageError
from autotl.execution.cluster import Cluster, connect
from autotl.execution.executors import ExecutorPlugin, Slots
from autotl.execution.protocol import Event, Job, SlotInfo, free_slot, job_message
from autotl.execution.ray_layout import lay_out
from autotl.execution.ray_seats import Patience, Seats
from autotl.execution.running import as_json_object

CLOSE_SECONDS = 5.0


class RayExecutor:
    """Implements `Executor`. Slots come and go with the nodes of the cluster.

    A slot whose actor dies is made again while its node lives; its job has failed ("infra"), as has one whose node is
    gone. A connection that breaks is no death yet: what was said before goes on where it broke off.
    """

    def __init__(self, cluster: Cluster, seats: Seats) -> None:
        """Args:
        cluster: that is closed at shutdown.
        seats: its slots, which are up.
        """
        self._cluster = cluster
        self._seats = seats

    def slots(self) -> list[SlotInfo]:
        """The slots that there are now; one whose connection broke is none, unless it has a job."""
        seats = self._seats.all.values()
        return [seat.info() for seat in seats if seat.is_open and (seat.job or seat.line.suspect_since is None)]

    def submit(self, job: Job, slot_id: str) -> None:
        """Run `job` on a free slot; see `Executor.submit`. Every node looks for the folder of the first one."""
        free_slot(slot_id, self.slots())
        message = job_message(replace(job, payload=as_json_object(job.payload)))
        if "look" not in self._seats.greetings and (paths := _landmarks(job)):
            self._seats.tell_all("look", paths)
        seat = self._seats.all[slot_id]
        seat.line.tell(message)
        seat.job = job

    def warm(self, module: str) -> None:
        """Start all workers and have them import `module`, also those that come later."""
        self._seats.tell_all("import", module)

    def stop(self, job_id: str, grace_seconds: float) -> None:
        """Ask a job to end, and kill its process group after `grace_seconds`, which makes it Failed("cancelled")."""
        for seat in self._seats.all.values():
            if seat.job is not None and seat.job.id == job_id:
                seat.line.tell({"stop": [job_id, grace_seconds]})

    def poll(self, timeout_seconds: float) -> list[Event]:
        """What has happened; waits up to `timeout_seconds` for the first event.

        Raises:
            UsageError: a node that was there from the beginning does not see the folder of the run, or the images.
            AutotlError: the cluster is gone, or none of its nodes can be used any longer.
        """
        deadline = time.monotonic() + timeout_seconds
        events: list[Event] = []
        while True:
            events += self._seats.look_around()
            events += self._seats.wait(0.0 if events else max(0.0, deadline - time.monotonic()))
            if events or time.monotonic() >= deadline:
                return events

    def shutdown(self, grace_seconds: float) -> list[Event]:
        """Stop all jobs, wait up to `grace_seconds` for them, and end all processes, whatever happens meanwhile."""
        if self._seats.is_closing:
            return []
        self._seats.is_closing = True
        events: list[Event] = []
        deadline = time.monotonic() + grace_seconds + CLOSE_SECONDS
        busy = {seat.job.id: seat for seat in self._seats.all.values() if seat.job is not None}
        try:
            for job_id, seat in busy.items():
                seat.line.tell({"retire": True})
                seat.line.tell({"stop": [job_id, grace_seconds]})
            while any(seat.job for seat in busy.values()) and time.monotonic() < deadline:
                events += self.poll(deadline - time.monotonic())
        finally:
            try:
                events += self._seats.close(CLOSE_SECONDS)
            finally:
                self._cluster.close()
        return events


def open_ray(wanted: Slots, patience: Patience | None = None) -> RayExecutor:
    """The executor on a Ray cluster, with the slots that could be had.

    Args:
        wanted: slots; `gpus` are "all" or "none".
        patience: how long things may take; None for the default.

    Raises:
        UsageError: there is no such cluster, or it cannot give what was asked for.
        PluginError: Ray is not installed.
    """
    _check(wanted)
    cluster = connect("auto" if wanted.address is None else wanted.address)
    seats = Seats(cluster, lay_out(cluster.nodes(), wanted), Patience() if patience is None else patience)
    executor = RayExecutor(cluster, seats)
    try:
        seats.settle()
    except BaseException:
        executor.shutdown(0)
        raise
    return executor


def _check(wanted: Slots) -> None:
    if wanted.jobs is not None and wanted.jobs < 1:
        raise UsageError(f"At least one job must run at a time: {wanted.jobs} was given. Give --jobs 1 or more.")
    if wanted.gpus not in ("all", "none"):
        raise UsageError(
            f"On a cluster Ray chooses the GPUs: --gpus {wanted.gpus} was given. Give --gpus all or none, cap the "
            "slots with --jobs, and say what a node gives away when it joins (ray start --num-gpus)."
        )
    if wanted.address is not None and "://" in wanted.address:
        raise UsageError(
            f"A search runs on a node of its cluster: the address {wanted.address!r} is that of a remote client. Run "
            "autotl on a node, with --ray-address auto."
        )


def _landmarks(job: Job) -> list[str]:
    """What every node must see: the data set, and the job's folder or the nearest one above that is there already."""
    paths = [str(job.payload["dataset"])] if "dataset" in job.payload else []
    if "folder" in job.payload:
        folder = Path(job.payload["folder"])
        paths.append(str(next(place for place in (folder, *folder.parents) if place.exists())))
    return paths


RAY = ExecutorPlugin("ray", open_ray, "On the nodes of a Ray cluster, a worker process for each slot.")
