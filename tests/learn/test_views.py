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
def test_images_are_mirrored_about_their_middle_and_moved_by_the_strength(images):
    """Without strength there is the mirror image alone, exactly; with full strength the middle moves by a tenth."""
    layers = view_layers(View(strength=1e-5, seed=1))
    seen = np.asarray(layers(images))
    mirrored = [np.abs(one - image[:, ::-1]).max() < 1.0 for one, image in zip(seen, images, strict=True)]
    straight = [np.abs(one - image).max() < 1.0 for one, image in zip(seen, images, strict=True)]
    assert sum(mirrored) + sum(straight) == len(images)
    assert min(sum(mirrored), sum(straight)) > 0
    spot = np.zeros((200, 41, 41, 3), np.uint8)
    spot[:, 20, 20] = 255
    far = np.asarray(view_layers(View(strength=1.0, seed=1))(spot)).sum(axis=3)
    rows, columns = (np.tensordot(far, np.arange(41), axes=([axis], [0])).sum(axis=1) for axis in (1, 2))
    middles = np.stack([rows, columns]) / far.sum(axis=(1, 2)) - 20
    assert 3.0 < np.abs(middles).max() < 0.1 * 41 / 0.85 * 1.5
    assert np.abs(middles.mean(axis=1)).max() < 0.7


@pytest.mark.keras
def test_a_view_is_seen_also_by_a_model_that_predicts(images):
    """Keras tells all layers of a model that it predicts, and random layers would rest then."""
    import keras

    image = keras.Input((32, 32, 3), dtype="uint8")
    for view in (MIRRORED, View(strength=0.5, seed=1)):
        model = keras.Model(image, keras.layers.Rescaling(1.0)(view_layers(view)(image)))
        assert np.abs(np.asarray(model.predict_on_batch(images)) - images).mean() > 5.0


def test_the_key_of_a_random_view_has_its_rule_and_those_of_others_are_as_ever():
    assert PLAIN.to_json() == {"flip": False, "strength": 0.0, "seed": 0}
    assert "rule" in View(strength=0.5, seed=1).to_json()


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
