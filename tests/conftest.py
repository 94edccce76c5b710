"""What all tests share: nothing of a test reaches the user's own cache."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAMILIES = {
    "DeiTBackbone", "MiTBackbone", "SwinTransformerBackbone", "DINOV2Backbone", "SigLIPVisionEncoder",
    "HGNetV2Backbone", "MobileNetBackbone", "ResNetBackbone-v2", "CSPNetBackbone", "DenseNetBackbone", "VGGBackbone",
    "XceptionBackbone",
}  # fmt: skip
SIBLINGS = {
    "resnet101", "resnet152", "resnet101-v2", "resnet152-v2", "vgg19", "inception-resnet-v2", "mobilenet-v3-large",
    "densenet169", "densenet201", "nasnet-large",
    *(f"efficientnet-b{n}" for n in range(1, 8)), *(f"efficientnet-v2-{n}" for n in ("b1", "b2", "b3", "s", "m", "l")),
    *(f"convnext-{n}" for n in ("small", "base", "large", "xlarge")),
}  # fmt: skip
EXHAUSTIVE = {
    "tests/backbones/test_zoo.py": SIBLINGS,
    "tests/backbones/test_applications.py": {
        "resnet50", "inception-v3", "xception", "mobilenet", "mobilenet-v2", "densenet121", "efficientnet-v2-b0",
        "convnext-tiny", "nasnet-mobile",
    },
    "tests/docs/test_tutorial.py": {
        "test_both_plugins_pass_and_both_searches_deliver_a_model", "test_the_search_says_that_the_weights_were_random",
    },
    "tests/conformance/test_installed.py": {
        "test_layers_of_its_own_must_load_where_nothing_has_imported_the_plugin",
    },
    "tests/end_to_end/test_arrays.py": {"test_the_studys_space_runs_on_arrays_and_a_given_test_split_stays"},
    "tests/end_to_end/test_inline.py": {"test_jobs_in_the_driver_s_process_come_to_the_same_result"},
    "plugins/autotl-kerashub/tests/test_families.py": FAMILIES,
    "plugins/autotl-kerashub/tests/test_delivery.py": {"DINOV2Backbone", "DINOV3Backbone", "SwinTransformerBackbone"},
    "plugins/autotl-kerashub/tests/test_table.py": {
        "dinov2_small-56", "dinov3_vit_small_lvd1689m-64", "mit_b0_ade20k_512-64", "densenet_121_imagenet-32",
        "mit_b0_ade20k_512", "resnet_50_imagenet", "swin_tiny_patch4_window7_224", "siglip2_so400m_patch14_384",
        "deit_small_distilled_patch16_224_imagenet", "test_a_real_one_keeps_the_contract_with_random_weights",
    },
}  # fmt: skip
"""What shows for one more network what others show already, by file and parameters or name; for `-m exhaustive`."""


@pytest.hookimpl(tryfirst=True)  # before pytest reads the markers
def pytest_collection_modifyitems(items):
    """Mark what is left out unless it is asked for."""
    for item in items:
        parameters = item.callspec.id if hasattr(item, "callspec") else ""
        if {parameters, item.originalname} & EXHAUSTIVE.get(str(item.path.relative_to(ROOT)), set()):
            item.add_marker(pytest.mark.exhaustive)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AUTOTL_CACHE_DIR", str(folder))
    return folder
