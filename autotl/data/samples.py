"""Data sets by name: `sample:NAME` ships with autotl, `SOURCE:REST` is a plugin's, everything else is a path."""

from importlib.resources import files
from pathlib import Path

from autotl.data.datasets import list_sources, load_dataset
from autotl.data.store import Cache, default_cache
from autotl.entry_points import did_you_mean
from autotl.errors import DataError

PREFIX = "sample:"


def list_samples() -> list[str]:
    """Names of the data sets inside the package, sorted."""
    folder = files("autotl.data") / "samples"
    if not folder.is_dir():
        return []
    return sorted(item.name.removesuffix(".zip") for item in folder.iterdir() if item.name.endswith(".zip"))


def resolve_dataset(name: str, cache: Cache | None = None) -> Path:
    """The path of a data set: of a sample (`sample:clipart`), of a plugin's (`keras:cifar10`), or `name` itself.

    Args:
        cache: where a plugin's arrays are kept; None is the user's.

    Raises:
        DataError: There is no such data set, or nothing at that path.
        PluginError: The plugin behind it is broken.
    """
    if name.startswith(PREFIX):
        return _sample(name)
    source, colon, _ = name.partition(":")
    sources = list_sources() if colon else []
    if source in sources:
        return load_dataset(name, default_cache() if cache is None else cache)
    path = Path(name).expanduser()
    if path.exists():
        return path
    if colon and "/" not in source:
        known = [PREFIX.removesuffix(":"), *sources]
        raise DataError(
            f"A data set by name is SOURCE:NAME; {name} is none, and no path either.{did_you_mean(source, known)} "
            f"Sources are {', '.join(known)}."
        )
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    raise DataError(
        f"A data set is a path that exists or a sample; there is no {path}. {parent} has {_inside(parent)}."
    )


def _sample(name: str) -> Path:
    sample = name.removeprefix(PREFIX)
    if sample not in list_samples():
        known = ", ".join(PREFIX + item for item in list_samples())
        raise DataError(
            f"A sample is one that ships with autotl; given {name}. There is: {known if known else 'none'}."
        )
    return Path(str(files("autotl.data") / "samples" / f"{sample}.zip"))


def _inside(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more if names else "nothing in it"
