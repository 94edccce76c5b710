"""A zip as a source of named byte strings, read in place and bounded in every direction a hostile one can grow."""

import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from autotl.data.decode import MAX_FILE_BYTES, ImageError
from autotl.errors import DataError


@dataclass(frozen=True)
class ZipLimits:
    """What an archive may hold. Images hardly shrink in a zip, so a high ratio means a bomb, not a good compressor."""

    members: int = 2_000_000
    member_bytes: int = MAX_FILE_BYTES
    total_bytes: int = 2**40
    ratio: float = 200.0


def is_safe_name(name: str) -> bool:
    """Whether a name is relative, without `..`, drive letters or NUL."""
    parts = name.split("/")
    return (
        bool(name) and not name.startswith("/") and ".." not in parts and "\0" not in name and ":" not in parts[0][1:2]
    )


def check_totals(path: Path, members: Sequence[zipfile.ZipInfo], limits: ZipLimits, way_out: str) -> None:
    """Insist that an archive stays within its limits, by what it says of itself.

    Args:
        way_out: what to do with one that does not and that can be trusted.

    Raises:
        DataError: it does not.
    """
    total = sum(member.file_size for member in members)
    packed = max(1, path.stat().st_size)
    for name, given, limit in (
        ("files", len(members), limits.members),
        ("bytes when unpacked", total, limits.total_bytes),
        ("times its packed size", total / packed, limits.ratio),
    ):
        if given > limit:
            raise DataError(
                f"A data set's zip may hold at most {limit:g} {name}; {path} holds {given:g}. If you trust it, "
                f"{way_out}."
            )


class ZipSource:
    """The files of a zip. Safe to read from several threads (`zipfile` locks the shared file)."""

    def __init__(self, path: Path, is_ignored: Callable[[str], bool], limits: ZipLimits | None = None) -> None:
        self.root = path
        self._limits = ZipLimits() if limits is None else limits
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._folders: set[str] = set()
        self._refused: dict[str, str] = {}
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DataError(f"A data set's zip must be readable; {path} is not ({error}). Make it anew.") from error
        try:
            check_totals(path, self._archive.infolist(), self._limits, "unpack it and give the folder")
        except DataError:
            self._archive.close()
            raise
        for member in self._archive.infolist():
            self._add(member, is_ignored)

    def names(self) -> list[str]:
        return sorted(self._members)

    def folders(self) -> list[str]:
        return sorted(self._folders)

    def refused(self) -> list[tuple[str, str]]:
        return sorted(self._refused.items())

    def read(self, name: str) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise FileNotFoundError(f"{name} is not in {self.root.name}")
        if member.file_size > self._limits.member_bytes:
            raise ImageError("too large", f"{member.file_size} bytes; the limit is {self._limits.member_bytes}")
        try:
            with self._archive.open(member) as file:
                # zipfile stops at the declared size, so a member that lies about it cannot grow past the limit.
                return file.read()
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ImageError("truncated", f"or damaged inside the zip ({error})") from error

    def signature(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        members = ((name, self._members.get(name)) for name in names)
        return [(name, -1, 0) if member is None else (name, member.file_size, member.CRC) for name, member in members]

    def close(self) -> None:
        self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _add(self, member: zipfile.ZipInfo, is_ignored: Callable[[str], bool]) -> None:
        name = member.filename.replace("\\", "/").removeprefix("./")
        if is_ignored(name.rstrip("/")) and ".." not in name.split("/"):
            return
        problem = self._problem(member, name)
        if problem is not None:
            self._refused[name] = problem
        elif member.is_dir():
            self._folders.add(name.rstrip("/"))
        else:
            self._members[name] = member
            self._folders.update(str(parent) for parent in Path(name).parents if str(parent) != ".")

    def _problem(self, member: zipfile.ZipInfo, name: str) -> str | None:
        if not is_safe_name(name):
            return "a name that leads out of the zip"
        if stat.S_ISLNK(member.external_attr >> 16):
            return "a link inside a zip is not followed"
        if member.flag_bits & 0x1:
            return "encrypted"
        if name in self._members:
            return "a second file of the same name"
        return None
