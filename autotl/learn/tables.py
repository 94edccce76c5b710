"""Tables: rows `[N, D]` that need not fit in memory, read a block at a time.

A small table is an array. A larger one is a memory map, or is made when it is asked for, from one (`LazyTable`); who
reads it in blocks gives the pages of each block back before the next, for pages of maps count as a process's memory
while they are mapped. What is computed block by block is the same function for both.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from autotl.data.arrays import release_pages

Floats = NDArray[np.float32]
Places = NDArray[np.integer]
ITEM = np.dtype(np.float32).itemsize


class Table(Protocol):
    """Rows `[N, D]` of numbers: an array, a memory map, or a `LazyTable`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class Room(NamedTuple):
    """How much memory tables may take, and where the others are."""

    memory: int = 32 * 2**20  # bytes of a table that is held in memory
    block: int = 8 * 2**20  # bytes of rows that are read at a time
    folder: str | None = None  # of temporary files; None is the system's

    def holds(self, *shape: int) -> bool:
        """Whether a float32 table of this shape is held in memory."""
        return int(np.prod(shape, dtype=np.int64)) * ITEM <= self.memory


ROOM = Room()


@dataclass(frozen=True)
class LazyTable:
    """Rows that `read` makes, float32 `[n, D]` for positions `[n]`, whenever some are asked for."""

    shape: tuple[int, int]
    read: Callable[[Places], Floats]

    @property
    def dtype(self) -> Any:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Places) -> Floats:
        """Float32 rows `[n, D]` of a slice, of positions `[n]`, or of a mask `[N]`."""
        return self.read(np.arange(len(self))[rows])


def table_blocks(
    table: Table, block: int, places: Places | None = None, most: int | None = None
) -> Iterator[tuple[Any, Floats]]:
    """Yield which rows, and the rows, block after block. They are valid until the next block is asked for.

    Args:
        table: `[N, D]`.
        block: bytes of rows at a time; at least one row is read.
        places: positions of the rows to read, `[n]`, or `[n, m]` for blocks `[., m, D]`; None reads all, in order.
        most: so many rows at a time at most.

    Yields:
        A slice of the table, or a part of `places`, and what `table[it]` is.
    """
    wide = ITEM * table.shape[1] * (1 if places is None else int(np.prod(places.shape[1:], dtype=np.int64)))
    step = max(1, min(block // max(1, wide), most or len(table)))  # features that say nothing leave rows of no width
    count = len(table) if places is None else len(places)
    for first in range(0, count, step):
        part = slice(first, min(first + step, count)) if places is None else places[first : first + step]
        yield part, np.asarray(table[part])
        release_pages(table)


def sum_blocks(table: Table, block: int, function: Callable[[slice, Floats], Floats]) -> Floats:
    """The sum over blocks of a function of a slice and its rows; `block` is in bytes."""
    total: Floats | None = None
    for part, rows in table_blocks(table, block):
        found = function(part, rows)
        total = found if total is None else total + found
    assert total is not None  # a table has rows
    return total


def stack_tables(tables: Sequence[Table], places: Places) -> LazyTable:
    """The rows at `places [n]` of each of T tables `[N, D]`, one table after the other: `[T * n, D]`."""
    count, size = len(places), tables[0].shape[1]

    def read(rows: Places) -> Floats:
        found = np.empty((len(rows), size), np.float32)
        sources, positions = np.divmod(rows, count)
        for source in np.unique(sources):
            mine = sources == source
            found[mine] = tables[source][places[positions[mine]]]
            release_pages(tables[source])
        return found

    return LazyTable((len(tables) * count, size), read)


def map_table(table: Table, function: Callable[[Any], Floats], size: int) -> LazyTable:
    """The table `[N, size]` of a function of rows: it takes `[n, D]` and gives `[n, size]`."""
    return LazyTable((len(table), size), lambda rows: function(table[_as_slice(rows)]))


def hold_table(table: Table, room: Room) -> Table:
    """The table as an array where it is small, else as it is."""
    return keep_table(table, room) if room.holds(*table.shape) else table


def keep_table(table: Table, room: Room) -> Floats:
    """The table made once and for all: an array where it is small, else a temporary file, mapped for reading.

    The file has no name, so that nothing is left of it when the map is gone, also by a kill. It is written as a file,
    not through the map, because a full disk is then an error and no crash.

    Raises:
        OSError: the disk is full.
    """
    if room.holds(*table.shape):
        held = np.empty(table.shape, np.float32)
        for part, rows in table_blocks(table, room.block):
            held[part] = rows
        return held
    with tempfile.TemporaryFile(dir=room.folder, prefix="autotl-") as file:
        for _, rows in table_blocks(table, room.block):
            file.write(np.ascontiguousarray(rows, np.float32).data)
        file.flush()
        return np.memmap(file, np.float32, "r", shape=table.shape)  # it outlives the file's closing


def _as_slice(rows: Places) -> slice | Places:
    """Neighbours as a slice, which copies nothing."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
