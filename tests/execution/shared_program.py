"""A worker with one slot as a process of its own, quick to notice things: `shared_program.py URL STUDY`."""

import sys

from autotl.execution.board import Pace
from autotl.execution.devices import SlotPlan
from autotl.execution.shared_worker import Service, serve

PACE = Pace(look_seconds=0.05, beat_seconds=1, grace_seconds=4, patience_seconds=60)


def main():
    url, study = sys.argv[1:]
    plans = [SlotPlan("cpu-0", "cpu", threads=1)]
    serve(Service(url, study, plans, 30, None, lambda message: print(message, flush=True), lambda: None, PACE))


if __name__ == "__main__":
    main()
