"""A resumed run has the plugins that it began with."""

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
