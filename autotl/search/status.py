"""What a run has come to, read from its directory without touching it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotl.runs.directory import SEARCH, Run, command_of, open_run
from autotl.runs.events import read_events, read_new_events
from autotl.runs.files import read_json
from autotl.runs.locking import is_driven
from autotl.search.past import BEGUN, RESUMED, moment, of_kind, spent_seconds
from autotl.search.request import METRICS

RECENT = 8
RUNNING = "running"
STATES = {"interrupted": "interrupted", "given_up": "given up"}  # by the last event of a driver
Event = Mapping[str, Any]


def read_status(path: Path) -> dict[str, Any]:
    """Summarise a run, finished or not.

    Returns:
        run, command ("search", or the study that it is), state ("finished", "running", "interrupted", "given up",
        "unfinished": its driver died, or has not begun),
        phase (where it is: {name, detail}), stage (of the last trial), trials {complete, pruned, failed}, planned
        (trials in all), best (a trial or None), recent (the last trials), running (what runs now: job, number, stage,
        slot, attempt, step, value, seconds), attempts {started, retried}, slots, seconds (that all drivers have spent),
        budget, eta_seconds, error (why it was given up), and result once there is one.

    Raises:
        UsageError: there is no run.
    """
    run = open_run(path)
    return _describe(run, read_events(run))


def follow_status(path: Path, wait: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """The status of a run again and again, until nobody drives it any more. Of its event log only what is new is read.

    Args:
        path: the run directory.
        wait: called in between.

    Raises:
        UsageError: there is no run.
    """
    run, events, offset = open_run(path), list[dict[str, Any]](), 0
    while True:
        new, offset = read_new_events(run, offset)
        events += new
        status = _describe(run, events)
        yield status
        if status["state"] != RUNNING:
            return
        wait()


def _describe(run: Run, events: Sequence[Event]) -> dict[str, Any]:
    request = read_json(run.request_path)
    # the last record of each: after a power cut the log may know of an end that the study has lost
    trials = list({event["number"]: event for event in of_kind(events, "trial")}.values())
    states = [trial["state"] for trial in trials]
    result = read_json(run.result_path) if run.result_path.exists() else None
    state, command = _state(run, events, result), command_of(run)
    now = datetime.now(UTC) if state == RUNNING else None
    phase = _last(events, "phase")
    plan = _last(events, "plan")
    return {
        "run": str(run.path),
        "command": command,
        "state": state,
        "phase": None if phase is None else {"name": phase["phase"], "detail": phase["detail"]},
        "stage": trials[-1]["stage"] if trials else None,
        "trials": {name: states.count(name) for name in ("complete", "pruned", "failed")},
        "planned": None if plan is None else sum(plan["trials"].values()),
        "best": _best(trials, request["metric"]) if command == SEARCH else None,
        "recent": trials[-RECENT:],
        "running": [] if now is None else _running(events, now),
        "attempts": {name: len(of_kind(events, name)) for name in ("started", "retried")},
        "slots": next((event.get("slots") for event in reversed(events) if event["kind"] in (BEGUN, RESUMED)), None),
        "seconds": (result or {}).get("seconds", round(spent_seconds(run, events, now), 1)),
        "budget": request.get("budget"),
        "eta_seconds": _eta_seconds(_last(events, "eta"), now),
        "error": events[-1]["message"] if state == STATES["given_up"] else None,
        "result": result,
    }


def _state(run: Run, events: Sequence[Event], result: Event | None) -> str:
    if result is not None:
        return "finished"
    if is_driven(run):
        return RUNNING
    return STATES.get(events[-1]["kind"], "unfinished") if events else "unfinished"


def _running(events: Sequence[Event], now: datetime) -> list[dict[str, Any]]:
    """What the present driver has submitted and has not seen the end of."""
    begun = max((place for place, event in enumerate(events) if event["kind"] in (BEGUN, RESUMED)), default=0)
    asked: dict[str, Event] = {}
    running: dict[str, dict[str, Any]] = {}
    for event in events[begun:]:
        job = str(event.get("job"))
        match event["kind"]:
            case "asked":
                asked[job] = event
            case "submitted":
                about = {name: asked.get(job, {}).get(name) for name in ("number", "stage")}
                place = {"slot": event["slot"], "attempt": event["attempt"], "step": None, "value": None}
                running[job] = {"job": job, **about, **place, "seconds": _seconds(event, now)}
            case "started" if job in running:
                running[job]["seconds"] = _seconds(event, now)
            case "report" if job in running:
                running[job] |= {"step": event["step"], "value": event["value"]}
            case "ended" | "retried":
                running.pop(job, None)
    return list(running.values())


def _seconds(event: Event, now: datetime) -> float:
    """Since an event."""
    return round(max(0.0, (now - moment(event)).total_seconds()), 1)


def _eta_seconds(eta: Event | None, now: datetime | None) -> float | None:
    """What is left of the last estimate."""
    if eta is None or now is None:
        return None
    return round(max(0.0, float(eta["seconds"]) - _seconds(eta, now)), 1)


def _last(events: Sequence[Event], kind: str) -> Event | None:
    return next((event for event in reversed(events) if event["kind"] == kind), None)


def _best(trials: Sequence[Event], metric: str) -> Event | None:
    """The best completed trial of the latest stage that has one: scores of different stages may not compare."""
    complete = [trial for trial in trials if trial["state"] == "complete"]
    if not complete:
        return None
    sign = 1 if METRICS[metric] == "minimize" else -1
    latest = [trial for trial in complete if trial["stage"] == complete[-1]["stage"]]
    return min(latest, key=lambda trial: (sign * trial["score"], trial["number"]))
