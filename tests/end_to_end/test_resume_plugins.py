"""Between a search and its resumption plugins come, go and change; the run goes on with those that it began with."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autotl
from autotl.errors import Interrupted, UsageError
from autotl.runs.directory import open_run
from autotl.runs.events import read_events
from autotl.runs.files import read_json

pytestmark = [pytest.mark.keras, pytest.mark.process, pytest.mark.slow]
SPACE = """[[stage]]
name = "probe"
recipe = "probe"
trials = 3
evaluation = "holdout"
[stage.parameters]
backbone = { choice = ["installed"] }
image_size = { choice = [32] }
penalty = { log = [1e-4, 1e-2] }
[[stage.first]]
penalty = 1e-3
backbone = "middle-net"
"""
NETWORK = """
from autotl.backbones.contract import Backbone, Weights

def build(image_size, weights):
    import keras
    image = keras.Input((image_size, image_size, 3))
    fixed = keras.initializers.RandomNormal(stddev=0.02, seed=1)
    return keras.Model(image, keras.layers.Conv2D(8, 5, strides=4, kernel_initializer=fixed, activation="relu")(image))

NET = Backbone(
    name="{name}-net", build=build, image_size=32, min_image_size=32, parameters=608,
    weights=Weights("drawn with a fixed seed", None, "CC0-1.0", "nothing"), imagenet_top1=None, reference="",
    available=lambda: True,
)
"""


def install(folder: Path, name: str, version: str = "1.2") -> Path:
    """Put a real distribution with one small network into a folder of its own, for Python's path."""
    metadata = folder / f"{name}_nets-{version}.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{name}_nets.py").write_text(NETWORK.format(name=name))
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-nets\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(f"[autotl.backbones]\n{name}-net = {name}_nets:NET\n")
    return folder


class Installed:
    """What is on the path of this process and of the workers that it starts."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def set(self, *folders: Path) -> None:
        self.patch.undo()
        self.patch.setenv("PYTHONPATH", ":".join(map(str, folders)))
        for folder in folders:
            self.patch.syspath_prepend(folder)


@pytest.fixture
def installed() -> Iterator[Installed]:
    with pytest.MonkeyPatch.context() as patch:
        yield Installed(patch)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after its first trial, when middle-nets 1.2 was installed."""
    folder = tmp_path_factory.mktemp("stopped")
    (folder / "installed.toml").write_text(SPACE)

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "trial":
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        Installed(patch).set(install(folder / "site", "middle"))
        with pytest.raises(Interrupted):
            autotl.search(
                "sample:clipart",
                space=folder / "installed.toml",
                out=folder / "run",
                cache_dir=folder / "cache",
                on_event=stop,
            )
    return folder


def test_a_plugin_that_was_installed_later_does_not_join(stopped: Path, installed: Installed, tmp_path: Path) -> None:
    before = (stopped / "run" / "plugins.json").read_text()
    names = [item["name"] for item in read_json(stopped / "run" / "plugins.json")["backbones"]]
    assert "middle-net" in names and names == sorted(names)
    run = shutil.copytree(stopped / "run", tmp_path / "run")
    installed.set(stopped / "site", install(tmp_path / "new", "early"))
    result = autotl.resume(run)
    trials = [event for event in read_events(open_run(run)) if event["kind"] == "trial"]
    assert len(trials) == 3
    assert {trial["config"]["backbone"] for trial in trials} <= set(names)
    assert result.best["backbone"] in names
    assert (run / "plugins.json").read_text() == before


def test_a_plugin_that_was_removed_is_named_with_how_to_get_it_back(
    stopped: Path, installed: Installed, tmp_path: Path
) -> None:
    run = shutil.copytree(stopped / "run", tmp_path / "run")
    installed.set()
    with pytest.raises(UsageError, match=r"middle-net came from middle-nets 1\.2 .*pip install middle-nets==1\.2"):
        autotl.resume(run)
    assert (run / "events.jsonl").read_text() == (stopped / "run" / "events.jsonl").read_text()


def test_another_version_of_a_plugin_is_refused_with_both(stopped: Path, installed: Installed, tmp_path: Path) -> None:
    run = shutil.copytree(stopped / "run", tmp_path / "run")
    installed.set(install(tmp_path / "newer", "middle", "2.0"))
    with pytest.raises(UsageError, match=r"middle-nets 1\.2 and now comes from middle-nets 2\.0"):
        autotl.resume(run)
