"""Feature maps become vectors: in Keras, and as slices of what a store holds."""

from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotl.learn.pooling import attend, pool, pool_stored, pooled_table, select_pooled

pytestmark = pytest.mark.keras
SHAPES = [(4, 3, 3, 5), (4, 9, 5)]


def maps(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def expected(features, pooling):
    positions = features.reshape(4, -1, 5)
    average, maximum = positions.mean(axis=1), positions.max(axis=1)
    gem = np.cbrt((np.maximum(positions, 0.0) ** 3).mean(axis=1))
    return {"avg": average, "max": maximum, "both": np.concatenate([average, maximum], axis=1), "gem": gem}[pooling]


@pytest.mark.parametrize("shape", [*SHAPES, (4, 5)])
@pytest.mark.parametrize("pooling", ["avg", "max", "both", "gem"])
def test_maps_tokens_and_vectors_are_pooled_over_their_positions(shape, pooling):
    features = maps(shape)
    np.testing.assert_allclose(np.asarray(pool(features, pooling)), expected(features, pooling), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_generalised_mean_lies_between_average_and_maximum(shape):
    features = np.abs(maps(shape))
    average, gem, maximum = (np.asarray(pool(features, pooling)) for pooling in ("avg", "gem", "max"))
    assert (average < gem).all()
    assert (gem < maximum).all()


def test_a_dead_channel_has_a_finite_slope():
    import tensorflow as tf

    features = tf.Variable(np.zeros((1, 2, 2, 3), np.float32))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(pool(features, "gem"))
    assert np.isfinite(tape.gradient(total, features)).all()


def test_a_store_holds_each_pooling_of_each_tap_as_a_slice():
    first, second = maps((4, 3, 3, 5)), maps((4, 9, 5)) + 1.0
    stored = np.concatenate([pool_stored(first, "a"), pool_stored(second, "b")], axis=1).astype(np.float16)
    for pooling in ("avg", "max", "both", "gem"):
        one, two = expected(first, pooling), expected(second, pooling)
        for taps, wanted in (("last", [two]), ("last2", [one, two]), ("all", [one, two])):
            selected = select_pooled(stored, [5, 5], pooling, taps)
            assert selected.dtype == np.float32
            np.testing.assert_allclose(selected, np.concatenate(wanted, axis=1), atol=4e-3)


def test_a_network_of_one_stage_has_one_tap_whatever_is_asked_for():
    stored = np.arange(6, dtype=np.float16).reshape(1, 6)
    assert [select_pooled(stored, [2], "max", taps).tolist() for taps in ("last2", "all")] == [[[2, 3]]] * 2


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_starts_as_the_average_and_can_turn_to_one_position(shape):
    import keras

    inputs = keras.Input(shape[1:])
    model = keras.Model(inputs, attend(inputs))
    features = maps(shape)
    np.testing.assert_allclose(np.asarray(model(features)), expected(features, "avg"), atol=1e-6)
    query = np.zeros((5, 1), np.float32)
    query[0] = 1e4
    model.set_weights([query])
    positions = features.reshape(4, -1, 5)
    loudest = positions[np.arange(4), positions[:, :, 0].argmax(axis=1)]
    np.testing.assert_allclose(np.asarray(model(features)), loudest, atol=1e-5)


@given(st.integers(1, 30), st.integers(1, 500), st.sampled_from(["avg", "max", "both", "gem"]), st.booleans())
@settings(max_examples=30)
def test_a_store_that_is_read_on_demand_gives_what_one_in_memory_gives(count, block, pooling, is_mapped):
    stored = np.random.default_rng(count).normal(size=(count, 3 * 7)).astype(np.float16)
    expected = select_pooled(stored, [5, 2], pooling, "all")
    with TemporaryFile() as file:
        file.write(stored.data)
        file.flush()
        source = np.memmap(file, np.float16, "r", shape=stored.shape) if is_mapped else stored
    lazy = pooled_table(source, [5, 2], pooling, "all", block)
    assert lazy.shape == expected.shape
    places = np.random.default_rng(1).integers(count, size=9)
    for rows in (slice(None), places, np.arange(count) % 2 == 0):
        np.testing.assert_array_equal(lazy[rows], expected[rows])
