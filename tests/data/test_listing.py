import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data.entries import Entry
from autotl.data.listing import read_csv
from autotl.data.scan import read_layout
from autotl.data.source import open_source
from autotl.errors import DataError

Write = Callable[[dict[str, bytes]], Path]


def read(root: Path, text: str) -> tuple[Entry, ...]:
    root.mkdir(exist_ok=True)
    (root / "list.csv").write_text(text, encoding="utf-8", newline="")
    with open_source(root / "list.csv") as source:
        return read_layout(source).entries


def test_all_columns_are_read_in_any_order_with_splits_in_any_spelling(tmp_path: Path) -> None:
    entries = read(
        tmp_path, "\ufefflabel;Split;GROUP;path;extra\ncat;Validation;g1;x/1.jpg;?\n\ndog;;;./x/../2.jpg;?\n"
    )
    assert entries == (Entry("x/1.jpg", "cat", "val", "g1"), Entry("2.jpg", "dog"))


def test_absolute_paths_inside_the_folder_are_understood(tmp_path: Path) -> None:
    assert read(tmp_path, f"path,label\n{tmp_path}/a/1.jpg,cat\n")[0].path == "a/1.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a/1,cat\n", "lacks path and label"),
        ("path,text\na/1,cat\n", "lacks label"),
        ("path,label\na/1,\n", "line 2: no label"),
        ("path,label\n,cat\n", "line 2: no path"),
        ("path,label\na/1,cat\na/1,dog\n", "line 3: a/1 is listed twice"),
        ("path,label\n../1,cat\n", r"line 2: \.\./1 leads out"),
        ("path,label\n/etc/passwd,cat\n", "line 2: /etc/passwd leads out"),
        ("path,label,split\na/1,cat,holdout\n", "'holdout' is none of train"),
    ],
)
def test_faults_are_named_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_other_encodings_are_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes("path,label\na,Käse\n".encode("latin-1"))
    with open_source(tmp_path / "list.csv") as source, pytest.raises(DataError, match="UTF-8"):
        read_layout(source)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\\0"), min_size=1).filter(
    lambda name: name.strip(". ") != ""
)
cells = names.map(str.strip).filter(bool)


class Text:
    """A source that holds one CSV."""

    root = Path("/data")

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self, name: str) -> bytes:
        return self.text.encode()


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(names, cells, st.sampled_from([None, "train", "val", "test"]), st.none() | cells)))
def test_any_table_written_by_a_csv_writer_is_read_back(table: list[tuple[str, str, str | None, str | None]]) -> None:
    entries = tuple({path: Entry(path, label, split, group) for path, label, split, group in table}.values())
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "label", "split", "group"])
    writer.writerows([entry.path, entry.label, entry.split, entry.group] for entry in entries)
    assert read_csv(Text(text.getvalue()), "list.csv")[0] == entries  # type: ignore[arg-type]
