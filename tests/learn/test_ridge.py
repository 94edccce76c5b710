"""Leave-one-out of ridge regression against fits that really leave rows out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.learn.linear import fit_basis, fit_standardiser
from autotl.learn.metrics import fit_temperature, log_loss, softmax
from autotl.learn.ridge import PENALTIES, best_ridge, leave_one_out
from autotl.learn.tables import ROOM, Room


def make_problem(images, size, views):
    """Views that differ a little, of images in groups of up to three."""
    generator = np.random.default_rng(images + size + views)
    labels = generator.integers(3, size=images)
    base = generator.normal(size=(3, size))[labels] + 2.0 * generator.normal(size=(images, size))
    features = np.concatenate([base + 0.3 * generator.normal(size=base.shape) for _ in range(views)])
    groups = generator.permutation(np.concatenate([[0] * 3, [1] * 2, [2] * 2, np.arange(3, images - 4)]))
    standardised = fit_standardiser(features)(features.astype(np.float32))
    return standardised, 2.0 * np.eye(3, dtype=np.float32)[labels] - 1.0, labels, groups


def refit(features, targets, groups, views, penalty, weights):
    """Brute force, in float64 and with scikit-learn's way to a free bias: centre what is fitted to."""
    features, found = features.astype(np.float64), np.empty(targets.shape)
    weights = weights / weights.mean()
    for image, group in enumerate(groups):
        kept = np.tile(groups != group, views)
        inputs, outputs = features[kept], np.tile(targets, (views, 1))[kept]
        share = np.tile(weights, views)[kept][:, None]
        middle, mean = (share * inputs).sum(0) / share.sum(), (share * outputs).sum(0) / share.sum()
        inner = (share * (inputs - middle)).T @ (inputs - middle) + len(features) * penalty * np.eye(features.shape[1])
        kernel = np.linalg.solve(inner, (share * (inputs - middle)).T @ (outputs - mean))
        found[image] = (features[image] - middle) @ kernel + mean
    return found


@pytest.mark.parametrize(("images", "size"), [(60, 12), (30, 50)])
@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_leaving_a_group_out_is_a_fit_without_all_its_views(images, size, views, is_weighted):
    features, targets, labels, groups = make_problem(images, size, views)
    weights = np.array([0.5, 1.0, 3.0])[labels] if is_weighted else None
    penalties = (1e-3, 1e-2, 0.3)
    found = np.stack(list(leave_one_out(fit_basis(features), targets, groups, penalties, weights)))
    assert found.shape == (3, images, 3)
    for scores, penalty in zip(found, penalties, strict=True):
        expected = refit(features, targets, groups, views, penalty, np.ones(images) if weights is None else weights)
        np.testing.assert_allclose(scores, expected, atol=2e-3)


def test_one_view_of_single_images_is_the_residual_over_one_minus_the_influence():
    features, targets, _, _ = make_problem(40, 10, 1)
    inputs = features.astype(np.float64)
    inverse = np.linalg.inv(inputs.T @ inputs + 40 * 1e-2 * np.eye(10))
    influence = np.einsum("nd,de,ne->n", inputs, inverse, inputs) + 1.0 / 40
    mean = targets.mean(axis=0)
    fitted = inputs @ (inverse @ inputs.T @ (targets - mean)) + mean
    expected = targets - (targets - fitted) / (1.0 - influence)[:, None]
    found = next(leave_one_out(fit_basis(features), targets, np.arange(40), (1e-2,)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_best_of_the_path_has_the_least_log_loss_of_all():
    features, targets, labels, groups = make_problem(60, 12, 2)
    basis = fit_basis(features)
    best = best_ridge(basis, labels, groups, classes=3)
    losses = [
        log_loss(softmax(scores / fit_temperature(scores, labels)), labels)
        for scores in leave_one_out(basis, targets, groups, PENALTIES)
    ]
    assert best.log_loss == min(losses)
    assert best.penalty == PENALTIES[int(np.argmin(losses))]
    assert best.log_loss < np.log(3)


def test_random_labels_are_no_better_than_chance_although_views_repeat():
    features, _, _, groups = make_problem(90, 200, 2)
    labels = np.random.default_rng(0).integers(3, size=90)
    assert best_ridge(fit_basis(features), labels, groups, classes=3).log_loss > np.log(3) - 0.03


@given(st.sampled_from([(60, 12), (30, 50)]), st.integers(1, 3), st.booleans(), st.integers(1, 9000))
@settings(deadline=None, max_examples=30)
def test_rows_in_a_file_give_what_rows_in_memory_give(shape, views, is_weighted, block):
    features, targets, labels, groups = make_problem(*shape, views)
    weights = np.array([0.5, 1.0, 3.0])[labels] if is_weighted else None
    whole, blockwise = (
        list(leave_one_out(fit_basis(features, room), targets, groups, (1e-3, 0.3), weights))
        for room in (ROOM, Room(memory=0, block=block))
    )
    np.testing.assert_allclose(blockwise, whole, atol=1e-3)


def test_features_that_say_nothing_are_no_fault():
    features = np.zeros((30, 8), np.float32)
    labels = np.arange(30) % 3
    fit = best_ridge(fit_basis(features), labels, np.arange(30), 3)
    assert fit.scores.shape == (30, 3)
    assert fit.log_loss >= np.log(3) - 1e-6
