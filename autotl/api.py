"""The verbs of autotl, and the only place that wires its rooms together. Rooms are imported when a verb needs them."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.errors import UsageError
from autotl.plugins import check_plugin as check_plugin
from autotl.plugins import new_plugin as new_plugin
from autotl.plugins import plugins as plugins
from autotl.result import SearchResult

if TYPE_CHECKING:
    from autotl.data.store import Cache

OnEvent = Callable[[dict[str, Any]], None]
OnProgress = Callable[[int, int], None]
OnSkip = Callable[[str, str], None]
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


def predict(
    model: str | Path,
    paths: str | Path | Iterable[str | Path],
    *,
    top_k: int = 1,
    on_skip: OnSkip | None = None,
) -> Iterator[dict[str, Any]]:
    """Predict images, one after the other.

    Args:
        model: a model folder or a run directory.
        paths: files, folders (with all below them) and zips.
        top_k: how many classes to name for each image.
        on_skip: called with path and reason for each file that is no readable image.

    Yields:
        `{"path", "label", "probability", "top": [{"label", "probability"}, ...]}`.

    Raises:
        UsageError: a path does not exist.
    """
    from autotl.deliver.predict import predict_paths

    several = [paths] if isinstance(paths, str | Path) else list(paths)
    return predict_paths(model, several, top_k=top_k, on_skip=on_skip)


def evaluate(
    model: str | Path, dataset: str | Path, *, split: str = "test", cache_dir: str | Path | None = None
) -> dict[str, Any]:
    """Score a delivered model on a split ("train", "val", "test", "all") of a data set, decoded as in training.

    Raises:
        DataError: the data set cannot be used, or has classes that the model does not know.
    """
    from autotl.deliver.evaluate import evaluate_model

    return evaluate_model(model, str(dataset), split=split, cache=_open_cache(cache_dir))


def check_data(
    dataset: str | Path,
    *,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """What a search would see of a data set: counts by class and split, skipped files, duplicates, conflicts, leaks.

    Raises:
        DataError: the data set cannot be used.
    """
    from autotl.data.check import check_dataset

    cache = _open_cache(cache_dir)
    return dict(check_dataset(str(dataset), seed=seed, cache=cache, on_progress=on_progress).report)


def report(run: str | Path) -> Path:
    """Write the HTML report of a run and return its path.

    Raises:
        UsageError: `run` is no run directory.
    """
    from autotl.report.html import write_report

    return write_report(Path(run))


def backbones() -> list[dict[str, Any]]:
    """All registered backbones; of one that cannot be loaded, its `problem` in the place of its description."""
    from autotl.backbones.catalogue import describe_backbones

    return describe_backbones()


def backbone(name: str) -> dict[str, Any]:
    """All about one backbone, with the distribution that provides it.

    Raises:
        UsageError: there is no such backbone.
        PluginError: it cannot be loaded.
    """
    from autotl.backbones.catalogue import describe_backbone

    return describe_backbone(name)


def fetch_backbone(name: str) -> dict[str, Any]:
    """Put the pretrained weights of a backbone on this machine: `name`, `downloaded` (or here already), `path`.

    Raises:
        UsageError: there is no such backbone.
        PluginError: the weights cannot be downloaded, or the file that is here is damaged.
    """
    from autotl.backbones.catalogue import fetch_backbone as fetch

    return fetch(name)


def spaces() -> list[dict[str, Any]]:
    """The search spaces that ship with autotl."""
    from autotl.space.files import list_spaces

    return [{"name": name, "path": str(path), "about": " ".join(comment)} for name, path, comment in list_spaces()]


def space(name: str | Path) -> dict[str, Any]:
    """One search space: its file, its text, and its stages with what they vary.

    Raises:
        UsageError: there is none, or it has faults.
    """
    from autotl.space.files import find_space, read_space
    from autotl.space.suggest import distributions

    path = find_space(name)
    parsed = read_space(path.resolve())
    stages = [
        {
            **stage.model_dump(mode="json", exclude={"parameters"}),
            "parameters": [parameter._asdict() for parameter in distributions(stage)],
        }
        for stage in parsed.stages
    ]
    text = path.read_text(encoding="utf-8")
    return {"name": path.stem, "path": str(path), "description": parsed.description, "stages": stages, "text": text}


def doctor(cache_dir: str | Path | None = None) -> dict[str, Any]:
    """Whether this machine is ready for a search, and what to do where it is not."""
    from autotl.doctor import examine

    return examine(_open_cache(cache_dir).root, backbones())


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


def _open_cache(cache_dir: str | Path | None) -> "Cache":
    from autotl.data.store import Cache, default_cache, default_max_bytes

    if cache_dir is None:
        return default_cache()
    root = Path(cache_dir).expanduser().resolve()
    return Cache(root, default_max_bytes(root))


def _ignore(event: dict[str, Any]) -> None:
    """An `on_event` for those who do not watch."""
