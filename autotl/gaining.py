"""The verb that measures what transfer is worth: `gain`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotl.searches import Dataset, OnEvent, dataset_name


def gain(
    dataset: Dataset | None = None,
    *,
    run: str | Path | None = None,
    backbone: str | None = None,
    image_size: int | None = None,
    per_class: Sequence[int] = (1, 5, 10, 25, 100),
    draws: int = 3,
    epochs: int = 8,
    seed: int = 0,
    accept_licences: Sequence[str] = (),
    jobs: int | None = None,
    gpus: str = "all",
    gpu_share: float = 1.0,
    executor: str = "local",
    out: str | Path | None = None,
    cache_dir: str | Path | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Measure transfer gain: a pretrained network against itself from scratch and against random frozen features.

    Where `out` holds this very measurement, unfinished, it is gone on with.

    Args:
        dataset: as `search` takes it; its test split is what everything is scored on. None is that of `run`.
        run: a finished search, whose network, image size and pooling are measured.
        backbone: a name or a path, without `run`; None is the first one that is ready on this machine.
        image_size: in pixels; None is the run's, or the network's own.
        per_class: images per class that are given; all images are a tier of their own.
        draws: how often few images are drawn; fewer times where there are more of them.
        epochs: of what trains, with all images; with fewer of them there are more.
        seed: of everything random.
        accept_licences: licences that restrict the use of weights, and that you consent to.
        jobs: how many fits run at a time; None leaves it to the executor.
        gpus: "all", "none", or positions such as "0,1".
        gpu_share: of a GPU that a fit gets.
        executor: where fits run: "local", "inline", "ray", or what a plugin registers.
        out: the run directory, to be made or to be gone on with; None is runs/<dataset>-<time>.
        cache_dir: where decoded images and features are kept; None is the user's cache.
        on_event: called with each step of progress, a dictionary with the key "event".

    Returns:
        `run`, `tiers` (accuracies of the arms with 95 % intervals, `gains`, `scratch_needs`, `equal_seconds`),
        `negative`, `conclusion`, `files` and what was asked for.

    Raises:
        UsageError: the request cannot be meant, the network is not to be had, or `out` holds something else.
        DataError: the data set cannot be used.
        NoTrialError: an arm came to nothing.
        Interrupted: stopped by Ctrl-C, SIGTERM or `stop`; the same call goes on.
    """
    from autotl.studies.gain import run_gain
    from autotl.studies.gain_plan import Request
    from autotl.studies.session import Setup

    request = Request(
        None if dataset is None else dataset_name(dataset, cache_dir),
        run=None if run is None else str(run),
        backbone=backbone,
        image_size=image_size,
        per_class=tuple(per_class),
        draws=draws,
        epochs=epochs,
        seed=seed,
        accept_licences=tuple(accept_licences),
    )
    setup = Setup(out, cache_dir, jobs, gpus, gpu_share, executor)
    result = run_gain(request, setup, (lambda event: None) if on_event is None else on_event)
    return {**result, "files": _write_files(result)}


def _write_files(result: dict[str, Any]) -> dict[str, str]:
    """The table and the plot, drawn again whenever the result is asked for."""
    from autotl.report.gain_plot import draw_gain
    from autotl.report.gain_table import markdown_gain
    from autotl.runs.files import write_text

    folder = Path(result["run"])
    paths = {"table": folder / "gain.md", "plot": folder / "gain.svg"}
    write_text(paths["table"], markdown_gain(result))
    write_text(paths["plot"], draw_gain(result))
    return {name: str(path) for name, path in paths.items()}
