import io
import zipfile
from itertools import islice

import numpy as np
import pytest

from autotl.deliver.artefact import write_artefact
from autotl.deliver.predict import predict_paths
from autotl.deliver.predictor import BATCH_SIZE, keras_predictor
from autotl.errors import AutotlError, UsageError

pytestmark = pytest.mark.keras


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (BATCH_SIZE + 5, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 37])
def test_an_image_gets_the_same_probabilities_however_many_stand_beside_it(build, images, count):
    predict = keras_predictor(build())
    whole = predict(images)
    assert whole.dtype == np.float32 and whole.shape == (len(images), 3)
    np.testing.assert_array_equal(predict(images[:count]), whole[:count])


def test_an_image_gets_the_same_probabilities_whatever_stands_beside_it(build, images):
    predict = keras_predictor(build())
    order = np.random.default_rng(1).permutation(len(images))
    np.testing.assert_array_equal(predict(images[order]), predict(images)[order])


def test_the_model_sees_batches_of_one_size_only(build, images):
    import keras

    shapes = set()

    class Watching(keras.layers.Layer):
        def call(self, inputs):
            shapes.add(inputs.shape[0])
            return inputs

    model = build()
    image = keras.Input(batch_shape=(None, 16, 16, 3), dtype="uint8")
    watched = keras.Model(image, model(Watching()(image)))
    shapes.clear()
    predict = keras_predictor(watched)
    for count in (len(images), 3):
        assert len(predict(images[:count])) == count
    assert shapes == {BATCH_SIZE}


def test_folders_files_and_zips_are_predicted_alike_and_in_order(real_model_folder, colours, tmp_path):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(colours / "red" / "00.png", "inside/first.png")
    found = list(predict_paths(real_model_folder, [colours, colours / "red" / "00.png", tmp_path / "some.zip"]))
    assert len(found) == 122
    assert [row["path"] for row in found[:120]] == sorted(row["path"] for row in found[:120])
    (in_folder,) = [row for row in found[:120] if row["path"] == str(colours / "red" / "00.png")]
    assert [row["path"] for row in found[120:]] == [
        in_folder["path"],
        str(tmp_path / "some.zip" / "inside" / "first.png"),
    ]
    for alone in found[120:]:
        assert alone["top"] == in_folder["top"]
    right = [row["label"] in row["path"] for row in found[:120]]
    assert np.mean(right) > 0.5


def test_the_most_probable_classes_come_first(real_model_folder, colours):
    row = next(predict_paths(real_model_folder, [colours], top_k=5))
    assert list(row["top"][0]) == ["label", "probability"]
    probabilities = [entry["probability"] for entry in row["top"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(probabilities) == 3 and sum(probabilities) == pytest.approx(1.0)
    assert (row["label"], row["probability"]) == (row["top"][0]["label"], probabilities[0])


def test_files_that_are_no_images_are_skipped_and_named(real_model_folder, colours):
    good = (colours / "red" / "00.png").read_bytes()
    (colours / "red" / "zz.png").write_bytes(good[: len(good) // 2])
    (colours / "red" / "zz.txt").write_text("hello")
    skipped = {}
    paths = [colours / "red", colours / "red" / "zz.txt"]
    found = list(predict_paths(real_model_folder, paths[:1], on_skip=skipped.__setitem__))
    assert len(found) == 40
    assert list(skipped) == [str(colours / "red" / "zz.png"), str(colours / "red" / "zz.txt")]
    assert "truncated" in skipped[str(colours / "red" / "zz.png")]
    assert len(list(predict_paths(real_model_folder, paths))) == 40


def test_what_is_skipped_is_told_in_turn_with_the_predictions(real_model_folder, colours):
    picture = colours / "red" / "00.png"
    listed = io.BytesIO(f"{picture}\nnowhere.png\n{picture}\nnot there\n".encode())
    told = []
    for row in predict_paths(real_model_folder, [listed], on_skip=lambda path, reason: told.append(path)):
        told.append(row["path"])
    assert told == [str(picture), "nowhere.png", str(picture), "not there"]


def test_an_image_below_the_threshold_is_unknown_and_keeps_its_probabilities(real_model_folder, colours):
    plain = list(predict_paths(real_model_folder, [colours], top_k=2))
    limit = sorted(row["probability"] for row in plain)[60]
    found = list(predict_paths(real_model_folder, [colours], top_k=2, threshold=limit))
    assert {row["label"] for row in found if not row["known"]} == {"unknown"}
    assert sum(row["known"] for row in found) == sum(row["probability"] >= limit for row in plain) >= 60
    for row, without in zip(found, plain, strict=True):
        assert "known" not in without and row["top"] == without["top"] and row["probability"] == without["probability"]
        assert not row["known"] or row["label"] == without["label"]


def test_a_class_called_unknown_is_told_from_an_image_that_is_none_of_the_classes(tmp_path, build, describe, colours):
    build().save(tmp_path / "m.keras")
    write_artefact(tmp_path / "m.keras", tmp_path / "named", describe(("unknown", "green", "red")))
    found = list(predict_paths(tmp_path / "named", [colours / "blue"], threshold=0.0))
    assert {(row["label"], row["known"]) for row in found} >= {("unknown", True)}


def test_a_changed_model_needs_trust(real_model_folder, build, colours):
    build(scale=1.0).save(real_model_folder / "model.keras")
    with pytest.raises(AutotlError, match="sha256"):
        predict_paths(real_model_folder, [colours])
    assert len(list(predict_paths(real_model_folder, [colours / "red"], trust=True))) == 40


def test_predictions_come_as_they_are_made(real_model_folder, colours):
    generator = predict_paths(real_model_folder, [colours])
    first = list(islice(generator, 3))
    (colours / "red" / "39.png").unlink()
    assert len(first) == 3 and first[0]["path"] < first[1]["path"]


def test_wrong_requests_end_before_anything_is_loaded(model_folder, tmp_path):
    with pytest.raises(UsageError, match="must exist"):
        predict_paths(model_folder, [tmp_path, tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="top_k is 0"):
        predict_paths(model_folder, [tmp_path], top_k=0)
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="threshold is a probability"):
            predict_paths(model_folder, [tmp_path], threshold=threshold)
    (model_folder / "model.keras").write_bytes(b"other")
    with pytest.raises(AutotlError, match="sha256"):
        predict_paths(model_folder, [tmp_path])
