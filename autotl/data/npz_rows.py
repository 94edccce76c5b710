"""The arrays of an `.npz` file, read a few rows at a time and never unpickled.

An array that lies in the file as it is, is read there. A compressed one is unpacked once, into a file without a name
that goes away with this process: memory holds no more than the rows that are asked for.
"""

import io
import math
import shutil
import struct
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np

from autotl.data.array_rules import Form
from autotl.errors import DataError

_HEADER_BYTES = 16 * 1024  # numpy itself refuses headers of more than 10 000 characters
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_COPY_BYTES = 2**20


@dataclass(frozen=True)
class Member:
    """One array of the file, not yet read."""

    info: zipfile.ZipInfo
    form: Form
    start: int
    """Where its numbers begin, after the header, in the unpacked member."""


@dataclass(frozen=True)
class Rows:
    """An array `[N, ...]` in a file. Safe to read from several threads."""

    file: IO[bytes]
    start: int
    form: Form
    lock: Lock = field(default_factory=Lock)

    @property
    def row_bytes(self) -> int:
        """What one row takes."""
        return math.prod(self.form.shape[1:]) * self.form.dtype.itemsize

    def read(self, first: int, count: int = 1) -> np.ndarray:
        """Rows `[count, ...]`, fewer at the end.

        Raises:
            EOFError: the file is shorter than it said.
        """
        shape, dtype = self.form
        count, size = min(count, shape[0] - first), self.row_bytes
        with self.lock:
            self.file.seek(self.start + first * size)
            content = self.file.read(count * size)
        if len(content) < count * size:
            raise EOFError("it ends too early")
        return np.frombuffer(content, dtype).reshape(count, *shape[1:])


def read_members(archive: zipfile.ZipFile) -> dict[str, Member]:
    """All arrays of a file, by name.

    Raises:
        DataError: one is no array, or not as large as it says.
    """
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    return {info.filename.removesuffix(".npy"): _read_member(archive, info) for info in infos}


def read_array(archive: zipfile.ZipFile, member: Member) -> np.ndarray:
    """A whole array, flat; the caller knows that it is small."""
    with archive.open(member.info) as file:
        return np.frombuffer(file.read(), member.form.dtype, offset=member.start)


def open_rows(archive: zipfile.ZipFile, member: Member, path: Path) -> Rows:
    """An array to be read row by row; whoever is done closes `file`.

    Raises:
        DataError: it is damaged, or there is no room to unpack it.
    """
    if member.info.compress_type == zipfile.ZIP_STORED:
        return Rows(path.open("rb"), _offset(path, member.info) + member.start, member.form)
    room = shutil.disk_usage(tempfile.gettempdir()).free
    if member.info.file_size > room:
        raise DataError(
            f"A compressed array is unpacked into {tempfile.gettempdir()}; {member.info.filename} of {path} takes "
            f"{member.info.file_size} bytes and {room} are free. Save it with numpy.savez, which compresses nothing, "
            "or set TMPDIR."
        )
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads the rows closes it
    try:
        with archive.open(member.info) as file:
            shutil.copyfileobj(file, unpacked, _COPY_BYTES)
    except BaseException:
        unpacked.close()
        raise
    return Rows(unpacked, member.start, member.form)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    try:
        with archive.open(info) as file:
            head = io.BytesIO(file.read(_HEADER_BYTES))
        form, is_reversed = _read_header(head)
    except Exception as error:  # numpy's parser of headers, fed with hostile ones, raises anything
        raise DataError(
            f"An .npz file holds arrays of numpy; {info.filename} is none ({error}). Save it anew."
        ) from error
    size = math.prod(form.shape) * form.dtype.itemsize
    if head.tell() + size != info.file_size and not form.dtype.hasobject:
        raise DataError(
            f"An array is as large as its header says; {info.filename} says {list(form.shape)} {form.dtype}, {size} "
            f"bytes, and has {info.file_size - head.tell()}. Save it anew."
        )
    if is_reversed:
        raise DataError(
            f"Arrays are read image by image; {info.filename} is stored in Fortran's order, in which no image is in "
            "one piece. Save numpy.ascontiguousarray of it."
        )
    return Member(info, form, head.tell())


def _read_header(file: io.BytesIO) -> tuple[Form, bool]:
    """Shape and type, and whether the first axis changes fastest (where that makes a difference)."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of the format")
    return Form(shape, dtype), is_fortran and len(shape) > 1


def _offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: behind its local header, whose length only that itself knows."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if signature != b"PK\3\4":
        raise DataError(
            f"A zip file says where its members begin; {path} is wrong about {info.filename}. Save it anew."
        )
    return info.header_offset + _LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes)
