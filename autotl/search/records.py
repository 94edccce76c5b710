"""The record of a trial that has ended: what is kept of it, what it cost, and who is told."""

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import optuna
from optuna.trial import Trial

from autotl.search.context import Context
from autotl.search.dispatch import Outcome
from autotl.search.hyperparameters import Inquiry
from autotl.search.study import INFEASIBLE
from autotl.space.schema import Stage

MEASURED = ("score", "scores", "temperature", "curve", "cut", "trained_parameters", "multiply_adds", "ledger")
REPEATED_ERRORS = 3
REPEATED_INFEASIBLE = 12
NOT_ITS_OWN = ("infra", "hang", "cancelled")  # errors that say nothing about a configuration


@dataclass
class Asked:
    """A trial on its way.

    Attributes:
        trial: of the study.
        number: in the run.
        config: its settings, as its worker gets them.
        step: the last one that the study was told of, maybe by an earlier driver.
        inquiry: what its hypermodel has asked for.
    """

    trial: Trial
    number: int
    config: dict[str, Any]
    step: int = 0
    inquiry: Inquiry = field(default_factory=Inquiry)


@dataclass
class Records:
    """The records of the trials of a stage that have ended, in the order in which the study asked for them.

    Attributes:
        direction: of the study.
        numbered: each with its trial's number in the study.
        best: as `best_of` finds it.
    """

    direction: optuna.study.StudyDirection
    numbered: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    best: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.numbered)

    def add(self, number: int, record: dict[str, Any]) -> None:
        """Put the record of the study's trial of that number in its place."""
        insort(self.numbered, (number, record), key=itemgetter(0))
        self.best = best_of([record] if self.best is None else [self.best, record], self.direction)

    def all(self) -> list[dict[str, Any]]:
        """All of them."""
        return [record for _, record in self.numbered]

    def of(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The first one of a configuration, unless it failed."""
        same = (each for _, each in self.numbered if each["state"] != "failed" and each.get("asked") == config)
        return next(same, None)


def make_record(context: Context, stage: Stage, asked: Asked, outcome: Outcome) -> dict[str, Any]:
    """What became of a trial: state ("complete", "pruned" or "failed"), score, config, seconds, error, ..."""
    record: dict[str, Any] = {
        "number": asked.number,
        "stage": stage.name,
        "evaluation": context.evaluation(stage),
        "images": context.images(stage),
        "config": asked.config,
        "asked": asked.config,  # before the trial settled what it was left to settle
        "seconds": round(outcome.seconds, 3),
        "folder": outcome.job.payload["folder"],
        "score": None,
        "error": None,
    }
    result = outcome.result
    if result is None:
        assert outcome.failure is not None
        error = {"kind": outcome.failure.kind, "message": outcome.failure.message}
        return {**record, "state": "failed", "error": error}
    if result.get("options", asked.config.get("options", {})) != asked.config.get("options", {}):
        record["config"] = {**asked.config, "options": result["options"]}  # those that were of use
    record["config"] = {**record["config"], **result.get("settled", {})}
    state = "pruned" if result["stopped"] else "complete"
    return {**record, "state": state, **{name: result[name] for name in MEASURED if name in result}}


def account(context: Context, stage: Stage, record: Mapping[str, Any]) -> None:
    """Add what a trial cost, and note which passes over the images it has paid for."""
    if "ledger" in record:
        context.costs.add_job(record["ledger"], record["seconds"], stage.name)
        context.forecast.pay(record["asked"], context.passed_images(stage))
        context.forecast.learn(record["asked"], record["ledger"])
    else:
        context.costs.add({"failed": record["seconds"]})
        context.costs.busy_seconds += record["seconds"]


def log_record(context: Context, record: Mapping[str, Any]) -> None:
    """Write the end of a trial into the event log."""
    context.log("trial", **{name: value for name, value in record.items() if name not in ("folder", "asked")})


def tell_record(context: Context, record: Mapping[str, Any], *, is_best: bool) -> None:
    """Tell the person who watches."""
    scores, error = record.get("scores"), record["error"]
    context.tell(
        "trial",
        **{name: record[name] for name in ("number", "stage", "state", "score", "seconds", "config")},
        accuracy=None if scores is None else scores["accuracy"],
        error=None if error is None else error["message"],
        best=is_best,
    )


def best_of(results: Sequence[dict[str, Any]], direction: optuna.study.StudyDirection) -> dict[str, Any] | None:
    """The completed trial with the best score, the earliest of equals."""
    complete = [result for result in results if result["state"] == "complete"]
    if not complete:
        return None
    sign = 1 if direction == optuna.study.StudyDirection.MINIMIZE else -1
    return min(complete, key=lambda result: (sign * result["score"], result["number"]))


def repeated_error(records: Sequence[Mapping[str, Any]]) -> str | None:
    """The message of an error that ended the last trials, one after the other: it would end the next one too.

    Settings that cannot be trained are no such error once a trial has completed, for the sampler learns to leave them
    alone; before that, only many of them in a row are.
    """
    ignored = (*NOT_ITS_OWN, *INFEASIBLE) if any(each["state"] == "complete" for each in records) else NOT_ITS_OWN
    errors = [each["error"] for each in records if each["error"] is None or each["error"]["kind"] not in ignored]
    last = errors[-1] if errors else None
    if last is None:
        return None
    count = REPEATED_INFEASIBLE if last["kind"] in INFEASIBLE else REPEATED_ERRORS
    if len(errors) < count or any(error is None or error["message"] != last["message"] for error in errors[-count:]):
        return None
    return f"The same error ended {count} trials in a row: {last['message']}"
