"""A small real data set: coloured noise that even a network with random weights can tell apart."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from autotl.data.check import check_dataset
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.learn.ledger import Ledger
from autotl.learn.task import Task, open_task

COLOURS = {"blue": (0, 0, 70), "green": (0, 70, 0), "red": (70, 0, 0)}
NETWORK = {"backbone": "vgg16", "weights": "random", "image_size": 32}


@dataclass(frozen=True)
class Problem:
    """A checked data set with a cache: what a driver hands to a worker."""

    manifest_path: Path
    cache: Cache

    @property
    def manifest(self) -> Manifest:
        return Manifest.read(self.manifest_path)

    def payload(self, folder: Path, config: dict[str, Any], kind: str = "trial", **fields: Any) -> dict[str, Any]:
        """A job as it arrives at a worker: through JSON."""
        cache = {"root": str(self.cache.root), "max_bytes": self.cache.max_bytes}
        job = {"kind": kind, "config": {**NETWORK, **config}, "manifest": str(self.manifest_path), "cache": cache}
        job |= {"seed": 7, "metric": "log_loss", "folder": str(folder), **fields}
        parsed: dict[str, Any] = json.loads(json.dumps(job))
        return parsed

    def task(self, cache: Cache | None = None) -> Task:
        """The task with an empty ledger."""
        chosen = self.cache if cache is None else cache
        values = {"root": str(chosen.root), "max_bytes": chosen.max_bytes}
        return open_task({"manifest": str(self.manifest_path), "cache": values}, Ledger())


@pytest.fixture(scope="session")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """Three classes of 22 pictures: 48 to train, 9 to validate, 9 to test."""
    root = tmp_path_factory.mktemp("learn")
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / "images" / name).mkdir(parents=True)
        for index in range(22):
            noise = generator.integers(0, 180, (6, 6, 3)) + np.array(colour)
            picture = Image.fromarray(noise.astype(np.uint8)).resize((44, 40), Image.Resampling.BICUBIC)
            picture.save(root / "images" / name / f"{index:02}.png")
    cache = Cache(root / "cache", 10**9)
    check_dataset(str(root / "images"), seed=0, image_sizes=(32,), cache=cache).manifest.write(root / "manifest.csv")
    return Problem(root / "manifest.csv", cache)


@pytest.fixture
def task(problem: Problem) -> Task:
    return problem.task()


@pytest.fixture
def small_files() -> Callable[[int], AbstractContextManager[None]]:
    """Within `small_files(most)` no file may grow beyond so many bytes: the system refuses to write more."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limit(most: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def reports() -> list[tuple[int, float]]:
    """What `go_on` was told."""
    return []


@pytest.fixture
def go_on(reports: list[tuple[int, float]]) -> Callable[[int, float, dict[str, Any]], bool]:
    """A reporter that never asks to stop."""

    def report(step: int, value: float, extra: dict[str, Any]) -> bool:
        reports.append((step, value))
        return False

    return report
