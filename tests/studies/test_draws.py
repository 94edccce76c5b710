"""Nested draws of so many images of each class."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autotl.studies.draws import draw, draw_order, possible_tiers

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)
SEEDS = st.integers(0, 2**31 - 1)


@given(labels=LABELS, seed=SEEDS, small=st.integers(1, 5), more=st.integers(0, 10))
def test_a_draw_has_so_many_of_each_class_or_all_it_has_and_lies_in_every_larger_one(labels, seed, small, more):
    order = draw_order(labels, np.arange(len(labels)), seed)
    few, many = draw(order, labels, small), draw(order, labels, small + more)
    np.testing.assert_array_equal(np.bincount(labels[few]), np.minimum(np.bincount(labels), small))
    assert set(few) <= set(many) <= set(draw(order, labels, None))
    assert list(few) == sorted(set(few))


@given(labels=LABELS, seed=SEEDS, copies=st.integers(2, 4))
def test_no_near_duplicate_is_drawn_before_all_pictures_of_its_class(labels, seed, copies):
    labels, groups = np.tile(labels, copies), np.tile(np.arange(len(labels)), copies)
    order = draw_order(labels, groups, seed)
    for tier in range(1, 6):
        drawn = draw(order, labels, tier)
        for label in np.unique(labels):
            mine = groups[drawn][labels[drawn] == label]
            pictures = len(np.unique(groups[labels == label]))
            assert len(np.unique(mine)) == min(len(mine), pictures)


def test_seeds_draw_different_images_and_one_seed_the_same():
    labels = np.repeat([0, 1, 2], 50)
    first, again, other = (draw_order(labels, np.arange(150), seed) for seed in (1, 1, 2))
    assert list(first) == list(again) != list(other)


def test_tiers_are_those_that_a_quarter_of_the_classes_can_fill():
    labels = np.repeat(np.arange(4), [3, 12, 12, 30])
    assert possible_tiers(labels, [30, 1, 10, 25, 10]) == [1, 10, 25]  # 30 per class are all there is
    assert possible_tiers(labels, [31]) == []
    assert possible_tiers(np.array([5, 5, 7, 7]), [1, 2]) == [1]
