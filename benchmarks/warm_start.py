"""What the stores buy: the same search twice, cold and warm, side by side in one run.

    python benchmarks/warm_start.py DATASET [--space quick] [--out benchmarks/results]

Prints the seconds to the first finished trial, the whole search and the cost ledger of both, and writes them as JSON.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

import autotl


def measure(dataset: str, space: str, folder: Path, name: str) -> dict[str, Any]:
    """One search; both of them share `folder/cache`."""
    start = monotonic()
    first: list[float] = []

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "trial" and event["state"] == "complete" and not first:
            first.append(monotonic() - start)

    result = autotl.search(dataset, space=space, out=folder / name, cache_dir=folder / "cache", on_event=on_event)
    values = dict(result.values)
    return {
        "first_trial_seconds": round(first[0], 2),
        "seconds": values["seconds"],
        "cost": values["cost"],
        "counts": values["counts"],
        "best": values["best"],
        "test": values["test"],
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--space", default="quick")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: measure(arguments.dataset, arguments.space, Path(folder), name) for name in ("cold", "warm")}
    ratio = runs["cold"]["first_trial_seconds"] / runs["warm"]["first_trial_seconds"]
    phases = sorted(set(runs["cold"]["cost"]) | set(runs["warm"]["cost"]))
    print(f"{'':28}{'cold':>10}{'warm':>10}")
    for label, key in (("first finished trial, s", "first_trial_seconds"), ("whole search, s", "seconds")):
        print(f"{label:28}{runs['cold'][key]:10.1f}{runs['warm'][key]:10.1f}")
    for phase in phases:
        print(f"  {phase:26}{runs['cold']['cost'].get(phase, 0.0):10.1f}{runs['warm']['cost'].get(phase, 0.0):10.1f}")
    print(f"first trial: {ratio:.1f} times sooner; same result: {runs['cold']['test'] == runs['warm']['test']}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    record = {"dataset": Path(arguments.dataset).name, "space": arguments.space, "machine": machine, **runs}
    (arguments.out / "warm_start.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
