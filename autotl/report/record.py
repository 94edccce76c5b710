"""What a run directory tells: read once, with whatever is there, since a run may be unfinished."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.runs.directory import Run, open_search
from autotl.runs.events import read_events
from autotl.runs.files import read_json

Json = Mapping[str, Any]

_LARGER_IS_BETTER = {"accuracy", "balanced_accuracy", "macro_f1", "auroc"}


@dataclass(frozen=True)
class Trial:
    """One trial as its event says; `score` is None unless it is a number."""

    number: int
    stage: str
    images: int | None  # of a sample that it was scored on
    evaluation: str  # cross_validation: the curve is by fold | holdout: by epoch
    state: str  # complete | pruned | failed | running
    score: float | None
    accuracy: float | None
    seconds: float | None
    config: Json
    curve: tuple[float, ...]
    phases: Mapping[str, float]
    error: str


@dataclass(frozen=True)
class RunRecord:
    """The files of a run directory; empty mappings stand for missing files."""

    run: Run
    request: Json
    result: Json  # result.json: the object of `autotl search --json`
    data: Json  # data.json: the report of the data check
    model: Json  # model/autotl.json
    trials: tuple[Trial, ...]  # by number

    @property
    def metric(self) -> str:
        """What validation scores measure."""
        return str(self.request.get("metric") or self.result.get("metric") or "log_loss")

    @property
    def larger_is_better(self) -> bool:
        return self.metric in _LARGER_IS_BETTER

    @property
    def dataset(self) -> str:
        """The data set's name, without the folders above it."""
        given = str(self.request.get("dataset") or self.result.get("dataset") or self.run.path.name)
        return Path(given).name or given


def read_record(run_path: Path) -> RunRecord:
    """Reads a run.

    Raises:
        UsageError: `run_path` is no run directory.
    """
    run = open_search(run_path)
    # A retried or resumed trial has several events: the last one holds.
    events = {event["number"]: event for event in read_events(run) if _is_trial(event)}
    return RunRecord(
        run=run,
        request=_read(run.request_path),
        result=_read(run.path / "result.json"),
        data=_read(run.path / "data.json"),
        model=_read(run.model_path / "autotl.json"),
        trials=tuple(_trial(events[number]) for number in sorted(events)),
    )


def number_or_none(value: Any) -> float | None:
    """A finite number as float; everything else (missing, text, NaN) as None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def mapping_or_empty(value: Any) -> Json:
    """A JSON object as it is; anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def _read(path: Path) -> Json:
    try:
        return mapping_or_empty(read_json(path))
    except (OSError, ValueError):  # not there yet, or cut short: its section is left out
        return {}


def _is_trial(event: Json) -> bool:
    return event.get("kind") == "trial" and type(event.get("number")) is int


def _trial(event: Json) -> Trial:
    ledger = mapping_or_empty(mapping_or_empty(event.get("ledger")).get("seconds"))
    phases = {str(name): number_or_none(value) for name, value in ledger.items()}
    curve = event.get("curve")
    steps = [number_or_none(value) for value in curve] if isinstance(curve, list) else []
    message = mapping_or_empty(event.get("error")).get("message")
    return Trial(
        number=event["number"],
        stage=str(event.get("stage", "")),
        evaluation=str(event.get("evaluation", "")),
        images=event.get("images"),
        state=str(event.get("state", "")),
        score=number_or_none(event.get("score")),
        accuracy=number_or_none(mapping_or_empty(event.get("scores")).get("accuracy")),
        seconds=number_or_none(event.get("seconds")),
        config=mapping_or_empty(event.get("config")),
        curve=tuple(value for value in steps if value is not None),
        phases={name: value for name, value in phases.items() if value is not None},
        error="" if message is None else str(message),
    )
