from pathlib import Path

import numpy as np
import pytest

from autotl.data.arrays import ArrayWriter, keep_rows, open_array, read_header
from autotl.errors import DataError


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_rows_come_back_as_they_were_written(dtype: str, tmp_path: Path) -> None:
    rows = np.arange(60).reshape(5, 3, 4).astype(dtype)
    with ArrayWriter(tmp_path, dtype, (3, 4), {"cut": "block3"}) as writer:
        writer.append(rows[:2])
        writer.append(rows[:0])
        writer.append(rows[:, ::-1][2:, ::-1])
    array = open_array(tmp_path)
    assert np.array_equal(array, rows) and array.dtype == dtype and not array.flags.writeable
    assert read_header(tmp_path)["spec"] == {"cut": "block3"}


def test_kept_rows_move_up_and_the_rest_of_the_file_goes(tmp_path: Path) -> None:
    rows = np.arange(30, dtype=np.float32).reshape(10, 3)
    with ArrayWriter(tmp_path, "float32", (3,)) as writer:
        writer.append(rows)
    keep_rows(tmp_path, np.array([0, 3, 4, 9]))
    assert np.array_equal(open_array(tmp_path), rows[[0, 3, 4, 9]])


def test_an_unfinished_array_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ArrayWriter(tmp_path, "uint8", (2,)) as writer:
        writer.append(np.zeros((3, 2), np.uint8))
        raise KeyboardInterrupt
    with pytest.raises(FileNotFoundError):
        open_array(tmp_path)


def test_a_shortened_file_is_an_error(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path, "uint8", (2,)) as writer:
        writer.append(np.zeros((3, 2), np.uint8))
    (tmp_path / "rows.raw").write_bytes(b"12345")
    with pytest.raises(DataError, match="6 bytes"):
        open_array(tmp_path)


def test_other_shapes_and_types_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="given int64"):
        ArrayWriter(tmp_path, "int64", (2,))
    writer = ArrayWriter(tmp_path, "uint8", (2,))
    with pytest.raises(ValueError, match="given"):
        writer.append(np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match="at least one row"):
        writer.close()
