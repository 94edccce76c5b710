"""ONNX: one file for ONNX Runtime and many other engines."""

from pathlib import Path
from typing import Any

from autotl.exporters.contract import FLOAT16, FLOAT32, USUAL_LIMITS, Export, Exporter
from autotl.exporters.conversion import IMAGE, convert, scratch_beside
from autotl.exporters.onnx_erfc import teach_erfc
from autotl.exporters.onnx_thrift import without_copies

OPSET = 17


def write(export: Export) -> None:
    """Writes `model.onnx` with the metadata among its properties."""
    import onnx

    with scratch_beside(export.path) as folder:
        path = folder / "float32.onnx"
        teach_erfc()
        try:
            with without_copies():
                convert(export, path, "onnx", opset_version=OPSET)
        except Exception:  # what an optimiser of tf2onnx raises can be anything, and it goes on without that one
            convert(export, path, "onnx", opset_version=OPSET)
        _check(path)
        model = _in_precision(path, export)
        for name, text in export.metadata.items():
            model.metadata_props.add(key=name, value=text)
        onnx.save(model, export.path)


def _check(path: Path) -> None:
    """Insists on operations that there are, and on one input: the converter leaves others in without a word."""
    import onnx

    onnx.checker.check_model(path)
    inputs = [item.name for item in onnx.load(path, load_external_data=False).graph.input]
    if inputs != [IMAGE]:
        raise ValueError(f"constants of the network became inputs: {', '.join(inputs)}")


def _in_precision(path: Path, export: Export) -> Any:
    import onnx

    if export.precision == FLOAT32:
        return onnx.load(path)
    if export.precision == FLOAT16:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        return convert_float_to_float16(onnx.load(path), keep_io_types=True)
    return _quantised(path, export.calibration)


def _quantised(path: Path, images: Any) -> Any:
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    # It folds batch normalisation into the convolutions: without it 92 % of the images of clipart12 keep their label,
    # with it 99 %. Largest and smallest values are as good there as percentiles and entropy, and several times as fast.
    prepared, written = path.with_name("prepared.onnx"), path.with_name("int8.onnx")
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    # In 8 bits the softmax knows multiples of 1/256, and calibration is lost.
    softmax = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "Softmax"]
    quantize_static(
        prepared,
        written,
        _Reader(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        nodes_to_exclude=softmax,
    )
    return onnx.load(written)


class _Reader:
    """Calibration images one by one, as ONNX Runtime asks for them."""

    def __init__(self, images: Any) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._images, None)
        return None if image is None else {IMAGE: image[None]}


ONNX = Exporter(
    "onnx",
    file="model.onnx",
    precisions=USUAL_LIMITS,
    write=write,
    runtime="autotl.exporters.runtimes.onnx",
    runtime_packages={"onnxruntime": "onnxruntime"},
    writer_packages={"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"},
    extra="autotl[onnx]",
)
