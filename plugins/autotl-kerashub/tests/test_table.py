"""The table of presets: complete, equal to the installed KerasHub, honest about what is not known."""

import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import autotl_kerashub
import pytest
from autotl_kerashub.families import FAMILIES
from autotl_kerashub.table import presets

from autotl.backbones.registry import list_backbones, load_backbone
from autotl.errors import PluginError, UsageError
from autotl.testing import check_backbone

PLUGIN = Path(__file__).parents[1]
CONFIRMED_HERE = (  # one of every family, and of every way to count; the rest takes minutes
    "vit_base_patch16_224_imagenet",
    "deit_small_distilled_patch16_224_imagenet",
    "dinov2_small",
    "dinov2_with_registers_base",
    "dinov3_vit_small_lvd1689m",
    "siglip_base_patch16_224",
    "siglip2_so400m_patch14_384",
    "hgnetv2_b4_ssld_stage2_ft_in1k",
    "mobilenet_v3_small_050_imagenet",
    "efficientnet_b0_ra_imagenet",
    "efficientnet_lite0_ra_imagenet",
    "resnet_18_imagenet",
    "resnet_50_imagenet",
    "resnet_vd_18_imagenet",
    "csp_darknet_53_ra_imagenet",
    "densenet_121_imagenet",
    "vgg_16_imagenet",
    "xception_41_imagenet",
    "mit_b0_ade20k_512",
    "swin_tiny_patch4_window7_224",
)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_table", PLUGIN / "tools" / "make_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_entry_points_and_table_agree() -> None:
    points = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]["autotl.backbones"]
    assert points == {preset.name: f"autotl_kerashub:{name}" for name, preset in presets().items()}


def test_every_preset_is_registered_by_this_distribution_and_loads() -> None:
    found = {listing.name: listing for listing in list_backbones() if listing.distribution == "autotl-kerashub"}
    assert set(found) == {preset.name for preset in presets().values()}
    assert load_backbone("kerashub-vgg-16-imagenet") is autotl_kerashub.vgg_16_imagenet
    for name, preset in presets().items():
        assert found[preset.name].problem is None
        record = getattr(autotl_kerashub, name)
        assert record.name == preset.name
        assert record.resolve_size("native") == preset.image_size
        assert record.image_size % record.size_multiple == 0 and record.image_size >= record.min_image_size
        json.dumps(record.to_json())


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, autotl_kerashub as plugin\n"
        "for name in plugin.presets(): plugin.record(name).to_json()\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'keras_hub', 'kagglehub', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_there_is_no_attribute_for_what_is_no_preset() -> None:
    with pytest.raises(AttributeError, match="resnet_51_imagenet"):
        _ = autotl_kerashub.resnet_51_imagenet


def test_licences_that_restrict_say_how() -> None:
    restricted = {preset.family_name for preset in presets().values() if preset.restriction is not None}
    assert restricted == {"dinov3", "mit", "siglip"}
    for preset in presets().values():
        weights = getattr(autotl_kerashub, preset.preset).weights
        assert (weights.restriction is None) == (not weights.licence.startswith("LicenseRef-"))
    assert autotl_kerashub.medsiglip_900m_448.weights.restriction is not None
    assert autotl_kerashub.siglip_base_patch16_224.weights.restriction is None


@pytest.mark.keras
def test_no_preset_is_missing_and_numbers_and_handles_are_keras_hubs(maker: ModuleType) -> None:
    published = {
        name: (entry["kaggle_handle"], entry["metadata"]["params"], family.name)
        for family in FAMILIES.values()
        for name, entry in maker.presets_of(family).items()
    }
    assert published == {name: (row.handle, row.published, row.family_name) for name, row in presets().items()}


@pytest.mark.keras
@pytest.mark.parametrize("name", CONFIRMED_HERE)
def test_published_numbers_confirm_the_architectures(name: str, maker: ModuleType) -> None:
    preset = presets()[name]
    assert preset.architecture is not None
    assert maker.architecture_of(preset.family_name, name) == preset.architecture
    found = maker.confirm(preset.family, name, preset.published, preset.architecture)
    assert found == (preset.counts, preset.parameters)
    assert maker.confirm(preset.family, name, preset.published + 10**6, preset.architecture) == ("unconfirmed", None)


@pytest.mark.keras
def test_a_real_one_keeps_the_contract_with_random_weights() -> None:
    record = autotl_kerashub.mobilenet_v3_small_050_imagenet
    conformance = check_backbone(record, skip=("sizes", "inference", "cuts", "gradients"))  # test_families.py has these
    assert conformance.image_size == 32


@pytest.mark.keras
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("deit_tiny_distilled_patch16_224_imagenet", 224),
        ("dinov2_small", 56),
        ("dinov3_vit_small_lvd1689m", 64),
        ("efficientnet_lite0_ra_imagenet", 32),
        ("mit_b0_ade20k_512", 64),
        ("densenet_121_imagenet", 32),
        ("resnet_vd_18_imagenet", 32),
    ],
)
def test_it_has_as_many_weights_as_the_record_says(name: str, size: int) -> None:
    record = getattr(autotl_kerashub, name)
    assert record.build(size, "random").count_params() == record.parameters


def test_an_architecture_that_nothing_confirms_is_not_guessed(offline: Path) -> None:
    record = autotl_kerashub.dinov3_vit_7b_lvd1689m
    assert record.parameters is None
    with pytest.raises(PluginError, match="autotl backbones fetch kerashub-dinov3-vit-7b-lvd1689m"):
        record.build(224, "random")
    unconfirmed = {name for name, preset in presets().items() if preset.architecture is None}
    assert {name for name, preset in presets().items() if preset.parameters is None} == unconfirmed


def test_what_cannot_be_built_is_refused_before_anything_is_loaded(offline: Path) -> None:
    with pytest.raises(UsageError, match="224 pixels and no others"):
        autotl_kerashub.vit_base_patch16_224_imagenet.build(256, "pretrained")
    with pytest.raises(UsageError, match="multiples of 14"):
        autotl_kerashub.dinov2_small.build(224 + 1, "pretrained")
    with pytest.raises(UsageError, match="at least 32 pixels"):
        autotl_kerashub.resnet_50_imagenet.build(31, "random")
    with pytest.raises(UsageError, match="no such weights"):
        autotl_kerashub.resnet_50_imagenet.build(32, "no such weights")
