"""The table of keras.applications is complete, and agrees with the source of the Keras that is installed."""

import importlib
import inspect

import pytest

from autotl.backbones import applications
from autotl.backbones.applications import ALL
from autotl.backbones.applications_table import FAMILIES, Network
from autotl.backbones.contract import Backbone

ROWS = [(family, network) for family in FAMILIES for network in family.networks]
WITHOUT_DIGEST = {"mobilenet", "mobilenet-v2"}
IN_CODE = {  # the digest stands in the code of these, in one call for each network; others have a table
    "vgg16", "vgg19", "inception-v3", "inception-resnet-v2", "xception", "densenet121", "densenet169", "densenet201",
    "nasnet-mobile", "nasnet-large",
}  # fmt: skip


def keras_table(network: Network) -> tuple[str, str]:
    """The module of Keras that has the digest of a network in its `WEIGHTS_HASHES`, and the key there."""
    family, last = network.name.rsplit("-", 1) if "-" in network.name else (network.name, "")
    if network.name.startswith("resnet"):
        return "resnet", network.name.replace("-", "")
    if family == "convnext":
        return "convnext", f"convnext_{last}"
    if family == "mobilenet-v3":
        return "mobilenet_v3", f"{last}_224_1.0_float"
    return family.replace("-", "_"), last if last.startswith("b") else f"-{last}"


@pytest.mark.keras
def test_every_network_of_keras_is_there() -> None:
    import keras

    public = {name for name in dir(keras.applications) if inspect.isfunction(getattr(keras.applications, name))}
    assert {network.constructor for _, network in ROWS} == public


@pytest.mark.keras
@pytest.mark.parametrize("network", [network for _, network in ROWS], ids=lambda network: network.name)
def test_the_digest_is_the_one_in_the_source_of_keras(network: Network) -> None:
    import keras

    if network.name in WITHOUT_DIGEST:
        assert network.digest is None
    elif network.name in IN_CODE:
        home = getattr(keras.applications, network.constructor).__module__
        assert f'"{network.digest}"' in inspect.getsource(importlib.import_module(home))
    else:
        module, key = keras_table(network)
        _, without_classifier = importlib.import_module(f"keras.src.applications.{module}").WEIGHTS_HASHES[key]
        assert network.digest == without_classifier


def test_names_files_and_digests_are_unique() -> None:
    for column in ("name", "constructor", "file_name"):
        values = [getattr(network, column) for _, network in ROWS]
        assert len(set(values)) == len(values), column
    digests = [network.digest for _, network in ROWS if network.digest is not None]
    assert len(set(digests)) == len(digests) == len(ROWS) - len(WITHOUT_DIGEST)


@pytest.mark.parametrize("name", ALL)
def test_a_record_is_plausible_and_an_attribute_of_the_module(name: str) -> None:
    record = ALL[name]
    assert isinstance(record, Backbone)
    assert getattr(applications, name.upper().replace("-", "_")) is record
    assert record.min_image_size in (32, 71, 75) and record.image_size >= 224
    assert 68 < record.imagenet_top1 < 87
    assert record.weights.source.startswith("https://storage.googleapis.com/")
    assert record.weights.source.endswith(".h5")
    assert record.reference.startswith("https://arxiv.org/abs/")
    assert record.weights.restriction is None
    licences = {"CC-BY-4.0", "MIT", "BSD-3-Clause", "Apache-2.0"}
    assert record.weights.licence in licences | {f"not stated (code {code})" for code in ("MIT", "Apache-2.0")}


def test_an_attribute_that_is_no_network_is_refused() -> None:
    with pytest.raises(AttributeError, match="RESNET18"):
        _ = applications.RESNET18
