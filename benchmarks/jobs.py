"""What two trials at a time are worth on a few cores: the same search with --jobs 1 and with --jobs 2.

    python benchmarks/jobs.py [--dataset sample:clipart] [--space benchmarks/spaces/jobs.toml] [--trials 20] [--seed 0]
        [--backbone efficientnet-lite0] [--ways one two single] [--repeats 1] [--out benchmarks/results]

The searches run one after the other, in processes of their own, on a cache that a search of one trial has filled, so
that no trial waits for decoding or for a pass of the frozen network. Settings are drawn at random and depend on the
seed and the number of the trial alone: all ways try the same ones. "One" and "two" are what a person gets who says
--jobs 1 or 2: one slot with all cores, or two that share them. "Single" is one job on one core, which tells what a
trial gains from the second one by itself.

Seconds of the trials are from the first submission to the last end; those of the search are the wall time of its
process, with the final round, the last fit and the test, which are one job at a time. Writes `jobs.json` and `jobs.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from machine import describe_machine, machine_record, markdown_table

from autotl.execution.devices import plan_slots

HERE = Path(__file__).parent
SPACE = HERE / "spaces" / "jobs.toml"
WAYS = {"one": ("--jobs 1", 1), "two": ("--jobs 2", 2), "single": ("--jobs 1, on one core", 1)}
INTRODUCTION = """# One trial at a time, or two

Written by `benchmarks/jobs.py`: the same {trials} trials of `{space}` on `{dataset}`, {backbone}, seed {seed}, warm
stores; medians of {repeats}. "Times faster" compares the seconds of the trials with those of --jobs 1. "Busy" is the
sum of the trials' seconds over those of all slots. "Off by" is the largest difference of a trial's score from --jobs 1.
"Load" is that of the machine before and after; with one job it should stay below the number of cores.

"""


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="sample:clipart")
    parser.add_argument("--space", type=Path, default=SPACE, help="a file with one stage and a random sampler")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--ways", choices=list(WAYS), nargs="+", default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    names = ("dataset", "trials", "seed", "backbone", "repeats")
    record: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    record |= {"space": arguments.space.name, "machine": machine_record(), "runs": []}
    with tempfile.TemporaryDirectory(prefix="jobs-") as name:
        folder = Path(name)
        run_search(arguments, folder, "filling", "one", trials=1)
        for repeat in range(arguments.repeats):
            for way in arguments.ways:
                run = run_search(arguments, folder, f"{way}-{repeat}", way, arguments.trials)
                record["runs"].append(run)
                print(json.dumps({key: value for key, value in run.items() if key != "scores"}), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "jobs.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.out / "jobs.md").write_text(make_report(record))
    print(make_report(record))


def run_search(arguments: argparse.Namespace, folder: Path, name: str, way: str, trials: int) -> dict[str, Any]:
    """One search in a process of its own, on the cache that all of them share."""
    jobs = WAYS[way][1]
    command = [sys.executable, "-P", "-m", "autotl", "search", arguments.dataset, "--space", str(arguments.space)]
    command += ["--trials", str(trials), "--seed", str(arguments.seed), "--backbone", arguments.backbone]
    command += ["--jobs", str(jobs), "--gpus", "none", "--json", "--quiet"]
    command += ["--out", str(folder / name), "--cache-dir", str(folder / "cache")]
    cores = os.sched_getaffinity(0)
    if way == "single":
        os.sched_setaffinity(0, {min(cores)})  # children are born with it
    try:
        threads, load, start = plan_slots(jobs, "none")[0].threads, os.getloadavg()[0], perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        os.sched_setaffinity(0, cores)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stderr[-4000:]}")
    wall, result = perf_counter() - start, json.loads(done.stdout)
    test = {name: round(result["test"][name], 4) for name in ("n", "accuracy", "log_loss")}
    return {
        "way": way, "jobs": jobs, "threads": threads, "load": [round(load, 2), round(os.getloadavg()[0], 2)],
        "seconds": round(wall, 2), **read_trials(folder / name, jobs), "best": result["best"]["trial"], "test": test,
    }  # fmt: skip


def read_trials(run: Path, jobs: int) -> dict[str, Any]:
    """What the event log of a run says of its trials: seconds, the busy share of its slots, scores by number."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    trials = [event for event in events if event["kind"] == "trial"]
    names = {f"trial-{trial['number']}" for trial in trials}
    moments = [
        datetime.fromisoformat(event["time"]).timestamp()
        for event in events
        if event["kind"] in ("submitted", "ended") and event["job"] in names
    ]
    seconds = max(moments) - min(moments)
    return {
        "trials": len(trials),
        "trial_seconds": round(seconds, 2),
        "busy": round(sum(trial["seconds"] for trial in trials) / (jobs * seconds), 4),
        "scores": {str(trial["number"]): trial["score"] for trial in trials},
    }


def make_report(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    by_way = {way: [run for run in record["runs"] if run["way"] == way] for way in WAYS}
    base = by_way["one"]
    rows = []
    for way, runs in by_way.items():
        if not runs:
            continue
        seconds = median(run["trial_seconds"] for run in runs)
        faster = f"{median(run['trial_seconds'] for run in base) / seconds:.2f}" if base else ""
        rows.append([
            WAYS[way][0], runs[0]["threads"], f"{seconds:.1f}", faster, f"{median(run['busy'] for run in runs):.0%}",
            f"{median(run['seconds'] for run in runs):.1f}", runs[0]["best"], f"{runs[0]['test']['accuracy']:.4f}",
            f"{largest_difference(base, runs):.1e}" if base else "", " to ".join(map(str, runs[0]["load"])),
        ])  # fmt: skip
    columns = (
        "", "threads a slot", "trials, s", "times faster", "busy", "search, s", "best trial", "test accuracy", "off by",
        "load",
    )  # fmt: skip
    text = f"{INTRODUCTION.format(**record)}{describe_machine(record['machine'])}"
    return f"{text}\n\n{markdown_table(columns, rows)}\n"


def largest_difference(base: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]]) -> float:
    """Between the scores of the same trials in the first run of two ways."""
    mine, theirs = base[0]["scores"], runs[0]["scores"]
    return max((abs(mine[key] - theirs[key]) for key in mine if None not in (mine[key], theirs.get(key))), default=0.0)


if __name__ == "__main__":
    main()
