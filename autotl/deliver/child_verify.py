"""Runs an exported model by the script beside it, as somebody would who has nothing else: started as a file.

It imports nothing of autotl, and libraries that the model should not need are hidden before anything is loaded. It ends
when its standard input does, since its parent is gone then (`child.end_with_parent`).
"""

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

WARM_UPS = 5
CALLS = 30
VALIDATION_BATCH = 32


class Hiding:
    """A finder of modules that does not find some: to whoever asks, they are not installed."""

    def __init__(self, finder: Any, hidden: frozenset[str]) -> None:
        self._finder, self._hidden = finder, hidden

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        return None if name.partition(".")[0] in self._hidden else self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def main(job_path: str) -> None:
    """Does a job.

    Args:
        job_path: JSON: `script` of the model, `hidden` import names, `images` and, or null, `validation` (`.npy`, uint8
            `[n, S, S, 3]`), `batch_sizes`, `answers`: the folder to write `batch-N.npy`, `validation.npy` and
            `latency.json` to.
    """
    threading.Thread(target=end_with_parent, daemon=True).start()
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    hidden = frozenset(job["hidden"])
    sys.meta_path[:] = [Hiding(finder, hidden) for finder in sys.meta_path]
    script, answers = Path(job["script"]), Path(job["answers"])
    predict = load_script(script).load(script.parent)
    images = np.load(job["images"], mmap_mode="r", allow_pickle=False)
    for size in job["batch_sizes"]:
        np.save(answers / f"batch-{size}.npy", run(predict, images, size))
    if job["validation"] is not None:
        validation = np.load(job["validation"], mmap_mode="r", allow_pickle=False)
        np.save(answers / "validation.npy", run(predict, validation, VALIDATION_BATCH))
    (answers / "latency.json").write_text(json.dumps(measure(predict, images)), encoding="utf-8")


def end_with_parent() -> None:
    """Waits for the end of the standard input, and ends this process and its children with it."""
    while os.read(0, 1):
        pass
    os.killpg(os.getpid(), signal.SIGKILL)


def load_script(path: Path) -> Any:
    """The module in a file, which finds those beside it, as one does that is started."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("predict", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, batch_size: int) -> np.ndarray:
    """Probabilities `[n, C]` of images uint8 `[n, S, S, 3]`, so many at a time."""
    starts = range(0, len(images), batch_size)
    parts = [np.array(predict(np.array(images[start : start + batch_size]))) for start in starts]
    return np.concatenate(parts)


def measure(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> dict[str, Any]:
    """Milliseconds from one decoded image to its probabilities, one image at a time."""
    milliseconds = []
    for call in range(-WARM_UPS, CALLS):
        image = np.array(images[call % len(images)][None])
        started = time.perf_counter()
        predict(image)
        if call >= 0:
            milliseconds.append(1000.0 * (time.perf_counter() - started))
    low, high = np.percentile(milliseconds, [50, 95])
    return {"batch_size": 1, "n": CALLS, "p50_milliseconds": float(low), "p95_milliseconds": float(high)}


if __name__ == "__main__":
    main(sys.argv[1])
