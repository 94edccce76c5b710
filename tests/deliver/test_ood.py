import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.data.images import open_images
from autotl.data.manifest import Manifest
from autotl.data.store import Cache
from autotl.deliver.artefact import load_model, open_artefact
from autotl.deliver.evaluate import score_rows
from autotl.deliver.finish import run_job
from autotl.deliver.ood import LAYER, OOD_FILE, open_ood, with_features, write_ood
from autotl.deliver.predict import predict_paths
from autotl.deliver.predictor import keras_predictor, open_predictor
from autotl.deliver.trust import sha256_of
from autotl.errors import AutotlError, UsageError

pytestmark = pytest.mark.keras

SIZE = 16


def build_headed(heads=("head",)):
    """A model as autotl puts it together: colours of the quarters of an image are its features."""
    import keras

    image = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="image")
    quarters = keras.layers.AveragePooling2D(SIZE // 2)(keras.layers.Rescaling(1 / 255)(image))
    features, logits = keras.layers.Flatten()(quarters), []
    for name in heads:
        inputs = keras.Input((12,), name="features")
        standardised = keras.layers.BatchNormalization(center=False, scale=False, name="standardise")(inputs)
        outputs = keras.layers.Dense(3, name="logits", kernel_initializer=keras.initializers.GlorotUniform(seed=0))
        logits.append(keras.Model(inputs, outputs(standardised), name=name)(features))
    together = logits[0] if len(logits) == 1 else keras.layers.Average()(logits)
    return keras.Model(image, keras.layers.Softmax(dtype="float32", name="probabilities")(together))


@pytest.fixture
def delivered(finish_payload, reports):
    """A model folder as the last job leaves it."""
    model, manifest = build_headed(), Manifest.read(Path(finish_payload["manifest"]))
    model.save(finish_payload["model"])
    cache = Cache(Path(finish_payload["cache"]["root"]), finish_payload["cache"]["max_bytes"])
    rows = np.arange(3)
    finish_payload["reference"]["rows"] = rows.tolist()
    np.save(
        finish_payload["reference"]["probabilities"],
        score_rows(keras_predictor(model), open_images(manifest, SIZE, cache), rows),
    )
    result = run_job(finish_payload, reports.report)
    folder = Path(finish_payload["folder"])
    assert str(folder / OOD_FILE) in result["files"]
    return folder


def rewrite(folder, **arrays):
    """Another `ood.npz`, whose hash is recorded as if it had been delivered."""
    np.savez(folder / OOD_FILE, **arrays)
    record(folder, sha256=sha256_of(folder / OOD_FILE))


def record(folder, **values):
    description = json.loads((folder / "autotl.json").read_text())
    description["ood"] |= values
    (folder / "autotl.json").write_text(json.dumps(description))


def test_images_unlike_all_others_are_at_the_top_and_probabilities_are_the_models(delivered, manifest, cache):
    described = open_artefact(delivered).description["ood"]
    assert (described["images"], described["held_out"]) == (90, {"split": "test", "n": 30})
    assert described["thresholds"]["95"] > 0 and described["thresholds"]["99"] is None
    assert described["bytes"] < 20_000
    artefact = open_artefact(delivered)
    generator = np.random.default_rng(1)
    usual = np.full((40, SIZE, SIZE, 3), 125, np.uint8) + generator.integers(0, 9, (40, 1, 1, 3), dtype=np.uint8)
    halves = np.zeros((5, SIZE, SIZE, 3), np.uint8)
    halves[:, :8] = 255  # training images are the same all over
    probabilities, scores = open_ood(artefact)(np.concatenate([usual, halves]))
    assert (scores.percentiles[40:] > 95).all() and (scores.distances[40:] > described["thresholds"]["95"]).all()
    assert (scores.percentiles[:40] < 95).mean() > 0.7
    expected = open_predictor(artefact)(np.concatenate([usual, halves]))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_features_that_a_fit_has_left_give_the_same_distances(delivered, manifest, cache, tmp_path):
    model = load_model(open_artefact(delivered))
    rows = manifest.rows("train", "val")
    found = with_features(model, LAYER).predict(open_images(manifest, SIZE, cache)[rows], verbose=0)
    np.save(tmp_path / "sample.npy", 3.0 * found[:, 3:])  # of any length
    sample = {"rows": rows.tolist(), "features": str(tmp_path / "sample.npy")}
    written = write_ood(model, manifest, open_images(manifest, SIZE, cache), tmp_path / OOD_FILE, sample)
    expected = open_artefact(delivered).description["ood"]
    assert written["images"] == expected["images"]
    assert written["thresholds"]["95"] == pytest.approx(expected["thresholds"]["95"], rel=1e-3)


def test_predictions_say_how_unusual_an_image_is_and_exports_that_they_cannot(delivered, colours, tmp_path):
    black = tmp_path / "black.png"
    Image.new("RGB", (20, 20)).save(black)
    usual = sorted(colours.rglob("*.png"))[:20]
    *predictions, last = predict_paths(delivered, [*usual, black], ood=True)
    assert last["ood"]["percentile"] > 95 and last["ood"]["score"] > max(item["ood"]["score"] for item in predictions)
    described = json.loads((delivered / "autotl.json").read_text())
    (delivered / "autotl.json").write_text(json.dumps({**described, "format": "onnx"}))
    (delivered / "model.keras").rename(delivered / "model.onnx")
    with pytest.raises(UsageError, match=r"onnx does not give.*Give the model folder"):
        predict_paths(delivered, [black], ood=True)


def test_hostile_files_beside_a_model_are_an_error_that_says_what_to_do(delivered):
    with np.load(delivered / OOD_FILE) as saved:
        good = dict(saved)
    wrong = {
        "shapes": {**good, "means": good["means"][:, :5]},
        "other model": {**good, "means": good["means"][:, :5], "directions": good["directions"][:, :5]},
        "not finite": {**good, "means": good["means"] * np.float16(np.nan)},
        "no distances": {**good, "variances": -good["variances"]},
        "names": {**good, "more": np.zeros(3)},
        "objects": {**good, "held_out": np.array([{}], dtype=object)},
        "integers": {**good, "held_out": np.arange(3)},
        "no means": {**good, "means": good["remainder"]},
    }
    for arrays in wrong.values():
        rewrite(delivered, **arrays)
        with pytest.raises(AutotlError, match="leave --ood out"):
            open_ood(open_artefact(delivered))
    with zipfile.ZipFile(delivered / OOD_FILE, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("means.npy", b"\x93NUMPY\x01\x00" + b"\xff" * 50)
    for content in ((delivered / OOD_FILE).read_bytes(), b"", b"no zip at all"):
        (delivered / OOD_FILE).write_bytes(content)
        record(delivered, sha256=sha256_of(delivered / OOD_FILE))
        with pytest.raises(AutotlError, match="leave --ood out"):
            open_ood(open_artefact(delivered))
    rewrite(delivered, **good)
    record(delivered, layer="elsewhere")
    with pytest.raises(AutotlError, match="another model"):
        open_ood(open_artefact(delivered))


def test_a_changed_file_and_a_link_are_refused(delivered, tmp_path):
    path = delivered / OOD_FILE
    shutil.copy(path, tmp_path / "elsewhere.npz")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(AutotlError, match="sha256"):
        open_ood(open_artefact(delivered))
    path.unlink()
    with pytest.raises(AutotlError, match="not there"):
        open_ood(open_artefact(delivered))
    path.symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(AutotlError, match="regular file"):
        open_ood(open_artefact(delivered))


def test_models_that_have_no_such_score_say_why(model_folder):
    with pytest.raises(UsageError, match=r"were delivered with ood\.npz"):
        open_ood(open_artefact(model_folder))
    description = json.loads((model_folder / "autotl.json").read_text())
    description["ood"] = {"file": None, "reason": "there is no head"}
    (model_folder / "autotl.json").write_text(json.dumps(description))
    with pytest.raises(UsageError, match="since there is no head"):
        open_ood(open_artefact(model_folder))


def test_without_images_that_the_model_has_not_seen_there_is_no_score(manifest, cache, tmp_path):
    seen = Manifest(manifest.root, manifest.classes, tuple(replace(each, split="train") for each in manifest.samples))
    found = write_ood(build_headed(), seen, open_images(seen, SIZE, cache), tmp_path / OOD_FILE)
    assert found["file"] is None and "kept from the model" in found["reason"]
    assert not (tmp_path / OOD_FILE).exists()


def test_the_same_model_gives_the_same_file(manifest, cache, tmp_path):
    model = build_headed()
    first, second = (
        write_ood(model, manifest, open_images(manifest, SIZE, cache), tmp_path / name) for name in ("a.npz", "b.npz")
    )
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "b.npz") as other:
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
    assert {**first, "sha256": 0} == {**second, "sha256": 0}


def test_an_ensemble_gives_the_features_of_all_its_heads():
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    found = with_features(build_headed(("head_0", "head_1")), "standardise").predict_on_batch(images)
    assert found.shape == (4, 3 + 24)
    for member in (found[:, 3:15], found[:, 15:]):
        np.testing.assert_allclose(np.linalg.norm(member, axis=1), 1.0, rtol=1e-5)


def test_an_exported_model_is_refused_with_a_way_out(delivered):
    artefact = replace(open_artefact(delivered), format="onnx")
    with pytest.raises(UsageError, match="Give the model folder of the run"):
        open_ood(artefact)
