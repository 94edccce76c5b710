import json
from pathlib import Path

import pytest

from autotl.backbones.applications import INCEPTION_V3, MOBILENET_V3_SMALL, VGG16
from autotl.backbones.download import cached_path
from autotl.errors import UsageError


def test_the_native_size_is_the_default() -> None:
    assert INCEPTION_V3.resolve_size() == INCEPTION_V3.resolve_size("native") == 299
    assert INCEPTION_V3.resolve_size(128) == 128


@pytest.mark.parametrize("size", [74, 0, -5])
def test_a_size_below_the_minimum_is_refused_with_the_minimum(size: int) -> None:
    with pytest.raises(UsageError, match="at least 75 pixels"):
        INCEPTION_V3.resolve_size(size)


@pytest.mark.parametrize("size", ["large", True, 96.0])
def test_a_size_that_is_no_number_of_pixels_is_refused(size: object) -> None:
    with pytest.raises(UsageError, match="number of pixels"):
        INCEPTION_V3.resolve_size(size)  # type: ignore[arg-type]


def test_a_record_is_json() -> None:
    described = json.loads(json.dumps(VGG16.to_json()))
    assert described["name"] == "vgg16"
    assert described["weights"]["licence"] == "CC-BY-4.0"
    assert "build" not in described


def test_weights_are_available_once_keras_has_downloaded_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert not MOBILENET_V3_SMALL.available()
    file = cached_path(MOBILENET_V3_SMALL.weights.source.rsplit("/", 1)[1])
    file.parent.mkdir()
    file.touch()
    assert file.is_relative_to(tmp_path)
    assert MOBILENET_V3_SMALL.available()
    assert not VGG16.available()
