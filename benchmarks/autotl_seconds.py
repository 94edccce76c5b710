"""Where the seconds of a finished search went: job by job, read off its run directory."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

Row = dict[str, float]


def spent_seconds(run: Path, wall_seconds: float) -> dict[str, Row]:
    """Seconds by what was done: rows are the data, the trials of each freeze point and head, confirm, final, the test.

    Every row has `seconds`; rows of jobs have `jobs` and the phases of the jobs' ledgers too. The row "start, end and
    between" is what is left of the wall time: processes that start and end, imports, Optuna, files.
    """
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    trials = {event["number"]: event for event in events if event["kind"] == "trial"}
    final = {event["number"] for event in events if event["kind"] == "final"}
    rows: dict[str, Row] = {"data": {"seconds": json.loads((run / "data.json").read_text())["seconds"]}}
    for path in sorted(run.glob("trials/*/attempt-*/result.json")):
        number = int(path.parts[-3])
        result = json.loads(path.read_text())
        again = "final" if number in final else "confirm"
        name = _kind(trials[number]["config"]) if number in trials else again
        _add(rows.setdefault(name, {"jobs": 0, "seconds": 0.0}), result)
    rows["test"] = {"seconds": round(_job_seconds(events, "deliver"), 2)}
    searched = sorted(name for name in rows if name.startswith("search"))
    order = ["data", *searched, *(name for name in ("confirm", "final") if name in rows), "test"]
    known = sum(rows[name]["seconds"] for name in order)
    left = {"seconds": round(wall_seconds - known, 2)}
    return {**{name: rows[name] for name in order}, "start, end and between": left, "all": {"seconds": wall_seconds}}


def _kind(config: dict[str, Any]) -> str:
    depth = config.get("freeze_depth", 1.0)
    return f"search, {config['recipe']}, frozen {depth:g}, {config.get('head', 'linear')}"


def _add(row: Row, result: dict[str, Any]) -> None:
    row["jobs"] += 1
    row["seconds"] = round(row["seconds"] + result["seconds"], 2)
    for phase, seconds in result["ledger"]["seconds"].items():
        row[phase] = round(row.get(phase, 0.0) + seconds, 2)


def _job_seconds(events: list[dict[str, Any]], job: str) -> float:
    times = {
        event["kind"]: datetime.fromisoformat(event["time"])
        for event in events
        if event["kind"] in ("started", "ended") and event.get("job") == job
    }
    return (times["ended"] - times["started"]).total_seconds() if len(times) == 2 else 0.0
