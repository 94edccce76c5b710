"""SavedModel: what TensorFlow Serving and everything else around TensorFlow reads."""

from autotl.exporters.contract import FLOAT32, USUAL_LIMITS, Export, Exporter
from autotl.exporters.conversion import convert


def write(export: Export) -> None:
    """Writes the folder `saved_model`, with the metadata where TensorFlow leaves other people's files alone."""
    convert(export, export.path, "tf_saved_model")
    extra = export.path / "assets.extra"
    extra.mkdir()
    for name, text in export.metadata.items():
        (extra / name).write_text(text, encoding="utf-8")


SAVED_MODEL = Exporter(
    "saved_model",
    file="saved_model",
    precisions={FLOAT32: USUAL_LIMITS[FLOAT32]},
    write=write,
    runtime="autotl.exporters.runtimes.saved_model",
    runtime_packages={"tensorflow": "tensorflow"},
    writer_packages={"tensorflow": "tensorflow"},
)
