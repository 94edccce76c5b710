"""What was asked for, in one frozen record."""

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from autotl.backbones.registry import absolute_reference, is_path
from autotl.errors import UsageError

METRICS = {
    "log_loss": "minimize",
    "accuracy": "maximize",
    "balanced_accuracy": "maximize",
    "macro_f1": "maximize",
    "auroc": "maximize",
}


@dataclass(frozen=True)
class SearchRequest:
    """One search. `trials` is the total over all stages, `budget` is seconds; None leaves it to the space.

    `latency_milliseconds` and `max_bytes` are what the delivered model may cost, in Keras or, with `deploy`, in the
    format and precision that it names ("litert:int8").
    """

    dataset: str
    space: str = "quick"
    trials: int | None = None
    budget: float | None = None
    seed: int = 0
    backbones: tuple[str, ...] = ()
    normalisation: str | None = None
    accept_licences: tuple[str, ...] = ()
    metric: str = "log_loss"
    ensemble: bool = False
    cv_test: int | None = None
    latency_milliseconds: float | None = None
    max_bytes: int | None = None
    deploy: str | None = None
    jobs: int | None = None
    gpus: str = "all"
    gpu_share: float = 1.0
    executor: str = "local"
    executor_address: str | None = None
    study: str | None = None
    out: str | None = None
    cache_dir: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "backbones": list(self.backbones), "accept_licences": list(self.accept_licences)}


def check_request(request: SearchRequest) -> SearchRequest:
    """Return the request when it can be meant.

    Raises:
        UsageError: the first field that cannot.
    """
    if request.metric not in METRICS:
        raise UsageError(f"The metric must be one of {', '.join(METRICS)}, not {request.metric!r}.")
    if request.trials is not None and request.trials < 1:
        raise UsageError(f"A search needs at least one trial, not {request.trials}. Give --trials 1 or more.")
    if request.budget is not None and not 0 < request.budget < math.inf:
        raise UsageError(f"A budget is a time greater than zero, not {request.budget} s. Give --budget 10m, say.")
    if request.cv_test is not None and not 2 <= request.cv_test <= 20:
        raise UsageError(f"Nested cross-validation has 2 to 20 parts, not {request.cv_test}. Give --cv-test 5, say.")
    if request.ensemble and (request.latency_milliseconds, request.max_bytes) != (None, None):
        raise UsageError(
            "An ensemble takes the time and the bytes of all its members, and is held to no budget of one model. Leave "
            "out --ensemble, or --latency-budget and --max-size."
        )
    if request.jobs is not None and request.jobs < 1:
        raise UsageError(f"A search runs at least one job at a time, not {request.jobs}. Give --jobs 1 or more.")
    if not 0.0 < request.gpu_share <= 1.0:
        raise UsageError(
            f"A job's share of a GPU is above 0 and at most 1, not {request.gpu_share:g}. Give --gpu-share 0.5."
        )
    if request.study is not None and request.executor != "shared":
        raise UsageError(
            f"A study is the name of a search in a database: {request.study!r} was given, and the executor "
            f"{request.executor} needs none. Give --storage URL with it, or leave it out."
        )
    if not 0 <= request.seed < 2**31:
        raise UsageError(f"A seed is a whole number from 0 to 2147483647, not {request.seed}.")
    if request.normalisation is not None and not any(is_path(name) for name in request.backbones):
        raise UsageError("A normalisation is declared for networks of your own. Give --backbone my-network.keras too.")
    return request


def references(request: SearchRequest) -> list[str]:
    """The backbones that were asked for, as texts that mean the same in every folder and process.

    Raises:
        UsageError: the normalisation that was declared is none.
    """
    return [absolute_reference(name, request.normalisation) for name in request.backbones]


def check_paths(names: Sequence[str]) -> None:
    """Insist that the backbones of a space mean the same in every folder: a run keeps a copy of the space.

    Raises:
        UsageError: one is a relative path.
    """
    for name in names:
        meant = absolute_reference(name)
        if meant != name and not Path(name).is_absolute():
            raise UsageError(
                f"A search space names networks of your own by absolute paths, {name} is relative. Write {meant}, "
                "or leave it out of the file and add --backbone."
            )


def read_request(values: Mapping[str, Any]) -> SearchRequest:
    """The request that a run directory recorded; fields of a newer autotl are an error.

    Raises:
        UsageError: an unknown field.
    """
    known = {field.name for field in fields(SearchRequest)}
    given = {name: value for name, value in values.items() if name in known}
    if unknown := sorted(set(values) - known - {"autotl"}):
        raise UsageError(f"This run was made by another version of autotl: it has {', '.join(unknown)}.")
    several = {name: tuple(given.get(name, ())) for name in ("backbones", "accept_licences")}
    return SearchRequest(**{**given, **several})


def absolute(request: SearchRequest) -> SearchRequest:
    """The request with its paths made absolute, so that a run can be resumed from any folder.

    Names (`sample:clipart`, `quick`) stay as they are.
    """
    return replace(
        request,
        dataset=_absolute(request.dataset),
        space=_absolute(request.space) if request.space.endswith(".toml") else request.space,
        backbones=tuple(references(request)),
        cache_dir=None if request.cache_dir is None else str(Path(request.cache_dir).expanduser().resolve()),
    )


def command_line(request: SearchRequest) -> str:
    """The command that repeats this search."""
    words = ["autotl", "search", request.dataset, "--space", request.space, "--seed", str(request.seed)]
    words += ["--metric", request.metric]
    words += [] if request.trials is None else ["--trials", str(request.trials)]
    words += [] if request.budget is None else ["--budget", f"{request.budget:g}s"]
    for name in request.backbones:
        words += ["--backbone", name]
    words += [] if request.cv_test is None else ["--cv-test", str(request.cv_test)]
    words += ["--ensemble"] if request.ensemble else []
    words += [] if request.latency_milliseconds is None else ["--latency-budget", f"{request.latency_milliseconds:g}ms"]
    words += [] if request.max_bytes is None else ["--max-size", f"{request.max_bytes}bytes"]
    words += [] if request.deploy is None else ["--deploy", request.deploy]
    words += [] if request.normalisation is None else ["--normalisation", request.normalisation]
    for licence in request.accept_licences:
        words += ["--accept-licence", licence]
    return shlex.join(words)


def _absolute(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name
