"""The last step of an 8-bit LiteRT model taken back to float32.

LiteRT's 8-bit softmax knows multiples of 1/256 and nothing else: rare classes get a probability of exactly zero, and
calibration is lost. The converter has no switch for one operation, so the order of the last two is changed here, from
"softmax, dequantise" to "dequantise, softmax", in the file's own object model.
"""

from pathlib import Path


def softmax_in_float(path: Path) -> None:
    """Rewrites a `.tflite` file whose graph ends in an 8-bit softmax; another one stays as it is."""
    from tensorflow.lite.python.schema_py_generated import BuiltinOperator, TensorType
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(path))
    graph = model.subgraphs[0]
    softmax, dequantise = graph.operators[-2:]
    kinds = [model.operatorCodes[operator.opcodeIndex].builtinCode for operator in (softmax, dequantise)]
    if kinds != [BuiltinOperator.SOFTMAX, BuiltinOperator.DEQUANTIZE]:
        return
    between = softmax.outputs[0]  # was the 8-bit probabilities, becomes the logits in float32
    graph.tensors[between].type = TensorType.FLOAT32
    graph.tensors[between].quantization = None
    dequantise.inputs, softmax.inputs = softmax.inputs, [between]
    softmax.outputs, dequantise.outputs = dequantise.outputs, [between]
    graph.operators[-2:] = [dequantise, softmax]
    flatbuffer_utils.write_model(model, str(path))
