"""A resumed run has the plugins that it began with."""

import json
import zipfile
from pathlib import Path

import pytest

from autotl.backbones.registry import load_backbone
from autotl.errors import UsageError
from autotl.heads.registry import load_head
from autotl.runs.directory import Run, create_run
from autotl.runs.files import read_json, write_json
from autotl.search.frozen import FILE, freeze, thaw

LITE = "efficientnet-lite0"


@pytest.fixture
def frozen(tmp_path: Path) -> Run:
    run = create_run(tmp_path / "run", {"dataset": "images"})
    freeze(run, {LITE: load_backbone(LITE)}, {"linear": load_head("linear")})
    return run


def change(run: Run, group: str, **fields: str) -> None:
    recorded = read_json(run.path / FILE)
    recorded[group][0] |= fields
    write_json(run.path / FILE, recorded)


def test_a_run_goes_on_with_what_it_began_with_and_nothing_else(frozen: Run) -> None:
    assert thaw(frozen) == {LITE: load_backbone(LITE)}


def test_a_run_of_an_older_autotl_has_nothing_frozen(tmp_path: Path) -> None:
    assert thaw(create_run(tmp_path / "run", {"dataset": "images"})) is None


def test_a_removed_plugin_is_named_with_how_to_get_it_back(frozen: Run) -> None:
    change(frozen, "backbones", name="gone-net", distribution="gone-nets", version="1.2")
    with pytest.raises(UsageError, match=r"gone-net .*is not installed any more.*pip install gone-nets==1\.2"):
        thaw(frozen)


def test_another_version_of_a_plugin_is_refused_with_both(frozen: Run) -> None:
    change(frozen, "backbones", version="0.0.9")
    with pytest.raises(UsageError, match=r"autotl-efficientnet-lite 0\.0\.9.*now comes from autotl-efficientnet-lite"):
        thaw(frozen)


def test_a_head_is_checked_too(frozen: Run) -> None:
    change(frozen, "heads", name="gone-head", distribution="gone-heads", version="2.0")
    with pytest.raises(UsageError, match=r"head gone-head came from gone-heads 2\.0"):
        thaw(frozen)


def test_other_weights_are_refused(frozen: Run) -> None:
    change(frozen, "backbones", weights="0" * 64)
    with pytest.raises(UsageError, match="have changed"):
        thaw(frozen)


def test_the_order_of_the_choices_stays(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", {"dataset": "images"})
    freeze(run, {name: load_backbone(name) for name in ("vgg16", LITE, "resnet50")}, {})
    thawed = thaw(run)
    assert thawed is not None and list(thawed) == ["vgg16", LITE, "resnet50"]


def test_a_network_of_your_own_that_changed_or_is_gone_is_refused(tmp_path: Path) -> None:
    path, run = tmp_path / "mine.keras", create_run(tmp_path / "run", {"dataset": "images"})
    write_network(path, 64)
    name = f"{path}?normalisation=unit"
    freeze(run, {name: load_backbone(name)}, {})
    assert thaw(run) is not None
    write_network(path, 96)
    with pytest.raises(UsageError, match=r"those of mine have changed. Put the old file back"):
        thaw(run)
    path.unlink()
    with pytest.raises(UsageError, match=r"one is gone: .*mine\.keras is none"):
        thaw(run)


def write_network(path: Path, side: int) -> None:
    """A file as Keras writes it, without the weights: nothing here builds it."""
    image = {"class_name": "InputLayer", "module": "keras.layers", "config": {"batch_shape": [None, side, side, 3]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional", "config": {"layers": [image]}}))
