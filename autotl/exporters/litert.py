"""LiteRT, once TensorFlow Lite: one file for phones and small devices."""

import zipfile
from typing import Any

from autotl.exporters.contract import FLOAT16, FLOAT32, INT8, USUAL_LIMITS, Export, Exporter
from autotl.exporters.conversion import convert
from autotl.exporters.litert_softmax import softmax_in_float


def write(export: Export) -> None:
    """Writes `model.tflite`, the metadata appended to it as a zip, as the format has it for associated files."""
    convert(export, export.path, "litert", **_options(export))
    if export.precision == INT8:
        softmax_in_float(export.path)
    with zipfile.ZipFile(export.path, "a") as archive:  # not deflated: readers of associated files refuse that
        for name, text in export.metadata.items():
            archive.writestr(name, text)


def _options(export: Export) -> dict[str, Any]:
    """Of the converter. Only operations of LiteRT itself: Keras would allow TensorFlow's, which its runtime has not."""
    import tensorflow as tf

    builtin = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if export.precision == FLOAT32:
        return {"target_spec": {"supported_ops": builtin}}
    default = [tf.lite.Optimize.DEFAULT]
    if export.precision == FLOAT16:
        return {"optimizations": default, "target_spec": {"supported_ops": builtin, "supported_types": [tf.float16]}}
    return {
        "optimizations": default,
        "representative_dataset": lambda: ([image[None]] for image in export.calibration),
        "target_spec": {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, *builtin]},
    }


LITERT = Exporter(
    "litert",
    file="model.tflite",
    precisions=USUAL_LIMITS,
    write=write,
    runtime="autotl.exporters.runtimes.litert",
    runtime_packages={"ai_edge_litert": "ai-edge-litert"},
    writer_packages={"tensorflow": "tensorflow"},
    extra="autotl[litert]",
)
