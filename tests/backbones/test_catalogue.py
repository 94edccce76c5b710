"""What is said about backbones whose plugin misbehaves after it was imported, and fetching from plugins."""

from collections.abc import Callable
from pathlib import Path

import pytest

from autotl.backbones.catalogue import describe_backbone, describe_backbones, fetch_backbone
from autotl.backbones.registry import GROUP
from autotl.errors import PluginError, UsageError

PLUGIN = """
from pathlib import Path
from autotl.backbones.contract import Backbone, Weights

STATE = Path(__file__).with_suffix(".weights")

def fail(): raise RuntimeError("the hub is closed")

THING = Backbone(
    name="{name}", build=lambda image_size, weights: None, image_size=64, min_image_size=32, parameters=None,
    weights=Weights("https://example.org/w", None, "CC0-1.0", "nothing", restriction="Not on Sundays."),
    imagenet_top1=None, reference="https://example.org", {options},
)
"""
Install = Callable[[str, str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a real distribution with one backbone on the import path; returns where its module is."""
    monkeypatch.syspath_prepend(tmp_path)

    def put(name: str, options: str) -> Path:
        module = tmp_path / f"catalogue_{name}.py"
        module.write_text(PLUGIN.format(name=name, options=options))
        metadata = tmp_path / f"fake_{name}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fake-{name}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module.stem}:THING\n")
        return module

    return put


def test_a_plugin_that_cannot_look_for_its_weights_is_listed_as_broken_among_the_others(install: Install) -> None:
    install("lost", "available=fail")
    found = {item["name"]: item for item in describe_backbones()}
    assert found["lost"]["problem"] == "RuntimeError: the hub is closed"
    assert (found["lost"]["available"], found["lost"]["distribution"]) == (False, "fake-lost")
    assert found["vgg16"]["problem"] is None


def test_a_description_has_the_record_and_its_origin(install: Install) -> None:
    module = install("fine", "available=lambda: True")
    described = describe_backbone("fine")
    assert described["weights"]["restriction"] == "Not on Sundays."
    assert (described["distribution"], described["entry_point"]) == ("fake-fine", f"{module.stem}:THING")
    with pytest.raises(UsageError, match="Did you mean fine"):
        describe_backbone("finr")


def test_weights_are_fetched_once(install: Install) -> None:
    module = install("willing", 'available=STATE.exists, fetch=lambda: STATE.write_text("numbers") and STATE')
    place = str(module.with_suffix(".weights"))
    assert fetch_backbone("willing") == {"name": "willing", "downloaded": True, "path": place}
    assert fetch_backbone("willing")["downloaded"] is False


def test_weights_that_come_with_the_plugin_need_no_fetching(install: Install) -> None:
    install("complete", "available=lambda: True")
    assert fetch_backbone("complete") == {"name": "complete", "downloaded": False, "path": None}


def test_a_plugin_without_a_download_says_where_weights_come_from(install: Install) -> None:
    install("bare", "available=lambda: False")
    with pytest.raises(PluginError, match=r"by hand.*https://example\.org/w"):
        fetch_backbone("bare")


def test_a_download_that_fails_in_any_way_is_explained(install: Install) -> None:
    install("closed", "available=lambda: False, fetch=fail")
    with pytest.raises(PluginError, match=r"closed cannot be downloaded \(RuntimeError: the hub is closed\)"):
        fetch_backbone("closed")
