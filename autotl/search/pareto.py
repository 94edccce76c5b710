"""Which finished trials are worth their price: accuracy against time for an image and bytes of the file."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.errors import AutotlError, UsageError
from autotl.runs.directory import Run, open_search
from autotl.runs.events import read_events
from autotl.runs.files import read_json
from autotl.search.context import OnEvent
from autotl.search.measuring import measure
from autotl.search.model_budget import Measured, ModelBudget, recall
from autotl.search.past import of_kind
from autotl.search.reopen import reopened
from autotl.search.request import METRICS

_PICK = re.compile(r"(fastest|smallest)-within\s+(\d{1,3}(?:\.\d{1,6})?)\s*(?:pp|points?)", re.ASCII)


@dataclass(frozen=True)
class Contender:
    """A finished trial with its price; None where nobody measured it."""

    number: int
    network: tuple[str, int]
    accuracy: float
    milliseconds: float | None
    bytes: int | None
    rank: tuple[float, int]
    """By the metric of the search, then by number: decides between equals."""

    def beats(self, other: "Contender") -> bool:
        """Whether it is no worse in anything, and better in something, or ranked before its equal.

        What is not known cannot be compared, but two heads on one network take the same time.
        """
        pairs = [(-self.accuracy, -other.accuracy), (self.milliseconds, other.milliseconds), (self.bytes, other.bytes)]
        if self.network == other.network:
            pairs[1] = (0.0, 0.0)
            pairs[2] = (0.0, 0.0) if None in pairs[2] else pairs[2]
        known = [(mine, its) for mine, its in pairs if mine is not None and its is not None]
        if len(known) < len(pairs):
            return False
        is_better = any(mine < its for mine, its in known) or self.rank < other.rank
        return is_better and all(mine <= its for mine, its in known)


def read_pareto(path: Path, on_event: OnEvent | None = None) -> dict[str, Any]:
    """The finished trials of a run that no other one beats in accuracy, latency and size at once.

    Args:
        path: the run directory.
        on_event: given, networks that were not measured are measured now, on this machine, and this is told of it.

    Returns:
        run, front [{number, stage, config, accuracy, score, images, p50_milliseconds, bytes, delivered}] by falling
        accuracy, dominated (how many others are finished), delivered (its number or None), deploy (as what they were
        measured; None is Keras), missing (networks without figures: {backbone, image_size}).

    Raises:
        UsageError: no run; or one that is not finished, where something is to be measured.
    """
    run = open_search(path)
    events = read_events(run)
    trials = _complete(run, events)
    prices = _prices(run, events) if on_event is None else _measure(run, trials, events, on_event)
    contenders = {trial["number"]: _contender(trial, prices) for trial in trials}
    front = [
        trial for trial in trials if not any(other.beats(contenders[trial["number"]]) for other in contenders.values())
    ]
    delivered = _delivered(run)
    missing = {each.network for each in contenders.values() if each.milliseconds is None}
    return {
        "run": str(run.path),
        "front": [_row(trial, contenders, delivered) for trial in _by_accuracy(front)],
        "dominated": len(trials) - len(front),
        "delivered": delivered,
        "deploy": next((measured.deploy for measured in prices.measured.values()), None),
        "missing": [{"backbone": name, "image_size": size} for name, size in sorted(missing)],
    }


def pick(path: Path, how: str, on_event: OnEvent) -> int:
    """The number of the trial that somebody describes; networks that must be known for that are measured.

    Args:
        path: the run directory.
        how: "best" (by the metric of the search), "fastest-within 1pp" or "smallest-within 2pp": the fastest, or the
            smallest, whose validation accuracy is at most so many points below the best.
        on_event: told of progress.

    Raises:
        UsageError: it says none of these, or no trial is finished.
    """
    found = _PICK.fullmatch(how.strip().lower())
    if found is None and how.strip().lower() != "best":
        raise UsageError(
            f"A trial is picked by best, fastest-within 1pp or smallest-within 2pp (points of validation accuracy), "
            f"not {how!r}."
        )
    run = open_search(path)
    events = read_events(run)
    trials = _complete(run, events)
    if not trials:
        raise UsageError(f"A trial is picked among those that are complete; {run.path} has none yet.")
    if found is None:
        whole = [trial for trial in trials if trial.get("images") is None]
        return int(min(whole or trials, key=lambda trial: trial["rank"])["number"])
    least = max(_accuracy(trial) for trial in trials) - float(found.group(2)) / 100 - 1e-9
    good = [trial for trial in trials if _accuracy(trial) >= least]
    prices = _prices(run, events)
    if len({_network(trial) for trial in good}) > 1:
        prices = _measure(run, good, events, on_event)
    axis = "milliseconds" if found.group(1) == "fastest" else "bytes"

    def price(trial: Mapping[str, Any]) -> tuple[float, float, tuple[float, int]]:
        value = getattr(_contender(trial, prices), axis)
        return (math.inf if value is None else float(value), -_accuracy(trial), trial["rank"])

    return int(min(good, key=price)["number"])


def _measure(
    run: Run, trials: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]], on_event: OnEvent
) -> ModelBudget:
    """Measure the networks of trials that have no figures, and write these into the log of the finished run.

    So is the delivered model's: what it took on another occasion is not compared with what others take now.

    Raises:
        UsageError: the run is not finished: its log is still the search's.
        AutotlError: a network cannot be measured.
    """
    prices = ModelBudget()
    recall(prices, events)
    missing = sorted({_network(trial) for trial in trials} - set(prices.measured))
    if not missing:
        return prices
    if not run.result_path.exists():
        raise UsageError(
            f"Networks are measured when their search is finished, and {run.path} is not. Finish it: autotl resume "
            f"{run.path}"
        )
    with reopened(run.path, on_event) as context:
        plural = "" if len(missing) == 1 else "s"
        context.tell("phase", phase="check", detail=f"measuring {len(missing)} network{plural} on this machine")
        context.model_budget = prices
        measure(context, missing)
    for name, size in missing:
        if (name, size) not in prices.measured:
            raise AutotlError(f"{name} at {size} px cannot be measured; see {run.path}/check/measure-log.txt")
    return prices


def _prices(run: Run, events: Sequence[Mapping[str, Any]]) -> ModelBudget:
    """What is known of the networks of a run: what was measured, and what its delivered model was found to cost."""
    prices = ModelBudget()
    recall(prices, events)
    description = run.model_path / "autotl.json"
    if description.exists() and read_json(run.request_path).get("deploy") is None:
        found = read_json(description)
        trial = next((each for each in of_kind(events, "trial") if each["number"] == found.get("trial")), None)
        if trial is not None and "members" not in found and _network(trial) not in prices.measured:
            latency, count = found["latency"], found["model"]["bytes"]
            prices.note(
                Measured(
                    *_network(trial), None, latency["p50_milliseconds"], latency["p95_milliseconds"], count,
                    found.get("parameters", 0),
                )
            )  # fmt: skip
    return prices


def _complete(run: Run, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The finished trials, each with its `rank`."""
    sign = 1 if METRICS[read_json(run.request_path)["metric"]] == "minimize" else -1
    trials = {event["number"]: event for event in of_kind(events, "trial")}
    complete = [trial for trial in trials.values() if trial["state"] == "complete" and trial.get("scores")]
    return [{**trial, "rank": (sign * trial["score"], trial["number"])} for trial in complete]


