import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from autotl.data.decode import resize_rule
from autotl.deliver.artefact import load_file, open_artefact, write_artefact
from autotl.errors import AutotlError, PluginError, UsageError


def rewrite(folder, **changes):
    path = folder / "autotl.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_model_folder_holds_the_four_files_and_nothing_else(model_folder):
    assert {path.name for path in model_folder.iterdir()} == {
        "model.keras",
        "autotl.json",
        "labels.txt",
        "MODEL_CARD.md",
    }
    assert [path.name for path in model_folder.parent.iterdir()] == ["model"]
    assert (model_folder / "labels.txt").read_text() == "blue\ngreen\nred\n"


def test_autotl_json_describes_the_model_file_the_input_and_the_making(model_folder):
    described = json.loads((model_folder / "autotl.json").read_text())
    assert described["schema_version"] == 1
    assert described["model"]["sha256"] == hashlib.sha256(b"not really a model").hexdigest()
    assert described["resize"] == resize_rule("stretch")
    assert described["input"]["shape"] == [None, 16, 16, 3]
    assert described["class_names"] == ["blue", "green", "red"]
    assert described["licences"][0]["licence"] == "Apache-2.0"
    assert described["created"].endswith("+00:00")
    assert described["versions"]["numpy"]


@pytest.mark.parametrize("inside", ["", "model", "model/model.keras"])
def test_a_model_is_found_by_its_run_its_folder_or_its_file(model_folder, inside):
    opened = open_artefact(model_folder.parent / inside)
    assert opened.folder == model_folder
    assert (opened.class_names, opened.image_size) == (("blue", "green", "red"), 16)


def test_a_changed_model_file_is_refused_with_what_to_do(model_folder):
    with (model_folder / "model.keras").open("ab") as file:
        file.write(b"!")
    with pytest.raises(AutotlError, match=r"recorded sha256.*copy the whole folder again"):
        open_artefact(model_folder)


def test_what_lies_beside_the_model_file_changes_nothing(model_folder):
    (model_folder / "model.notes").write_text("mine")
    assert open_artefact(model_folder).model_path == model_folder / "model.keras"


def test_a_missing_model_file_is_reported(model_folder):
    (model_folder / "model.keras").unlink()
    with pytest.raises(AutotlError, match=r"has none\. Copy the whole folder again"):
        open_artefact(model_folder)


@pytest.mark.parametrize("name", ["model.h5", "weights.pkl", "net.pth", "NET.PT", "x.joblib"])
def test_files_that_can_run_code_are_refused_whether_they_exist_or_not(tmp_path, name):
    with pytest.raises(AutotlError, match="can run code"):
        open_artefact(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(AutotlError, match="can run code"):
        open_artefact(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "state"), [("nowhere", "does not exist"), ("empty", "has no autotl.json"), ("file", "is a file")]
)
def test_a_path_that_is_no_model_is_a_usage_error(tmp_path, name, state):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=state):
        open_artefact(tmp_path / name)


