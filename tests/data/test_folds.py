"""Properties of cross-validation folds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.data.folds import draw_sample, make_folds


@st.composite
def grouped_labels(draw):
    classes = draw(st.integers(2, 5))
    sizes = [draw(st.lists(st.integers(1, 4), min_size=3, max_size=12)) for _ in range(classes)]
    labels, groups, number = [], [], 0
    for label, group_sizes in enumerate(sizes):
        for size in group_sizes:
            labels += [label] * size
            groups += [number] * size
            number += 1
    return np.array(labels), np.array(groups)


@settings(max_examples=60, deadline=None)
@given(grouped_labels(), st.integers(2, 6), st.integers(0, 5))
def test_folds_part_the_rows_keep_groups_together_and_hold_every_class(data, count, seed):
    labels, groups = data
    folds = make_folds(labels, groups, count, seed)
    assert sorted(np.concatenate(folds)) == list(range(len(labels)))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(labels)), fold)
        assert set(labels[fold]) == set(labels) == set(labels[rest])
        assert not set(groups[fold]) & set(groups[rest])


def test_the_same_seed_gives_the_same_folds_and_another_seed_others():
    labels = np.repeat(np.arange(3), 20)
    groups = np.arange(60)
    first, again, other = (make_folds(labels, groups, 5, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert any(not np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def test_fewer_folds_come_back_when_a_class_has_few_groups():
    labels = np.array([0] * 20 + [1] * 3)
    assert len(make_folds(labels, np.arange(23), 5, 0)) == 3


@settings(max_examples=60, deadline=None)
@given(grouped_labels(), st.integers(1, 60), st.integers(0, 5))
def test_a_sample_has_every_class_in_its_share_and_whole_groups(data, images, seed):
    labels, groups = data
    chosen = draw_sample(labels, groups, images, seed)
    assert np.array_equal(chosen, np.unique(chosen))
    assert not set(groups[chosen]) & set(np.delete(groups, chosen))
    for label in set(labels):
        size = (labels == label).sum()
        wanted = min(size, max(5, round(min(1.0, images / len(labels)) * size)))
        assert wanted <= (labels[chosen] == label).sum() < wanted + 4  # the largest group has four
    assert np.array_equal(chosen, draw_sample(labels, groups, images, seed))