def _contender(trial: Mapping[str, Any], prices: ModelBudget) -> Contender:
    found = prices.measured.get(_network(trial))
    about = (trial["number"], _network(trial), _accuracy(trial))
    if found is None or found.problem is not None:
        return Contender(*about, None, None, trial["rank"])
    count = found.bytes_with(trial["config"]) if found.channels else found.bytes
    return Contender(*about, found.p50_milliseconds, count, trial["rank"])


def _row(trial: Mapping[str, Any], contenders: Mapping[int, Contender], delivered: int | None) -> dict[str, Any]:
    price = contenders[trial["number"]]
    return {
        **{name: trial.get(name) for name in ("number", "stage", "config", "score", "images")},
        "accuracy": price.accuracy,
        "p50_milliseconds": price.milliseconds,
        "bytes": price.bytes,
        "delivered": trial["number"] == delivered,
    }


def _by_accuracy(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(trials, key=lambda trial: (-_accuracy(trial), trial["number"]))


def _accuracy(trial: Mapping[str, Any]) -> float:
    return float(trial["scores"]["accuracy"])


def _network(trial: Mapping[str, Any]) -> tuple[str, int]:
    return trial["config"]["backbone"], int(trial["config"]["image_size"])


def _delivered(run: Run) -> int | None:
    return read_json(run.result_path)["best"].get("trial") if run.result_path.exists() else None
