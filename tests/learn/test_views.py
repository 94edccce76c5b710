"""Augmentation: which views a policy caches, that each is one fixed way to see, and that live layers vary."""

import numpy as np
import pytest

from autotl.learn.views import MIRRORED, PLAIN, View, live_layers, policy_views, view_layers


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(("policy", "count"), [("none", 1), ("flip", 2), ("light", 4), ("strong", 8)])
def test_a_policy_has_so_many_views_all_different_and_the_plain_one_first(policy, count):
    views = policy_views(policy)
    assert len(views) == len(set(views)) == count
    assert views[0] == PLAIN
    assert (MIRRORED in views) == (policy != "none")


def test_views_of_different_policies_do_not_share_a_store_unless_they_are_the_same_view():
    light, strong = (set(policy_views(policy)) for policy in ("light", "strong"))
    assert light & strong == {PLAIN, MIRRORED}


def test_the_plain_view_needs_no_layer():
    assert view_layers(PLAIN) is None
    assert live_layers("none", seed=0) is None


@pytest.mark.keras
def test_the_mirrored_view_swaps_left_and_right_exactly(images):
    np.testing.assert_array_equal(np.asarray(view_layers(MIRRORED)(images)), images[:, :, ::-1])


@pytest.mark.keras
def test_a_seeded_view_is_the_same_every_time_and_another_seed_is_another_view(images):
    def seen(view):
        layers = view_layers(view)
        return np.stack([np.asarray(layers(images, training=True), np.float32) for _ in range(2)])

    view = View(strength=0.5, seed=1)
    first = seen(view)
    np.testing.assert_array_equal(first, seen(view))
    assert not np.array_equal(first[0], first[1])  # two batches are not transformed alike
    assert not np.array_equal(first, seen(View(strength=0.5, seed=2)))
    assert not np.array_equal(first[0], images)


@pytest.mark.keras
@pytest.mark.parametrize("policy", ["flip", "light", "strong"])
def test_live_layers_vary_in_training_rest_in_inference_and_stay_in_range(images, policy):
    layers = live_layers(policy, seed=0)
    np.testing.assert_array_equal(np.asarray(layers(images, training=False)), images)
    one, two = (np.asarray(layers(images, training=True), np.float32) for _ in range(2))
    assert not np.array_equal(one, two)
    assert one.shape == images.shape
    assert one.min() >= 0.0
    assert one.max() <= 255.0
