"""What is known of a search on its way: a frozen record that every event replaces by the next."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

SHOWN_TRIALS = 8
_STATES = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Progress:
    """All that a view shows. Times are in seconds of one monotonic clock.

    Attributes:
        started: when the search began.
        phase: data, a stage's name, confirm, final or test.
        detail: what the phase does, in words.
        done: steps of the phase that are done, of `total`; `total` is 0 when nobody knows.
        planned: trials in all stages; None until the plan is made.
        counts: ended trials by state.
        eta: when the stage will end, by the last estimate; None without one.
        best: the event of the best trial so far, if any.
        recent: the events of the last trials, newest last.
        running: by trial number, its last step and value.
        note: the last remark.
    """

    started: float
    phase: str = ""
    detail: str = ""
    done: int = 0
    total: int = 0
    planned: int | None = None
    counts: tuple[tuple[str, int], ...] = tuple((state, 0) for state in _STATES)
    eta: float | None = None
    best: Mapping[str, Any] | None = None
    recent: tuple[Mapping[str, Any], ...] = ()
    running: tuple[tuple[int, int, float], ...] = ()
    note: str = ""

    @property
    def ended(self) -> int:
        """How many trials have ended, in whatever state."""
        return sum(count for _, count in self.counts)


def advance(state: Progress, event: Mapping[str, Any], now: float) -> Progress:
    """The state after an event; events of unknown kinds change nothing, so an older view can watch a newer search."""
    match event["event"]:
        case "phase":
            phase, detail = event["phase"], event["detail"]
            return replace(state, phase=phase, detail=detail, done=0, total=0, eta=None, running=())
        case "progress":
            return replace(state, done=event["done"], total=event["total"])
        case "plan":
            return replace(state, planned=event["trials"])
        case "epoch":
            running = _without(state, event["number"])
            return replace(state, running=(*running, (event["number"], event["step"], event["value"])))
        case "trial":
            return _ended(state, event)
        case "eta":
            return replace(state, eta=now + event["seconds"])
        case "note":
            return replace(state, note=event["message"])
    return state


def _ended(state: Progress, event: Mapping[str, Any]) -> Progress:
    counts = tuple((name, count + (name == event["state"])) for name, count in state.counts)
    return replace(
        state,
        counts=counts,
        recent=(*state.recent, event)[-SHOWN_TRIALS:],
        best=event if event.get("best") else state.best,
        running=_without(state, event["number"]),
    )


def _without(state: Progress, number: int) -> tuple[tuple[int, int, float], ...]:
    return tuple(item for item in state.running if item[0] != number)
