"""Presets in kagglehub's cache: found, missing, damaged, mistaken for one another; all without a network."""

import json
from collections.abc import Callable
from pathlib import Path

import autotl_kerashub
import pytest
from autotl_kerashub.table import presets

from autotl.errors import PluginError


def test_without_network_and_cache_the_place_and_the_command_are_named(offline: Path) -> None:
    record = autotl_kerashub.resnet_18_imagenet
    assert not record.available()
    assert record.fetch is not None
    for ask in (record.fetch, lambda: record.build(32, "pretrained")):
        with pytest.raises(PluginError) as caught:
            ask()
        message = str(caught.value)
        assert str(offline / "models" / "keras" / "resnetv1" / "keras" / "resnet_18_imagenet" / "3") in message
        assert "kaggle://keras/resnetv1/keras/resnet_18_imagenet/3" in message
        assert "autotl backbones fetch kerashub-resnet-18-imagenet" in message


def test_a_preset_is_here_when_kagglehub_has_completed_its_files(offline: Path) -> None:
    record = autotl_kerashub.resnet_18_imagenet
    variation = offline / "models" / "keras" / "resnetv1" / "keras" / "resnet_18_imagenet"
    (variation / "3").mkdir(parents=True)
    markers = variation / ".complete" / "3"
    markers.mkdir(parents=True)
    for name in ("config.json", "model.weights.h5"):
        (variation / "3" / name).write_text("{}")
        assert not record.available()  # half a download
        (markers / f"{name}.complete").touch()
    assert record.available()
    assert record.fetch is not None and record.fetch() == variation / "3"  # nothing is downloaded again


def test_shards_are_part_of_a_preset(offline: Path) -> None:
    record = autotl_kerashub.dinov3_vit_7b_lvd1689m
    variation = offline / "models" / "keras" / "dinov3" / "keras" / "dinov3_vit_7b_lvd1689m"
    folder = variation / "1"
    folder.mkdir(parents=True)
    (variation / "1.complete").touch()
    (folder / "config.json").write_text("{}")
    (folder / "model.weights.json").write_text(json.dumps({"weight_map": {"/a": ["one.h5"], "/b": "two.h5"}}))
    (folder / "one.h5").touch()
    assert not record.available()
    (folder / "two.h5").touch()
    assert record.available()


def test_handles_that_name_another_network_are_refused(offline: Path) -> None:
    misdirected = {name for name, preset in presets().items() if preset.is_misdirected}
    assert misdirected == {f"efficientnet_{name}_imagenet" for name in ("el_ra", "em_ra2", "es_ra")}
    record = autotl_kerashub.efficientnet_el_ra_imagenet
    assert not record.available()
    with pytest.raises(PluginError, match="archive of another network"):
        record.build(32, "pretrained")


@pytest.mark.keras
def test_the_width_that_keras_hub_does_not_write_is_given_when_a_preset_is_loaded(
    offline: Path, saved: Callable[[str], Path]
) -> None:
    """EfficientNetV2 cannot be loaded by KerasHub 0.32 alone: its configuration lacks `num_features`."""
    import keras_hub

    name = "efficientnet2_rw_s_ra2_imagenet"
    config = json.loads((saved("EfficientNetBackbone") / "config.json").read_text())["config"]
    assert "num_features" not in config
    wide = keras_hub.models.EfficientNetBackbone(**{**config, "dtype": None}, num_features=1792)
    folder = offline / "models" / "keras" / "efficientnet" / "keras" / name / "2"
    wide.save_to_preset(str(folder))
    folder.with_name("2.complete").touch()
    with pytest.raises(ValueError, match="could not be loaded"):
        keras_hub.models.Backbone.from_preset(str(folder))
    record = autotl_kerashub.open_preset(presets()[name].handle)
    assert record.available()
    assert record.build(32, "pretrained").output_shape == (None, 4, 4, 1792)


@pytest.mark.keras
def test_a_preset_that_holds_another_network_is_refused(offline: Path) -> None:
    import keras_hub

    folder = offline / "models" / "keras" / "vgg" / "keras" / "vgg_11_imagenet" / "3"
    keras_hub.models.VGGBackbone([1], [8]).save_to_preset(str(folder))
    folder.with_name("3.complete").touch()
    with pytest.raises(PluginError, match="must have 9220480 weights"):
        autotl_kerashub.vgg_11_imagenet.build(32, "pretrained")
    keras_hub.models.DenseNetBackbone([1]).save_to_preset(str(folder))
    with pytest.raises(PluginError, match="of the family vgg"):
        autotl_kerashub.vgg_11_imagenet.build(32, "pretrained")
