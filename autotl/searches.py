"""The verbs that run a search and look after one: `search`, `resume`, `status`, `report`."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from autotl.errors import UsageError
from autotl.result import SearchResult

OnEvent = Callable[[dict[str, Any]], None]
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def search(
    dataset: str | Path,
    *,
    space: str | Path = "quick",
    trials: int | None = None,
    budget: float | str | None = None,
    seed: int = 0,
    backbones: Sequence[str] = (),
    normalisation: str | None = None,
    accept_licences: Sequence[str] = (),
    metric: str = "log_loss",
    ensemble: bool = False,
    cv_test: int | None = None,
    jobs: int | None = None,
    gpus: str = "all",
    gpu_share: float = 1.0,
    executor: str = "local",
    executor_address: str | None = None,
    out: str | Path | None = None,
    cache_dir: str | Path | None = None,
    on_event: OnEvent | None = None,
) -> SearchResult:
    """Search for the best model for a data set of labelled images, and deliver it.

    Args:
        dataset: a folder with a folder for each class (or for each split, then class), a CSV file of paths and labels,
            a zip of these, or a shipped set such as "sample:clipart".
        space: name or path of a search space.
        trials: total number of trials; None leaves it to the space.
        budget: wall time, in seconds or written like "10m" or "1h30m"; None is no limit.
        seed: of everything random. The same seed, data and slots give the same trials.
        backbones: the backbones that compete; none: those the space names. A name, the path of a `.keras` file, or of
            a model folder or run of autotl.
        normalisation: what a `.keras` file expects: "inside" (0..255), "unit" (0..1), "symmetric" (-1..1), "caffe" or
            "torch".
        accept_licences: licences that restrict the use of weights, and that you consent to.
        metric: what validation chooses by: log_loss, accuracy, balanced_accuracy, macro_f1 or auroc.
        ensemble: whether heads on up to three frozen backbones may be delivered as one model, where that is surely
            better.
        cv_test: the number of parts of a nested cross-validation, in the place of a test split: for few images.
        jobs: how many trials run at a time; None is one per GPU, or one on the CPU.
        gpus: "all", "none", or positions such as "0,1".
        gpu_share: of a GPU that a trial gets: 0.5 runs two at a time on each, each held to half of its memory.
        executor: where trials run: "local", "inline" (in this process), "ray", or what a plugin registers.
        executor_address: of a cluster.
        out: the run directory to make; None is runs/<dataset>-<time>.
        cache_dir: where decoded images and features are kept; None is the user's cache.
        on_event: called with each step of progress, a dictionary with the key "event".

    Raises:
        UsageError: the request cannot be meant.
        DataError: the data set cannot be used.
        NoTrialError: no trial completed.
        Interrupted: stopped by Ctrl-C; `resume` goes on.
    """
    from autotl.search.request import SearchRequest, check_request

    request = SearchRequest(
        str(dataset),
        space=str(space),
        trials=trials,
        budget=parse_seconds(budget),
        seed=seed,
        backbones=tuple(backbones),
        normalisation=normalisation,
        accept_licences=tuple(accept_licences),
        metric=metric,
        ensemble=ensemble,
        cv_test=cv_test,
        jobs=jobs,
        gpus=gpus,
        gpu_share=gpu_share,
        executor=executor,
        executor_address=executor_address,
        out=None if out is None else str(out),
        cache_dir=None if cache_dir is None else str(cache_dir),
    )
    check_request(request)
    from autotl.search.loop import run_search

    return _reported(run_search(request, _ignore if on_event is None else on_event))


def resume(run: str | Path, *, finish: bool = False, on_event: OnEvent | None = None) -> SearchResult:
    """Go on with a search that was stopped or killed; of a finished one, the result.

    Args:
        run: the run directory.
        finish: run no further trial: the best model of what is known is delivered.
        on_event: called with each step of progress.

    Raises:
        UsageError: `run` is no run directory, or another process drives it.
    """
    from autotl.search.loop import resume_search

    return _reported(resume_search(Path(run), _ignore if on_event is None else on_event, finishes=finish))


def _reported(result: dict[str, Any]) -> SearchResult:
    """A finished search leaves a report for people; it is drawn from the run directory and can be drawn again."""
    report(result["run"])
    return SearchResult(result)


def status(run: str | Path) -> dict[str, Any]:
    """What a run has come to: state, stage, trials, best, recent, seconds.

    Raises:
        UsageError: `run` is no run directory.
    """
    from autotl.search.status import read_status

    return read_status(Path(run))


def report(run: str | Path) -> Path:
    """Write the HTML report of a run and return its path.

    Raises:
        UsageError: `run` is no run directory.
    """
    from autotl.report.html import write_report

    return write_report(Path(run))


def parse_seconds(budget: float | str | None) -> float | None:
    """Seconds of a time written like "90s", "10m" or "1h30m"; a number is seconds already.

    Raises:
        UsageError: it is no such time.
    """
    if budget is None or isinstance(budget, int | float):
        return budget
    found = _TIME.fullmatch(budget.strip().lower())
    if found is None or not found.group(0):
        raise UsageError(f"A time is written with its unit, like 90s, 10m or 1h30m, not {budget!r}.")
    hours, minutes, seconds = (0.0 if part is None else float(part) for part in found.groups())
    return 3600.0 * hours + 60.0 * minutes + seconds


def _ignore(event: dict[str, Any]) -> None:
    """An `on_event` for those who do not watch."""
