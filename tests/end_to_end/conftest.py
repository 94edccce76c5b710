"""Whole searches on the data that ships with autotl, shared by all tests here: each costs half a minute."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import autotl
from autotl.runs.directory import open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

DATASET = "sample:clipart"
SEED = 1
WORKER = "autotl.execution.worker"
DEADLINE_SECONDS = 120
SPACE = """# The smallest search that does everything once.
description = "A probe and a fine-tune of one network on small images."

[[stage]]
name = "probe"
recipe = "probe"
trials = 2
evaluation = "cross_validation"
[stage.parameters]
backbone = { choice = ["efficientnet-lite0"] }
image_size = { choice = [64] }
penalty = { log = [3e-4, 3e-3] }

[[stage]]
name = "finetune"
recipe = "finetune"
trials = 2
evaluation = "holdout"
epochs = 2
[stage.parameters]
freeze_depth = { choice = [0.8] }
head_rate = { log = [1e-4, 1e-3] }
"""


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the runs, with a search space and one cache for all of them."""
    folder = tmp_path_factory.mktemp("searches")
    (folder / "tiny.toml").write_text(SPACE)
    return folder


@pytest.fixture(scope="session")
def search(workplace: Path) -> Callable[..., autotl.SearchResult]:
    """Searches through the public interface; all searches differ in nothing but their folder."""

    def run(name: str, **options: Any) -> autotl.SearchResult:
        space, cache = workplace / "tiny.toml", workplace / "cache"
        return autotl.search(DATASET, space=space, seed=SEED, out=workplace / name, cache_dir=cache, **options)

    return run


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if WORKER in child.cmdline()]


def trials_of(run: Path) -> list[dict[str, Any]]:
    """What became of every trial, without what depends on the clock."""
    kept = ("number", "stage", "state", "config", "score", "scores", "temperature", "curve")
    trials = [event for event in read_events(open_run(run)) if event["kind"] == "trial"]
    return [{name: trial.get(name) for name in kept} for trial in trials]


@pytest.fixture(scope="session")
def first(search: Callable[..., autotl.SearchResult]) -> SimpleNamespace:
    """A search from a cold cache: its result, and what it told the person who watched."""
    told: list[dict[str, Any]] = []
    result = search("first", on_event=told.append)
    return SimpleNamespace(result=result, told=told, run=open_run(result.run), trials=trials_of(result.run))


@pytest.fixture(scope="session")
def disturbed(first: SimpleNamespace, search: Callable[..., autotl.SearchResult]) -> SimpleNamespace:
    """The same search once more, from a warm cache; its worker is killed in the middle of the first fine-tune."""
    phases: list[str] = []
    killed: list[int] = []

    def kill_once(event: dict[str, Any]) -> None:
        if event["event"] == "phase":
            phases.append(event["phase"])
        if event["event"] == "epoch" and phases[-1] == "finetune" and not killed:
            for worker in workers_of(psutil.Process()):
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        result = search("disturbed", on_event=kill_once)
    messages = [str(warning.message) for warning in warned]
    run = open_run(result.run)
    return SimpleNamespace(result=result, killed=killed, run=run, trials=trials_of(result.run), warnings=messages)


def start_search(folder: Path) -> "subprocess.Popen[str]":
    """The search from the command line, new or gone on with."""
    options = ["--space", "tiny.toml", "--seed", str(SEED), "--out", folder.name, "--cache-dir", "cache"]
    return subprocess.Popen(
        [sys.executable, "-m", "autotl", "search", DATASET, *options, "--json", "-q"],
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background job, and so perhaps the whole test run, ignores SIGINT, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture(scope="session")
def interrupted(first: SimpleNamespace, workplace: Path) -> SimpleNamespace:
    """The search from the command line, with Ctrl-C after its first trial."""
    folder = workplace / "interrupted"
    process = start_search(folder)
    try:
        wait_until(process, lambda: folder.is_dir() and bool(trials_of_unfinished(folder)))
        workers = workers_of(psutil.Process(process.pid))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    finally:
        process.kill()
    return SimpleNamespace(
        folder=folder, code=process.returncode, out=out, err=err, workers=workers, trials=trials_of(folder)
    )


def trials_of_unfinished(folder: Path) -> list[dict[str, Any]]:
    return trials_of(folder) if (folder / "request.json").exists() else []


def wait_until(process: subprocess.Popen[str], is_enough: Callable[[], bool]) -> None:
    """Wait for something that a process does; not for ever, and not longer than it lives."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_enough():
        assert time.monotonic() < deadline, "the search did not come that far in time"
        try:
            process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"the search ended with {process.returncode}: {process.communicate()}")


@pytest.fixture(scope="session")
def killed(interrupted: SimpleNamespace) -> SimpleNamespace:
    """The interrupted search, gone on with; its driver is killed while the first fine-tune traces its graph."""
    run = open_run(interrupted.folder)

    def times_tuned() -> int:
        return sum(event["kind"] == "started" and event["job"] == "trial-3" for event in read_events(run))

    before = times_tuned()  # Ctrl-C may have come when it had begun
    process = subprocess.Popen(
        [sys.executable, "-m", "autotl", "resume", str(run.path), "--json", "-q"],
        cwd=run.path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(process, lambda: times_tuned() > before)
        workers = workers_of(psutil.Process(process.pid))
    finally:
        process.kill()
        process.communicate()
    return SimpleNamespace(run=run, workers=workers)


@pytest.fixture(scope="session")
def resumed(interrupted: SimpleNamespace, killed: SimpleNamespace) -> SimpleNamespace:
    """The search, interrupted and killed, gone on with by the same command to its end."""
    process = start_search(interrupted.folder)
    try:
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    finally:
        process.kill()
    trials = trials_of(interrupted.folder)
    return SimpleNamespace(code=process.returncode, err=err, result=json.loads(out), trials=trials, run=killed.run)


@pytest.fixture(scope="session")
def description(first: SimpleNamespace) -> dict[str, Any]:
    """`autotl.json` of the first search's model."""
    read: dict[str, Any] = read_json(first.result.model / "autotl.json")
    return read


@pytest.fixture(scope="session")
def draw_noise() -> Callable[..., Path]:
    """Writes a data set of coloured noise: a folder for each class, that many pictures in each."""

    def draw(folder: Path, counts: Sequence[int], tint: int) -> Path:
        generator = np.random.default_rng(0)
        for place, (name, count) in enumerate(zip(("red", "green", "blue"), counts, strict=True)):
            (folder / name).mkdir(parents=True)
            for index in range(count):
                noise = generator.integers(0, 180, (6, 6, 3)) + tint * np.eye(3, dtype=int)[place]
                picture = Image.fromarray(noise.astype(np.uint8)).resize((40, 36), Image.Resampling.BICUBIC)
                picture.save(folder / name / f"{index:02}.png")
        return folder

    return draw
