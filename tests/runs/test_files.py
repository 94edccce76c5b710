import pytest

from autotl.runs.files import read_json, write_json, write_text


def test_what_is_written_is_read(tmp_path):
    value = {"text": "línea", "numbers": [1, 2.5, None, True]}
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json") == value


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), ([float("inf")], ValueError), ({"a": object()}, TypeError)]
)
def test_what_is_no_json_is_refused_and_the_old_file_stays(tmp_path, value, error):
    path = tmp_path / "file.json"
    write_json(path, "old")
    with pytest.raises(error):
        write_json(path, value)
    assert read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_file_keeps_it(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    write_json(tmp_path / "file.json", 1)
    assert (tmp_path / "file.json").stat().st_mode == (tmp_path / "usual").stat().st_mode
