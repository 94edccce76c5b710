"""A search whose workers and driver are killed at random: is every trial there once, and the best one the same?

    python benchmarks/chaos.py [--trials 200] [--slots 4] [--seconds 0.5] [--drivers 2] [--seed 0]
        [--out benchmarks/results]

Trials are fake (`fake_trials.py`), drawn at random so that a trial's settings depend on its number alone; they run in
real worker processes under a real driver. A worker is killed with SIGKILL about once a second; the driver is as often
as --drivers says, at moments drawn at random, and another one goes on with the run. The same search runs undisturbed.
Exits with 1 where anything is missing, double, or left over. Writes `chaos.json` and `chaos.md`.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import fake_trials
import psutil
from machine import describe_machine, machine_record, markdown_table

from autotl.execution.devices import SlotPlan
from autotl.execution.local import LocalExecutor
from autotl.runs.directory import open_run
from autotl.runs.events import read_events

HERE = Path(__file__).parent
PATH = os.pathsep.join([str(HERE), str(HERE.parent)])
PAUSE = (0.5, 1.5)  # seconds between two kills
GONE_SECONDS = 2.0  # within which workers must end when their driver is killed


def main() -> None:
    """Measure and report; or, with --drive, be the driver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a trial, on the average")
    parser.add_argument("--drivers", type=int, default=2, help="that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.drive is not None:
        drive(arguments.drive, arguments.slots, arguments.seconds)
        return
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        rows = {}
        for kind in ("undisturbed", "chaos"):
            folder = Path(name) / kind
            folder.mkdir()
            fake_trials.prepare(folder, arguments.trials, sampler="random")
            rows[kind] = disturb(folder, arguments) if kind == "chaos" else watch(folder, arguments)
    faults = compare(rows, arguments.trials)
    record = {
        "machine": machine_record(),
        "settings": {name: value for name, value in vars(arguments).items() if name not in ("out", "drive")},
        "rows": rows,
        "faults": faults,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "chaos.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.out / "chaos.md").write_text(make_report(record))
    print(make_report(record))
    sys.exit(1 if faults else 0)


def drive(folder: Path, slots: int, seconds: float) -> None:
    """A driver with real workers."""
    plans = [SlotPlan(f"cpu-{index}", "cpu", threads=1) for index in range(slots)]
    executor = LocalExecutor(plans, extra_env={"PYTHONPATH": PATH})
    try:
        fake_trials.search(folder, fake_trials.Fake(executor, seconds / fake_trials.EPOCHS))
    finally:
        executor.shutdown(0)


def start_driver(folder: Path, arguments: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """The same in a process of its own."""
    words = ["--drive", str(folder), "--slots", str(arguments.slots), "--seconds", str(arguments.seconds)]
    command = [sys.executable, str(HERE / "chaos.py"), *words]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PATH})


def watch(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Let one driver run to its end."""
    started = monotonic()
    if start_driver(folder, arguments).wait() != 0:
        raise SystemExit("The undisturbed search failed.")
    return {**account(folder), "seconds": monotonic() - started, "workers_killed": 0, "drivers_killed": 0}


def disturb(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kill at random until the search has ended all the same."""
    chance, started = random.Random(arguments.seed), monotonic()
    targets = sorted(chance.uniform(0.15, 0.85) * arguments.trials for _ in range(arguments.drivers))
    driver, known, lingered = start_driver(folder, arguments), set[int](), 0.0
    workers_killed = drivers_killed = 0
    while driver.poll() is None:
        sleep(chance.uniform(*PAUSE))
        workers = alive(psutil.Process(driver.pid).children) if driver.poll() is None else []
        known |= {worker.pid for worker in workers}
        if targets and len(account(folder)["numbers"]) >= targets[0]:
            targets.pop(0)
            driver.kill()
            driver.wait()
            drivers_killed += 1
            lingered = max(lingered, wait_until_gone(workers))
            driver = start_driver(folder, arguments)
        elif workers:
            victim = chance.choice(workers)
            victim.send_signal(signal.SIGKILL)
            workers_killed += 1
    if driver.returncode != 0:
        raise SystemExit(f"The driver gave up with exit code {driver.returncode}.")
    left = [pid for pid in known if is_worker(pid)]
    seconds = monotonic() - started
    killed = {"workers_killed": workers_killed, "drivers_killed": drivers_killed}
    return {**account(folder), "seconds": seconds, **killed, "lingered_seconds": lingered, "orphans": len(left)}


def alive(children: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    """The processes that a function lists; none if whoever has them is just ending."""
    try:
        return children()
    except psutil.NoSuchProcess:
        return []


def is_worker(pid: int) -> bool:
    """Whether a worker lives under that id; another process may have got it."""
    try:
        return "autotl.execution.worker" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def wait_until_gone(workers: list[psutil.Process]) -> float:
    """How long workers live on without their driver, in seconds."""
    started = monotonic()
    while any(is_worker(worker.pid) for worker in workers) and monotonic() - started < 10 * GONE_SECONDS:
        sleep(0.01)
    return monotonic() - started


def account(folder: Path) -> dict[str, Any]:
    """What the event log says: how often each number ended, the best trial, and the tries that were lost."""
    events = read_events(open_run(folder / "run"))
    trials = [event for event in events if event["kind"] == "trial"]
    done = [trial for trial in trials if trial["state"] == "complete"]
    best = min(done, key=lambda trial: trial["score"], default=None)
    return {
        "numbers": dict(Counter(str(trial["number"]) for trial in trials)),
        "states": dict(Counter(trial["state"] for trial in trials)),
        "retried": sum(event["kind"] == "retried" for event in events),
        "best": None if best is None else {name: best[name] for name in ("number", "score", "config")},
        "unpublished": sum(1 for _ in (folder / "cache").rglob("*.tmp*")) if (folder / "cache").exists() else 0,
    }


def compare(rows: dict[str, dict[str, Any]], trials: int) -> list[str]:
    """What is wrong with the disturbed search."""
    chaos, calm = rows["chaos"], rows["undisturbed"]
    wanted = {str(number): 1 for number in range(1, trials + 1)}
    faults = []
    if chaos["numbers"] != wanted:
        faults.append("not every trial is there once")
    if chaos["best"] != calm["best"]:
        faults.append("the best trial is another one")
    if chaos["orphans"] or chaos["unpublished"]:
        faults.append("processes or unfinished stores are left")
    if chaos["lingered_seconds"] > GONE_SECONDS:
        faults.append("workers outlived their driver")
    return faults


def make_report(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    rows = [
        [
            kind,
            f"{row['seconds']:.0f}",
            row["workers_killed"],
            row["drivers_killed"],
            row["retried"],
            len(row["numbers"]),
            ", ".join(f"{count} {state}" for state, count in row["states"].items()),
            f"{row['best']['score']:.6f} (trial {row['best']['number']})",
        ]
        for kind, row in record["rows"].items()
    ]
    columns = ("search", "seconds", "workers killed", "drivers killed", "tried again", "trials", "states", "best")
    chaos = record["rows"]["chaos"]
    verdict = "; ".join(record["faults"]) if record["faults"] else "Nothing is missing, double, or left over."
    return (
        "# Workers and drivers killed at random\n\nWritten by `benchmarks/chaos.py`: fake trials in real processes. "
        f"After a driver's death its workers were gone within {chaos['lingered_seconds']:.2f} s.\n\n"
        f"{describe_machine(record['machine'])}\n\n{markdown_table(columns, rows)}\n\n{verdict}\n"
    )


if __name__ == "__main__":
    main()
