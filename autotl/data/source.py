"""Where images come from: a folder, a zip or arrays, seen as named byte strings. Nothing is ever extracted."""

import os
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self

from autotl.data.decode import MAX_FILE_BYTES, ImageError
from autotl.data.npz import SUFFIX, NpzSource
from autotl.data.zips import ZipSource, is_safe_name
from autotl.errors import DataError

IGNORED_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"})
Signature = tuple[str, int, int]


class Source(Protocol):
    """Named byte strings. Names are relative, with forward slashes, and never lead out of the root."""

    @property
    def root(self) -> Path: ...

    def names(self) -> list[str]:
        """All files but the ignored ones (`is_ignored`), sorted."""
        ...

    def folders(self) -> list[str]:
        """All folders, sorted, empty ones included."""
        ...

    def refused(self) -> list[tuple[str, str]]:
        """Names that are left out for safety, with the reason."""
        ...

    def read(self, name: str) -> bytes:
        """The content of one file.

        Raises:
            ImageError: The file is larger than `MAX_FILE_BYTES`, is damaged inside its archive, or its name leads out
                of the root.
            DataError: The whole source is damaged.
            OSError: The file cannot be read.
        """
        ...

    def signature(self, names: Iterable[str]) -> list[Signature]:
        """`(name, size, mtime_ns or crc)` of each name, `(name, -1, 0)` when missing: changes with the content."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def open_source(path: Path) -> Source:
    """Open a folder, a zip, arrays, or the CSV manifest of a folder (whose root is then the CSV's own folder).

    Raises:
        DataError: There is nothing at `path`, it is of another kind, breaks the limits of zips, or holds other arrays.
    """
    if path.is_dir():
        return FolderSource(path.resolve())
    if not path.is_file():
        raise DataError(
            f"A data set is a folder, a zip, a CSV or an .npz file; there is nothing at {path}. Check the path."
        )
    if path.suffix.lower() == SUFFIX:
        return NpzSource(path.resolve())
    if zipfile.is_zipfile(path):
        return ZipSource(path.resolve(), is_ignored)
    if path.suffix.lower() in {".csv", ".tsv"}:
        return FolderSource(path.resolve().parent, listing=path.name)
    raise DataError(
        f"A data set is a folder of images, a zip of one, a CSV file with the columns path,label, or an .npz file of "
        f"arrays; {path} is none of these. If it is another kind of archive, unpack it and give the folder."
    )


def is_ignored(name: str) -> bool:
    """Whether any part of the name belongs to the operating system or is hidden."""
    return any(part.startswith(".") or part in IGNORED_NAMES for part in name.split("/"))


@dataclass
class _Listing:
    names: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


class FolderSource:
    """A folder, walked once. With `listing` only that one file is listed, and its entries are read by name."""

    def __init__(self, root: Path, listing: str | None = None) -> None:
        self.root = root
        self._listing = listing

    def names(self) -> list[str]:
        return sorted(self._found.names)

    def folders(self) -> list[str]:
        return sorted(self._found.folders)

    def refused(self) -> list[tuple[str, str]]:
        return sorted(self._found.refused)

    def read(self, name: str) -> bytes:
        with self._path(name).open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{name} is not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise ImageError("too large", f"{status.st_size} bytes; the limit is {MAX_FILE_BYTES}")
            return file.read(MAX_FILE_BYTES + 1)

    def signature(self, names: Iterable[str]) -> list[Signature]:
        return [self._sign(name) for name in names]

    def close(self) -> None:
        """A folder holds nothing open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @cached_property
    def _found(self) -> _Listing:
        if self._listing is not None:
            return _Listing(names=[self._listing])
        found = _Listing()
        waiting = [self.root]
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                waiting.extend(
                    self.root / name for entry in entries if (name := self._sort_in(entry, found)) is not None
                )
        return found

    def _sort_in(self, entry: os.DirEntry[str], found: _Listing) -> str | None:
        """Put one directory entry where it belongs; returns the name of a folder that is still to be walked."""
        if is_ignored(entry.name):
            return None
        name = Path(entry.path).relative_to(self.root).as_posix()
        if entry.is_dir(follow_symlinks=False):
            found.folders.append(name)
            return name
        if entry.is_symlink() and entry.is_dir():
            found.refused.append((name, "a link to a folder is not followed"))
        elif entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(self.root):
            found.refused.append((name, "a link that leaves the data set's folder"))
        elif entry.is_file():
            found.names.append(name)
        else:
            found.refused.append((name, "not a regular file"))
        return None

    def _sign(self, name: str) -> Signature:
        try:
            status = self._path(name).stat()
        except (OSError, DataError):
            return (name, -1, 0)
        return (name, status.st_size, status.st_mtime_ns)

    def _path(self, name: str) -> Path:
        """The place of a name; a link is followed only when it stays inside, checked at each use."""
        path = self.root / name
        if not is_safe_name(name) or not path.resolve().is_relative_to(self.root):
            detail = f"Files must lie inside the data set's folder {self.root}; {name} leads out of it."
            raise ImageError("refused", detail)
        return path
