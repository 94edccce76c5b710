"""Fake targets, imported by name where a job runs (see tests/execution/targets.py)."""

import errno
import os
import select
import signal
from pathlib import Path
from time import monotonic

from autotl.errors import AutotlError, DataError, TrialError


class HostMemoryError(AutotlError):
    """Fails as a process does that the kernel has killed for memory."""

    kind = "oom_host"


def double(payload, report):
    return {"value": 2 * payload["value"]}


def count(payload, report):
    for step in range(payload["steps"]):
        if report(step, step / 10, {}):
            return {"steps": step + 1}
    return {"steps": payload["steps"]}


def fail(payload, report):
    match payload["how"]:
        case "plain":
            raise KeyError("colour")
        case "invalid":
            raise TrialError("the loss is not finite")
        case "data":
            raise DataError("an image has vanished")
        case "memory":
            raise MemoryError
    raise AssertionError(payload)


def die_until(payload, report):
    """Leaves a file in its folder, and is killed, as by the system, in every attempt before the last one."""
    folder = Path(payload["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "was-here").touch()
    attempts = sorted(path.name for path in folder.parent.iterdir())
    if len(attempts) < payload["attempts"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempts": attempts, "log_path": payload["log_path"]}


def fit(payload, report):
    """Has memory for so many images at a time (`fits`)."""
    batch = payload.get("micro_batch", payload["config"].get("batch_size", 32))
    if batch > payload["fits"]:
        raise MemoryError
    return {"batch": batch, "attempt": Path(payload["folder"]).name, "earlier": payload.get("earlier", [])}


def starve_once(payload, report):
    """Takes more memory than the machine has, in its first attempt."""
    if payload["folder"].endswith("attempt-1"):
        raise HostMemoryError("killed for memory")
    return {}


def write(payload, report):
    """Needs room on a disk, which is full while a file is there."""
    if Path(payload["full"]).exists():
        raise OSError(errno.ENOSPC, "No space left on device", payload["full"])
    return {}


def use_gpu(payload, report):
    """Fails on the GPU that is dead; on another, ends once two jobs have failed there."""
    folder = Path(payload["folder"])
    if os.environ["CUDA_VISIBLE_DEVICES"] == payload["dead"]:
        (folder / payload["mark"]).touch()
        raise RuntimeError("CUDA error: uncorrectable ECC error encountered")
    deadline = monotonic() + 20
    while len(list(folder.iterdir())) < 2:
        if monotonic() > deadline:
            raise TimeoutError("the dead GPU got no second job")
        select.select([], [], [], 0.01)
    return {}


def hang_at_first(payload, report):
    """Does nothing for ever, in its first attempt."""
    while payload["folder"].endswith("attempt-1"):
        signal.pause()
    return {"folder": payload["folder"]}


def cornered(payload, report):
    """The best settings need more memory than there is, however few images go through at a time."""
    rate = payload["config"]["head_rate"]
    if rate > 1e-3:
        raise MemoryError
    score = 1.0 - rate * 100
    return {
        "score": score, "scores": {"log_loss": score, "accuracy": 0.5}, "curve": [score], "stopped": False,
        "temperature": 1.0, "multiply_adds": 1, "seconds": 1.0, "ledger": {"seconds": {}, "counts": {}},
    }  # fmt: skip


def cost(payload, report):
    """Measures a network: milliseconds and bytes by its name, a time for each pixel of a side, noise at first."""
    config, seen = payload["config"], Path(payload["folder"]) / f"{payload['config']['backbone']}.times"
    seen.parent.mkdir(parents=True, exist_ok=True)
    with seen.open("a") as file:
        file.write("x")
    noise = 100.0 if config["backbone"] == "resnet50" and seen.stat().st_size == 1 else 0.0
    if config["backbone"] == "xception":
        raise AutotlError("no converter knows this network")
    milliseconds = config["image_size"] / {"vgg16": 1.0, "resnet50": 10.0, "xception": 1.0}[config["backbone"]]
    return {
        "p50_milliseconds": milliseconds + noise, "p95_milliseconds": milliseconds + noise, "bytes": 40_000_000,
        "parameters": 10_000_000, "channels": [8, 16], "ledger": {"seconds": {}, "counts": {}},
    }  # fmt: skip


def score_by_size(payload, report):
    """A trial whose score gets better with the image size."""
    config = payload["config"]
    score = 1.0 - config["image_size"] / 1000
    return {
        "score": score, "scores": {"log_loss": score, "accuracy": 0.5}, "curve": [score], "stopped": False,
        "temperature": 1.0, "multiply_adds": 1, "seconds": 1.0, "ledger": {"seconds": {}, "counts": {}},
    }  # fmt: skip


def fit_finally(payload, report):
    """A last fit; what it saved is a name."""
    ledger = {"seconds": {}, "counts": {}}
    model = f"{payload['folder']}/{payload['config']['backbone']}-{payload['config']['image_size']}.keras"
    return {"model": model, "seconds": 1.0, "ledger": ledger}


def cost_of_saved(payload, report):
    """Measures a saved model: milliseconds are its image size, resnet50 takes a tenth."""
    name, size = Path(payload["model"]).stem.split("-")
    return {"p50_milliseconds": int(size) / (10 if name == "resnet50" else 1), "bytes": 40_000_000}
