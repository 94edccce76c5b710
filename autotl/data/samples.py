"""Data sets by name: `sample:NAME` ships with autotl, everything else is a path."""

from importlib.resources import files
from pathlib import Path

from autotl.errors import DataError

PREFIX = "sample:"


def list_samples() -> list[str]:
    """Names of the data sets inside the package, sorted."""
    folder = files("autotl.data") / "samples"
    if not folder.is_dir():
        return []
    return sorted(item.name.removesuffix(".zip") for item in folder.iterdir() if item.name.endswith(".zip"))


def resolve_dataset(name: str) -> Path:
    """The path of a data set: of a shipped sample (`sample:clipart`), or `name` itself.

    Raises:
        DataError: There is no such sample, or nothing at that path.
    """
    if name.startswith(PREFIX):
        sample = name.removeprefix(PREFIX)
        if sample not in list_samples():
            known = ", ".join(PREFIX + item for item in list_samples())
            raise DataError(
                f"A sample is one that ships with autotl; given {name}. There is: {known if known else 'none'}."
            )
        return Path(str(files("autotl.data") / "samples" / f"{sample}.zip"))
    path = Path(name).expanduser()
    if not path.exists():
        parent = next(folder for folder in path.absolute().parents if folder.exists())
        raise DataError(
            f"A data set is a path that exists or a sample; there is no {path}. {parent} has {_inside(parent)}."
        )
    return path


def _inside(folder: Path) -> str:
    names = sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more if names else "nothing in it"
