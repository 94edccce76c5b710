"""Searches of arrays: the study's own space on a small `.npz` file, and arrays from Python, gone on with."""

from pathlib import Path

import numpy as np
import pytest

import autotl
from autotl.runs.files import read_json
from autotl.space.files import find_space

pytestmark = [pytest.mark.keras, pytest.mark.process, pytest.mark.slow]
SMOKE = """[[stage]]
name = "probe"
recipe = "probe"
trials = 1
evaluation = "holdout"
[stage.parameters]
backbone = { choice = ["vgg16"] }
weights = { choice = ["random"] }
image_size = { choice = [32] }
"""


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Two colours of noise, 32 x 32 px, with a test split."""
    generator = np.random.default_rng(0)
    found = {}
    for part, count in (("train", 48), ("test", 16)):
        labels = np.arange(count) % 2
        blocks = generator.integers(0, 120, (count, 4, 4, 3)) + 120 * np.eye(3, dtype=int)[labels][:, None, None, :]
        found |= {f"x_{part}": np.repeat(np.repeat(blocks, 8, 1), 8, 2).astype(np.uint8), f"y_{part}": labels}
    return found


def test_the_studys_space_runs_on_arrays_and_a_given_test_split_stays(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    np.savez(tmp_path / "noise.npz", **arrays, class_names=["red", "green"])
    study = find_space("vgg16-study").read_text()
    (tmp_path / "study.toml").write_text(study + 'weights = { choice = ["random"] }\n')
    result = autotl.search(
        tmp_path / "noise.npz", space=tmp_path / "study.toml", out=tmp_path / "run", cache_dir=tmp_path / "cache"
    )
    assert (result.best["backbone"], result.best["image_size"], result.best["head"]) == ("vgg16", 32, "mlp")
    assert result.test["n"] == 16
    described = read_json(result.model / "autotl.json")
    assert described["class_names"] == ["green", "red"]
    assert described["configuration"]["weights"] == "random" and described["configuration"]["epochs"] == 10
    scores = autotl.evaluate(result.model, tmp_path / "noise.npz", cache_dir=tmp_path / "cache")
    assert scores["same_data"] and scores["reproduced"]


def test_arrays_from_python_are_searched_found_again_by_a_resumed_search_and_scored(
    arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "smoke.toml").write_text(SMOKE)
    dataset = ((arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"]))

    def stop(event: dict[str, object]) -> None:
        if event["event"] == "phase" and event["phase"] != "data":
            raise KeyboardInterrupt

    options = {"space": tmp_path / "smoke.toml", "out": tmp_path / "run", "cache_dir": tmp_path / "cache"}
    with pytest.raises(autotl.Interrupted):
        autotl.search(dataset, on_event=stop, **options)
    result = autotl.search(tuple((x.copy(), y.copy()) for x, y in dataset), **options)
    assert result.test["n"] == 16
    scores = autotl.evaluate(result.run, dataset, cache_dir=tmp_path / "cache")
    assert scores["same_data"] and scores["reproduced"]
