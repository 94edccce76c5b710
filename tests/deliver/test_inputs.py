import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autotl.data.decode import load_square
from autotl.data.images import read_images
from autotl.deliver.inputs import check_inputs, read_batches, read_list
from autotl.errors import UsageError

SIZE = 8
NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 10} & set(name) and not name.endswith(b"\r"))


def decode(content):
    return load_square(content, SIZE)


class InPieces(io.BytesIO):
    """A stream that gives what it has in pieces, as a pipe does."""

    def __init__(self, content, sizes):
        super().__init__(content)
        self.sizes = iter(sizes)

    def read1(self, size=-1):
        return super().read1(min(next(self.sizes, 3), size))


@pytest.fixture
def folder(tmp_path):
    """Five pictures of different colours, one of them in a folder of its own, and a text."""
    generator = np.random.default_rng(0)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.png", "d.png", "more/e.png"):
        pixels = generator.integers(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "bb.txt").write_text("no picture")
    return tmp_path / "photos"


def read(*inputs):
    """Everything in one list: names of images, and (name, reason) of what is none."""
    found = [item for batch in read_batches(inputs, decode) for item in batch]
    return [(name, content) if isinstance(content, str) else name for name, content in found]


@given(st.lists(NAMES), st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.lists(st.integers(1, 9)))
def test_a_list_of_lines_is_read_alike_in_whatever_pieces_it_arrives(names, end, is_ended, sizes):
    content = end.join(names) + (end if is_ended else b"")
    assert list(read_list(InPieces(content, sizes))) == [os.fsdecode(name) for name in names]


@given(st.lists(st.binary(min_size=1).filter(lambda name: 0 not in name), min_size=1), st.lists(st.integers(1, 9)))
def test_a_list_that_begins_with_nul_may_name_any_file(names, sizes):
    content = b"\0".join(names) + b"\0"
    first = len(names[0]) + 1  # what arrives first holds a NUL
    assert [os.fsencode(path) for path in read_list(InPieces(content, [first, *sizes]))] == names


def test_a_list_is_read_as_it_arrives_and_never_whole():
    def lines():
        while True:
            yield b"some/name.png\n"

    class Endless(io.BufferedIOBase):
        def read1(self, size=-1):
            return next(source)

    source = lines()
    paths = read_list(Endless())
    assert [next(paths) for _ in range(3)] == ["some/name.png"] * 3


def test_a_name_without_an_end_does_not_fill_the_memory():
    (name,) = read_list(InPieces(b"x" * 1_000_000, [2**16] * 20))
    assert len(name) < 2**18


def test_files_folders_zips_and_lists_come_in_the_order_given(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(folder / "d.png", "inside/d.png")
    listed = io.BytesIO(f"{folder / 'b.png'}\n\n{folder / 'more'}\n".encode())
    given_folder = [str(folder / name) for name in ("a.png", "b.png", "bb.txt", "c.png", "d.png", "more/e.png")]
    found = read(folder / "c.png", folder, tmp_path / "some.zip", listed, folder / "a.png")
    assert [item if isinstance(item, str) else item[0] for item in found] == [
        str(folder / "c.png"), *given_folder, str(tmp_path / "some.zip" / "inside" / "d.png"),
        str(folder / "b.png"), str(folder / "more" / "e.png"), str(folder / "a.png"),
    ]  # fmt: skip
    assert found[3][1].startswith("not an image")


def test_images_are_decoded_as_in_training(folder):
    ((_, expected),) = read_images([folder / "a.png", folder / "b.png"], SIZE)
    (batch,) = read_batches([folder / "a.png", folder / "b.png"], decode)
    np.testing.assert_array_equal(np.stack([content for _, content in batch]), expected)


def test_what_a_list_names_and_cannot_be_read_is_left_out_with_the_reason(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(damaged, "w") as archive:
        archive.write(folder / "a.png", "a.png")
    content = damaged.read_bytes()
    damaged.write_bytes(content.replace(b"PK\x01\x02", b"PK\x01\x00"))
    long = "x" * 5000
    listed = [tmp_path / "nowhere.png", tmp_path / "pipe", damaged, long, "nul\0inside", folder / "a.png"]
    found = read(InPieces(b"first.png\n" + "\n".join(map(str, listed)).encode(), [10]))
    assert len(found) == 7 and found[-1] == str(folder / "a.png")
    reasons = dict(found[:-1])
    assert "No such file" in reasons[str(tmp_path / "nowhere.png")]
    assert "not a regular file" in reasons[str(tmp_path / "pipe")]
    assert "zip" in reasons[str(damaged)]


def test_a_picture_with_a_zip_behind_it_is_a_picture(folder, tmp_path):
    both = folder / "a.png"
    with zipfile.ZipFile(both, "a") as archive:
        archive.write(folder / "b.png", "b.png")
    assert zipfile.is_zipfile(both)
    assert read(both) == [str(both)]


def test_a_zip_that_is_not_opened_says_why(folder, tmp_path):
    with zipfile.ZipFile(folder / "more" / "whole.zip", "w") as archive:
        archive.write(folder / "a.png", "a.png")
    cut = tmp_path / "cut.zip"
    cut.write_bytes((folder / "more" / "whole.zip").read_bytes()[:-30])
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(folder / "more" / "whole.zip", "inner.zip")
    found = read(folder / "more", cut, tmp_path / "outer.zip")
    assert found[0] == str(folder / "more" / "e.png")
    assert [Path(name).name for name, _ in found[1:]] == ["whole.zip", "cut.zip", "inner.zip"]
    assert all("a zip that is damaged, or lies in" in reason for _, reason in found[1:])


def test_batches_are_bounded_however_much_is_left_out(folder):
    listed = io.BytesIO(f"{folder / 'a.png'}\n".encode() * 40 + b"nowhere.png\n" * 1000)
    batches = list(read_batches([listed], decode))
    images = [sum(not isinstance(content, str) for _, content in batch) for batch in batches]
    assert sum(map(len, batches)) == 1040 and images == [32, 8, 0, 0, 0]
    assert max(map(len, batches)) <= 256


def test_a_missing_path_is_found_before_anything_is_read(tmp_path):
    check_inputs([tmp_path, io.BytesIO(b"nowhere")])
    with pytest.raises(UsageError, match=r"must exist; these do not: .*nowhere"):
        check_inputs([tmp_path, tmp_path / "nowhere"])
