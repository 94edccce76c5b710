"""`autotl predict` and `autotl evaluate` with a model that tells bright images from dark ones."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from autotl.deliver.artefact import write_artefact

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    import keras

    folder = tmp_path_factory.mktemp("model")
    image = keras.Input((16, 16, 3), dtype="uint8")
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 127.5, offset=-1)(image))
    network = keras.Model(image, keras.layers.Dense(2, activation="softmax")(mean))
    network.layers[-1].set_weights([np.array([[3.0, -3.0]] * 3), np.zeros(2)])
    network.save(folder / "some.keras")
    description = {
        "class_names": ["bright", "dark"], "image_size": 16, "backbone": {"name": "mean", "weights": {
            "source": "a test", "sha256": None, "licence": "Apache-2.0", "dataset": "none"}},
        "configuration": {"recipe": "probe", "backbone": "mean", "freeze_depth": 1.0}, "temperature": 1.0,
        "data": {"name": "x", "seed": 0, "fingerprint": "none", "split_fingerprint": "none"},
        "validation": {"n": 2, "accuracy": 1.0}, "test": {"n": 2, "accuracy": 1.0, "accuracy_ci95": [0.5, 1.0]},
    }  # fmt: skip
    write_artefact(folder / "some.keras", folder / "model", description)
    return folder / "model"


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    for name, low in (("bright", 150), ("dark", 0)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(8):
            pixels = generator.integers(low, low + 100, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path / "photos"


def test_images_are_labelled_in_a_table_in_json_and_in_csv(autotl, autotl_json, model, photos):
    (photos / "broken.png").write_bytes(b"no picture")
    table = autotl("predict", model, photos, "--top-k", 2)
    assert table.code == 0 and "broken.png" in table.err and "broken.png" not in table.out
    assert "dark" in next(line for line in table.out.splitlines() if "dark/0.png" in line)
    found, _ = autotl_json("predict", model, photos, "--top-k", "2")
    assert len(found["predictions"]) == 16 and len(found["skipped"]) == 1
    answer = autotl("predict", model, photos, "--csv", "--top-k", 2)
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert list(rows[0]) == ["path", "label", "probability", "label_2", "probability_2"]
    for row, prediction in zip(rows, found["predictions"], strict=True):
        assert row["label"] == prediction["label"] == prediction["path"].split("/")[-2]
        assert float(row["probability"]) == pytest.approx(prediction["probability"], abs=1e-6)


def test_a_model_is_scored(autotl, autotl_json, model, photos):
    answer = autotl("evaluate", model, photos, "--split", "all")
    assert answer.code == 0 and "16 images" in answer.out and "bright" in answer.out
    scores, _ = autotl_json("evaluate", model, photos, "--split", "all")
    assert scores["accuracy"] == 1.0 and scores["n"] == 16
