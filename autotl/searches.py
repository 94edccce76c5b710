"""The verbs that run a search and look after one: `search`, `resume`, `worker`, `stop`, ..."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from autotl.errors import UsageError
from autotl.result import SearchResult

OnEvent = Callable[[dict[str, Any]], None]
Dataset = str | Path | tuple[Any, Any] | Mapping[str, Any]
"""A path or a name; or arrays: (x, y), ((x_train, y_train), (x_test, y_test)), or named as in an `.npz` file."""
_TIME = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def search(
    dataset: Dataset,
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
    latency_budget: str | None = None,
    max_size: str | None = None,
    deploy: str | None = None,
    jobs: int | None = None,
    gpus: str = "all",
    gpu_share: float = 1.0,
    executor: str = "local",
    executor_address: str | None = None,
    study: str | None = None,
    out: str | Path | None = None,
    cache_dir: str | Path | None = None,
    on_event: OnEvent | None = None,
) -> SearchResult:
    """Search for the best model for a data set of labelled images, and deliver it.

    Where `out` holds this very search, stopped or killed on its way, it is gone on with.

    Args:
        dataset: a folder with a folder for each class (or for each split, then class), a CSV file of paths and labels,
            a zip of these, an `.npz` file, a shipped set such as "sample:clipart", one that a plugin finds such as
            "keras:cifar10"; or arrays (x, y) or ((x_train, y_train), (x_test, y_test)), which are kept in the cache.
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
        ensemble: whether up to three backbones with their heads may be delivered as one model, where that is surely
            better.
        cv_test: the number of parts of a nested cross-validation, in the place of a test split: for few images.
        latency_budget: the most time that the delivered model may take for one image on this machine, like "20ms".
        max_size: the most that its file may have, like "10MB". Configurations over either are not tried.
        deploy: "FORMAT" or "FORMAT:PRECISION", like "litert:int8": the model is exported at the end, and the two
            budgets are those of the exported one.
        jobs: how many trials run at a time; None is one per GPU or share of one, or one on the CPU.
        gpus: "all", "none", or positions such as "0,1" among those that CUDA_VISIBLE_DEVICES lets this process see.
        gpu_share: of a GPU that a trial gets: 0.5 runs two at a time on each, each held to half of its memory less
            the GiB that CUDA itself takes.
        executor: where trials run: "local" (processes of this machine), "inline" (in this process, one after the
            other, and none is stopped early), "ray", "shared" (where `worker` runs), or what a plugin registers.
        executor_address: of a cluster, or the URL of the database where "shared" meets its workers.
        study: the name under which they meet there.
        out: the run directory, to be made or to be gone on with; None is runs/<dataset>-<time>.
        cache_dir: where decoded images and features are kept; None is the user's cache.
        on_event: called with each step of progress, a dictionary with the key "event".

    Raises:
        UsageError: the request cannot be meant, or `out` holds another search.
        DataError: the data set cannot be used, or is not what the search in `out` began with.
        NoTrialError: no trial completed, or no network holds the budgets of the model.
        Interrupted: stopped by Ctrl-C, SIGTERM or `stop`; `resume` goes on.
    """
    from autotl.search.quantities import parse_bytes, parse_milliseconds
    from autotl.search.request import SearchRequest, check_request

    request = SearchRequest(
        dataset_name(dataset, cache_dir),
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
        latency_milliseconds=None if latency_budget is None else parse_milliseconds(latency_budget),
        max_bytes=None if max_size is None else parse_bytes(max_size),
        deploy=None if deploy is None else _check_deploy(deploy),
        jobs=jobs,
        gpus=gpus,
        gpu_share=gpu_share,
        executor=executor,
        executor_address=executor_address,
        study=study,
        out=None if out is None else str(out),
        cache_dir=None if cache_dir is None else str(cache_dir),
    )
    check_request(request)
    from autotl.search.loop import run_search

    return _reported(run_search(request, _ignore if on_event is None else on_event))


def resume(run: str | Path, *, finish: bool = False, on_event: OnEvent | None = None) -> SearchResult:
    """Go on with a search that was stopped or killed; of a finished one, the result.

    Trials that had ended are not repeated, those that were cut off go on from their last checkpoint, and with one slot
    the result is that of a search that nobody disturbed.

    Args:
        run: the run directory.
        finish: run no further trial: the best model of what is known is delivered.
        on_event: called with each step of progress.

    Raises:
        UsageError: `run` is no run directory, another process drives it, or its space or plugins have changed.
        DataError: its images have changed.
        Interrupted: stopped again.
    """
    from autotl.search.loop import resume_search

    return _reported(resume_search(Path(run), _ignore if on_event is None else on_event, finishes=finish))


def worker(
    storage: str,
    study: str,
    *,
    jobs: int | None = None,
    gpus: str = "all",
    gpu_share: float = 1.0,
    cache_dir: str | Path | None = None,
    wait_seconds: float = 600.0,
    on_message: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Compute jobs of a search whose driver runs elsewhere (`search(..., executor="shared")`), until it ends.

    Args:
        storage: the URL of the database where they meet.
        study: the name under which they do.
        jobs: how many trials run at a time on this machine; None is one per GPU or share of one, or one on the CPU.
        gpus: "all", "none", or positions such as "0,1".
        gpu_share: of a GPU that a trial gets.
        cache_dir: where features are kept on this machine; None is where the driver keeps them.
        wait_seconds: for a driver to come, or to come back after it was killed.
        on_message: is told in words what happens.

    Returns:
        study, host, jobs ({finished, failed}), seconds.

    Raises:
        UsageError: the database cannot be reached, the driver has other versions, or its files are not to be seen.
        Interrupted: stopped by Ctrl-C or SIGTERM.
    """
    from autotl.search.working import run_worker

    tell = (lambda message: None) if on_message is None else on_message
    return run_worker(storage, study, (jobs, gpus, gpu_share), cache_dir, wait_seconds, tell)


