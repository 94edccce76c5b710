"""An `.npz` file of images and labels as a source: every image is a PNG, named after its array and row."""

import zipfile
import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np

from autotl.data.array_rules import (
    CLASS_NAMES,
    SPLITS,
    find_parts,
    image_shape,
    labels_name,
    level_scale,
    read_labels,
    read_names,
)
from autotl.data.entries import Entry
from autotl.data.npz_rows import Rows, open_rows, read_array, read_members
from autotl.data.png import encode_png
from autotl.data.zips import ZipLimits, check_totals
from autotl.errors import DataError

SUFFIX = ".npz"
_BLOCK_BYTES = 8 * 2**20
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)


class NpzSource:
    """The images of an `.npz` file, `x_train/17.png` being row 17 of `x_train`. Safe to read from several threads."""

    def __init__(self, path: Path, limits: ZipLimits | None = None) -> None:
        self.root = path
        self._lock = Lock()
        self._opened: dict[str, tuple[Rows, float]] = {}
        try:
            self._archive = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise self._damaged(error) from error
        try:
            way_out = "save its arrays with numpy.savez, which compresses nothing"
            check_totals(path, self._archive.infolist(), ZipLimits() if limits is None else limits, way_out)
            self._members = read_members(self._archive)
            self._parts = find_parts({name: member.form for name, member in self._members.items()})
        except DataError:
            self._archive.close()
            raise

    def names(self) -> list[str]:
        return sorted(entry.path for entry in self.entries)

    def folders(self) -> list[str]:
        return list(self._parts)

    def refused(self) -> list[tuple[str, str]]:
        return []

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All images with their labels and splits, in the order of the arrays; their numbers have been looked at.

        Raises:
            DataError: pixels or labels are not what they may be, or the file is damaged.
        """
        try:
            class_names = None
            if CLASS_NAMES in self._members:
                class_names = read_names(CLASS_NAMES, read_array(self._archive, self._members[CLASS_NAMES]))
            entries: list[Entry] = []
            for part in self._parts:
                name = labels_name(part)
                labels = read_labels(name, read_array(self._archive, self._members[name]), class_names)
                entries += [Entry(f"{part}/{row}.png", label, SPLITS[part]) for row, label in enumerate(labels)]
        except _DAMAGE as error:
            raise self._damaged(error) from error
        self._check_scales()
        return tuple(entries)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the file."""
        used = {CLASS_NAMES, *self._parts, *map(labels_name, self._parts)}
        others = sorted(name for name in self._members if name not in used)
        return (f"other arrays are ignored ({', '.join(others[:5])})",) if others else ()

    def read(self, name: str) -> bytes:
        array, _, file = name.partition("/")
        row = file.removesuffix(".png")
        known = self._members[array].form.shape[0] if array in self._parts and file.endswith(".png") else 0
        if not row.isdecimal() or int(row) >= known:
            raise FileNotFoundError(f"{name} is not in {self.root.name}")
        rows, scale = self._open(array)
        try:
            pixels = rows.read(int(row))
        except _DAMAGE as error:
            raise self._damaged(error) from error
        if pixels.dtype != np.uint8:
            pixels = np.rint(pixels.astype(np.float64) * scale).astype(np.uint8)
        return encode_png(pixels.reshape(image_shape(pixels.shape)))

    def signature(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        def sign(name: str) -> tuple[str, int, int]:
            member = self._members.get(name.partition("/")[0])
            return (name, -1, 0) if member is None else (name, member.info.file_size, member.info.CRC)

        return [sign(name) for name in names]

    def close(self) -> None:
        for rows, _ in self._opened.values():
            rows.file.close()
        self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self, name: str) -> tuple[Rows, float]:
        """An array, and what makes its numbers 0..255: they are looked through once, unless they can be no others."""
        with self._lock:
            if name not in self._opened:
                try:
                    rows = open_rows(self._archive, self._members[name], self.root)
                    low, high = (0.0, 255.0) if rows.form.dtype == np.uint8 else _bounds(rows)
                except _DAMAGE as error:
                    raise self._damaged(error) from error
                self._opened[name] = (rows, level_scale(name, low, high, rows.form.dtype))
            return self._opened[name]

    def _check_scales(self) -> None:
        """Look at the numbers of all arrays that may hold others than 0..255.

        Raises:
            DataError: they do, or one array of floats is 0..1 and another 0..255.
        """
        names = [name for name in self._parts if self._members[name].form.dtype != np.uint8]
        scales = {name: self._open(name)[1] for name in names if self._members[name].form.dtype.kind == "f"}
        if len(set(scales.values())) > 1:
            found = ", ".join(f"{name} is 0..{255 / scale:g}" for name, scale in scales.items())
            raise DataError(f"All floats of a data set mean the same; {found}. Save all of them as uint8.")
        for name in names:
            self._open(name)

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"An .npz file must be readable; {self.root} is not ({error}). Save it anew with numpy.savez.")


def _bounds(rows: Rows) -> tuple[float, float]:
    """The least and the greatest number of an array; NaN where it has one."""
    count = rows.form.shape[0]
    step = max(1, _BLOCK_BYTES // rows.row_bytes)
    found = [(block.min(), block.max()) for block in (rows.read(first, step) for first in range(0, count, step))]
    return float(np.min([low for low, _ in found])), float(np.max([high for _, high in found]))
