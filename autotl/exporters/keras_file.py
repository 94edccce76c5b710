"""The Keras file: what Keras itself reads, on any of its backends."""

from autotl.exporters.contract import FLOAT32, USUAL_LIMITS, Export, Exporter


def write(export: Export) -> None:
    """Writes `model.keras`."""
    export.model.save(export.path)


KERAS = Exporter(
    "keras",
    file="model.keras",
    precisions={FLOAT32: USUAL_LIMITS[FLOAT32]},
    write=write,
    runtime="autotl.exporters.runtimes.keras_file",
    runtime_packages={"keras": "keras", "tensorflow": "tensorflow"},
)
