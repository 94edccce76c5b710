"""What a run has come to, read from its directory without touching it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotl.runs.directory import open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.request import METRICS

RECENT = 8


def read_status(path: Path) -> dict[str, Any]:
    """Summarise a run, finished or not.

    Returns:
        run, state ("finished", "interrupted", "unfinished"), stage, trials {complete, pruned, failed}, best (a trial
        or None), recent (the last trials), seconds, and result once there is one.

    Raises:
        UsageError: there is no run.
    """
    run = open_run(path)
    request = read_json(run.request_path)
    events = read_events(run)
    trials = [event for event in events if event["kind"] == "trial"]
    states = [trial["state"] for trial in trials]
    result_path = run.path / "result.json"
    result = read_json(result_path) if result_path.exists() else None
    return {
        "run": str(run.path),
        "state": _state(events, result),
        "stage": trials[-1]["stage"] if trials else None,
        "trials": {state: states.count(state) for state in ("complete", "pruned", "failed")},
        "best": _best(trials, request["metric"]),
        "recent": trials[-RECENT:],
        "seconds": sum(trial["seconds"] for trial in trials) if result is None else result["seconds"],
        "result": result,
    }


def _state(events: list[dict[str, Any]], result: Mapping[str, Any] | None) -> str:
    if result is not None:
        return "finished"
    return "interrupted" if events and events[-1]["kind"] == "interrupted" else "unfinished"


def _best(trials: list[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    """The best completed trial of the latest stage that has one: scores of different stages may not compare."""
    complete = [trial for trial in trials if trial["state"] == "complete"]
    if not complete:
        return None
    sign = 1 if METRICS[metric] == "minimize" else -1
    latest = [trial for trial in complete if trial["stage"] == complete[-1]["stage"]]
    return min(latest, key=lambda trial: (sign * trial["score"], trial["number"]))
