"""What is to be labelled: files, folders, zips and lists of them, decoded in order and in constant memory."""

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autotl.data.decode import MAX_FILE_BYTES
from autotl.data.parallel import map_in_order
from autotl.data.source import open_source
from autotl.deliver.predictor import BATCH_SIZE
from autotl.errors import DataError, UsageError

_MAX_PENDING = 8 * BATCH_SIZE
_CHUNK_BYTES = 2**16
_MAX_NAME_BYTES = 2**15  # longer than any path that a file system takes
_NO_ZIP = "a zip that is damaged, or lies in a folder or another zip; give a whole one by its own path"

Listing = io.BufferedIOBase
Content = NDArray[np.uint8] | str
Decode = Callable[[bytes], NDArray[np.uint8]]


def check_inputs(inputs: Iterable[Path | Listing]) -> None:
    """Whether all that is named outright is there. What a list names is seen when it comes.

    Raises:
        UsageError: a path does not exist.
    """
    missing = [str(item) for item in inputs if isinstance(item, Path) and not item.exists()]
    if missing:
        raise UsageError(
            f"Every path to predict must exist; these do not: {', '.join(missing[:5])}. Check the spelling."
        )


def read_batches(inputs: Sequence[Path | Listing], decode: Decode) -> Iterator[list[tuple[str, Content]]]:
    """Decodes everything in order, a few images ahead of whoever reads.

    Args:
        inputs: files, folders (with all below them, sorted), zips, and binary streams that list such paths.
        decode: makes an image of the bytes of a file; `load_square` with a size, for example.

    Yields:
        Names, each with its image uint8 `[S, S, 3]` or the reason why it is none; at most `BATCH_SIZE` images at once.
    """
    batch: list[tuple[str, Content]] = []
    images = 0
    for name, content in _read(inputs, decode):
        batch.append((name, content))
        images += not isinstance(content, str)
        if images == BATCH_SIZE or len(batch) == _MAX_PENDING:
            yield batch
            batch, images = [], 0
    if batch:
        yield batch


def read_list(stream: Listing) -> Iterator[str]:
    """The paths of a list as they arrive: one a line, or separated by NUL where the list begins with such.

    Which of the two it is, is seen from what arrives with the first of them. Lines may end in CR LF; empty ones are
    left out. Bytes that are no UTF-8 stay what they are (surrogates), so every file can be named.
    """
    separator, rest = b"", b""
    while chunk := stream.read1(_CHUNK_BYTES):
        if not separator:
            separator = next((each for each in (b"\0", b"\n") if each in chunk), b"")
        rest += chunk
        if separator:
            *names, rest = rest.split(separator)
            yield from filter(None, (_path_of(name, separator) for name in names))
        rest = rest[:_MAX_NAME_BYTES]
    yield from filter(None, [_path_of(rest, separator)])


def _path_of(name: bytes, separator: bytes) -> str:
    return os.fsdecode(name if separator == b"\0" else name.removesuffix(b"\r"))


def _read(inputs: Iterable[Path | Listing], decode: Decode) -> Iterator[tuple[str, Content]]:
    """All files with their images; files that stand next to each other are decoded side by side."""
    for is_container, group in groupby(_paths(inputs), key=_is_container):
        if is_container:
            for path in group:
                yield from _read_container(path, decode)
        else:
            yield from map_in_order(lambda path: (str(path), _read_file(path, decode)), group)


def _paths(inputs: Iterable[Path | Listing]) -> Iterator[Path]:
    for item in inputs:
        if isinstance(item, Path):
            yield item
        else:
            yield from map(Path, read_list(item))


def _is_container(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return stat.S_ISDIR(mode)
        with path.open("rb") as file:  # a picture with a zip behind it is a picture
            return file.read(2) == b"PK" and zipfile.is_zipfile(path)
    except (OSError, ValueError):
        return False  # reading it as a file will tell why


def _read_container(path: Path, decode: Decode) -> Iterator[tuple[str, Content]]:
    """A folder or a zip; what is in it is named by its whole path."""
    try:
        with open_source(path) as source:

            def load(name: str) -> tuple[str, Content]:
                return str(path / name), _decode(lambda: source.read(name), decode)

            yield from ((str(path / name), reason) for name, reason in source.refused())
            yield from map_in_order(load, source.names())
    except (DataError, OSError) as error:
        yield str(path), _reason(error)


def _read_file(path: Path, decode: Decode) -> Content:
    def read() -> bytes:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("not a regular file")  # opening a pipe could wait for ever
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)  # decoding refuses what is longer

    return _decode(read, decode)


def _decode(read: Callable[[], bytes], decode: Decode) -> Content:
    content = b""
    try:
        content = read()
        return decode(content)
    except (DataError, OSError, ValueError) as error:  # ValueError: a name from a list that no file can have
        return _NO_ZIP if content.startswith(b"PK\3\4") else _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    return f"unreadable ({getattr(error, 'strerror', None) or error})"
