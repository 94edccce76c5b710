from collections.abc import Callable
from pathlib import Path

import pytest

from autotl.data.scan import Layout, read_layout
from autotl.data.source import open_source
from autotl.errors import DataError

Write = Callable[[dict[str, bytes]], Path]


def layout_of(path: Path) -> Layout:
    with open_source(path) as source:
        return read_layout(source)


def rows(layout: Layout) -> list[tuple[str, str, str | None]]:
    return [(entry.path, entry.label, entry.split) for entry in layout.entries]


@pytest.fixture(params=["folder", "zip"])
def build(request: pytest.FixtureRequest, write: Write, zipped: Write) -> Callable[..., Path]:
    """Make a folder or a zip with these empty files."""
    make = write if request.param == "folder" else zipped
    return lambda *names: make(dict.fromkeys(names, b""))


def test_class_folders(build: Callable[..., Path]) -> None:
    layout = layout_of(build("cat/1.jpg", "dog/deep/er/2", "README.txt"))
    assert layout.kind == "folders"
    assert rows(layout) == [("cat/1.jpg", "cat", None), ("dog/deep/er/2", "dog", None)]
    assert "README.txt" in layout.notes[0]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "TESTING"),
        ("TRAIN", "dev", "eval"),
        ("train", "valid", "evaluation"),
    ],
)
def test_split_folders_in_their_usual_spellings(train: str, val: str, test: str, build: Callable[..., Path]) -> None:
    layout = layout_of(build(f"{train}/a/1", f"{val}/a/2", f"{test}/b/3"))
    assert layout.kind == "splits"
    assert sorted(row[1:] for row in rows(layout)) == [("a", "train"), ("a", "val"), ("b", "test")]


def test_everything_may_lie_under_one_top_folder(build: Callable[..., Path]) -> None:
    layout = layout_of(build("photos/2024/cat/1", "photos/2024/dog/2"))
    assert rows(layout) == [("photos/2024/cat/1", "cat", None), ("photos/2024/dog/2", "dog", None)]


def test_split_folders_under_one_top_folder(build: Callable[..., Path]) -> None:
    layout = layout_of(build("set/train/a/1", "set/test/a/2"))
    assert (layout.kind, rows(layout)[1]) == ("splits", ("set/train/a/1", "a", "train"))


def test_a_vehicle_called_train_is_a_class(build: Callable[..., Path]) -> None:
    assert {row[1] for row in rows(layout_of(build("train/1", "bus/2", "car/3")))} == {"train", "bus", "car"}


def test_a_test_folder_without_classes_is_ignored_with_a_note(build: Callable[..., Path]) -> None:
    layout = layout_of(build("train/a/1", "train/b/2", "test/3.jpg"))
    assert layout.kind == "splits" and {row[2] for row in rows(layout)} == {"train"}
    assert "test" in layout.notes[0]


def test_two_spellings_of_one_split_are_an_error(build: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"val, valid"):
        layout_of(build("train/a/1", "val/a/2", "valid/a/3"))


@pytest.mark.parametrize("names", [("cat/1", "Cat/2"), ("big cat/1", "big  cat/2")])
def test_class_names_that_differ_by_case_or_spaces_are_an_error(
    names: tuple[str, ...], build: Callable[..., Path]
) -> None:
    with pytest.raises(DataError, match="case and spaces"):
        layout_of(build(*names))


def test_empty_class_folders_are_an_error_that_names_them(write: Write) -> None:
    root = write({"cat/1": b"", "dog/2": b""})
    (root / "bird").mkdir()
    with pytest.raises(DataError, match="bird"):
        layout_of(root)


def test_a_place_without_images_in_class_folders_is_an_error(build: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="folder named after the class"):
        layout_of(build("1.jpg", "2.jpg"))


@pytest.mark.parametrize("name", ["manifest.csv", "metadata.csv"])
@pytest.mark.parametrize("top", ["", "photos/"])
def test_a_csv_at_the_root_rules(name: str, top: str, zipped: Write) -> None:
    layout = layout_of(zipped({top + name: b"file_name,label\nx/1,a\nx/2,b\n", top + "x/1": b"", top + "x/2": b""}))
    assert layout.kind == "csv"
    assert rows(layout) == [(top + "x/1", "a", None), (top + "x/2", "b", None)]


def test_captions_in_metadata_csv_are_no_manifest(write: Write) -> None:
    assert layout_of(write({"a/1": b"", "b/2": b"", "metadata.csv": b"file_name,text\na/1,hello\n"})).kind == "folders"
