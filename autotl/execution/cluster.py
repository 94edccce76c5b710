"""A Ray cluster as autotl sees it: reached or started, its nodes, and the actors that it is asked for.

Ray runs remote processes, counts GPUs and notices failures; what runs where and what is tried again is decided by the
driver (https://docs.ray.io/en/latest/ray-core/actors.html). Ray is imported when a cluster is opened, not before.
"""

import contextlib
import importlib
import itertools
import os
import signal
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from autotl.errors import AutotlError, PluginError, UsageError
from autotl.execution.devices import core_count
from autotl.execution.ray_actor import SlotActor
from autotl.execution.ray_layout import Node, Place

LOCAL = "local"
ACTOR_THREADS = 3  # a call that waits, the one that ends it, and one to spare
CONNECT_SECONDS = 10.0
LONGEST_REASON = 500  # characters
OBJECT_STORE_BYTES = 128 * 2**20  # a little above Ray's least: jobs and events are text


@dataclass
class Cluster:
    """A connection to Ray.

    Attributes:
        ray: the library.
        is_ours: whether it is closed with the executor; somebody else's connection, in a notebook, stays.
        actor_class: `SlotActor` as Ray starts it.
        names: of the nodes, by id.
    """

    ray: Any
    is_ours: bool
    actor_class: Any
    names: dict[str, str] = field(default_factory=dict)

    def nodes(self) -> list[Node]:
        """The nodes that are alive; each keeps its name while it is.

        Raises:
            AutotlError: when the head of the cluster does not answer.
        """
        try:
            alive = [node for node in self.ray.nodes() if node["Alive"]]
        except Exception as error:  # whatever Ray's C++ core makes of it
            raise AutotlError(
                f"The head of the Ray cluster must be there, and it does not answer: {error}. Start the cluster again, "
                "and go on with: autotl resume RUN"
            ) from error
        self.names = {node["NodeID"]: name for node in alive if (name := self.names.get(node["NodeID"])) is not None}
        for node in sorted(alive, key=lambda node: str(node["NodeManagerHostname"])):
            if node["NodeID"] not in self.names:
                self.names[node["NodeID"]] = _unused(str(node["NodeManagerHostname"]), self.names.values())
        own = self.ray.get_runtime_context().get_node_id()
        resources = {node["NodeID"]: node["Resources"] for node in alive}
        return [
            Node(node_id, name, node_id == own, *(int(resources[node_id].get(kind, 0)) for kind in ("CPU", "GPU")))
            for node_id, name in self.names.items()
        ]

    def start_actor(self, place: Place) -> Any:
        """Ask for the actor of a slot, on its node; Ray starts it when what it takes is free, and once."""
        strategies = self.ray.util.scheduling_strategies
        return self.actor_class.options(
            num_cpus=place.cpus,
            num_gpus=place.gpu_share,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=ACTOR_THREADS,
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(place.node.id, soft=False),
        ).remote()

    def end_actor(self, actor: Any) -> None:
        """End an actor at once; its worker ends when it notices. One that is gone already is no fault."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(actor)

    def free(self) -> dict[str, float]:
        """What Ray has not given away, by kind."""
        amounts = self.ray.available_resources()
        return {kind: float(amounts.get(kind, 0.0)) for kind in ("CPU", "GPU")}

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self.is_ours:
            self.ray.shutdown()


def connect(address: str) -> Cluster:
    """Reach a cluster.

    Args:
        address: "auto" for the one that this machine is a node of, "HOST:PORT" of its head, or "local" to start one
            here, which nobody else can reach and which ends with the search.

    Raises:
        UsageError: there is none.
        PluginError: Ray is not installed.
    """
    _set_up(address)
    ray = load_ray()
    is_ours = not ray.is_initialized()
    if is_ours:
        _initialise(ray, address)
    cluster = Cluster(ray, is_ours, ray.remote(SlotActor))
    if address == LOCAL and not all(_is_loopback(node["NodeManagerAddress"]) for node in ray.nodes()):
        cluster.close()
        raise UsageError(
            "A local Ray listens on 127.0.0.1 only, which must be said before Ray is imported, and it was imported. "
            "Set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before, or start a cluster with `ray start --head`."
        )
    return cluster


def load_ray() -> Any:
    """The library. Raises `PluginError` where it is not installed."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise PluginError(
            f"The executor ray needs Ray, which cannot be imported ({error}). Run: pip install 'autotl[ray]'"
        ) from error


def _initialise(ray: Any, address: str) -> None:
    """Connect, and leave the meaning of signals alone: Ray sets a handler of its own for SIGTERM."""
    local = {"num_cpus": core_count(), "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(address, log_to_driver=False, logging_level="ERROR", **(local if address == LOCAL else {}))
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(_unreachable(address, error)) from error
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _knock(address: str) -> None:
    """Raise OSError where nobody answers at HOST:PORT: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _set_up(address: str) -> None:
    """What Ray reads from the environment when it is imported. It prints what goes wrong on nodes to stdout, which is
    for results, so all of that is filtered; a cluster of our own has no address but loopback, and sends no statistics.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")
    if address == LOCAL:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _unreachable(address: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:LONGEST_REASON]
    return (
        f"A search with --executor ray runs on a node of a running Ray cluster; {address!r} was given, and Ray says: "
        f"{reason} Run `ray start --head` here or `ray start --address HOST:PORT` to join one, give its address with "
        "--ray-address, or give --ray-address local to start one for this search."
    )


def _unused(name: str, used: Iterable[str]) -> str:
    taken = set(used)
    names = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)
