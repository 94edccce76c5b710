"""The one pass over the bytes: hash, decode, look, and every image size that is wanted, all from one decode."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autotl.data.arrays import ArrayWriter
from autotl.data.decode import DECODE_VERSION, STRETCH, ImageError, decode, to_square
from autotl.data.duplicates import Look, look
from autotl.data.parallel import map_in_order
from autotl.data.source import Source
from autotl.data.store import Cache, key_of

SCAN_VERSION = 1
Progress = Callable[[int, int], None]
_FILE = "records.json"


@dataclass(frozen=True, slots=True)
class Record:
    """What the pass learned about one file: either `problem` says why it is skipped, or the rest is filled."""

    sha256: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    notes: tuple[str, ...] = ()
    dhash: int = 0
    thumbnail: str = ""
    problem: str = ""
    reason: str = ""

    @property
    def look(self) -> Look:
        return Look(self.dhash, base64.b64decode(self.thumbnail))


def scan_key(source: Source, names: Sequence[str], max_pixels: int) -> str:
    """Changes when a file's name, size or time (in a zip: checksum) does, or a rule."""
    spec = {
        "root": str(source.root),
        "files": source.signature(names),
        "max_pixels": max_pixels,
        "versions": [SCAN_VERSION, DECODE_VERSION],
    }
    return key_of(spec)


def examine(
    source: Source,
    names: Sequence[str],
    writers: Sequence[tuple[int, ArrayWriter]],
    max_pixels: int,
    on_progress: Progress | None = None,
    resize: str = STRETCH,
) -> list[Record]:
    """Read and decode every file once, in parallel; append each good image to all `writers` (`(image size, writer)`).

    Rows are appended in the order of `names`. Memory holds a few images a thread and one record a file.
    """
    sizes = [size for size, _ in writers]
    records = []
    for record, squares in map_in_order(lambda name: _examine(source, name, sizes, resize, max_pixels), names):
        records.append(record)
        for (_, writer), square in zip(writers, squares, strict=False):  # a skipped file has no squares
            writer.append(square[None])
        if on_progress is not None:
            on_progress(len(records), len(names))
    return records


def find_records(cache: Cache, key: str, names: Sequence[str]) -> list[Record] | None:
    """The result of an earlier pass over the very same files."""
    folder = cache.find("scans", key)
    if folder is None:
        return None
    try:
        # each row becomes a record at once: as dictionaries they would take several times as much
        records: list[Record] = json.loads((folder / _FILE).read_text(), object_hook=_record)
    except (OSError, ValueError, TypeError):
        return None  # evicted just now, or damaged: the pass is made anew
    return records if isinstance(records, list) and len(records) == len(names) else None


def _record(row: dict[str, Any]) -> Record:
    return Record(**{**row, "notes": tuple(row.get("notes", ()))})


def keep_records(cache: Cache, key: str, records: Sequence[Record]) -> None:
    """Publish the result of a pass. Empty fields are left out: a million records are still one moderate file."""
    with cache.building("scans") as folder:
        with (folder / _FILE).open("w") as file:
            for number, record in enumerate(records):
                row = {name: value for name, value in asdict(record).items() if value}
                file.write(("," if number else "[") + json.dumps(row, separators=(",", ":")))
            file.write("]" if records else "[]")
        cache.publish("scans", key, folder)


def open_writers(stack: ExitStack, cache: Cache | None, image_sizes: Sequence[int]) -> list[tuple[int, ArrayWriter]]:
    """A writer for each image size, in a temporary directory that goes away with `stack` unless it is published."""
    writers = []
    for size in image_sizes:
        assert cache is not None, "image sizes need a cache"
        folder: Path = stack.enter_context(cache.building("images"))
        writer = ArrayWriter(folder, "uint8", (size, size, 3))
        stack.callback(writer.abandon)
        writers.append((size, writer))
    return writers


def _examine(
    source: Source, name: str, sizes: Sequence[int], resize: str, max_pixels: int
) -> tuple[Record, list[np.ndarray]]:
    try:
        content = source.read(name)
        decoded = decode(content, max_pixels)
    except ImageError as error:
        return Record(problem=str(error), reason=error.reason), []
    except FileNotFoundError:
        return Record(problem="missing: no such file", reason="missing"), []
    except OSError as error:
        return Record(problem=f"unreadable: {error.strerror or error}", reason="unreadable"), []
    seen = look(decoded.image)
    record = Record(
        hashlib.sha256(content).hexdigest(),
        decoded.width,
        decoded.height,
        decoded.format,
        decoded.notes,
        seen.dhash,
        base64.b64encode(seen.thumbnail).decode(),
    )
    return record, [to_square(decoded.image, size, resize) for size in sizes]


def good(records: Sequence[Record]) -> Iterator[int]:
    """Indices of the records that are images."""
    return (index for index, record in enumerate(records) if not record.problem)
