"""A stand-in for the library Ray, which is not ours and is seldom installed where tests run.

Nodes are names; actors are objects of this process, called from threads as Ray calls them; connections can be broken
and actors ended. Workers are the real ones.
"""

import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import SimpleNamespace

from autotl.execution.protocol import encode

LAST_CALL = {"number": 10**9, "first": 0, "commands": [], "delivered": 0, "waits": False}


class RayError(Exception):
    pass


class ActorDiedError(RayError):
    pass


class ActorUnavailableError(RayError):
    pass


class FakeRay:
    """Only what autotl uses. `losses` says what becomes of the next calls: "call" is lost on its way to the actor,
    "answer" on the way back, anything else arrives; once it is empty all do."""

    def __init__(self, **nodes):
        self.machines = nodes  # name: its resources
        self.losses = deque()
        self.actors = []
        self.exceptions = SimpleNamespace(RayError=RayError, ActorUnavailableError=ActorUnavailableError)
        strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
        self.util = SimpleNamespace(scheduling_strategies=strategies)

    def is_initialized(self):
        return True

    def nodes(self):
        return [
            {"NodeID": f"id of {name}", "NodeManagerHostname": name, "NodeManagerAddress": "127.0.0.1", "Alive": True}
            | {"Resources": resources}
            for name, resources in self.machines.items()
        ]

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: "id of here")

    def available_resources(self):
        return {}

    def remote(self, actor_class):
        return SimpleNamespace(
            options=lambda **options: SimpleNamespace(
                remote=lambda: self._start(actor_class(), options["scheduling_strategy"])
            )
        )

    def wait(self, references, num_returns, timeout):
        done, others = wait(references, timeout, FIRST_COMPLETED)
        return list(done), list(others)

    def get(self, reference):
        return reference.result()

    def kill(self, actor):
        actor.end()

    def leave(self, name):
        """A node is gone, and all on it."""
        del self.machines[name]
        for actor in self.actors:
            if actor.node == f"id of {name}":
                actor.end()

    def _start(self, actor, node):
        handle = Handle(self, actor, node)
        self.actors.append(handle)
        return handle


class Handle:
    """Of an actor."""

    def __init__(self, ray, actor, node):
        self.ray, self.actor, self.node = ray, actor, node
        self.lock = threading.Lock()
        self.unanswered = set()
        self.is_dead = False
        self.greet = SimpleNamespace(remote=lambda message: self.call(actor.greet, message))
        self.exchange = SimpleNamespace(remote=lambda message: self.call(actor.exchange, message))

    def call(self, method, message):
        answer = Future()
        self.unanswered.add(answer)
        loss = self.ray.losses.popleft() if self.ray.losses and not self.is_dead else None
        if self.is_dead:
            self.settle(answer, ActorDiedError("The actor died."))
        elif loss != "call":
            threading.Thread(target=lambda: self.settle(answer, method(message)), daemon=True).start()
        if loss is not None:
            self.settle(answer, ActorUnavailableError("The actor is unavailable."))
        return answer

    def settle(self, answer, outcome):
        """The first outcome counts: an answer comes too late for a connection that broke."""
        with self.lock:
            if answer in self.unanswered:
                self.unanswered.discard(answer)
                if isinstance(outcome, RayError):
                    answer.set_exception(outcome)
                else:
                    answer.set_result(outcome)

    def end(self):
        if self.is_dead:
            return
        self.is_dead = True
        for answer in list(self.unanswered):
            self.settle(answer, ActorDiedError("The actor died."))
        if self.actor._slot is None:
            return
        with self.actor._lock:  # the worker of a real one ends because its pipes do
            self.actor._slot.close()
        self.actor.exchange(encode(LAST_CALL))
