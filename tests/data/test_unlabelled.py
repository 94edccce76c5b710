"""A folder of images that nobody has labelled, and what is left as it is."""

import zipfile

import pytest

from autotl.data.check import check_dataset
from autotl.data.unlabelled import keep_unlabelled


@pytest.fixture
def flat(write, png):
    """Twenty pictures in one folder, two of them the same, and a text."""
    pictures = {f"{number:02}.png": png(number) for number in range(19)}
    return write({**pictures, "19.png": png(0), "notes.txt": b"my holidays"})


def manifest_of(dataset, cache):
    return check_dataset(dataset, seed=0, cache=cache).manifest


def test_a_flat_folder_is_a_data_set_with_all_its_images(flat, cache):
    kept = keep_unlabelled(str(flat), cache)
    samples = manifest_of(kept, cache).samples
    assert sorted(sample.path.split("/")[1] for sample in samples) == sorted(path.name for path in flat.glob("*.png"))
    assert kept.endswith(f"/{flat.name}") and keep_unlabelled(str(flat), cache) == kept
    copies = [sample for sample in samples if sample.path.endswith(("00.png", "19.png"))]
    assert len({(copy.label, copy.split) for copy in copies}) == 1


def test_a_zip_of_it_has_the_same_images(flat, cache, tmp_path):
    with zipfile.ZipFile(tmp_path / "holidays.zip", "w") as archive:
        for path in flat.iterdir():
            archive.write(path, f"holidays/{path.name}")
    kept = keep_unlabelled(str(tmp_path / "holidays.zip"), cache)
    assert manifest_of(kept, cache).fingerprint == manifest_of(keep_unlabelled(str(flat), cache), cache).fingerprint


def test_another_image_makes_it_another_data_set(flat, cache, png):
    before = keep_unlabelled(str(flat), cache)
    (flat / "20.png").write_bytes(png(20))
    assert keep_unlabelled(str(flat), cache) != before


def test_what_has_classes_or_is_no_file_stays_as_it_is(write, png, cache, tmp_path):
    classes = str(write({f"{name}/{number}.png": png(number) for name in "xy" for number in range(2)}))
    for dataset in (classes, "sample:clipart", str(tmp_path / "nothing")):
        assert keep_unlabelled(dataset, cache) == dataset
