"""Tables that do not fit in memory give what arrays give, block by block, and leave nothing behind."""

import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotl.learn.tables import (
    ITEM,
    LazyTable,
    Room,
    hold_table,
    keep_table,
    map_table,
    stack_tables,
    sum_blocks,
    table_blocks,
)

SIZES = st.integers(1, 40)
BLOCKS = st.integers(1, 600)  # bytes: from less than a row to more than a table of a few rows


def make_rows(count, size=3):
    return np.random.default_rng(count).normal(size=(count, size)).astype(np.float32)


def lazily(rows):
    return LazyTable(rows.shape, lambda places: rows[places])


@given(SIZES, BLOCKS, st.none() | st.integers(1, 9), st.booleans())
def test_blocks_are_small_and_together_they_are_the_table(count, block, most, is_lazy):
    rows = make_rows(count)
    found = list(table_blocks(lazily(rows) if is_lazy else rows, block, most=most))
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), rows)
    for where, part in found:
        np.testing.assert_array_equal(rows[where], part)
        assert len(part) <= max(1, min(block // (3 * ITEM), most or count))


@given(SIZES, BLOCKS, st.integers(1, 3))
def test_places_are_read_in_their_order_and_shape(count, block, members):
    rows = make_rows(count)
    places = np.random.default_rng(0).integers(count, size=(7, members))
    found = list(table_blocks(rows, block, places))
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), rows[places])
    np.testing.assert_array_equal(np.concatenate([where for where, _ in found]), places)
    assert all(len(part) == 1 or part.nbytes <= block for _, part in found)


@given(SIZES, BLOCKS)
def test_sums_over_blocks_are_sums_over_rows(count, block):
    rows = make_rows(count)
    products = sum_blocks(rows, block, lambda _, part: part.T @ part)
    np.testing.assert_allclose(products, rows.T @ rows, rtol=1e-4, atol=1e-5)


@given(SIZES, BLOCKS, st.data())
def test_a_stack_is_the_chosen_rows_of_each_table_one_after_the_other(count, block, data):
    tables = [make_rows(count), lazily(make_rows(count) + 1.0)]
    places = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=9)))
    expected = np.concatenate([table[places] for table in tables])
    stacked = stack_tables(tables, places)
    np.testing.assert_array_equal(stacked[:], expected)
    np.testing.assert_array_equal(np.concatenate([part for _, part in table_blocks(stacked, block)]), expected)
    doubled = map_table(stacked, lambda rows: 2.0 * rows[:, :1], 1)
    np.testing.assert_array_equal(doubled[:], 2.0 * expected[:, :1])


@given(SIZES, BLOCKS, st.integers(0, 400))
def test_a_kept_table_is_the_same_in_memory_and_in_a_file(count, block, memory):
    rows = make_rows(count)
    kept = keep_table(lazily(rows), Room(memory, block))
    assert isinstance(kept, np.memmap) == (rows.nbytes > memory)
    assert isinstance(hold_table(lazily(rows), Room(memory, block)), np.ndarray) == (rows.nbytes <= memory)
    np.testing.assert_array_equal(kept, rows)


def test_the_file_of_a_kept_table_has_no_name(tmp_path: Path):
    kept = keep_table(make_rows(9), Room(memory=0, folder=str(tmp_path)))
    assert isinstance(kept, np.memmap)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error(monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(OSError, match="No space left") as caught:
        keep_table(make_rows(9), Room(memory=0))
    assert caught.value.errno == errno.ENOSPC


def test_rows_of_no_width_come_in_blocks_too():
    blocks = [rows.shape for _, rows in table_blocks(np.zeros((5, 0), np.float32), 8, most=3)]
    assert blocks == [(3, 0), (2, 0)]
