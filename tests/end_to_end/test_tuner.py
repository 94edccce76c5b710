"""Searches over KerasTuner hypermodels, with worker processes, from a folder that has the user's module in it."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import autotl
from autotl.runs.directory import open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]

USER_MODELS = Path(__file__).parents[1] / "heads" / "user_models.py"
COLOURS = {"blue": (0, 0, 70), "green": (0, 70, 0), "red": (70, 0, 0)}
HEADS = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 3
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
head = { choice = ["user_models:Stack"] }
epochs = { choice = [4] }
batch_size = { choice = [16] }
"""
WHOLE = """
[[stage]]
name = "scratch"
recipe = "scratch"
trials = 2
[stage.parameters]
image_size = { choice = [32] }
epochs = { choice = [1] }
batch_size = { choice = [16] }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the user stands: a module, and three classes of twenty pictures of coloured noise."""
    root = tmp_path_factory.mktemp("tuner")
    shutil.copy(USER_MODELS, root / "user_models.py")
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / "images" / name).mkdir(parents=True)
        for index in range(20):
            noise = generator.integers(0, 180, (6, 6, 3)) + np.array(colour)
            picture = Image.fromarray(noise.astype(np.uint8)).resize((44, 40), Image.Resampling.BICUBIC)
            picture.save(root / "images" / name / f"{index:02}.png")
    return root


def search(folder, name, space, **options):
    (folder / f"{name}.toml").write_text(space)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = autotl.search("images", space=f"{name}.toml", out=folder / name, cache_dir=folder / "cache", **options)
    run = open_run(result.run)
    trials = [event for event in read_events(run) if event["kind"] == "trial"]
    description = read_json(result.model / "autotl.json")
    return SimpleNamespace(result=result, trials=trials, description=description)


@pytest.fixture(scope="module")
def heads(folder):
    return search(folder, "heads", HEADS)


@pytest.fixture(scope="module")
def whole(folder):
    return search(folder, "whole", WHOLE, backbones=["user_models:Convolutions"])


def test_a_hypermodel_of_the_users_own_is_searched_as_a_head(heads):
    assert heads.result.trials == {"complete": 3, "pruned": 0, "failed": 0}
    assert [trial["number"] for trial in heads.trials] == [1, 2, 3]
    assert heads.trials[0]["config"]["options"] == {"layers": 1, "units_0": 16, "kind": "plain"}
    for trial in heads.trials:
        options = trial["config"]["options"]
        assert [f"units_{index}" in options for index in range(3)] == [index < options["layers"] for index in range(3)]
        assert ("rate" in options) == (options["kind"] == "dropped")
    assert heads.description["configuration"]["head"] == "user_models:Stack"


def test_a_whole_hypermodel_is_searched_from_scratch(whole):
    assert whole.result.trials == {"complete": 2, "pruned": 0, "failed": 0}
    assert whole.trials[0]["config"]["options"]["rate"] == 0.01
    assert whole.description["backbone"]["name"] == "user_models:Convolutions"
    assert whole.description["backbone"]["weights"]["source"] == "none, trained from scratch"
    assert whole.description["configuration"]["recipe"] == "scratch"


@pytest.mark.parametrize("which", ["heads", "whole"])
def test_the_delivered_model_needs_neither_the_module_nor_kerastuner(which, request, folder, monkeypatch):
    import keras

    found = request.getfixturevalue(which)
    assert found.description["parity"]["passed"]
    monkeypatch.chdir(found.result.model)
    model = keras.saving.load_model("model.keras", safe_mode=True)
    assert model.input_shape == (None, 32, 32, 3)
    answers = list(autotl.predict(found.result.model, folder / "images" / "red"))
    assert len(answers) == 20
    assert {answer["label"] for answer in answers} <= set(COLOURS)


def test_a_hypermodel_that_is_not_there_is_an_error_before_anything_starts(folder):
    with pytest.raises(autotl.UsageError, match="no module nowhere"):
        search(folder, "missing", WHOLE, backbones=["nowhere:Model"])
    assert not (folder / "missing").exists()
