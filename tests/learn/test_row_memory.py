"""What is allocated to solve for a linear head does not grow with the rows' features, only with their labels."""

import tracemalloc
from tempfile import TemporaryFile

import numpy as np

from autotl.learn.linear import fit_basis, fit_standardiser, share_rows, solve_heads
from autotl.learn.penalty import held_out_logits
from autotl.learn.pooling import pooled_table
from autotl.learn.ridge import best_ridge
from autotl.learn.tables import Room, hold_table, map_table, stack_tables

SIZE, CLASSES = 256, 3
ROOM = Room(memory=500_000, block=250_000)


def peak_of_a_solve(count):
    """Bytes at the most, for a store of `count` rows on disk."""
    generator = np.random.default_rng(0)
    labels = generator.integers(CLASSES, size=count)
    centres = generator.normal(size=(CLASSES, SIZE))
    with TemporaryFile() as file:
        for first in range(0, count, 1000):
            part = labels[first : first + 1000]
            rows = centres[part] + 3.0 * generator.normal(size=(len(part), SIZE))
            file.write(np.tile(rows, 3).astype(np.float16).data)  # three poolings
        file.flush()
        stored = np.memmap(file, np.float16, "r", shape=(count, 3 * SIZE))
    tracemalloc.start()
    features = stack_tables([pooled_table(stored, [SIZE], "gem", "last", ROOM.block)], np.arange(count))
    features = hold_table(features, ROOM)
    standardiser = fit_standardiser(features, ROOM)
    basis = fit_basis(map_table(features, standardiser.__call__, SIZE), ROOM)
    best_ridge(basis, labels, np.arange(count), CLASSES, 1.0 + labels)
    shares = share_rows(np.ones((1, count), bool))
    weights = solve_heads(basis, np.eye(CLASSES, dtype=np.float32)[labels], shares, 1e-2, tolerance=1e-3)
    held_out_logits(basis, weights, [np.arange(count)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_rows():
    few, many = 2_000, 12_000
    peak_of_a_solve(few)  # what is allocated once, by imports within calls, is no growth
    grown = (peak_of_a_solve(many) - peak_of_a_solve(few)) / (many - few)  # bytes for each row more
    assert grown < SIZE  # a quarter of one float32 copy of its features; a few numbers for each class are less
