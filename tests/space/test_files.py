from pathlib import Path

import pytest

from autotl.errors import UsageError
from autotl.space.files import find_space, list_spaces, read_space

SHIPPED = [space.name for space in list_spaces()]

GOOD = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 3

[stage.parameters]
pooling = { choice = ["avg", "max"] }
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="mine.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file


def test_the_promised_spaces_ship():
    assert {"quick", "standard", "flat", "smoke"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_space_is_valid_and_starts_with_what_it_is_for_and_costs(name):
    space = next(space for space in list_spaces() if space.name == name)
    assert read_space(name).stages
    comment = " ".join(space.comment)
    assert "Costs" in comment and "Reached" in comment


def test_a_file_is_found_by_its_path_and_a_shipped_space_by_its_name(write):
    path = write(GOOD)
    assert find_space(path) == path
    assert find_space(str(path)) == path
    assert find_space("quick").name == "quick.toml"
    assert read_space(path).stages[0].trials == 3


def test_a_file_in_the_current_folder_needs_its_suffix(write, monkeypatch):
    path = write(GOOD, "quick.toml")
    monkeypatch.chdir(path.parent)
    assert find_space("quick.toml") == Path("quick.toml")
    assert find_space("quick") != path


@pytest.mark.parametrize(
    ("name", "hint"), [("quik", "Did you mean quick"), ("nowhere/x.toml", "no search-space file"), ("a/b", "a/b")]
)
def test_a_missing_space_is_a_usage_error_with_a_way_out(name, hint):
    with pytest.raises(UsageError, match=hint):
        read_space(name)


@pytest.mark.parametrize("content", [b"[[stage]\n", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_what_is_no_toml_is_a_usage_error(tmp_path, content):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="TOML"):
        read_space(path)


def test_a_folder_is_no_search_space(tmp_path):
    (tmp_path / "x.toml").mkdir()
    with pytest.raises(UsageError):
        read_space(tmp_path / "x.toml")
