"""The Keras file: what Keras itself reads, on any of its backends."""

from autotl.exporters.contract import FLOAT32, Export, Exporter, Limits


def write(export: Export) -> None:
    """Writes `model.keras`."""
    export.model.save(export.path)


KERAS = Exporter(
    "keras",
    file="model.keras",
    precisions={FLOAT32: Limits(1e-4, same_label=1.0, accuracy_drop=0.01)},
    write=write,
    runtime="autotl.exporters.runtimes.keras_file",
    runtime_packages={"keras": "keras", "tensorflow": "tensorflow"},
    summary="Keras, to go on training or to run on TensorFlow, JAX or PyTorch.",
)
