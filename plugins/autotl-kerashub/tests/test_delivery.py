"""Features, tuning and delivery: what a search does with a backbone, with plain Keras."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autotl_kerashub import open_preset

from autotl.backbones.cuts import split_model, stage_cuts

pytestmark = pytest.mark.keras

KINDS = ("EfficientNetBackbone", "ViTBackbone", "SwinTransformerBackbone", "DINOV2Backbone", "DINOV3Backbone")
SIZES = {"DINOV2Backbone": 28}  # not its own: the positions are interpolated

LOAD = """
import sys
if sys.argv[3] == "registered":
    from autotl.entry_points import import_layers
    import_layers([{"distribution": "autotl-kerashub"}])
import keras
model = keras.saving.load_model(sys.argv[1], compile=False, safe_mode=True)
import numpy as np
np.save(sys.argv[2], np.asarray(model(np.load(sys.argv[2]), training=False)))
"""


def tuned(folder: Path, size: int) -> tuple[Any, np.ndarray]:
    """A classifier: features cached at a cut, the tail and a head trained on them for a step, all put together."""
    import keras

    keras.utils.set_random_seed(1)
    backbone = open_preset(str(folder)).build(size, "pretrained")
    generator = np.random.default_rng(2)
    images = generator.integers(0, 256, (6, size, size, 3)).astype("float32")
    stages = stage_cuts(backbone)
    prefix, tail = split_model(backbone, stages[len(stages) // 2 - 1])
    assert prefix is not None and tail is not None
    cached = np.asarray(prefix(images, training=False))
    pooling = (
        keras.layers.GlobalAveragePooling2D if len(tail.output_shape) == 4 else keras.layers.GlobalAveragePooling1D
    )
    head = keras.Sequential([pooling(), keras.layers.Dense(3, activation="softmax")])

    frozen_before, tail_before = prefix.get_weights(), tail.get_weights()
    trainer = keras.Model(tail.input, head(tail.output))
    trainer.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    first, *_, last = trainer.fit(cached, np.arange(6) % 3, epochs=6, batch_size=6, verbose=0).history["loss"]
    assert last < first
    for before, after in zip(frozen_before, prefix.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert any(not np.array_equal(one, other) for one, other in zip(tail_before, tail.get_weights(), strict=True))

    image = keras.Input((size, size, 3))
    return keras.Model(image, head(tail(prefix(image)))), images


@pytest.mark.parametrize("kind", KINDS)
def test_a_tuned_network_is_saved_and_loaded_in_safe_mode(
    kind: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    import keras

    model, images = tuned(saved(kind), SIZES.get(kind, 32))
    expected = np.asarray(model(images, training=False))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    np.testing.assert_array_equal(np.asarray(loaded(images, training=False)), expected)


def test_it_loads_where_the_registered_layers_are_imported_and_nowhere_else(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    model, images = tuned(saved("ViTBackbone"), 32)
    model.save(tmp_path / "model.keras")

    def load(mode: str) -> subprocess.CompletedProcess[str]:
        np.save(tmp_path / "array.npy", images)
        command = [sys.executable, "-c", LOAD, str(tmp_path / "model.keras"), str(tmp_path / "array.npy"), mode]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = load("registered")
    assert done.returncode == 0, done.stderr
    expected = np.asarray(model(images, training=False))
    np.testing.assert_allclose(np.load(tmp_path / "array.npy"), expected, atol=1e-6)
    refused = load("nothing")
    assert refused.returncode != 0
    assert "Part" in refused.stderr
