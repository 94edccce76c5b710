"""The converted networks compute what the published PyTorch implementation computes."""

import json
from pathlib import Path

import autotl_efficientnet_lite
import numpy as np
import pytest
from autotl_efficientnet_lite import checkpoint_path
from autotl_efficientnet_lite.checkpoint import read_checkpoint

pytestmark = pytest.mark.keras

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())["models"]
RECORDS = {
    record.name: record
    for record in (autotl_efficientnet_lite.LITE0, autotl_efficientnet_lite.LITE1, autotl_efficientnet_lite.LITE2)
}


def sample_images(image_size: int) -> np.ndarray:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    samples = load_sample_images()
    images = dict(zip((Path(name).name for name in samples.filenames), samples.images, strict=True))
    resized = [
        Image.fromarray(images[name]).resize((image_size, image_size), Image.Resampling.BICUBIC)
        for name in ("china.jpg", "flower.jpg")
    ]
    return np.stack([np.asarray(image, "float32") for image in resized])


@pytest.mark.parametrize("name", RECORDS)
def test_logits_and_features_reproduce_the_reference(name: str) -> None:
    record, reference = RECORDS[name], REFERENCE[name]
    assert record.image_size == reference["image_size"]
    model = record.build(record.image_size, "pretrained")
    pooled = np.asarray(model(sample_images(record.image_size), training=False)).mean(axis=(1, 2))

    variant = record.build.args[0]
    tensors = read_checkpoint(checkpoint_path(variant), variant.sha256)
    logits = pooled @ tensors["_fc.weight"].T + tensors["_fc.bias"]  # the classifier is not part of the backbone

    for row, image in enumerate(reference["images"]):
        np.testing.assert_allclose(pooled[row, :16], image["features_first16"], atol=1e-3)
        assert np.linalg.norm(pooled[row]) == pytest.approx(image["features_l2"], abs=1e-3)
        classes, values = zip(*image["logits_top10"], strict=True)
        np.testing.assert_allclose(logits[row, list(classes)], values, atol=1e-3)
        assert np.argsort(logits[row])[::-1][:3].tolist() == list(classes[:3])
