"""OpenVINO's intermediate representation: the fastest on Intel's processors and graphics."""

from pathlib import Path

from autotl.exporters.contract import FLOAT16, FLOAT32, USUAL_LIMITS, Export, Exporter
from autotl.exporters.conversion import PROBABILITIES, convert, scratch_beside


def write(export: Export) -> None:
    """Writes `model.xml` and `model.bin`; the metadata goes into the former, as runtime information."""
    import openvino

    with scratch_beside(export.path) as folder:
        convert(export, folder / "model.xml", "openvino")
        # Keras has no say in how weights are kept.
        model = openvino.Core().read_model(folder / "model.xml")
        model.outputs[0].tensor.set_names({PROBABILITIES})
        for name, text in export.metadata.items():
            model.set_rt_info(text, ["autotl", Path(name).name])
        openvino.save_model(model, export.path, compress_to_fp16=export.precision == FLOAT16)


OPENVINO = Exporter(
    "openvino",
    file="model.xml",
    precisions={FLOAT32: USUAL_LIMITS[FLOAT32], FLOAT16: USUAL_LIMITS[FLOAT16]},
    write=write,
    runtime="autotl.exporters.runtimes.openvino",
    runtime_packages={"openvino": "openvino"},
    writer_packages={"openvino": "openvino", "scipy": "scipy"},  # which Keras imports to write it
    extra="autotl[openvino]",
)
