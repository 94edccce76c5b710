"""Archives of package registries, read without unpacking them: wheels (zip), npm packages (tar) and Debian packages."""

import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Picture(NamedTuple):
    """One labelled image as its package has it.

    Attributes:
        name: unique within its class; becomes the file's name.
        label: of its class.
        group: pictures of one group must not be on both sides of a split.
        content: the bytes of an image file.
    """

    name: str
    label: str
    group: str
    content: bytes


def members(path: Path, under: str, endings: tuple[str, ...] = (".png",)) -> Iterator[tuple[PurePosixPath, bytes]]:
    """All files of an archive below a folder, as `(path below that folder, content)`, sorted by path.

    The order does not depend on how the archive was packed. Links are left out: their targets are there themselves.
    """
    yield from sorted(_read(path, under.strip("/") + "/", endings))


def _read(path: Path, under: str, endings: tuple[str, ...]) -> Iterator[tuple[PurePosixPath, bytes]]:
    def wanted(name: str) -> PurePosixPath | None:
        name = name.removeprefix("./")
        return PurePosixPath(name.removeprefix(under)) if name.startswith(under) and name.endswith(endings) else None

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if (inside := wanted(name)) is not None:
                    yield inside, archive.read(name)
        return
    with _open_tar(path) as tar:
        for member in tar:
            if member.isfile() and (inside := wanted(member.name)) is not None:
                file = tar.extractfile(member)
                assert file is not None  # it is a file
                yield inside, file.read()


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    if path.suffix != ".deb":
        with tarfile.open(path) as tar:
            yield tar
        return
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        yield tar
