"""`--cv-test`: no test split, every image tested on once by a search that has not seen it; interrupted and resumed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import autotl
from autotl.data.manifest import Manifest
from autotl.errors import Interrupted, UsageError
from autotl.runs.directory import Run, open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.keras, pytest.mark.process]
PARTS = 3
SPACE = """
[[stage]]
name = "probe"
recipe = "probe"
trials = 1
evaluation = "cross_validation"
folds = 3
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
penalty = { log = [1e-3, 1e-1] }
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, draw_noise: Callable[..., Path]) -> Path:
    """Three classes of fourteen pictures of coloured noise: too few to spare a test split."""
    return draw_noise(tmp_path_factory.mktemp("nested") / "images", (14, 14, 14), tint=70)


@pytest.fixture(scope="module")
def nested(images: Path, workplace: Path) -> SimpleNamespace:
    """A nested search that is interrupted in its second part and gone on with."""
    root = images.parent
    (root / "probe.toml").write_text(SPACE)
    trials: list[int] = []

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "trial":
            trials.append(event["number"])
            if len(trials) == 2:
                raise KeyboardInterrupt

    run = root / "run"
    options = {"space": root / "probe.toml", "cache_dir": workplace / "noise-cache"}
    with pytest.raises(Interrupted, match="autotl resume"):
        autotl.search(images, cv_test=PARTS, on_event=interrupt, out=run, **options)
    before = parts_of(open_run(run))
    result = autotl.resume(run)
    return SimpleNamespace(result=result, run=open_run(run), before=before)


def parts_of(run: Run) -> dict[str, bytes]:
    """The results of the parts that are finished."""
    return {path.parent.name: path.read_bytes() for path in sorted(run.path.glob("outer/*/result.json"))}


def test_every_image_is_tested_on_once_by_a_search_that_has_not_seen_it(nested):
    rows = []
    for number in range(PARTS):
        part = open_run(nested.run.path / "outer" / str(number))
        manifest = Manifest.read(part.manifest_path)
        tested = manifest.rows("test")
        assert not set(tested) & set(manifest.rows("train", "val"))
        assert read_json(part.path / "result.json")["test"]["n"] == len(tested)
        rows += list(tested)
    assert sorted(rows) == list(range(3 * 14))


def test_the_model_is_fitted_to_all_images_and_its_score_is_that_of_all_parts_together(nested):
    manifest = Manifest.read(nested.run.manifest_path)
    assert len(manifest.rows("test")) == 0
    description = read_json(nested.result.model / "autotl.json")
    assert description["data"]["images"]["test"] == 0
    assert description["tested_by"] == "3 searches of other images"
    assert nested.result.test["n"] == 3 * 14
    parts = [read_json(nested.run.path / "outer" / str(number) / "result.json")["test"] for number in range(PARTS)]
    pooled = np.average([part["accuracy"] for part in parts], weights=[part["n"] for part in parts])
    assert nested.result.test["accuracy"] == pytest.approx(pooled)
    low, high = nested.result.test["accuracy_ci95"]
    assert low <= pooled <= high


def test_the_frozen_network_ran_once_for_all_searches(nested):
    folders = [nested.run.path, *sorted(nested.run.path.glob("outer/*"))]
    ledgers = [
        read_json(path)["ledger"] for folder in folders for path in folder.glob("trials/*/attempt-*/result.json")
    ]
    assert sum(ledger["counts"].get("forwarded/pooled", 0) for ledger in ledgers) == 3 * 14


def test_parts_that_had_finished_are_not_run_again(nested):
    assert list(nested.before) == ["0"]
    after = parts_of(nested.run)
    assert list(after) == ["0", "1", "2"]
    assert after["0"] == nested.before["0"]


def test_a_part_that_was_interrupted_keeps_the_trial_that_had_finished(nested):
    part = open_run(nested.run.path / "outer" / "1")
    trials = [event for event in read_events(part) if event["kind"] == "trial"]
    assert [trial["state"] for trial in trials] == ["complete"]


def test_the_model_predicts(nested, images):
    (answer,) = autotl.predict(nested.run.path, images / "red" / "00.png")
    assert answer["label"] in {"red", "green", "blue"}


def test_a_data_set_with_a_test_split_of_its_own_is_refused(images, tmp_path):
    for name in ("red", "green", "blue"):
        for path in sorted((images / name).iterdir()):
            target = tmp_path / "given" / ("test" if path.stem > "09" else "train") / name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    space = tmp_path / "probe.toml"
    space.write_text(SPACE)
    with pytest.raises(UsageError, match="has a test split of its own"):
        autotl.search(tmp_path / "given", space=space, cv_test=3, out=tmp_path / "run", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "run").exists()
