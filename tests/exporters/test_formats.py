"""Every built-in format: what it computes, what it takes and gives, what it says of itself, what it leaves behind."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from importlib import import_module

import numpy as np
import pytest
from PIL import Image

from autotl.errors import AutotlError
from autotl.exporters.contract import FLOAT16, FLOAT32, INT8, Export
from autotl.exporters.conversion import explained
from autotl.exporters.registry import load_exporter

pytestmark = pytest.mark.keras

FORMATS = [
    *[(name, FLOAT32) for name in ("keras", "saved_model", "onnx", "litert", "openvino")],
    *[(name, FLOAT16) for name in ("onnx", "litert", "openvino")],
    *[(name, INT8) for name in ("onnx", "litert")],
]
SIZE = 32
TOLERANCE = {FLOAT32: 1e-5, FLOAT16: 2e-3, INT8: 5e-2}


@pytest.fixture(scope="module")
def run(written):
    """Loads a format once and gives its function."""
    loaded = {}

    def find(name, precision):
        if (name, precision) not in loaded:
            runtime = import_module(load_exporter(name).runtime)
            loaded[name, precision] = runtime.load(written.folders[name, precision])
        return loaded[name, precision]

    return find


def test_the_list_above_is_all_there_is(written):
    assert set(written.folders) == set(FORMATS)


@pytest.mark.parametrize(("name", "precision"), FORMATS)
def test_it_computes_what_the_network_computes_for_every_batch_size(name, precision, run, written, pictures):
    predict = run(name, precision)
    for images, expected in ((pictures[:1], written.expected[:1]), (pictures[:3], written.expected[:3])):
        found = predict(images)
        assert (found.dtype, found.shape) == (np.float32, (len(images), 3))
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE[precision])
    found = predict(pictures)
    np.testing.assert_allclose(found, written.expected, rtol=0, atol=TOLERANCE[precision])
    np.testing.assert_allclose(found[:1], predict(pictures[:1]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-3 if precision == FLOAT16 else 1e-5)


@pytest.mark.parametrize(("name", "precision"), [item for item in FORMATS if item[1] == INT8])
def test_eight_bits_keep_fine_probabilities(name, precision, run, pictures):
    """An 8-bit softmax would know multiples of 1/256 only."""
    steps = run(name, precision)(pictures) * 256
    assert np.abs(steps - np.round(steps)).max() > 0.05


@pytest.mark.parametrize(("name", "precision"), FORMATS)
def test_nothing_else_is_left_beside_the_model(name, precision, written):
    beside = {"predict.py", "labels.txt", load_exporter(name).file, *(["model.bin"] if name == "openvino" else [])}
    assert {path.name for path in written.folders[name, precision].iterdir()} == beside


def test_smaller_precisions_are_smaller(tmp_path, pictures):
    import keras

    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    features = keras.layers.Conv2D(128, 3, strides=4)(keras.layers.Rescaling(1 / 255)(image))
    features = keras.layers.Conv2D(256, 3, strides=4)(features)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    network = keras.Model(image, keras.layers.Dense(3, activation="softmax")(pooled))
    sizes = {}
    for name in ("onnx", "litert"):
        for precision in (FLOAT32, FLOAT16, INT8):
            exporter = load_exporter(name)
            path = tmp_path / f"{name}-{precision}" / exporter.file
            path.parent.mkdir()
            exporter.write(Export(network, path, precision, pictures[:4] if precision == INT8 else None))
            sizes[name, precision] = path.stat().st_size
        assert sizes[name, FLOAT32] > 1.8 * sizes[name, FLOAT16] and sizes[name, FLOAT32] > 3 * sizes[name, INT8]


def test_onnx_has_the_metadata_among_its_properties_and_named_ends(written):
    import onnx

    for precision in (FLOAT32, FLOAT16, INT8):
        model = onnx.load(written.folders["onnx", precision] / "model.onnx")
        onnx.checker.check_model(model)
        assert {item.key: item.value for item in model.metadata_props}.items() >= written.metadata.items()
        (image,), (probabilities,) = model.graph.input, model.graph.output
        assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
        assert (probabilities.name, probabilities.type.tensor_type.elem_type) == (
            "probabilities",
            onnx.TensorProto.FLOAT,
        )
        assert not image.type.tensor_type.shape.dim[0].HasField("dim_value")


def test_litert_has_the_metadata_in_a_zip_at_its_end(written):
    for precision in (FLOAT32, FLOAT16, INT8):
        with zipfile.ZipFile(written.folders["litert", precision] / "model.tflite") as archive:
            assert {name: archive.read(name).decode() for name in archive.namelist()} == written.metadata


def test_saved_model_has_the_metadata_among_its_extra_assets(written):
    extra = written.folders["saved_model", FLOAT32] / "saved_model" / "assets.extra"
    assert {path.name: path.read_text(encoding="utf-8") for path in extra.iterdir()} == written.metadata


def test_openvino_has_the_metadata_as_runtime_information(written):
    import openvino

    for precision in (FLOAT32, FLOAT16):
        model = openvino.Core().read_model(written.folders["openvino", precision] / "model.xml")
        found = {name: model.get_rt_info(["autotl", name]).value for name in written.metadata}
        assert json.loads(found["autotl.json"]) == json.loads(written.metadata["autotl.json"])
        assert found["labels.txt"].split("\n")[:3] == list(written.names)


@pytest.mark.parametrize("name", ["litert", "onnx"])
def test_what_cannot_be_converted_is_said_in_words_and_leaves_nothing(name, tmp_path):
    import keras

    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    spectrum, _ = keras.ops.fft((image[:, 0, :, 0], image[:, 0, :, 1]))  # no complex FFT in LiteRT
    inverse = keras.ops.erfinv(keras.layers.Rescaling(1 / 256)(image)[:, 0, :, 0])  # unknown to tf2onnx
    network = keras.Model(image, keras.layers.Softmax()(spectrum if name == "litert" else inverse))
    exporter = load_exporter(name)
    words = rf"cannot be written as {exporter.file} in float32: .*Choose another format"
    with pytest.raises(AutotlError, match=words), explained(exporter.file, FLOAT32):
        exporter.write(Export(network, tmp_path / exporter.file, FLOAT32))
    assert list(tmp_path.iterdir()) == []


def test_normalisation_grouped_convolutions_and_gelu_reach_onnx(tmp_path, pictures):
    """What EfficientNet, ConvNeXt and transformers are made of, and what the converter cannot do by itself."""
    import keras

    from autotl.exporters.runtimes.onnx import load

    image = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    normalised = keras.layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3e3, 2e3, 1e3])(image)
    features = keras.layers.Conv2D(8, 4, strides=4)(normalised)
    features = keras.layers.Activation("gelu")(keras.layers.Conv2D(8, 3, groups=8)(features))
    logits = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(features))
    network = keras.Model(image, keras.layers.Softmax()(logits))
    load_exporter("onnx").write(Export(network, tmp_path / "model.onnx", FLOAT32))
    np.testing.assert_allclose(load(tmp_path)(pictures), network.predict(pictures, verbose=0), atol=1e-5)


def test_a_network_in_half_precision_is_written_after_its_rebuild(tmp_path, pictures, build):
    from autotl.exporters.float32 import as_float32
    from autotl.exporters.runtimes.litert import load

    half = build("mixed_float16")
    whole = as_float32(half)
    assert {layer.compute_dtype for layer in whole._flatten_layers()} == {"float32"}
    assert as_float32(whole) is whole
    np.testing.assert_allclose(whole.predict(pictures, verbose=0), half.predict(pictures, verbose=0), atol=5e-3)
    load_exporter("litert").write(Export(whole, tmp_path / "model.tflite", FLOAT32))
    np.testing.assert_allclose(load(tmp_path)(pictures), whole.predict(pictures, verbose=0), atol=1e-5)


@pytest.fixture(scope="module")
def picture_files(tmp_path_factory, pictures):
    """A folder of five pictures and two files that are none; one name has a comma, one a formula, one no UTF-8."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deep").mkdir()
    for index, name in enumerate(["a.png", "b.png", "deep/c,d.png", os.fsdecode(b"deep/\xe9.png"), "=1+1.png"]):
        Image.fromarray(pictures[index]).save(folder / name)
    (folder / "damaged.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.process
@pytest.mark.parametrize("name", ["keras", "onnx", "litert", "openvino"])  # SavedModel's takes long to start
def test_the_script_beside_it_labels_images_with_nothing_of_autotl(name, written, picture_files):
    script = written.folders[name, FLOAT32] / "predict.py"
    names = ["a.png", "b.png", "deep/c,d.png", os.fsdecode(b"deep/\xe9.png"), "=1+1.png"]
    hidden = "import sys; sys.modules['autotl'] = None; import runpy; sys.argv = sys.argv[1:]; "
    answer = subprocess.run(
        [sys.executable, "-c", f"{hidden} runpy.run_path(sys.argv[0], run_name='__main__')", script, ".", "=1+1.png"],
        cwd=picture_files, capture_output=True, check=True, env={**os.environ, "PYTHONPATH": "", "LC_ALL": "C"},
    )  # fmt: skip
    header, *rows = csv.reader(answer.stdout.decode("utf-8", "surrogateescape").splitlines())
    assert header == ["path", "label", "probability"]
    assert [path for path, _, _ in rows] == ["'=1+1.png", *names[:4], "'=1+1.png"]
    labels = ["'=blue", "two words", "ärger"]
    for path, label, probability in rows:
        expected = written.expected[names.index(path.removeprefix("'"))]
        assert label == labels[expected.argmax()]
        assert float(probability) == pytest.approx(expected.max(), abs=2e-6)
    told = answer.stderr.decode()
    assert "skipped 'damaged.png'" in told and "skipped 'notes.txt'" in told
