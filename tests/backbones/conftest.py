"""Small hand-made networks, and the one thing that every split must keep."""

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


def names(model: Any) -> list[str]:
    return [cut.name for cut in find_cuts(model)]


def assert_splits_equal_whole(model: Any, cuts: list[Cut], size: int = 16) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype("float32")
    whole = np.asarray(model(images, training=False))
    for cut in cuts:
        prefix, tail = split_model(model, cut)
        features = prefix(images, training=False)
        assert tuple(features.shape[1:]) == cut.shape
        again = np.asarray(features if tail is None else tail(features, training=False))
        np.testing.assert_allclose(again, whole, atol=1e-5 * max(1.0, float(np.abs(whole).max())), err_msg=cut.name)


@pytest.fixture
def networks() -> SimpleNamespace:
    return SimpleNamespace(image=image, conv=conv, names=names, assert_splits_equal_whole=assert_splits_equal_whole)
