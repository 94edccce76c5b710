import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.learn import novelty

CLASSES, SIZE = 4, 24


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(seed, rows=400, shift=0.0):
    """Features of classes that vary widely along the first eight axes and little along the others, and their labels."""
    generator = np.random.default_rng(seed)
    centres = 3.0 * np.random.default_rng(99).normal(size=(CLASSES, SIZE))
    labels = np.arange(rows) % CLASSES
    spread = np.where(np.arange(SIZE) < 8, 1.0, 0.1)
    shifts = np.where(np.arange(SIZE) == SIZE - 1, shift, 0.0)
    return unit(centres[labels] + shifts + spread * generator.normal(size=(rows, SIZE))), labels


@pytest.fixture(scope="module")
def fitted():
    return novelty.fit_novelty(*draw(0), CLASSES)


def test_images_that_are_shifted_where_classes_hardly_vary_are_far(fitted):
    usual, shifted = (novelty.measure_distances(fitted, draw(seed, shift=shift)[0]) for seed, shift in ((1, 0), (2, 2)))
    assert shifted.min() > np.quantile(usual, 0.95)


def test_distances_are_about_one_for_the_images_of_the_fit(fitted):
    distances = novelty.measure_distances(fitted, draw(0)[0])
    assert np.median(distances) == pytest.approx(1.0, abs=0.15)


def test_with_all_directions_it_is_mahalanobis_distance():
    rows, labels = draw(3, rows=2000)
    found = novelty.fit_novelty(rows, labels, CLASSES)
    assert len(found.variances) == SIZE - 1
    means = np.stack([rows[labels == label].mean(axis=0) for label in range(CLASSES)]).astype(np.float64)
    centred = rows - means[labels]
    inverse = np.linalg.inv(centred.T @ centred / (len(rows) - CLASSES))
    away = draw(4)[0][:, None] - means
    expected = np.sqrt(np.einsum("ncd,de,nce->nc", away, inverse, away).min(axis=1) / SIZE)
    np.testing.assert_allclose(novelty.measure_distances(found, draw(4)[0]), expected, rtol=0.03)


def test_few_images_of_many_features_are_fitted_by_the_small_product():
    generator = np.random.default_rng(5)
    rows, labels = unit(generator.normal(size=(30, 300)) + 4 * np.eye(2, 300)[np.arange(30) % 2]), np.arange(30) % 2
    found = novelty.fit_novelty(rows, labels, 2)
    assert found.directions.shape == (14, 300)
    products = found.directions.astype(np.float64) @ found.directions.T.astype(np.float64)
    np.testing.assert_allclose(products, np.eye(14), atol=5e-3)
    assert (np.diff(found.variances) <= 0).all() and 0 < found.remainder < found.variances[-1]


def test_what_is_kept_does_not_grow_with_the_images():
    few, many = (sum(array.nbytes for array in novelty.fit_novelty(*draw(6, rows), CLASSES)) for rows in (400, 4000))
    assert many == few


def test_the_same_features_give_the_same_distances(fitted):
    again = novelty.fit_novelty(*draw(0), CLASSES)
    assert all(np.array_equal(one, other) for one, other in zip(fitted, again, strict=True))


def test_features_that_never_vary_are_no_division_by_zero():
    rows, labels = unit(np.eye(2, 5)[np.arange(8) % 2]), np.arange(8) % 2
    found = novelty.fit_novelty(rows, labels, 2)
    distances = novelty.measure_distances(found, unit(np.eye(3, 5)))
    assert np.isfinite(distances).all() and distances[2] > distances[0]


def test_one_image_of_each_class_says_nothing_of_how_they_vary():
    with pytest.raises(ValueError, match="more than one image"):
        novelty.fit_novelty(np.eye(3), [0, 1, 2], 3)


def test_no_images_have_no_distances(fitted):
    assert novelty.measure_distances(fitted, np.zeros((0, SIZE), np.float32)).shape == (0,)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 300), st.sampled_from([50.0, 95.0, 99.0]))
def test_an_image_above_a_threshold_is_at_its_percentile_or_above(seed, count, level):
    generator = np.random.default_rng(seed)
    held_out = generator.normal(size=count).round(1)  # with ties
    limit = novelty.threshold(held_out, level)
    new = np.append(generator.normal(size=50).round(1), [-9.0, 9.0])
    percentiles = novelty.as_percentiles(new, held_out)
    assert percentiles.min() == 0.0 and percentiles.max() <= 100.0 * count / (count + 1)
    if limit is None:
        assert (percentiles < level).all()
    else:
        np.testing.assert_array_equal(new > limit, percentiles >= level - 1e-9)


def test_at_most_one_new_image_in_twenty_is_at_the_95th_percentile():
    generator = np.random.default_rng(7)
    draws = ((generator.normal(size=200), generator.normal(size=40)) for _ in range(300))
    shares = [(novelty.as_percentiles(new, held_out) >= 95).mean() for new, held_out in draws]
    assert np.mean(shares) == pytest.approx(2 / 41, abs=0.008)  # two of the 41 ranks that a new image can have


def test_a_sample_has_the_same_share_of_each_class_and_each_class():
    labels = np.array([0] * 900 + [1] * 90 + [2])
    rows = novelty.stratified_rows(labels, 100)
    assert np.bincount(labels[rows]).tolist() == [90, 9, 1]
    assert (np.diff(rows) > 0).all() and np.array_equal(rows, novelty.stratified_rows(labels, 100))
    assert not np.array_equal(rows, novelty.stratified_rows(labels, 100, seed=1))
    assert novelty.stratified_rows(labels[:5], 100).tolist() == [0, 1, 2, 3, 4]
