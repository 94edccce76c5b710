"""`autotl predict` and `autotl evaluate` with a model that tells bright images from dark ones."""

import csv
import io
import json
import os
import shutil
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autotl.cli import predictions
from autotl.cli.main import main
from autotl.data.check import check_dataset
from autotl.deliver.artefact import write_artefact
from autotl.exporters.script_body import cell as script_cell

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


def test_scores_on_images_that_the_model_was_fitted_to_are_said_to_flatter(autotl, model, photos, tmp_path):
    shutil.copytree(model, tmp_path / "run" / "model")
    manifest = check_dataset(str(photos), image_sizes=()).manifest
    manifest.write(tmp_path / "run" / "manifest.csv")
    path = tmp_path / "run" / "model" / "autotl.json"
    description = json.loads(path.read_text())
    description["data"] |= {"fingerprint": manifest.fingerprint, "split_fingerprint": manifest.split_fingerprint}
    path.write_text(json.dumps(description))
    told = autotl("evaluate", tmp_path / "run", photos, "--split", "all").out
    fitted = len(manifest.rows("train", "val"))
    assert f"{fitted} of the 16 images are among those that the model was fitted to: these scores flatter it." in told
    assert "flatter" not in autotl("evaluate", tmp_path / "run", photos).out


def test_json_lines_name_what_was_skipped_in_the_order_of_the_list(autotl, model, photos, monkeypatch):
    names = [photos / "dark" / "0.png", photos / "nowhere.png", photos / "bright" / "0.png"]
    give_stdin(monkeypatch, "\0".join(map(str, names)).encode() + b"\0")
    answer = autotl("predict", model, "-", photos / "dark" / "1.png", "--output", "jsonl")
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 0 and [row["path"] for row in rows] == [*map(str, names), str(photos / "dark" / "1.png")]
    assert [row.get("label") for row in rows] == ["dark", None, "bright", "dark"]
    assert "No such file" in rows[1]["skipped"]
    assert answer.err.splitlines()[-1] == "labelled: 3, skipped: 1"


def test_images_below_the_threshold_are_unknown_in_every_output(autotl, autotl_json, model, photos):
    Image.new("RGB", (20, 20), (128, 127, 127)).save(photos / "grey.png")
    command = ("predict", model, photos / "grey.png", photos / "dark" / "0.png", "--threshold", "0.8")
    (row, other) = csv.DictReader(io.StringIO(autotl(*command, "--output", "csv", "--top-k", 2).out))
    assert list(row) == ["path", "label", "probability", "known", "label_2", "probability_2"]
    assert (row["label"], row["known"], other["label"], other["known"]) == ("unknown", "false", "dark", "true")
    found, _ = autotl_json(*command)
    assert [item["known"] for item in found["predictions"]] == [False, True]
    assert found["predictions"][0]["top"][0]["label"] in ("bright", "dark")
    answer = autotl(*command)
    line = next(line for line in answer.out.splitlines() if "grey.png" in line)
    assert "unknown" in line and ("bright 0." in line or "dark 0." in line)
    assert "labelled: 2 (1 unknown), skipped: 0" in answer.err


def test_names_that_look_like_formulas_are_guarded_in_csv_and_exact_in_json(autotl, model, photos, monkeypatch):
    monkeypatch.chdir(photos)
    names = ["=1+1,x.png", "-a.png", 'two\nlines "q".png']
    for name in names:
        (photos / name).write_bytes((photos / "dark" / "0.png").read_bytes())
    answer = autotl("predict", "--csv", model, "--", *names)
    paths = [row["path"] for row in csv.DictReader(io.StringIO(answer.out))]
    assert paths == ["'=1+1,x.png", "'-a.png", 'two\nlines "q".png']
    lines = autotl("predict", "--output", "jsonl", model, "--", *names).out.splitlines()
    assert [json.loads(line)["path"] for line in lines] == names


def test_csv_in_a_file_has_the_bytes_of_a_name_and_what_an_export_writes(model, photos, monkeypatch):
    monkeypatch.chdir(photos)
    names = [os.fsdecode(name) for name in (b"caf\xe9.png", b"=\xff.png", "ä.png".encode())]
    for name in names:
        (photos / name).write_bytes((photos / "dark" / "0.png").read_bytes())
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", written)
    with pytest.raises(SystemExit):
        main(["predict", "--csv", str(model), "--", *names])
    rows = list(csv.reader(io.StringIO(written.buffer.getvalue().decode("utf-8", "surrogateescape"))))[1:]
    assert [row[0] for row in rows] == [names[0], "'" + names[1], names[2]]
    assert [row[0] for row in rows] == [next(csv.reader([script_cell(name)]))[0] for name in names]


def test_a_class_of_half_a_character_is_written_as_some_other(monkeypatch):
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", written)
    predictions.write_csv([{"path": "a", "label": "\ud800\udc80", "probability": 1.0, "top": [1]}])
    assert written.buffer.getvalue().splitlines()[1] == b"a,\xef\xbf\xbd\x80,1.000000"


def test_an_image_with_broken_exif_is_labelled_without_a_word(autotl, model, photos):
    content = io.BytesIO()
    Image.open(photos / "dark" / "0.png").save(content, "JPEG")
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"  # 65535 entries are announced, and none follows whole
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (photos / "exif.jpg").write_bytes(content.getvalue()[:2] + segment + content.getvalue()[2:])
    with warnings.catch_warnings(record=True) as told:
        answer = autotl("predict", model, photos / "exif.jpg", "--csv")
    assert answer.code == 0 and "exif.jpg,dark," in answer.out
    assert answer.err.splitlines() == ["labelled: 1, skipped: 0"]
    assert not [warning for warning in told if "EXIF" in str(warning.message)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=+-@\t\r\n'\"")), min_size=2))
def test_no_cell_is_a_formula_and_every_row_is_read_back_as_one(texts):
    line = predictions.csv_line(texts)
    (cells,) = csv.reader(io.StringIO(line, newline=""))
    assert line.endswith("\n") and len(cells) == len(texts)
    for cell, text in zip(cells, texts, strict=True):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert cell in (text, f"'{text}")


def test_a_long_table_comes_in_several(autotl, model, photos, monkeypatch):
    monkeypatch.setattr(predictions, "PAGE_ROWS", 8)
    answer = autotl("predict", model, photos)
    lines = answer.out.splitlines()
    assert len([line for line in lines if "probability" in line]) == 2
    assert len([line for line in lines if ".png" in line]) == 16


def test_nothing_to_label_is_an_error_of_the_data(autotl, autotl_json, model, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("no picture")
    answer = autotl("predict", model, tmp_path / "empty", "--csv")
    assert answer.code == 3 and answer.out == "" and "no file was found" in answer.err
    found, code = autotl_json("predict", model, tmp_path / "note.txt")
    assert code == 3 and found["error"]["kind"] == "data"


@pytest.mark.parametrize(
    "options", [["--csv", "--json"], ["--csv", "--output", "jsonl"], ["--json", "--output", "table"], ["-", "-"]]
)
def test_wishes_that_exclude_each_other_are_usage_errors(autotl, tmp_path, options):
    assert autotl("predict", tmp_path, *options, tmp_path).code == 2


def give_stdin(monkeypatch, content):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
