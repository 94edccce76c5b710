"""The verbs of autotl, and the only place that wires its rooms together. Rooms are imported when a verb needs them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotl.plugins import check_plugin as check_plugin
from autotl.plugins import new_plugin as new_plugin
from autotl.plugins import plugins as plugins
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

OnProgress = Callable[[int, int], None]
OnSkip = Callable[[str, str], None]


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
    from autotl.data.store import Cache, default_cache, default_max_bytes

    if cache_dir is None:
        return default_cache()
    root = Path(cache_dir).expanduser().resolve()
    return Cache(root, default_max_bytes(root))
