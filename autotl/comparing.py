"""The verb that compares networks: `compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotl.searches import Dataset, OnEvent, dataset_name


def compare(
    dataset: Dataset,
    backbones: Sequence[str],
    *,
    weights: str = "pretrained",
    levels: Sequence[str] = ("frozen", "partly", "full"),
    image_size: int | None = None,
    epochs: int = 8,
    rates: Sequence[float] = (1e-4, 1e-3),
    seeds: int = 1,
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
    """Compare networks under one protocol: each frozen, partly unfrozen and fully trained, on the same images.

    Where `out` holds this very comparison, unfinished, it is gone on with.

    Args:
        dataset: as `search` takes it; its test split is what all rows are scored on.
        backbones: names or paths; one that ends in ":random" begins with random weights.
        weights: "pretrained" or "random", of the backbones that do not say it.
        levels: of "frozen", "partly" (the later half of the stages is trained) and "full".
        image_size: in pixels, for all; None is the smallest of their own sizes that all can take, up to 224.
        epochs: of every fit of more than the head.
        rates: learning rates that every such row tries; the best by log-loss on a fifth of the images to fit to counts.
        seeds: how often each such row is fitted; its scores are averages.
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
        `run`, `rows` (of each network and level: `pretrained_on`, `state` and `reason`, `test` with 95 % intervals,
        `behind_best`, and its cost), `gains`, `conclusion`, `files` and what was asked for.

    Raises:
        UsageError: the request cannot be meant, a network is not to be had, or `out` holds something else.
        DataError: the data set cannot be used.
        NoTrialError: no row came to an end.
        Interrupted: stopped by Ctrl-C, SIGTERM or `stop`; the same call goes on.
    """
    from autotl.studies.compare import run_compare
    from autotl.studies.compare_plan import Request
    from autotl.studies.session import Setup

    request = Request(
        dataset_name(dataset, cache_dir),
        backbones=tuple(backbones),
        weights=weights,
        levels=tuple(levels),
        image_size=image_size,
        epochs=epochs,
        rates=tuple(rates),
        seeds=seeds,
        seed=seed,
        accept_licences=tuple(accept_licences),
    )
    setup = Setup(out, cache_dir, jobs, gpus, gpu_share, executor)
    result = run_compare(request, setup, (lambda event: None) if on_event is None else on_event)
    return {**result, "files": _write_files(result)}


def _write_files(result: dict[str, Any]) -> dict[str, str]:
    """The table and the plot, drawn again whenever the result is asked for."""
    from autotl.report.compare_plot import draw_comparison
    from autotl.report.compare_table import csv_table, markdown_table
    from autotl.runs.files import write_text

    folder = Path(result["run"])
    texts = {"table": markdown_table(result), "csv": csv_table(result), "plot": draw_comparison(result)}
    paths = {"table": folder / "compare.md", "csv": folder / "compare.csv", "plot": folder / "compare.svg"}
    for name, text in texts.items():
        write_text(paths[name], text)
    return {name: str(path) for name, path in paths.items()}
