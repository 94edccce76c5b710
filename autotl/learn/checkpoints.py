"""How far a job has come, kept in a file beside its log, so that its next attempt goes on from there.

A checkpoint has what was reported, the held-out logits of the folds that are done, and the state of training after an
epoch of the fold that follows. It is written under another name and renamed, so it is whole or not there. Its key says
what it belongs to: one of another configuration, seed, split or version is none.
"""

import importlib.metadata
import json
import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from autotl import __version__
from autotl.data.store import key_of
from autotl.learn.config import TrialConfig
from autotl.learn.ledger import Ledger
from autotl.learn.task import Task

FORMAT = 1
FILE = "checkpoint.npz"
SECONDS = 10.0
"""From one checkpoint within a fold to the next, at least."""
MOST_SHARE = 0.05
"""Of the time that may go into writing them: large ones are written more seldom."""
SETTINGS = (
    "kind", "seed", "metric", "evaluation", "images", "folds", "repeats", "fold_seed", "fitted_folds", "prune", "rows",
    "held_out", "precision",
)  # fmt: skip
"""What decides the course of a job besides its configuration and its rows."""
DAMAGE = (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile)

Report = Callable[[int, float, dict[str, Any]], bool]


@dataclass(frozen=True)
class TrainingState:
    """All that training goes on from after an epoch: equal states come to equal ends."""

    epoch: int  # so many are done
    values: tuple[np.ndarray, ...]  # of the variables that training changes, in an order of the loop's own
    generator: Mapping[str, Any]  # the state of numpy's bit generator, JSON


def keep_nothing(copy: Callable[[], TrainingState]) -> None:
    """For a training that need not go on."""


@dataclass(frozen=True)
class Resume:
    """Where training begins, and who is offered its state after every epoch but the last."""

    start: TrainingState | None = None
    keep: Callable[[Callable[[], TrainingState]], None] = keep_nothing
    """Takes a function that copies the state: most of the time it is not asked to."""


FROM_THE_START = Resume()


@dataclass(frozen=True)
class Progress:
    """How far a job has come."""

    reports: tuple[tuple[int, float], ...] = ()  # (step, value)
    folds: tuple[np.ndarray, ...] = ()  # held-out logits [n, C] of each that is done
    training: TrainingState | None = None  # within the next one


@dataclass
class Course:
    """A job on its way: it grows report by report and fold by fold, and is kept from time to time."""

    path: Path
    key: str
    seconds: float
    ledger: Ledger
    tell: Report
    before: Path | None = None
    """The folder of the attempt that it goes on from."""
    reports: list[tuple[int, float]] = field(default_factory=list)
    folds: list[np.ndarray] = field(default_factory=list)
    training: TrainingState | None = None
    due: float = 0.0
    """When the next checkpoint is written, by `perf_counter`."""
    has_complained: bool = False

    @property
    def curve(self) -> list[float]:
        return [value for _, value in self.reports]

    def report(self, step: int, value: float) -> bool:
        """Tell a score, and answer whether the job is to stop."""
        self.reports.append((step, value))
        return self.tell(step, value, {})

    def resume(self) -> Resume:
        """For the next fit: the first one begins where an earlier attempt was, the others at their start."""
        start, self.training = self.training, None
        return Resume(start, self._keep_state)

    def end_fold(self, logits: np.ndarray) -> None:
        """A fold is done, and another one follows."""
        self.folds.append(logits)
        self._write(None)

    def _keep_state(self, copy: Callable[[], TrainingState]) -> None:
        if perf_counter() >= self.due:
            self._write(copy)

    def _write(self, copy: Callable[[], TrainingState] | None) -> None:
        began = perf_counter()
        with self.ledger.phase("save"):
            training = None if copy is None else copy()
            try:
                write_checkpoint(self.path, self.key, Progress(tuple(self.reports), tuple(self.folds), training))
            except OSError as error:  # a full disk, most likely: no reason to end what could be finished without one
                if not self.has_complained:
                    print(f"No checkpoint could be written, training goes on without: {error}", file=sys.stderr)
                self.has_complained = True
        ended = perf_counter()
        self.due = ended + self.seconds * max(1.0, (ended - began) / (MOST_SHARE * SECONDS))


def open_course(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> Course:
    """The course of a job, from the newest checkpoint on that its earlier attempts have left; tells what they told.

    Args:
        payload: see `autotl.learn.jobs.run_job`; `earlier`, `checkpoint_seconds` and `folder` are read here.
        report: what it answers to old reports is not heeded: a stop is answered to the next one as well.
    """
    key = key_of(_spec(task, config, payload))
    path, seconds = Path(payload["folder"]) / FILE, float(payload.get("checkpoint_seconds", SECONDS))
    course = Course(path, key, seconds, task.ledger, report, due=perf_counter() + seconds)
    for folder in map(Path, reversed(payload.get("earlier", []))):
        found = read_checkpoint(folder / FILE, key)
        if found is not None:
            course.before, course.training = folder, found.training
            course.folds.extend(found.folds)
            for step, value in found.reports:
                course.report(step, value)
            epochs = 0 if found.training is None else found.training.epoch
            print(f"Goes on from {folder / FILE}: folds {len(found.folds)}, epochs {epochs}.", file=sys.stderr)
            break
    return course


def remove_checkpoints(payload: Mapping[str, Any]) -> None:
    """A job has come to its end: nobody goes on from it."""
    for folder in [payload["folder"], *payload.get("earlier", [])]:
        for path in (Path(folder) / FILE, _unfinished(Path(folder) / FILE)):
            path.unlink(missing_ok=True)


def write_checkpoint(path: Path, key: str, progress: Progress) -> None:
    """Replace the file, durably and in one step.

    Raises:
        OSError: it cannot be written; then the one before is still there.
    """
    training = progress.training
    head: dict[str, Any] = {"key": key, "reports": progress.reports, "folds": len(progress.folds), "training": None}
    arrays = [*progress.folds]
    if training is not None:
        head["training"] = {"epoch": training.epoch, "generator": training.generator}
        arrays += training.values
    temporary = _unfinished(path)
    try:
        with temporary.open("wb") as file:
            np.savez(file, np.array(json.dumps(head)), *arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_checkpoint(path: Path, key: str) -> Progress | None:
    """What a checkpoint says; None where there is none, where it is damaged, or belongs to something else."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            first, *names = saved.files
            head = json.loads(str(saved[first]))
            if head["key"] != key:
                return None
            arrays, count = tuple(saved[name] for name in names), head["folds"]
            training = head["training"]
            if training is not None:
                training = TrainingState(training["epoch"], arrays[count:], training["generator"])
            return Progress(tuple((step, value) for step, value in head["reports"]), arrays[:count], training)
    except FileNotFoundError:
        return None
    except DAMAGE as error:
        print(f"The checkpoint {path} cannot be read and is left out: {error}", file=sys.stderr)
        return None


def _unfinished(path: Path) -> Path:
    return path.with_suffix(".tmp")


def _spec(task: Task, config: TrialConfig, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint belongs to. Not how many images go through at once: that does not change where it leads."""
    return {
        "format": FORMAT,
        "autotl": __version__,
        "keras": [importlib.metadata.version("keras"), os.environ.get("KERAS_BACKEND", "")],
        "config": config.to_json(),
        "split": task.sources.manifest.split_fingerprint,
        **{name: payload.get(name) for name in SETTINGS},
    }