def _reported(result: dict[str, Any]) -> SearchResult:
    """A finished search leaves its model as it is to be deployed, and a report for people, which can be drawn again."""
    from autotl.deliver.deployed import with_deployed

    result = with_deployed(result)
    report(result["run"])
    return SearchResult(result)


def _check_deploy(text: str) -> str:
    """A format with its precision, that can be written and run here."""
    from autotl.exporters.registry import parse_format, require_runtime, require_writer

    exporter, precision = parse_format(text)
    require_writer(exporter)
    require_runtime(exporter)
    return f"{exporter.name}:{precision}"


def stop(run: str | Path, *, now: bool = False, finish: bool = False) -> dict[str, Any]:
    """Ask the process that drives a run to stop, wherever it runs. This does not wait until it has.

    Args:
        run: the run directory.
        now: end what runs at once; otherwise it has some seconds to come to an end. Either can be resumed.
        finish: do not stop, but run no further trial: the best model of what is known is delivered.

    Returns:
        run, how ("orderly", "now" or "finish"), driver ({pid, host} or None), asked (whether there was one to ask).

    Raises:
        UsageError: `run` is no run directory, both were asked for, or nothing is known yet that could be delivered.
    """
    from autotl.search.stopping import FINISH, NOW, ORDERLY, ask_to_stop

    if now and finish:
        raise UsageError("A search either stops at once or finishes with what is known: give --now or --finish.")
    return ask_to_stop(Path(run), NOW if now else FINISH if finish else ORDERLY)


def status(run: str | Path) -> dict[str, Any]:
    """What a run has come to: state, phase, trials, best, recent, running, seconds, eta_seconds, ...

    Raises:
        UsageError: `run` is no run directory.
    """
    from autotl.search.status import read_status

    return read_status(Path(run))


def watch(run: str | Path, every_seconds: float = 1.0) -> Iterator[dict[str, Any]]:
    """The `status` of a run, again and again until nobody drives it any more.

    Raises:
        UsageError: `run` is no run directory.
    """
    from autotl.search.status import follow_status

    return follow_status(Path(run), lambda: time.sleep(every_seconds))


def report(run: str | Path) -> Path:
    """Write the HTML report of a run and return its path.

    Raises:
        UsageError: `run` is no run directory.
    """
    from autotl.report.html import write_report

    return write_report(Path(run))


def dataset_name(dataset: Dataset, cache_dir: str | Path | None = None) -> str:
    """A data set as a text that a request can hold: arrays are written into the cache, equal ones once.

    Raises:
        DataError: they are no data set.
    """
    if isinstance(dataset, str | Path):
        return str(dataset)
    from autotl.data.given_arrays import keep_given
    from autotl.data.store import open_cache

    return str(keep_given(dataset, open_cache(cache_dir)))


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
