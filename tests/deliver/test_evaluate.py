import json
import shutil

import numpy as np
import pytest

from autotl.data.check import check_dataset
from autotl.data.images import open_images
from autotl.deliver import evaluate
from autotl.deliver.artefact import write_artefact
from autotl.deliver.predictor import keras_predictor
from autotl.errors import DataError, UsageError
from autotl.learn import metrics

pytestmark = pytest.mark.keras
SIZE = 16


@pytest.fixture(params=["stretch", "pad"])
def delivered(tmp_path, colours, cache, build, describe, request):
    """A model folder that was tested as the end of a search tests it; its test scores beside it."""
    manifest = check_dataset(str(colours), seed=0, image_sizes=(SIZE,), cache=cache).manifest
    model = build()
    rows, images = manifest.rows("test"), open_images(manifest, SIZE, cache, resize=request.param)
    probabilities, labels = evaluate.score_rows(keras_predictor(model), images, rows), manifest.labels()[rows]
    test = evaluate.score_report(probabilities, labels, manifest.classes, describe()["temperature"])
    model.save(tmp_path / "m.keras")
    described = describe(manifest.classes, manifest, test=test)
    described["configuration"]["resize"] = request.param
    write_artefact(tmp_path / "m.keras", tmp_path / "delivered", described)
    return tmp_path / "delivered"


def test_evaluating_on_the_data_of_the_search_gives_the_recorded_scores_to_the_last_digit(delivered, colours, cache):
    recorded = json.loads((delivered / "autotl.json").read_text())["test"]
    found = evaluate.evaluate_model(delivered, str(colours), cache=cache)
    assert found["same_data"] is True and found["reproduced"] is True
    assert (found["format"], found["precision"]) == ("keras", "float32")
    assert found["recorded"]["log_loss"] == recorded["log_loss"] and set(found["difference"].values()) == {0.0}
    assert {key: found[key] for key in recorded} == recorded
    json.dumps(found, allow_nan=False)


def test_a_model_of_another_precision_tells_how_far_it_is_from_the_recorded_scores(delivered, colours, cache, build):
    described = json.loads((delivered / "autotl.json").read_text())
    (delivered / "autotl.json").write_text(json.dumps({**described, "precision": "float16"}))
    build(scale=2.9).save(delivered / "model.keras")
    found = evaluate.evaluate_model(delivered, str(colours), cache=cache, trust=True)
    assert found["precision"] == "float16" and found["reproduced"] is None
    assert found["difference"]["log_loss"] == found["log_loss"] - described["test"]["log_loss"] != 0.0


def test_progress_is_told_while_images_are_read_and_scored(delivered, colours, cache):
    told = []
    found = evaluate.evaluate_model(
        delivered, str(colours), cache=cache, on_progress=lambda *counts: told.append(counts)
    )
    assert told[-1] == (found["n"], found["n"]) and all(done <= total for done, total in told)


def test_the_cache_makes_no_difference(delivered, colours, cache, tmp_path):
    fresh = type(cache)(tmp_path / "another cache", cache.max_bytes)
    assert evaluate.evaluate_model(delivered, str(colours), cache=fresh)["reproduced"] is True


def test_other_splits_and_other_seeds_are_other_images(delivered, colours, cache):
    whole = evaluate.evaluate_model(delivered, str(colours), split="all", cache=cache)
    assert whole["n"] == 120 and whole["reproduced"] is whole["recorded"] is whole["difference"] is None
    assert sum(row["support"] for row in whole["per_class"]) == 120
    assert evaluate.evaluate_model(delivered, str(colours), seed=1, cache=cache)["same_data"] is False


def test_images_that_the_model_was_fitted_to_are_counted_in_other_data_sets_too(delivered, colours, cache, tmp_path):
    assert evaluate.evaluate_model(delivered, str(colours), cache=cache)["seen"] is None  # no manifest is beside it
    manifest = check_dataset(str(colours), seed=0, image_sizes=(SIZE,), cache=cache).manifest
    manifest.write(tmp_path / "manifest.csv")
    fitted = len(manifest.rows("train", "val"))
    assert evaluate.evaluate_model(delivered, str(colours), cache=cache)["seen"] == 0
    assert evaluate.evaluate_model(delivered, str(colours), split="all", cache=cache)["seen"] == fitted
    others = tmp_path / "others"
    for number, sample in enumerate(manifest.samples[::4]):
        (others / manifest.classes[sample.label]).mkdir(parents=True, exist_ok=True)
        shutil.copy(colours / sample.path, others / manifest.classes[sample.label] / f"{number}.png")
    found = evaluate.evaluate_model(delivered, str(others), split="all", cache=cache)
    expected = sum(sample.split != "test" for sample in manifest.samples[::4])
    assert found["seen"] == expected > 0 and found["n"] == len(manifest.samples[::4]) > expected


def test_without_a_split_of_its_own_a_model_was_fitted_to_all_images(delivered, colours, cache, tmp_path):
    check_dataset(str(colours), seed=1, image_sizes=(SIZE,), cache=cache).manifest.write(tmp_path / "manifest.csv")
    found = evaluate.evaluate_model(delivered, str(colours), cache=cache)
    assert found["seen"] == found["n"]


def test_a_data_set_may_have_fewer_classes_than_the_model(delivered, colours, cache):
    shutil.rmtree(colours / "blue")
    found = evaluate.evaluate_model(delivered, str(colours), split="all", cache=cache)
    assert found["n"] == 80
    assert [row["support"] for row in found["per_class"]] == [0, 40, 40]
    assert found["accuracy"] > 0.5  # green and red stand at other places than in the data set


def test_a_class_that_the_model_does_not_know_is_an_error_that_names_it(delivered, colours, cache):
    (colours / "red").rename(colours / "violet")
    with pytest.raises(DataError, match=r"does not know 'violet'.*It knows 'blue', 'green', 'red'"):
        evaluate.evaluate_model(delivered, str(colours), cache=cache)


def test_an_unknown_split_is_a_usage_error(delivered, colours):
    with pytest.raises(UsageError, match="train, val, test, all"):
        evaluate.evaluate_model(delivered, str(colours), split="dev")


def test_samples_are_scored_in_the_order_asked_for(build, manifest, cache):
    predict, rows = keras_predictor(build()), np.array([7, 3, 100, 3])
    images = open_images(manifest, SIZE, cache)
    probabilities = evaluate.score_rows(predict, images, rows)
    np.testing.assert_array_equal(probabilities[1], probabilities[3])
    alone = evaluate.score_rows(predict, images, rows[2:3])
    np.testing.assert_array_equal(probabilities[2:3], alone)


def test_the_score_report_is_json_and_names_the_confusions():
    probabilities = metrics.softmax(np.eye(3)[[0, 1, 1, 1, 2, 0]] * 4)
    report = evaluate.score_report(probabilities, np.array([0, 0, 0, 1, 2, 2]), ["a", "b", "c"])
    assert report == json.loads(json.dumps(report, allow_nan=False))
    assert report["n"] == 6 and report["accuracy"] == 0.5
    low, high = report["accuracy_ci95"]
    assert low < 0.5 < high
    assert report["confusions"] == [
        {"true": "a", "predicted": "b", "count": 2, "share": pytest.approx(2 / 3)},
        {"true": "c", "predicted": "a", "count": 1, "share": 0.5},
    ]
    assert report["per_class"][1] == {
        "name": "b",
        "precision": pytest.approx(1 / 3),
        "recall": 1.0,
        "f1": 0.5,
        "support": 1,
    }
