"""How many slots one driver keeps busy: real worker processes here, and simulated slots beyond what a machine has.

    python benchmarks/scaling.py [--simulated 1 16 64 256 1024] [--local 4 64] [--seconds 20] [--trials-per-slot 4]
        [--out benchmarks/results]

Trials are fake (`fake_trials.py`): they wait for a known time and report a known curve. All else is real: Optuna's
sampler, its SQLite database, the event log, the run directory, and with --local the worker processes and their pipes.
Simulated slots (`simulated_slots.py`) have a clock in which waits are skipped and the driver's own work is not.

Driver milliseconds are the processor time of this process for each trial. A slot is busy from the submission of a trial
to its end; the share is of all slots from the first submission until there is no more to submit, since after that they
have to idle. Writes `scaling.json`, `scaling.md` and `scaling.svg`.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from time import process_time
from typing import Any

import fake_trials
from machine import describe_machine, machine_record, markdown_table
from simulated_slots import SimulatedSlots

from autotl.execution.devices import SlotPlan
from autotl.execution.local import LocalExecutor
from autotl.execution.protocol import Job
from autotl.runs.directory import open_run
from autotl.runs.events import read_events

HERE = Path(__file__).parent
FEWEST_TRIALS = 64
INTRODUCTION = """# One driver, many slots

Written by `benchmarks/scaling.py`: fake trials of {seconds:g} s on the average (half to one and a half times that),
five reports each, settings by TPE, all of it written to SQLite and the event log as in a search. "Busy" is the share of
all slots' time until nothing is left to submit.

"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", type=int, nargs="*", default=[1, 16, 64, 256, 1024])
    parser.add_argument("--local", type=int, nargs="*", default=[4, 64])
    parser.add_argument("--seconds", type=float, default=20.0, help="of a trial, on the average")
    parser.add_argument("--trials-per-slot", type=int, default=4)
    parser.add_argument("--sampler", choices=["tpe", "random"], default="tpe")
    parser.add_argument("--prune", action="store_true", help="stop losers early, by successive halving")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"machine": machine_record(), "seconds": arguments.seconds, "rows": []}
    for kind, counts in (("simulated", arguments.simulated), ("local", arguments.local)):
        for count in counts:
            record["rows"].append(measure(kind, count, arguments))
            print(json.dumps(record["rows"][-1]), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "scaling.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.out / "scaling.md").write_text(make_report(record))
    draw(record, arguments.out / "scaling.svg")
    print(make_report(record))


def measure(kind: str, count: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One stage of fake trials on so many slots."""
    trials = max(FEWEST_TRIALS, count * arguments.trials_per_slot)
    with tempfile.TemporaryDirectory(prefix="scaling-") as name:
        folder = Path(name)
        fake_trials.prepare(folder, trials, sampler=arguments.sampler, prune=arguments.prune)
        executor = SimulatedSlots(count) if kind == "simulated" else open_local(count)
        processor = process_time()
        try:
            results = fake_trials.search(folder, fake_trials.Fake(executor, arguments.seconds / fake_trials.EPOCHS))
        finally:
            processor = process_time() - processor
            executor.shutdown(0)
        intervals = executor.intervals if isinstance(executor, SimulatedSlots) else logged_intervals(folder)
    seconds, busy = busy_share(intervals, count)
    return {
        "kind": kind, "slots": count, "trials": len(results), "driver_milliseconds": 1000 * processor / len(results),
        "trials_per_second": len(results) / seconds, "busy": busy, "best": min(each["score"] for each in results),
    }  # fmt: skip


def open_local(count: int) -> LocalExecutor:
    """Real workers, each with one thread; all are up before the first trial."""
    plans = [SlotPlan(f"cpu-{index}", "cpu", threads=1) for index in range(count)]
    executor = LocalExecutor(plans, extra_env={"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])})
    executor.warm("fake_trials")
    for plan in plans:
        executor.submit(Job(f"wake-{plan.id}", 1, "fake_trials:wake", {}), plan.id)
    while any(slot.busy for slot in executor.slots()):
        executor.poll(1.0)
    return executor


def logged_intervals(folder: Path) -> list[tuple[float, float]]:
    """When each trial was submitted and when it ended, in seconds, from the event log."""
    began: dict[str, float] = {}
    intervals = []
    for event in read_events(open_run(folder / "run")):
        if event["kind"] in ("submitted", "ended"):
            moment = datetime.fromisoformat(event["time"]).timestamp()
            if event["kind"] == "submitted":
                began[event["job"]] = moment
            else:
                intervals.append((began[event["job"]], moment))
    return intervals


def busy_share(intervals: Sequence[tuple[float, float]], slots: int) -> tuple[float, float]:
    """Seconds from the first submission to the last end, and the busy share of all slots until the last submission."""
    first, last = min(began for began, _ in intervals), max(began for began, _ in intervals)
    busy = sum(min(ended, last) - began for began, ended in intervals)
    return max(ended for _, ended in intervals) - first, busy / (slots * (last - first))


def make_report(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    columns = ("slots", "trials", "driver, ms a trial", "trials a second", "busy")
    rows = [
        [
            f"{row['slots']} {row['kind']}",
            row["trials"],
            f"{row['driver_milliseconds']:.0f}",
            f"{row['trials_per_second']:.2f}",
            f"{row['busy']:.1%}",
        ]
        for row in record["rows"]
    ]
    return f"{INTRODUCTION.format(**record)}{describe_machine(record['machine'])}\n\n{markdown_table(columns, rows)}\n"


def draw(record: dict[str, Any], path: Path) -> None:
    """Trials a second and the busy share against the number of slots."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind, marker, colour in (("simulated", "o", "#2c6fbb"), ("local", "s", "#c0392b")):
        rows = [row for row in record["rows"] if row["kind"] == kind]
        if rows:
            slots = [row["slots"] for row in rows]
            label = "simulated slots" if kind == "simulated" else "worker processes"
            left.plot(slots, [row["trials_per_second"] for row in rows], marker, color=colour, label=label)
            right.plot(slots, [100 * row["busy"] for row in rows], marker, color=colour, label=label)
    ideal = sorted({row["slots"] for row in record["rows"]})
    left.plot(ideal, [count / record["seconds"] for count in ideal], color="#888888", linewidth=0.8, label="ideal")
    right.axhline(95, color="#888888", linewidth=0.8, linestyle="--")
    left.set(xscale="log", yscale="log", xlabel="slots", ylabel="trials a second")
    right.set(xscale="log", xlabel="slots", ylabel="busy, %", ylim=(0, 103))
    left.legend(frameon=False)
    for panel in (left, right):
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
