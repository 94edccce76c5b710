from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data.split import assign_splits
from autotl.errors import DataError

PARTS = ("train", "val", "test")


@st.composite
def labelled_groups(draw: st.DrawFn, fewest: int = 3) -> tuple[list[str], list[int]]:
    """Two to four classes of at least `fewest` groups of one to five images each, in mixed order."""
    rows: list[tuple[str, int]] = []
    group = 0
    for label in "abcd"[: draw(st.integers(2, 4))]:
        for size in draw(st.lists(st.integers(1, 5), min_size=fewest, max_size=12)):
            rows += [(label, group)] * size
            group += 1
    rows = draw(st.permutations(rows))
    return [label for label, _ in rows], [number for _, number in rows]


def check(labels: list[str], groups: list[int], splits: list[str]) -> None:
    assert {(label, part) for label in labels for part in PARTS} == set(zip(labels, splits, strict=True))
    sides: dict[int, str] = {}
    assert all(sides.setdefault(group, part) == part for group, part in zip(groups, splits, strict=True))


@settings(deadline=None)  # the machine may be busy
@given(labelled_groups(), st.integers(0, 5))
def test_every_class_is_in_every_part_and_groups_never_straddle(case: tuple[list[str], list[int]], seed: int) -> None:
    labels, groups = case
    splits = assign_splits(labels, groups, [None] * len(labels), seed)
    check(labels, groups, splits)
    assert splits == assign_splits(labels, groups, [None] * len(labels), seed)


@settings(deadline=None)  # the machine may be busy
@given(labelled_groups(), st.sampled_from(["val", "test"]), st.data())
def test_a_given_part_is_kept_and_the_missing_one_is_carved_out_of_train(
    case: tuple[list[str], list[int]], part: str, data: st.DataObject
) -> None:
    labels, groups = case
    first = {}
    for label, group in zip(labels, groups, strict=True):
        first.setdefault(label, group)
    given_part = [part if group in first.values() else data.draw(st.sampled_from([None, "train"])) for group in groups]
    splits = assign_splits(labels, groups, given_part, 0)
    check(labels, groups, splits)
    assert all((now == part) == (before == part) for now, before in zip(splits, given_part, strict=True))


def test_the_fractions_are_met_in_each_class() -> None:
    labels = ["a"] * 100 + ["b"] * 40
    splits = assign_splits(labels, list(range(140)), [None] * 140, 3)
    assert Counter(zip(labels, splits, strict=True)) == {
        ("a", "train"): 70,
        ("a", "val"): 15,
        ("a", "test"): 15,
        ("b", "train"): 28,
        ("b", "val"): 6,
        ("b", "test"): 6,
    }


def test_validation_carved_out_of_train_has_its_share_of_what_is_not_test() -> None:
    labels = ["a", "b"] * 100
    splits = assign_splits(labels, list(range(200)), ["test" if n < 30 else "train" for n in range(200)], 0)
    assert Counter(splits) == {"train": 140, "val": 30, "test": 30}


def test_another_seed_gives_another_split() -> None:
    labels = ["a", "b"] * 50
    first, second = (assign_splits(labels, list(range(100)), [None] * 100, seed) for seed in (0, 1))
    assert first != second


def test_complete_given_splits_are_left_alone() -> None:
    given_all = ["train", "val", "test"] * 2
    assert assign_splits(["a"] * 3 + ["b"] * 3, list(range(6)), given_all, 0) == given_all


def test_too_few_groups_are_named_with_their_counts() -> None:
    with pytest.raises(DataError, match=r"at least 3 .* b \(2\)"):
        assign_splits(["a"] * 9 + ["b"] * 9, [*range(9), *[10] * 5, *[11] * 4], [None] * 18, 0)


def test_a_given_part_without_a_class_is_named() -> None:
    with pytest.raises(DataError, match="the given test split lacks b"):
        assign_splits(["a"] * 5 + ["b"] * 5, list(range(10)), ["test"] + ["train"] * 9, 0)


def test_a_group_that_is_given_to_two_parts_is_refused() -> None:
    with pytest.raises(DataError, match="belongs to one split"):
        assign_splits(["a"] * 6, [0, 0, 1, 2, 3, 4], ["train", "test", "train", "train", "val", "test"], 0)


def test_groups_of_several_classes_are_placed_whole() -> None:
    labels = ["a", "b"] * 10
    groups = [n // 2 for n in range(20)]
    check(labels, groups, assign_splits(labels, groups, [None] * 20, 0))
