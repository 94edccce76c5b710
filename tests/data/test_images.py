from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autotl.data.check import check_dataset
from autotl.data.decode import ImageError, load_square
from autotl.data.images import image_store_key, open_images, read_images
from autotl.data.source import open_source
from autotl.data.store import Cache
from autotl.errors import DataError

Write = Callable[[dict[str, bytes]], Path]


def test_the_store_of_the_check_a_rebuilt_one_and_reading_anew_give_the_same_pixels(
    write: Write, two_classes: dict[str, bytes], cache: Cache, tmp_path: Path
) -> None:
    root = write(two_classes)
    manifest = check_dataset(str(root), image_sizes=(16,), cache=cache).manifest
    stored = open_images(manifest, 16, cache)
    rebuilt = open_images(manifest, 16, Cache(tmp_path / "other", 10**9))
    with open_source(root) as source:
        batches = list(read_images(source, 16, 7, names=[sample.path for sample in manifest.samples]))
    again = np.concatenate([pixels for _, pixels in batches])
    assert stored.shape == (40, 16, 16, 3)
    assert np.array_equal(stored, rebuilt) and np.array_equal(stored, again)
    assert [len(names) for names, _ in batches] == [7, 7, 7, 7, 7, 5]
    assert np.array_equal(stored[3], load_square((root / manifest.samples[3].path).read_bytes(), 16))


def test_an_evicted_store_is_built_anew(write: Write, two_classes: dict[str, bytes], cache: Cache) -> None:
    manifest = check_dataset(str(write(two_classes)), image_sizes=(8,), cache=cache).manifest
    first = np.array(open_images(manifest, 8, cache))
    Cache(cache.root, 0).evict()
    assert np.array_equal(open_images(manifest, 8, cache), first)


def test_a_file_that_changed_since_the_check_is_noticed(
    write: Write, two_classes: dict[str, bytes], cache: Cache
) -> None:
    root = write(two_classes)
    manifest = check_dataset(str(root)).manifest
    (root / "cat/03.png").write_bytes(two_classes["cat/04.png"])
    with pytest.raises(DataError, match=r"cat/03\.png"):
        open_images(manifest, 8, cache)
    assert list((cache.root / "images").iterdir()) == []


def test_unusable_files_are_reported_or_raise(write: Write, png: Callable[..., bytes]) -> None:
    root = write({"1.png": png(1), "2.png": b"text", "3.png": png(3)})
    paths = [root / "1.png", root / "2.png", root / "missing.png", root / "3.png"]
    skipped: list[tuple[str, str]] = []
    batches = list(read_images(paths, 8, on_skip=lambda name, error: skipped.append((Path(name).name, error.reason))))
    assert [Path(name).name for names, _ in batches for name in names] == ["1.png", "3.png"]
    assert skipped == [("2.png", "not an image"), ("missing.png", "not an image")]
    with pytest.raises(ImageError, match=r"2\.png"):
        list(read_images(paths, 8))


@pytest.mark.parametrize("resize", ["pad", "trim"])
def test_a_store_of_each_way_to_make_images_square_has_the_pixels_of_the_decoder(
    write: Write, two_classes: dict[str, bytes], cache: Cache, resize: str
) -> None:
    root = write(two_classes)
    manifest = check_dataset(str(root), cache=cache).manifest
    stored = open_images(manifest, 16, cache, resize=resize)
    for row, sample in enumerate(manifest.samples):
        assert np.array_equal(stored[row], load_square((root / sample.path).read_bytes(), 16, resize))
    kept = check_dataset(str(root), image_sizes=(16,), resize=resize, cache=cache)
    assert kept.report["decoded"] == 0 and image_store_key(["a"], 16) != image_store_key(["a"], 16, resize)


def test_the_key_knows_content_order_and_size() -> None:
    assert image_store_key(["a", "b"], 8) == image_store_key(("a", "b"), 8)
    assert len({image_store_key(s, n) for s in (["a", "b"], ["b", "a"], ["ab"]) for n in (8, 9)}) == 6
