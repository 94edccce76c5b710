"""What all converted formats share: named ends, Keras's own `export`, and words for what cannot be converted."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from autotl.errors import AutotlError
from autotl.exporters.contract import Export

IMAGE, PROBABILITIES = "image", "probabilities"


def convert(export: Export, path: Path, format_name: str, **options: Any) -> None:
    """Writes a model by `keras.Model.export`, its input named `image` and its output `probabilities`.

    Keras patches the converters that it calls, and goes around their own readers of Keras models, which are broken.

    Args:
        export: what to write.
        path: where to.
        format_name: as Keras calls it.
        options: what its exporter for this format takes.

    Raises:
        AutotlError: Keras does not run on TensorFlow. Converters raise anything (`explained`).
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise AutotlError(
            f"Models are converted with Keras on TensorFlow; this process runs Keras on {keras.backend.backend()}. "
            "Set KERAS_BACKEND=tensorflow."
        )
    image = keras.Input(export.model.input_shape[1:], dtype="uint8", name=IMAGE)
    named = keras.Model(image, {PROBABILITIES: export.model(image)})
    signature = [keras.InputSpec("uint8", image.shape, name=IMAGE)]  # the one for ONNX reads none off a new model
    inlined = nullcontext() if format_name == "tf_saved_model" else _inlined()
    with inlined, _plain_constants(export.model):
        named.export(str(path), format=format_name, verbose=False, input_signature=signature, **options)


@contextmanager
def _inlined() -> Iterator[None]:
    """Traces functions inside others as part of these: Keras compiles grouped convolutions, and converters cannot look
    into what is compiled. (TensorFlow can, and on some processors computes them only so.)"""
    import tensorflow as tf

    earlier = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(earlier)


@contextmanager
def _plain_constants(model: Any) -> Iterator[None]:
    """Tensors that layers keep as attributes, as `Normalization` does, become arrays meanwhile: TensorFlow captures
    tensors as further inputs of a function, and the ONNX converter leaves them inputs."""
    import tensorflow as tf

    kept = [
        (layer, name, value)
        for layer in model._flatten_layers()
        for name, value in vars(layer).items()
        if isinstance(value, tf.Tensor) and hasattr(value, "numpy")
    ]
    for layer, name, value in kept:
        setattr(layer, name, value.numpy())
    try:
        yield
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)


@contextmanager
def explained(file: str, precision: str) -> Iterator[None]:
    """Turns what a converter raises into words; converters raise anything."""
    try:
        yield
    except AutotlError:
        raise
    except Exception as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "it gave no reason")
        raise AutotlError(
            f"This network cannot be written as {file} in {precision}: {type(error).__name__}: {first[:300]}. "
            "Choose another format or precision."
        ) from error


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """A folder for files on the way, on the same disk, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        yield Path(folder)
