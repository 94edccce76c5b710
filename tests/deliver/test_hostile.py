"""Model folders from anywhere: whatever is in them, the answer is an error in words, and no code of theirs runs."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotl.deliver.artefact import load_model, open_artefact, write_artefact
from autotl.deliver.export_folder import require_renderable
from autotl.deliver.export_targets import choose_targets
from autotl.deliver.trust import hash_model
from autotl.errors import AutotlError

PATHS = ["../../etc/passwd", "/etc/passwd", "..", "", ".", "model.keras/../../x", "a\x00b", "~", "C:\\x", "x" * 5000]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from([*PATHS, 10**400, 1e308, -0.0])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
SAME_FOLDER = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def all_that_is_read(folder, trust=False):
    """Everything that a command reads of a model folder before it loads Keras."""
    artefact = open_artefact(folder, trust=trust)
    require_renderable(artefact)
    choose_targets(["keras"], None, artefact.description["backbone"], verify=False)


def explained(folder, trust=False):
    """Whether it is refused; any error that is not in words is none of ours and fails the test."""
    try:
        all_that_is_read(folder, trust)
    except AutotlError as error:
        assert str(error)
        return True
    return False


def test_the_folder_that_is_damaged_below_is_good_at_first(model_folder):
    assert not explained(model_folder)


@SAME_FOLDER
@given(value=JSON, data=st.data())
def test_any_value_in_any_place_of_the_description(model_folder, value, data):
    path = model_folder / "autotl.json"
    intact = path.read_text()
    described = json.loads(intact)
    keys = ["format", "precision", "plugins", "ancestors", "parity", "latency", "command", *described]
    place, key = described, data.draw(st.sampled_from(keys))
    while isinstance(place.get(key), dict) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place)))
    place[key] = value
    path.write_text(json.dumps(described))
    try:
        is_refused = explained(model_folder, trust=data.draw(st.booleans()))
        if not is_refused:  # then what was read is what a command may rely on
            opened = open_artefact(model_folder, trust=True)
            assert opened.model_path == model_folder / "model.keras"  # no name in the description leads elsewhere
            assert len(opened.class_names) >= 2 and all(isinstance(name, str) for name in opened.class_names)
            assert isinstance(opened.image_size, int) and opened.image_size >= 1
    finally:
        path.write_text(intact)


@SAME_FOLDER
@given(content=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_in_the_place_of_the_description(model_folder, content):
    (model_folder / "autotl.json").write_bytes(content)
    assert explained(model_folder)


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_a_description_that_is_nested_deeply(model_folder, depth):
    path = model_folder / "autotl.json"
    text = path.read_text().rstrip().removesuffix("}")
    path.write_text(text + ', "x": ' + "[" * depth + "]" * depth + "}")
    assert explained(model_folder)


@SAME_FOLDER
@given(data=st.data())
def test_a_model_file_that_was_cut_or_changed(model_folder, data):
    path = model_folder / "model.keras"
    intact = path.read_bytes()
    at, flip = data.draw(st.integers(0, len(intact) - 1)), data.draw(st.integers(1, 255))
    changed = data.draw(st.sampled_from([intact[:at], intact[:at] + bytes([intact[at] ^ flip]) + intact[at + 1 :]]))
    path.write_bytes(changed)
    try:
        with pytest.raises(AutotlError, match="recorded sha256"):
            open_artefact(model_folder)
        assert open_artefact(model_folder, trust=True).folder == model_folder
    finally:
        path.write_bytes(intact)


@pytest.mark.parametrize("name", ["model.keras", "autotl.json"])
def test_links_are_not_followed_not_even_with_trust(model_folder, tmp_path, name):
    outside = tmp_path / "outside"
    shutil.move(model_folder / name, outside)
    (model_folder / name).symlink_to(outside)
    for trust in (False, True):
        with pytest.raises(AutotlError, match="is a link"):
            open_artefact(model_folder, trust=trust)


def test_what_is_no_file_is_no_model(model_folder):
    (model_folder / "model.keras").unlink()
    os.mkfifo(model_folder / "model.keras")
    with pytest.raises(AutotlError, match="holds regular files"):
        open_artefact(model_folder)


@pytest.mark.parametrize("name", ["../../model.keras", "os", "no_such_format", "", "onnx/../keras"])
def test_the_name_of_a_format_leads_to_installed_exporters_only(model_folder, name):
    path = model_folder / "autotl.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": name}))
    with pytest.raises(AutotlError, match="must be one that is installed"):
        open_artefact(model_folder)


def test_a_file_name_in_the_description_is_not_used_as_a_path(model_folder, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"secret")
    path = model_folder / "autotl.json"
    described = json.loads(path.read_text())
    described["model"]["file"] = described["model"]["files"] = str(tmp_path / "elsewhere")
    path.write_text(json.dumps(described))
    assert open_artefact(model_folder).model_path == model_folder / "model.keras"


@pytest.mark.parametrize("name", ["saved_model/variables/x.pkl", "saved_model/x.h5"])
def test_files_that_can_run_code_are_refused_inside_a_model_too(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(AutotlError, match="can run code"):
        hash_model(tmp_path, "saved_model")


def test_a_link_inside_a_model_of_several_files_is_refused(tmp_path):
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "assets").symlink_to("/etc")
    with pytest.raises(AutotlError, match="is a link"):
        hash_model(tmp_path, "saved_model")


GIVEN = """
import sys
from autotl import api
from autotl.errors import AutotlError
for path in sys.argv[1:]:
    for verb, given in ((api.predict, "."), (api.evaluate, "."), (api.export, "keras")):
        try:
            verb(path, given)
        except AutotlError as error:
            print(type(error).__name__)
print(sorted({"keras", "tensorflow", "torch", "pickle_ran"} & set(sys.modules)))
"""


def test_files_of_other_kinds_are_refused_by_every_verb_before_keras_is_loaded(model_folder, tmp_path):
    names = ["model.h5", "model.pickle", "model.pth", "model.joblib", "model.zip", "model.keras.zip", "long" * 2000]
    for name in names[:4]:
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    for name in names[4:6]:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for path in model_folder.iterdir():
                file.write(path, f"model/{path.name}")
    given_paths = [str(tmp_path / name) for name in names]
    done = subprocess.run(
        [sys.executable, "-c", GIVEN, *given_paths], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    *errors, modules = done.stdout.splitlines()
    assert len(errors) == 3 * len(names) and modules == "[]"
    assert not (tmp_path / "ran").exists()


@pytest.mark.keras
def test_trust_accepts_another_file_and_still_runs_no_code_of_it(tmp_path, describe, build):
    import keras

    build().save(tmp_path / "good.keras")
    write_artefact(tmp_path / "good.keras", tmp_path / "model", describe())
    retrained = build(scale=1.0)
    retrained.save(tmp_path / "model" / "model.keras")
    with pytest.raises(AutotlError, match="--trust"):
        open_artefact(tmp_path / "model")
    loaded = load_model(open_artefact(tmp_path / "model", trust=True))
    np.testing.assert_array_equal(loaded.get_weights()[0], retrained.get_weights()[0])
    image = keras.Input((16, 16, 3), dtype="uint8")
    keras.Model(image, keras.layers.Lambda(lambda x: x[:, 0, 0, :])(image)).save(tmp_path / "model" / "model.keras")
    with pytest.raises(AutotlError, match="safe mode"):
        load_model(open_artefact(tmp_path / "model", trust=True))
