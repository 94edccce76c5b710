"""Searches whose jobs lack something that autotl otherwise keeps: run by `ablations.py`, each in its own process.

    python benchmarks/ablated_jobs.py without_feature_store DATASET [options of autotl search]

The driver of this one process is told another job to start by name; the job takes the thing away and then does what it
always does. autotl itself has no switch for it. Workers find this module by PYTHONPATH, which `ablations.py` sets.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

Report = Callable[[int, float, dict[str, Any]], bool]
FORGETFUL = ("autotl.learn.networks", "autotl.learn.finetune", "autotl.learn.probe", "autotl.learn.scratch")


def without_feature_store(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """The job with a cache that has the decoded images but no features, and forgets those that it computes.

    Within one job they are still computed once, for all its epochs and folds: what this measures is the sharing between
    jobs, and the whole worth of the store is larger.
    """
    from autotl.learn.features import KIND

    root = Path(payload["cache"]["root"])
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        for kind in root.iterdir():
            if kind.is_dir() and kind.name != KIND:
                (Path(folder) / kind.name).symlink_to(kind)
        cache = {**payload["cache"], "root": folder}
        return _original()({**payload, "cache": cache}, report)


def without_reuse(payload: dict[str, Any], report: Report) -> dict[str, Any]:
    """The job in a worker that keeps no network, traced graph or solved head of the jobs before."""
    for name in FORGETFUL:
        for value in list(vars(sys.modules[name]).values()) if name in sys.modules else []:
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    if "keras" in sys.modules:
        import keras

        keras.utils.clear_session()
    return _original()(payload, report)


def _original() -> Callable[[Mapping[str, Any], Report], dict[str, Any]]:
    """The job that autotl starts; in a worker nobody has changed its name."""
    from autotl.search import asking

    module, _, function = asking.TRIAL_TARGET.partition(":")
    job: Callable[[Mapping[str, Any], Report], dict[str, Any]] = getattr(import_module(module), function)
    return job


def retarget(job: str) -> None:
    """Have this process's driver start the named function of this module in the place of autotl's own job."""
    from autotl.search import asking

    assert asking.TRIAL_TARGET  # a name that nobody reads would change nothing, and nobody would notice
    asking.TRIAL_TARGET = f"{Path(__file__).stem}:{job}"


def main() -> None:
    """Run `autotl search` with the named job."""
    from autotl.cli.main import main as autotl

    retarget(sys.argv.pop(1))
    sys.argv.insert(1, "search")
    autotl()


if __name__ == "__main__":
    main()
