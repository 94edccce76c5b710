"""Arrays too big for memory: written row by row to a raw file, read back as a memory map."""

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from autotl.errors import DataError

DTYPES = ("uint8", "float16", "float32")
_ROWS = "rows.raw"
_HEADER = "array.json"


class ArrayWriter:
    """Streams rows into `directory`; memory holds one batch. The header comes last, so a torn array never opens."""

    def __init__(
        self, directory: Path, dtype: str, row_shape: tuple[int, ...], spec: Mapping[str, Any] | None = None
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype is one of {', '.join(DTYPES)}; given {dtype}")
        self.directory = directory
        self.dtype = dtype
        self.row_shape = tuple(int(length) for length in row_shape)
        self.spec = {} if spec is None else dict(spec)
        self.count = 0
        self._file = (directory / _ROWS).open("wb")

    def append(self, rows: np.ndarray) -> None:
        """Add rows `[n, *row_shape]`; numbers of another dtype are cast.

        Raises:
            ValueError: The shape is another one.
        """
        if rows.shape[1:] != self.row_shape:
            raise ValueError(f"rows are [n, {self.row_shape}]; given {rows.shape}")
        self._file.write(np.ascontiguousarray(rows, dtype=self.dtype).data)  # the buffer itself: no copy
        self.count += len(rows)

    def close(self) -> None:
        """Finish the file and write the header.

        Raises:
            ValueError: Nothing was appended.
        """
        self._file.close()
        if self.count == 0:
            raise ValueError(f"an array has at least one row; nothing was written to {self.directory}")
        _write_header(self.directory, self.dtype, (self.count, *self.row_shape), self.spec)

    def abandon(self) -> None:
        """Close the file without a header."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def open_array(directory: Path) -> np.memmap:
    """The array as a read-only memory map `[count, *row_shape]`.

    Raises:
        FileNotFoundError: There is no finished array (it may have been evicted from its cache).
        DataError: The file does not have the size that its header says.
    """
    header = read_header(directory)
    path, shape, dtype = directory / _ROWS, tuple(header["shape"]), np.dtype(header["dtype"])
    expected = math.prod(shape) * dtype.itemsize
    if path.stat().st_size != expected:
        raise DataError(
            f"A stored array must have {expected} bytes; {path} has {path.stat().st_size}. Delete {directory}."
        )
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)


def release_pages(array: Any) -> None:
    """Take the pages of a memory map out of this process's memory; what they hold stays, and is mapped again when read.

    Mapped pages count as resident while there is room, so a process that reads a large array seems as large itself.
    Does nothing for other arrays, and where the system cannot.
    """
    pages = getattr(array, "_mmap", None)
    if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
        pages.madvise(mmap.MADV_DONTNEED)


def find_array(directory: Path | None) -> np.memmap | None:
    """The array of a cache's entry, or None when there is no entry or it was evicted a moment ago."""
    try:
        return None if directory is None else open_array(directory)
    except FileNotFoundError:
        return None


def read_header(directory: Path) -> dict[str, Any]:
    """The header of a finished array: `dtype`, `shape`, `spec`."""
    header: dict[str, Any] = json.loads((directory / _HEADER).read_text())
    return header


def keep_rows(directory: Path, rows: np.ndarray) -> None:
    """Drop all but the given rows (int64, ascending) of a finished, unpublished array, in place and a row at a time."""
    header = read_header(directory)
    shape, dtype = tuple(header["shape"]), np.dtype(header["dtype"])
    array = np.memmap(directory / _ROWS, dtype=dtype, mode="r+", shape=shape)
    for target, row in enumerate(rows):
        if target != row:
            array[target] = array[row]
    array.flush()
    del array
    with (directory / _ROWS).open("r+b") as file:
        file.truncate(len(rows) * math.prod(shape[1:]) * dtype.itemsize)
    _write_header(directory, header["dtype"], (len(rows), *shape[1:]), header["spec"])


def _write_header(directory: Path, dtype: str, shape: tuple[int, ...], spec: Mapping[str, Any]) -> None:
    (directory / _HEADER).write_text(json.dumps({"dtype": dtype, "shape": shape, "spec": spec}))
