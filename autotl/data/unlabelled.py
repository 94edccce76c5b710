"""Images without labels, as a data set: one folder, or one zip, of images with no folders for classes.

The rest of autotl works from labelled images. So such images are dealt to two classes, evenly and by their contents,
which means that copies of one image stay together; nobody looks at these labels. They lie in the cache, as links where
the file system can do that.
"""

import hashlib
import os
from pathlib import Path, PurePosixPath

from autotl.data.npz import NpzSource
from autotl.data.selection import IMAGE_SUFFIXES
from autotl.data.source import Source, open_source
from autotl.data.store import GIVEN, Cache, key_of
from autotl.errors import DataError

PARTS = ("a", "b")


def keep_unlabelled(dataset: str, cache: Cache) -> str:
    """The data set that stands for a folder or zip of images without labels; any other data set as it was given.

    Raises:
        DataError: an image cannot be read.
    """
    path = Path(dataset).expanduser().resolve()
    if not path.exists() or path.suffix.lower() in (".csv", ".tsv"):
        return dataset
    label = path.stem if path.is_file() else path.name  # what people see of it
    with open_source(path) as source:
        names = _lone_images(source)
        if not names:
            return dataset
        digests = {name: _digest(source, name) for name in names}
        key = key_of({"unlabelled": sorted(digests.items()), "root": str(path)})
        found = cache.find(GIVEN, key)
        if found is None:
            with cache.building(GIVEN) as folder:
                _deal(source, digests, folder / label)
                found = cache.publish(GIVEN, key, folder)
        return str(found / label)


def _lone_images(source: Source) -> list[str]:
    """The images of a source that all lie in one folder; none where folders or a list may label them."""
    names = [] if isinstance(source, NpzSource) else source.names()
    if any(name.lower().endswith((".csv", ".tsv")) for name in names):
        return []
    images = [name for name in names if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    return images if len({PurePosixPath(name).parent for name in images}) == 1 else []


def _digest(source: Source, name: str) -> str:
    try:
        return hashlib.sha256(source.read(name)).hexdigest()
    except (OSError, DataError) as error:
        raise DataError(f"Every image must be readable; {name} is not ({error}). Repair or remove it.") from error


def _deal(source: Source, digests: dict[str, str], folder: Path) -> None:
    """Every other content to the one class, the rest to the other."""
    rank = {digest: number for number, digest in enumerate(sorted(set(digests.values())))}
    for part in PARTS:
        (folder / part).mkdir(parents=True)
    for name, digest in digests.items():
        place = folder / PARTS[rank[digest] % len(PARTS)] / PurePosixPath(name).name
        try:
            os.link(source.root / name, place)
        except OSError:  # in a zip, or on another file system
            place.write_bytes(source.read(name))
