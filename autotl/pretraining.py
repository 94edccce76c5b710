"""The verb that makes backbones: `pretrain`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autotl.searches import Dataset, OnEvent, dataset_name, parse_seconds


def pretrain(
    dataset: Dataset,
    backbone: str,
    *,
    init: str | Path = "random",
    labels: str = "given",
    method: str | None = None,
    epochs: int | None = None,
    budget: float | str | None = None,
    image_size: int | None = None,
    seed: int = 0,
    accept_licences: Sequence[str] = (),
    gpus: str = "all",
    executor: str = "local",
    out: str | Path | None = None,
    cache_dir: str | Path | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Train a network on a source data set, and write it as a backbone for searches on other data sets.

    Where `out` holds this very pretraining, unfinished, it is gone on with from its last checkpoint.

    Args:
        dataset: as `search` takes it; its test split is what the result is scored on. Without labels, also a folder or
            zip of images that all lie in one folder.
        backbone: the network, by name or path.
        init: "random", "pretrained", or the path of a run or backbone folder of this architecture to go on from.
        labels: "given", or "none": the network learns from the images alone, and labels are not looked at.
        method: "simsiam" or "vicreg", without labels; None is "vicreg".
        epochs: passes over the images; None is 30, or what the budget has time for.
        budget: wall time, in seconds or written like "10m"; training ends then. None is no limit.
        image_size: in pixels; None is the network's own.
        seed: of everything random.
        accept_licences: licences that restrict the use of weights, and that you consent to.
        gpus: "all", "none", or positions such as "0,1".
        executor: where it runs: "local", "inline", "ray", or what a plugin registers.
        out: the run directory, to be made or to be gone on with; None is runs/<dataset>-<time>.
        cache_dir: where decoded images are kept; None is the user's cache.
        on_event: called with each step of progress, a dictionary with the key "event".

    Returns:
        `run` (which `search(..., backbones=[run])` takes), `backbone_folder`, `scores` (accuracy with a 95 % interval
        and others, of the trained head on the held-out images; without labels `match`, the share of these images whose
        other random view is found among all), `curve`, `epochs`, and what was asked for.

    Raises:
        UsageError: the request cannot be meant, the network is not to be had, or `out` holds something else.
        DataError: the data set cannot be used.
        TrialError: the loss did not stay finite.
        Interrupted: stopped by Ctrl-C, SIGTERM or `stop`; the same call goes on.
    """
    from autotl.studies.pretrain import METHOD, NONE, Request, run_pretrain
    from autotl.studies.session import Setup

    name = dataset_name(dataset, cache_dir)
    if labels == NONE:
        from autotl.data.store import open_cache
        from autotl.data.unlabelled import keep_unlabelled

        name = keep_unlabelled(name, open_cache(cache_dir))
    request = Request(
        name,
        backbone,
        init=str(init),
        labels=labels,
        method=METHOD if method is None else method,
        epochs=epochs,
        budget=parse_seconds(budget),
        image_size=image_size,
        seed=seed,
        accept_licences=tuple(accept_licences),
    )
    setup = Setup(out, cache_dir, 1, gpus, executor=executor)
    return run_pretrain(request, setup, (lambda event: None) if on_event is None else on_event)
