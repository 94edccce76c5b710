"""Data sets of plugins: `SOURCE:REST`, where a plugin registers SOURCE in the group `autotl.datasets`.

A plugin makes one `DatasetSource` and names it in an entry point. The module that holds the record must stay cheap to
import: numpy and whatever downloads belong inside `load`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from autotl.data.store import Cache, key_of
from autotl.entry_points import Kind, list_entries, load_entry
from autotl.errors import AutotlError, PluginError

API_VERSION = 1
GROUP = "autotl.datasets"


@dataclass(frozen=True)
class DatasetSource:
    """Where data sets come from by name, described without loading any."""

    name: str
    """As registered: what stands before the colon."""
    load: Callable[[str], "Path | Mapping[str, Any]"]
    """Gives what a search opens for `NAME:REST`, called with REST: a path (of a folder, zip, CSV or `.npz` file), or
    arrays by name as an `.npz` file has them (`x_train`, `y_train`, ...; see autotl/data/array_rules.py). Arrays are
    kept in the cache, and asked for once by each version of the distribution. Raises a `DataError` that says what to
    do when there is no such data set or it cannot be had."""
    examples: tuple[str, ...] = ()
    """What REST may be, for listings and messages."""
    summary: str = ""
    """What they are, in one line."""
    api_version: int = API_VERSION


KIND = Kind("data set", GROUP, DatasetSource, API_VERSION)


def list_sources() -> list[str]:
    """What may stand before the colon, sorted; no plugin is imported."""
    return sorted(entry_points(group=GROUP).names)


def load_dataset(name: str, cache: Cache) -> Path:
    """The path of `SOURCE:REST`; a plugin's arrays are kept in the cache, and found there the next time.

    Raises:
        DataError: there is no such data set, or it cannot be had.
        PluginError: the plugin is broken.
    """
    from autotl.data.given_arrays import find_kept, keep_arrays

    source, _, rest = name.partition(":")
    record: DatasetSource = load_entry(KIND, source)
    owner = next(listing for listing in list_entries(KIND) if listing.name == source)
    key = key_of({"dataset": name, "of": [owner.distribution, owner.version]})
    with cache.lock("datasets", key):
        kept = find_kept(key, cache)
        if kept is not None:
            return kept
        try:
            found = record.load(rest)
        except AutotlError:
            raise
        except Exception as error:  # a plugin may fail in any way
            raise PluginError(
                f"{owner.distribution} cannot load {name}: {type(error).__name__}: {error}. Check what follows "
                "the colon, or tell its author."
            ) from error
        return found if isinstance(found, Path) else keep_arrays(found, key, cache)
