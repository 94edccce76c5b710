"""Small hand-made networks, and the one thing that every split must keep."""

import functools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from autotl.backbones.cuts import Cut, find_cuts, split_model


def image(size: int = 16) -> Any:
    import keras

    return keras.Input((size, size, 3), name="image")


def conv(filters: int, name: str, strides: int = 1) -> Any:
    import keras

    return keras.layers.Conv2D(filters, 3, strides=strides, padding="same", name=name)


@functools.cache
def custom_layers() -> SimpleNamespace:
    """Layers as plugins register them: a class token with positions, blocks of a transformer, a stack of them."""
    import keras

    register = keras.saving.register_keras_serializable("autotl-tests")

    @register
    class Embedding(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")
            self.positions = self.add_weight(shape=(1, shape[1] + 1, shape[-1]), name="positions")

        def call(self, tokens: Any) -> Any:
            token = keras.ops.broadcast_to(self.token, (keras.ops.shape(tokens)[0], 1, tokens.shape[-1]))
            return keras.ops.concatenate([token, tokens], axis=1) + self.positions

    @register
    class Block(keras.layers.Layer):
        """Mixes tokens by a table `[T, T]` and channels by a dense layer."""

        def build(self, shape: Any, **others: Any) -> None:
            self.dense = keras.layers.Dense(shape[-1])
            self.dense.build(shape)

        def call(self, x: Any, table: Any = None) -> Any:
            return x + self.dense(x if table is None else keras.ops.matmul(table, x))

    @register
    class Table(keras.layers.Layer):
        """A table of positions: its values depend on the shape of the images alone."""

        def call(self, images: Any) -> Any:
            count = (images.shape[1] // 4) ** 2
            return keras.ops.reshape(keras.ops.arange(count * count, dtype="float32"), (count, count)) / count**3

        def compute_output_spec(self, images: Any) -> Any:
            count = (images.shape[1] // 4) ** 2
            return keras.KerasTensor((count, count), "float32")

    @register
    class Stack(keras.layers.Layer):
        """As encoders of transformers are often written: one layer that holds all blocks."""

        def __init__(self, depth: int = 4, **options: Any) -> None:
            super().__init__(**options)
            self.depth = depth
            self.blocks = [Block(name=f"block{number}") for number in range(depth)]

        def build(self, shape: Any, **others: Any) -> None:
            for block in self.blocks:
                block.build(shape)

        def call(self, x: Any, table: Any = None) -> Any:
            every = []
            for block in self.blocks:
                x = block(x, table=table)
                every.append(x)
            return x, every

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "depth": self.depth}

    others = _awkward_layers(Block, Stack)
    return SimpleNamespace(Embedding=Embedding, Block=Block, Table=Table, Stack=Stack, **others)


def _awkward_layers(block: type, stack: type) -> dict[str, type]:
    """Layers that break what most layers keep: a configuration that loads, calls on symbols."""
    import keras

    register = keras.saving.register_keras_serializable("autotl-tests")

    @register
    class UnsavableBlock(block):  # type: ignore[misc,valid-type]
        """One with a configuration that its constructor refuses, as KerasHub's `ViTEncoderBlock` has it."""

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "key_width": 4}

    @register
    class UnsavableStack(stack):  # type: ignore[misc,valid-type]
        def __init__(self, depth: int = 4, **options: Any) -> None:
            super().__init__(depth, **options)
            self.blocks = [UnsavableBlock(name=f"block{number}") for number in range(depth)]

    @register
    class ClosedStack(stack):  # type: ignore[misc,valid-type]
        """One that symbolic calls cannot enter: it looks at values."""

        def call(self, x: Any, table: Any = None) -> Any:
            if not hasattr(x, "numpy") and not hasattr(x, "graph"):  # only tensors of the backend
                raise TypeError("values are needed")
            return super().call(x, table)

        def compute_output_spec(self, x: Any, table: Any = None) -> Any:
            spec = keras.KerasTensor(x.shape, x.dtype)
            return spec, [keras.KerasTensor(x.shape, x.dtype) for _ in range(self.depth)]

    return {"UnsavableStack": UnsavableStack, "ClosedStack": ClosedStack}


def names(model: Any) -> list[str]:
    return [cut.name for cut in find_cuts(model)]


def assert_splits_equal_whole(model: Any, cuts: list[Cut], size: int = 16) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype("float32")
    whole = np.asarray(model(images, training=False))
    for cut in cuts:
        prefix, tail = split_model(model, cut)
        features = prefix(images, training=False)
        assert tuple(features.shape) == (len(images), *cut.shape)
        again = np.asarray(features if tail is None else tail(features, training=False))
        np.testing.assert_allclose(again, whole, atol=1e-5 * max(1.0, float(np.abs(whole).max())), err_msg=cut.name)


@pytest.fixture
def networks() -> SimpleNamespace:
    return SimpleNamespace(
        image=image,
        conv=conv,
        names=names,
        custom_layers=custom_layers,
        assert_splits_equal_whole=assert_splits_equal_whole,
    )