def test_a_rejected_model_is_said_to_be_one(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.keras.rejected").write_bytes(b"")
    with pytest.raises(AutotlError, match="failed its parity check"):
        open_artefact(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2}, {"class_names": ["one"]}, {"class_names": ["a", 1]}, {"class_names": ["a", "a"]},
        {"class_names": None}, {"image_size": "16"}, {"image_size": 10**6}, {"image_size": True}, {"model": None},
        {"model": {}}, {"data": []}, {"resize": {"mode": "crop"}},
        {"resize": {**resize_rule("trim"), "tolerance": 9}},
        {"resize": None}, {"members": 2}, {"members": [{"backbone": 1}]},
        {"plugins": [{}]},
    ],
)  # fmt: skip
def test_a_description_that_makes_no_sense_is_an_error_and_not_a_crash(model_folder, changes):
    rewrite(model_folder, **changes)
    with pytest.raises(AutotlError, match=r"describes a model in schema 1.*does not"):
        open_artefact(model_folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", "null", "[" * 100_000])
def test_a_description_that_is_no_json_object_is_an_error_and_not_a_crash(model_folder, text):
    (model_folder / "autotl.json").write_text(text)
    with pytest.raises(AutotlError, match="does not"):
        open_artefact(model_folder)


def test_writing_again_replaces_the_folder_as_a_whole(model_folder, describe):
    (model_folder / "left over").write_text("")
    write_artefact(model_folder / "model.keras", model_folder, describe(temperature=2.0))
    assert open_artefact(model_folder).description["temperature"] == 2.0
    assert not (model_folder / "left over").exists()
    assert [path.name for path in model_folder.parent.iterdir()] == ["model"]


def test_a_failed_write_leaves_what_was_there(model_folder, describe):
    with pytest.raises(ValueError, match="JSON"):
        write_artefact(model_folder / "model.keras", model_folder, describe(temperature=float("nan")))
    assert open_artefact(model_folder).description["temperature"] == 1.1
    assert [path.name for path in model_folder.parent.iterdir()] == ["model"]


def test_an_incomplete_description_is_refused_before_anything_is_written(model_folder, tmp_path):
    with pytest.raises(ValueError, match="validation"):
        write_artefact(model_folder / "model.keras", tmp_path / "new", {"class_names": []})
    assert not (tmp_path / "new").exists()


def test_class_names_that_are_no_utf8_survive_exactly(model_folder, describe):
    names = ("caf\udce9", "two\nlines")
    write_artefact(model_folder / "model.keras", model_folder, describe(names))
    assert open_artefact(model_folder).class_names == names
    assert len((model_folder / "labels.txt").read_text().splitlines()) == 2


def test_a_copied_folder_opens_like_the_original(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "elsewhere")
    assert open_artefact(tmp_path / "elsewhere").class_names == ("blue", "green", "red")


@pytest.mark.keras
def test_a_model_that_is_not_what_its_description_says_is_refused(real_model_folder):
    from autotl.deliver.artefact import load_model

    assert load_model(open_artefact(real_model_folder)).output_shape == (None, 3)
    rewrite(real_model_folder, class_names=["a", "b"])
    with pytest.raises(AutotlError, match="Copy the whole folder"):
        load_model(open_artefact(real_model_folder))


@pytest.mark.keras
def test_a_model_with_code_in_it_does_not_load(tmp_path, describe):
    import keras

    from autotl.deliver.artefact import load_model

    image = keras.Input((16, 16, 3), dtype="uint8")
    flat = keras.layers.Lambda(lambda x: x[:, 0, 0, :])(image)
    keras.Model(image, flat).save(tmp_path / "code.keras")
    write_artefact(tmp_path / "code.keras", tmp_path / "model", describe())
    with pytest.raises(AutotlError, match="safe mode"):
        load_model(open_artefact(tmp_path / "model"))


@pytest.mark.keras
def test_a_file_that_is_no_model_does_not_load(model_folder):
    from autotl.deliver.artefact import load_model

    with pytest.raises(AutotlError, match="safe mode"):
        load_model(open_artefact(model_folder))


LAYERS = """
import keras

@keras.saving.register_keras_serializable(package="fake_layers")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x
"""
SAVE = """
import sys, keras
from fake_layers import Doubled
inputs = keras.Input((4,))
keras.Model(inputs, Doubled()(inputs)).save(sys.argv[1])
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the import path with an installed plugin that registers a layer."""
    folder = tmp_path / "site"
    metadata = folder / "fake_layers-1.2.dist-info"
    metadata.mkdir(parents=True)
    (folder / "fake_layers.py").write_text(LAYERS)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-layers\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text("[autotl.layers]\nlayers = fake_layers\n")
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.mark.keras
def test_the_layers_of_the_plugins_that_a_model_names_are_there_before_it_is_loaded(site, tmp_path):
    subprocess.run([sys.executable, "-c", SAVE, str(tmp_path / "m.keras")], check=True, cwd=site)
    with pytest.raises(AutotlError, match="safe mode"):
        load_file(tmp_path / "m.keras")
    model = load_file(tmp_path / "m.keras", [{"distribution": "fake-layers", "version": "1.2"}])
    assert float(model(np.full((1, 4), 1.5))[0][0]) == 3.0


def test_a_plugin_that_a_model_needs_and_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(PluginError, match=r"gone-nets 1\.2, which is not installed. Run: pip install gone-nets"):
        load_file(tmp_path / "m.keras", [{"distribution": "gone-nets", "version": "1.2"}])


@pytest.mark.parametrize("plugins", ["fake-layers", [{"module": "os"}], [["fake-layers"]]])
def test_a_description_with_damaged_plugins_is_refused(model_folder, plugins):
    rewrite(model_folder, plugins=plugins)
    with pytest.raises(AutotlError, match="plugins must be a list"):
        open_artefact(model_folder)
