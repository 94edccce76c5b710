"""The verbs of autotl, and the only place that wires its rooms together. Rooms are imported when a verb needs them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.choosing import pareto as pareto
from autotl.choosing import refit as refit
from autotl.comparing import compare as compare
from autotl.gaining import gain as gain
from autotl.plugins import check_plugin as check_plugin
from autotl.plugins import new_plugin as new_plugin
from autotl.plugins import plugins as plugins
from autotl.pretraining import pretrain as pretrain
from autotl.searches import Dataset, dataset_name
from autotl.searches import parse_seconds as parse_seconds
from autotl.searches import report as report
from autotl.searches import resume as resume
from autotl.searches import search as search
from autotl.searches import status as status
from autotl.searches import stop as stop
from autotl.searches import watch as watch
from autotl.searches import worker as worker

if TYPE_CHECKING:
    from autotl.data.store import Cache
    from autotl.deliver.inputs import Listing

OnProgress = Callable[[int, int], None]
OnSkip = Callable[[str, str], None]


def predict(
    model: str | Path,
    paths: "str | Path | Iterable[str | Path | Listing]",
    *,
    top_k: int = 1,
    threshold: float | None = None,
    on_skip: OnSkip | None = None,
    trust: bool = False,
    ood: bool = False,
) -> Iterator[dict[str, Any]]:
    """Predict images, one after the other, with a model of any format.

    Args:
        model: a model folder, an exported folder, or a run directory.
        paths: files, folders (with all below them) and zips; a binary stream stands for a list of paths.
        top_k: how many classes to name for each image.
        threshold: images whose best probability is below it get the label "unknown".
        on_skip: called with path and reason for each file that is no readable image.
        trust: accept a model that has changed since it was made.
        ood: say of each image how unlike the training images it is; the Keras format only.

    Yields:
        `{"path", "label", "probability", "top": [{"label", "probability"}, ...]}`, `"known"` with a threshold, and
        `"ood": {"score", "percentile"}` with `ood`.

    Raises:
        UsageError: a path does not exist, or the model has no such scores.
    """
    from autotl.deliver.predict import predict_paths

    several = [paths] if isinstance(paths, str | Path) else paths
    return predict_paths(model, several, top_k=top_k, threshold=threshold, on_skip=on_skip, trust=trust, ood=ood)


def evaluate(
    model: str | Path,
    dataset: Dataset,
    *,
    split: str = "test",
    cache_dir: str | Path | None = None,
    trust: bool = False,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Score a model of any format on a split ("train", "val", "test", "all") of a data set, decoded as in training.

    Raises:
        DataError: the data set cannot be used, or has classes that the model does not know.
    """
    from autotl.deliver.evaluate import evaluate_model

    cache = _open_cache(cache_dir)
    name = dataset_name(dataset, cache_dir)
    return evaluate_model(model, name, split=split, cache=cache, trust=trust, on_progress=on_progress)


def export(
    model: str | Path,
    formats: str | Iterable[str],
    *,
    precision: str | None = None,
    out: str | Path | None = None,
    dataset: str | Path | None = None,
    verify: bool = True,
    trust: bool = False,
    cache_dir: str | Path | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write a delivered model in other formats, and check each where it will be used.

    Args:
        model: a model folder or a run directory.
        formats: such as "onnx", "litert:int8", or "all" that can be written here.
        precision: "float32", "float16" or "int8", for formats that name none; by default each one's own.
        out: where the folders go; by default `export` beside the model folder.
        dataset: labelled images to compare on and to calibrate int8 with; by default those of the search.
        verify: whether to compare what was written with the model.
        trust: accept a model that has changed since it was made.
        cache_dir: where decoded images are kept.
        on_progress: told what is being done, in words.

    Returns:
        `model`, `out`, `exports` (what became of each, by its `state`: "ok", "rejected", "failed" or "unverified"; that
        one of them is rejected or failed is no error here), and `left_out`: what "all" did not write, and why.

    Raises:
        UsageError: there is no such model or format, or the network is known not to work in it.
        AutotlError: packages are missing, or the model cannot be loaded.
    """
    from autotl.deliver.export import export_model

    return export_model(
        model,
        [formats] if isinstance(formats, str) else list(formats),
        precision=precision,
        out=out,
        dataset=None if dataset is None else str(dataset),
        verify=verify,
        trust=trust,
        cache=_open_cache(cache_dir),
        on_progress=on_progress,
    )


def check_data(
    dataset: Dataset,
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

    name, cache = dataset_name(dataset, cache_dir), _open_cache(cache_dir)
    return dict(check_dataset(name, seed=seed, cache=cache, on_progress=on_progress).report)


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


def _open_cache(cache_dir: str | Path | None) -> "Cache":
    from autotl.data.store import open_cache

    return open_cache(cache_dir)
