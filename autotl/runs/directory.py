"""The run directory: where everything of one search, or of another study, lies.

```
RUN/ request.json  manifest.csv  study.db  events.jsonl  .lock  .lock-holder.json  stop
     trials/0007/attempt-1/...   model/   report.html
```
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autotl.errors import UsageError
from autotl.runs.files import read_json, write_json

DEFAULT_PARENT = Path("runs")
SEARCH = "search"


@dataclass(frozen=True)
class Run:
    """One search's, or study's, directory. Paths only: nothing is created by looking at them."""

    path: Path

    @property
    def request_path(self) -> Path:
        """What was asked for; a folder that has it is a run."""
        return self.path / "request.json"

    @property
    def space_path(self) -> Path:
        """The search space, as its file was."""
        return self.path / "space.toml"

    @property
    def data_path(self) -> Path:
        """What the check of the images found."""
        return self.path / "data.json"

    @property
    def manifest_path(self) -> Path:
        """The labelled images and their split."""
        return self.path / "manifest.csv"

    @property
    def study_path(self) -> Path:
        """Optuna's SQLite database, written by the driver alone."""
        return self.path / "study.db"

    @property
    def events_path(self) -> Path:
        """What happened, one JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def model_path(self) -> Path:
        """The folder of the delivered model."""
        return self.path / "model"

    @property
    def result_path(self) -> Path:
        """The JSON object that the search ended with; a run that has it is finished."""
        return self.path / "result.json"

    @property
    def predictions_path(self) -> Path:
        """What the delivered model said of the test images: `probabilities`, `labels` and `rows` of the manifest."""
        return self.path / "test.npz"

    @property
    def report_path(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    @property
    def lock_path(self) -> Path:
        """The file whose lock makes one driver the run's only writer."""
        return self.path / ".lock"

    @property
    def lock_holder_path(self) -> Path:
        """Who took the lock last; means something only while the lock is held."""
        return self.path / ".lock-holder.json"

    @property
    def stop_path(self) -> Path:
        """Asks the driver to stop, as soon as it is there."""
        return self.path / "stop"

    def trial_dir(self, number: int) -> Path:
        """The folder of trial `number`."""
        return self.path / "trials" / f"{number:04d}"

    def attempt_dir(self, number: int, attempt: int) -> Path:
        """The folder of one attempt at a trial; attempts never share files, so a late writer harms nobody."""
        return self.trial_dir(number) / f"attempt-{attempt}"

    def remove_checkpoints(self, number: int) -> None:
        """Remove what the attempts at a trial have kept to be gone on with: it has ended."""
        for path in self.trial_dir(number).glob("attempt-*/checkpoint.*"):
            path.unlink(missing_ok=True)

    def attempts(self, number: int) -> list[int]:
        """The attempts at a trial that have left a folder, the oldest first."""
        names = [path.name for path in self.trial_dir(number).glob("attempt-*")]
        return sorted(int(name) for path in names if (name := path.removeprefix("attempt-")).isdecimal())


def create_run(path: Path | None, request: dict[str, Any], moment: datetime | None = None) -> Run:
    """Make a new run directory and write the request into it.

    Args:
        path: the folder (`~` is expanded; it may exist if it is empty), or None for
            `./runs/<dataset>-<YYYYmmdd-HHMMSS>`, with `-2`, `-3`... when that is taken.
        request: JSON; `request["dataset"]` names the folder when `path` is None.
        moment: the time in the default name; None is now.

    Raises:
        UsageError: when `path` holds something already.
    """
    if path is None:
        folder = _claim_default(str(request.get("dataset", "")), datetime.now() if moment is None else moment)
    else:
        folder = _claim(path.expanduser())
    run = Run(folder.resolve())
    (run.path / "trials").mkdir(exist_ok=True)
    write_json(run.request_path, request)
    return run


def open_run(path: Path) -> Run:
    """An existing run (`~` is expanded).

    Raises:
        UsageError: when `path` is no run directory.
    """
    run = Run(path.expanduser().resolve())
    if not run.path.is_dir():
        raise UsageError(f"A run directory must exist: there is no folder {run.path}. Check the path.")
    if not run.request_path.is_file():
        raise UsageError(
            f"A run directory contains a request.json: {run.path} has none. "
            f"Give the folder that `autotl search` printed as its run."
        )
    return run


def open_search(path: Path) -> Run:
    """The run of a search.

    Raises:
        UsageError: when `path` is no run directory, or that of another study.
    """
    run = open_run(path)
    if (command := command_of(run)) != SEARCH:
        raise UsageError(
            f"This takes the run of a search: {run.path} is that of `autotl {command}`. See it with `autotl status "
            f"{run.path}`; the same `autotl {command}` command with --out {run.path} goes on with it."
        )
    return run


def command_of(run: Run) -> str:
    """Which command a run was made by: "search", or the name of a study."""
    request = read_json(run.request_path)
    return SEARCH if "space" in request else str(request.get("study", SEARCH))


def _claim(folder: Path) -> Path:
    """`folder` as a new, empty directory."""
    if (folder / "request.json").exists():
        raise UsageError(
            f"A new search needs a new run directory: {folder} is already a run. See it with `autotl status {folder}`, "
            "or give another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"A run is a folder: {folder} is, or lies below, a file. Give another path.") from None
    if any(folder.iterdir()):
        raise UsageError(f"A run directory starts empty: {folder} holds other files. Give a new or an empty folder.")
    return folder


def _claim_default(dataset: str, moment: datetime) -> Path:
    """The first free `runs/<dataset>-<time>[-n]`; creating it is the test, so two searches never share one."""
    stem = f"{_dataset_stem(dataset)}-{moment:%Y%m%d-%H%M%S}"
    DEFAULT_PARENT.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = DEFAULT_PARENT / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def _dataset_stem(dataset: str) -> str:
    """A folder name for a data set: `photos/` -> photos, `cats.zip` -> cats, `sample:clipart` -> clipart."""
    name = Path(dataset.rpartition(":")[2]).expanduser().resolve() if dataset else Path()
    stem = name.stem if name.suffix.lower() in {".zip", ".csv", ".tsv", ".npz"} else name.name
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.")[:60] or "run"
