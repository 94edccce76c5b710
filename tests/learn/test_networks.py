"""Counting a network's multiplications, and the places where a pass may be divided."""

import keras
import pytest

from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network, multiply_adds

pytestmark = pytest.mark.keras


class Block(keras.layers.Layer):
    """Tokens through two dense layers: a block that no graph shows the inside of."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.widen = keras.layers.Dense(2 * width)
        self.narrow = keras.layers.Dense(width)

    def call(self, tokens):
        return self.narrow(self.widen(tokens))


class Halving(keras.layers.Layer):
    """Two convolutions, the first one with a stride: its output has fewer positions than its input."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first = keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)
        self.second = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)

    def call(self, maps):
        return self.second(self.first(maps))


def test_kernels_are_applied_at_every_position_of_their_output():
    image = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, padding="same", strides=2)(image)
    maps = keras.layers.DepthwiseConv2D(3, padding="same")(maps)
    maps = keras.layers.SeparableConv2D(6, 3, padding="same")(maps)
    vector = keras.layers.GlobalAveragePooling2D()(maps)
    model = keras.Model(image, keras.layers.Dense(5)(vector))
    assert multiply_adds(model) == 16 * (9 * 3 * 4) + 16 * (9 * 4) + 16 * (9 * 4 + 4 * 6) + 6 * 5


def test_layers_inside_a_block_count_with_the_positions_they_were_built_for():
    tokens = keras.Input((10, 6))
    assert multiply_adds(keras.Model(tokens, Block(6)(tokens))) == 10 * (6 * 12 + 12 * 6)
    image = keras.Input((8, 8, 3))
    assert multiply_adds(keras.Model(image, Halving()(image))) == 16 * (9 * 3 * 4) + 4 * (9 * 4 * 8)


def test_attention_counts_its_projections():
    tokens = keras.Input((10, 6))
    model = keras.Model(tokens, keras.layers.MultiHeadAttention(2, 3)(tokens, tokens))
    assert multiply_adds(model) == 10 * (4 * 6 * 6)


def test_a_nested_model_counts_at_the_size_it_is_used_at():
    anything = keras.Input((None, None, 3))
    inner = keras.Model(anything, keras.layers.Conv2D(4, 3, padding="same")(anything))
    image = keras.Input((8, 8, 3))
    assert multiply_adds(keras.Model(image, inner(image))) == 64 * 9 * 3 * 4


def test_a_model_without_a_graph_counts_too():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = keras.layers.Dense(7), keras.layers.Dense(2)

        def call(self, inputs):
            return self.out(self.hidden(inputs))

    model = Own()
    model(keras.ops.zeros((1, 5)))
    assert multiply_adds(model) == 5 * 7 + 7 * 2


def test_the_cost_of_vgg16_is_that_of_its_thirteen_convolutions():
    pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *2 * [(256, 256)], (256, 512), *5 * [(512, 512)]]
    sides = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2]
    expected = sum(side**2 * 9 * low * high for side, (low, high) in zip(sides, pairs, strict=True))
    assert multiply_adds(borrow_network("vgg16", 32, "random", Ledger()).model) == expected


def test_joints_are_the_inner_cuts_but_the_first():
    network = borrow_network("vgg16", 32, "random", Ledger())
    assert network.joints == network.cuts[1:-1]
    before = [network.joint_before(cut) for cut in network.cuts]
    assert before == [None, None, *network.joints]


def test_a_network_with_packed_cuts_is_not_divided():
    network = borrow_network("nasnet-mobile", 64, "random", Ledger())
    assert any(cut.tensors > 1 for cut in network.cuts)
    assert network.joints == []
