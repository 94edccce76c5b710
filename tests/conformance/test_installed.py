"""The conformance kit on plugins that are installed."""

from typing import Any

import pytest

from autotl.backbones.registry import KIND as BACKBONE
from autotl.conformance.installed import check_entry
from autotl.conformance.listing import check_import
from autotl.conformance.rules import RuleError
from autotl.heads.registry import KIND as HEAD

HEAD_CODE = """
from autotl.heads.contract import Head

def build(features, classes, options):
    import keras

    @keras.saving.register_keras_serializable(package="{module}")
    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2.0 * x

    inputs = keras.Input((features,))
    return keras.Model(inputs, Doubled()(keras.layers.Dense(classes)(inputs)))

THING = Head("{name}", build)
"""
LAYERS_CODE = """
import keras

@keras.saving.register_keras_serializable(package="{module}")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x
"""
BACKBONE_CODE = """
from autotl.backbones.contract import Backbone, Weights, check_image_size, check_weights

def build(image_size, weights):
    check_image_size("raising", image_size, 8)
    check_weights(weights)
    raise LookupError("the layer table is empty")

THING = Backbone(
    name="raising", build=build, image_size=16, min_image_size=8, parameters=None,
    weights=Weights("nowhere", None, "CC0-1.0", "nothing"), imagenet_top1=None, reference="", available=lambda: True,
)
"""


def test_a_module_that_imports_nothing_heavy_passes(site: Any) -> None:
    site.install("light-plugin", "light_plugin", "print('hello')", "[autotl.heads]\nlight = light_plugin:THING\n")
    assert check_import(HEAD, "light").startswith("light_plugin loads none of keras")


def test_a_heavy_import_is_named(site: Any) -> None:
    site.install("heavy-plugin", "heavy_plugin", "import numpy", "[autotl.heads]\nheavy = heavy_plugin:THING\n")
    with pytest.raises(RuleError, match=r"importing heavy_plugin loads numpy") as caught:
        check_import(HEAD, "heavy")
    assert "inside `build`" in caught.value.advice


def test_a_module_that_cannot_be_imported_alone_fails(site: Any) -> None:
    site.install("sad-plugin", "sad_plugin", "raise SystemExit('no luck')", "[autotl.heads]\nsad = sad_plugin:THING\n")
    with pytest.raises(RuleError, match="importing sad_plugin fails: no luck"):
        check_import(HEAD, "sad")


def test_what_is_not_registered_is_not_imported() -> None:
    assert check_import(HEAD, "no-such-head").startswith("not registered")


def test_a_plugin_that_cannot_be_loaded_is_reported(site: Any) -> None:
    code = "import a_module_that_is_not_there"
    site.install("lost-plugin", "lost_plugin", code, "[autotl.heads]\nlost = lost_plugin:THING\n")
    report = check_entry(HEAD, "lost", "random")
    assert (report["passed"], report["broken"]["name"]) == (False, "loading")
    assert "a_module_that_is_not_there" in report["broken"]["found"]


def test_a_build_that_raises_is_reported_with_what_had_passed(site: Any) -> None:
    entry = "[autotl.backbones]\nraising = raising_plugin:THING\n"
    site.install("raising-plugin", "raising_plugin", BACKBONE_CODE, entry)
    report = check_entry(BACKBONE, "raising", "random")
    assert [check["name"] for check in report["checks"]] == ["record", "import", "refusals"]
    assert report["broken"]["found"] == "it raised LookupError: the layer table is empty."


@pytest.mark.keras
def test_layers_of_its_own_must_load_where_nothing_has_imported_the_plugin(site: Any) -> None:
    entry = "[autotl.heads]\n{name} = {module}:THING\n"
    for name, module, layers in (
        ("doubled", "doubled_head", ""),
        ("registered", "registered_head", "[autotl.layers]\nlayers = registered_layers\n"),
    ):
        code = HEAD_CODE.format(name=name, module=module)
        site.install(name, module, code, entry.format(name=name, module=module) + layers)
    (site.path / "registered_layers.py").write_text(LAYERS_CODE.format(module="registered_head"))
    report = check_entry(HEAD, "doubled", "random")
    assert report["broken"]["name"] == "saving"
    assert "with Doubled it does not load" in report["broken"]["found"]
    assert "autotl.layers" in report["broken"]["advice"]
    assert check_entry(HEAD, "registered", "random")["passed"]
