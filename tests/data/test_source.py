import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from autotl.data.decode import ImageError
from autotl.data.source import is_ignored, open_source
from autotl.data.zips import ZipLimits, ZipSource
from autotl.errors import DataError

Write = Callable[[dict[str, bytes]], Path]


def test_a_folder_and_its_zip_look_the_same(write: Write, zipped: Write) -> None:
    files = {"b/2.png": b"two", "a/1.png": b"one", "a/.hidden": b"", "__MACOSX/x": b"", "a/Thumbs.db": b"", "._a": b""}
    with open_source(write(files)) as folder, open_source(zipped(files)) as archive:
        for source in (folder, archive):
            assert source.names() == ["a/1.png", "b/2.png"]
            assert source.folders() == ["a", "b"]
            assert source.read("a/1.png") == b"one"
            assert source.refused() == []


def test_signatures_change_with_the_content(write: Write) -> None:
    root = write({"a/1": b"one", "a/2": b"two"})
    with open_source(root) as source:
        before = source.signature(["a/1", "a/2", "a/missing"])
        (root / "a/2").write_bytes(b"other")
        after = source.signature(["a/1", "a/2", "a/missing"])
    assert before[0] == after[0] and before[1] != after[1]
    assert after[2] == ("a/missing", -1, 0)


def test_links_to_folders_are_not_followed_and_links_that_leave_are_refused(write: Write, tmp_path: Path) -> None:
    root = write({"a/1": b"one"})
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "a/inside").symlink_to(root / "a/1")
    (root / "a/outside").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root)
    with open_source(root) as source:
        assert source.names() == ["a/1", "a/inside"]
        assert [name for name, _ in source.refused()] == ["a/outside", "loop"]
        assert source.read("a/inside") == b"one"
        with pytest.raises(DataError, match="leads out"):
            source.read("a/outside")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", ""])
def test_a_folder_reads_nothing_outside_itself(name: str, write: Write) -> None:
    root = write({"a/1": b"one"})
    (root.parent / "secret").write_bytes(b"secret")
    with open_source(root) as source, pytest.raises(DataError, match="leads out"):
        source.read(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_refused_instead_of_waited_for(write: Write) -> None:
    root = write({"a/1": b"one"})
    os.mkfifo(root / "a/pipe")
    with open_source(root) as source:
        assert source.refused() == [("a/pipe", "not a regular file")]


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "C:/evil.png", "..\\evil.png"])
def test_zip_names_that_escape_are_refused_and_cannot_be_read(name: str, zipped: Write) -> None:
    with open_source(zipped({name: b"evil", "a/1.png": b"one"})) as source:
        assert source.names() == ["a/1.png"]
        assert [reason for _, reason in source.refused()] == ["a name that leads out of the zip"]
        with pytest.raises(FileNotFoundError):
            source.read(name)


def test_zip_links_and_second_files_of_a_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a/1", b"one")
        archive.writestr("a/1", b"two")
        link = zipfile.ZipInfo("a/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with open_source(path) as source:
        assert source.names() == ["a/1"] and source.read("a/1") == b"one"
        assert [name for name, _ in source.refused()] == ["a/1", "a/link"]


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (ZipLimits(members=2), "files"),
        (ZipLimits(total_bytes=100), "bytes when unpacked"),
        (ZipLimits(ratio=20), "times its packed size"),
    ],
)
def test_a_zip_is_bounded(limits: ZipLimits, rule: str, zipped: Write) -> None:
    path = zipped({f"a/{n}": bytes(100_000) for n in range(3)})
    with pytest.raises(DataError, match=rule):
        ZipSource(path, is_ignored, limits)


def test_a_zip_member_is_bounded_by_itself(zipped: Write) -> None:
    with ZipSource(zipped({"a/1": bytes(11), "a/2": bytes(10)}), is_ignored, ZipLimits(member_bytes=10)) as source:
        assert source.read("a/2") == bytes(10)
        with pytest.raises(ImageError) as caught:
            source.read("a/1")
    assert caught.value.reason == "too large"


def test_a_damaged_zip_member_is_one_bad_file(zipped: Write) -> None:
    path = zipped({"a/1": bytes(range(256)) * 40})
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)
    with open_source(path) as source, pytest.raises(ImageError) as caught:
        source.read("a/1")
    assert caught.value.reason == "truncated"


def test_missing_paths_and_other_kinds_of_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing at"):
        open_source(tmp_path / "missing")
    (tmp_path / "x.tar").write_bytes(b"tar")
    with pytest.raises(DataError, match="unpack it"):
        open_source(tmp_path / "x.tar")
