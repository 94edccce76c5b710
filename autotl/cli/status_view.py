"""A run's status in words: lines that say where it is, and tables of what runs and of what has ended."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotl.cli.output import make_table
from autotl.cli.words import brief, configuration, duration, score

if TYPE_CHECKING:
    from rich.table import Table


def status_lines(found: Mapping[str, Any]) -> list[str]:
    """Where a run is, how far, and what is best so far."""
    phase = found["phase"]
    where = "" if phase is None or found["state"] == "finished" else f" in {phase['name']} ({phase['detail']})"
    what = "" if found["command"] == "search" else f" (autotl {found['command']})"
    lines = [f"{found['run']}{what}: {found['state']}{where}"]
    if found["error"] is not None:
        lines.append(f"error: {found['error']}")
    if found["command"] == "search":
        lines.append(f"trials: {_counts(found)}")
    lines.append(f"time: {_time(found)}")
    if found["running"]:
        slots = "" if found["slots"] is None else f" on {found['slots']} slot{'' if found['slots'] == 1 else 's'}"
        lines.append(f"running: {len(found['running'])}{slots}")
    best = found["best"]
    if best is not None:
        lines.append(f"best: trial {best['number']}, score {score(best['score'])}, {configuration(best['config'])}")
    return lines


def next_step(found: Mapping[str, Any]) -> str | None:
    """What its user does next; None while it runs."""
    if found["state"] == "running" or (found["state"] == "finished" and found["command"] == "search"):
        return None
    if found["state"] == "finished":
        return f"See:   {found['run']}/result.json"
    return f"Next:  {how_to_go_on(found)}"


def how_to_go_on(found: Mapping[str, Any]) -> str:
    """What takes up a run that has stopped."""
    if found["command"] == "search":
        return f"autotl resume {found['run']}"
    return f"the same autotl {found['command']} command, with --out {found['run']}"


def status_tables(found: Mapping[str, Any]) -> "list[Table]":
    """What runs, and the last trials that have ended."""
    running = [
        (item["number"], item["stage"], item["slot"], item["attempt"], item["step"], score(item["value"]),
         duration(item["seconds"]))
        for item in found["running"]
    ]  # fmt: skip
    ended = [
        (item["number"], item["stage"], item["state"], score(item["score"]), brief(item["config"]))
        for item in found["recent"]
    ]
    tables = []
    if running:
        columns = ("running>", "stage", "slot", "attempt>", "step>", "score>", "for>")
        tables.append(make_table(columns, running))
    if ended:
        tables.append(make_table(("trial>", "stage", "state", "score>", "configuration"), ended))
    return tables


def progress_line(found: Mapping[str, Any]) -> str:
    """What is worth a line of a log when it changes."""
    phase, best = found["phase"], found["best"]
    where = found["state"] if phase is None or found["state"] != "running" else phase["name"]
    known = "" if best is None else f"; best: trial {best['number']}, score {score(best['score'])}"
    return f"{where}: {_counts(found)}{known}"


def _counts(found: Mapping[str, Any]) -> str:
    planned = "" if found["planned"] is None else f" of {found['planned']} planned"
    counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items())
    retried = found["attempts"]["retried"]
    again = f"; {retried} tried again" if retried else ""
    return f"{sum(found['trials'].values())}{planned}: {counts}{again}"


def _time(found: Mapping[str, Any]) -> str:
    budget = "" if found["budget"] is None else f" of {duration(found['budget'])}"
    left = "" if found["eta_seconds"] is None else f", about {duration(found['eta_seconds'])} to go"
    return f"{duration(found['seconds'])}{budget}{left}"
