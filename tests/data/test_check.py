import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autotl.data.check import check_dataset
from autotl.data.decode import load_square
from autotl.data.images import open_images
from autotl.data.store import Cache
from autotl.errors import DataError

Write = Callable[[dict[str, bytes]], Path]
Make = Callable[..., bytes]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_clean_data_set_is_split_and_reported(
    kind: str, write: Write, zipped: Write, two_classes: dict[str, bytes]
) -> None:
    path = (write if kind == "folder" else zipped)(two_classes)
    progress: list[tuple[int, int]] = []
    checked = check_dataset(str(path), on_progress=lambda done, total: progress.append((done, total)))
    assert checked.manifest.classes == ("cat", "dog")
    assert checked.report["classes"] == {name: {"train": 14, "val": 3, "test": 3} for name in ("cat", "dog")}
    assert checked.report["formats"] == {"PNG": 40} and checked.report["side"]["largest"] == 40
    assert checked.report["skipped"] == checked.report["conflicts"] == checked.report["leaks"] == []
    assert progress == [(n, 40) for n in range(1, 41)]
    json.dumps(checked.report)


def test_a_folder_and_its_zip_have_one_fingerprint(write: Write, zipped: Write, two_classes: dict[str, bytes]) -> None:
    folder, archive = (check_dataset(str(make(two_classes))).manifest for make in (write, zipped))
    assert folder.fingerprint == archive.fingerprint and folder.split_fingerprint == archive.split_fingerprint


def test_a_second_check_decodes_nothing_and_a_new_size_decodes_once(
    write: Write, two_classes: dict[str, bytes], cache: Cache
) -> None:
    root = write(two_classes)
    reports = [
        check_dataset(str(root), image_sizes=sizes, cache=cache, seed=seed).report
        for sizes, seed in (((8, 16), 0), ((8, 16), 0), ((16,), 1), ((12,), 0), ((8, 12, 16), 0))
    ]
    assert [report["decoded"] for report in reports] == [40, 0, 0, 40, 0]
    assert reports[0]["split_fingerprint"] == reports[1]["split_fingerprint"] != reports[2]["split_fingerprint"]
    ignored = {"seconds", "decoded"}
    assert {k: v for k, v in reports[0].items() if k not in ignored} == {
        k: v for k, v in reports[1].items() if k not in ignored
    }


def test_a_changed_file_is_seen(write: Write, two_classes: dict[str, bytes], png: Make, cache: Cache) -> None:
    root = write(two_classes)
    before = check_dataset(str(root), cache=cache).manifest
    (root / "cat/00.png").write_bytes(png(77, side=(50, 50)))
    after = check_dataset(str(root), cache=cache)
    assert after.report["decoded"] == 40 and after.manifest.fingerprint != before.fingerprint


def test_stores_hold_the_kept_images_in_manifest_order(
    write: Write, two_classes: dict[str, bytes], png: Make, cache: Cache
) -> None:
    bad = {"cat/05b.png": b"text", "cat/same.png": png(7), "dog/same.png": png(7)}
    root = write(two_classes | bad)
    checked = check_dataset(str(root), image_sizes=(8,), cache=cache)
    assert [item["path"] for item in checked.report["skipped"]] == ["cat/05b.png"]
    images = open_images(checked.manifest, 8, cache)
    assert len(images) == len(checked.manifest.samples) == 39  # cat/07.png is a third copy
    for row, sample in enumerate(checked.manifest.samples):
        assert np.array_equal(images[row], load_square((root / sample.path).read_bytes(), 8))


def test_equal_files_with_two_labels_are_all_dropped_and_reported(
    write: Write, two_classes: dict[str, bytes], png: Make
) -> None:
    checked = check_dataset(str(write(two_classes | {"dog/copy.png": two_classes["cat/03.png"]})))
    assert [[item["path"] for item in group] for group in checked.report["conflicts"]] == [
        ["cat/03.png", "dog/copy.png"]
    ]
    assert len(checked.manifest.samples) == 39


def test_a_test_split_that_was_given_keeps_its_ambiguous_images(write: Write, png: Make) -> None:
    files = {
        f"{part}/{name}/{n}.png": png(100 * side + 10 * n + len(part))
        for part in ("train", "test")
        for side, name in enumerate(("cat", "dog"))
        for n in range(8)
    }
    twice = {"test/cat/same.png": png(7), "test/dog/same.png": png(7), "train/dog/same.png": png(7)}
    checked = check_dataset(str(write(files | twice)))
    paths = {sample.path: sample.split for sample in checked.manifest.samples}
    assert paths["test/cat/same.png"] == paths["test/dog/same.png"] == "test"
    assert "train/dog/same.png" not in paths
    assert len(checked.report["conflicts"]) == 1


def test_duplicates_share_a_group_and_a_split(
    write: Write, two_classes: dict[str, bytes], jpeg: Make, png: Make
) -> None:
    more = {"cat/03-copy.png": two_classes["cat/03.png"]}
    more |= {f"dog/large-{n}.jpg": jpeg(500, side=(400 + 100 * n, 320 + 80 * n)) for n in range(3)}
    checked = check_dataset(str(write(two_classes | more)), seed=4)
    assert checked.report["duplicates"]["exact"]["listed"] == [["cat/03-copy.png", "cat/03.png"]]
    assert checked.report["duplicates"]["near"]["listed"] == [["dog/large-0.jpg", "dog/large-1.jpg", "dog/large-2.jpg"]]
    by_group: dict[int, set[str]] = {}
    for sample in checked.manifest.samples:
        by_group.setdefault(sample.group, set()).add(sample.split)
    assert len(by_group) == 41 and all(len(splits) == 1 for splits in by_group.values())


def test_copies_across_given_splits_leave_the_training_side(write: Write, png: Make, jpeg: Make) -> None:
    places = ["train/a", "train/b", "test/a", "test/b"]
    files = {f"{place}/{n}.png": png(100 * index + n) for index, place in enumerate(places) for n in range(8)}
    files["train/a/leak.png"] = files["test/a/0.png"]
    files["train/b/leak.jpg"] = jpeg(301, quality=90)  # test/b/1.png, recompressed
    checked = check_dataset(str(write(files)))
    assert [(leak["split"], leak["kept"], leak["dropped"]) for leak in checked.report["leaks"]] == [
        ("test", ["test/a/0.png"], ["train/a/leak.png"]),
        ("test", ["test/b/1.png"], ["train/b/leak.jpg"]),
    ]
    splits = Counter((sample.path.split("/")[0], sample.split) for sample in checked.manifest.samples)
    assert (
        splits["test", "test"] == 16
        and splits["train", "val"] >= 2
        and set(splits)
        == {
            ("test", "test"),
            ("train", "train"),
            ("train", "val"),
        }
    )


def test_a_csv_with_groups_and_a_missing_file(write: Write, two_classes: dict[str, bytes]) -> None:
    lines = [f"{name},{name[:3]},{int(name[4:6]) // 4}-{name[:3]}" for name in two_classes]
    root = write(two_classes | {"list.csv": "\n".join(["path,label,group", *lines, "cat/missing.png,cat,"]).encode()})
    checked = check_dataset(str(root / "list.csv"))
    assert [item["reason"] for item in checked.report["skipped"]] == ["missing: no such file"]
    assert len({sample.group for sample in checked.manifest.samples}) == 10
    assert checked.report["layout"]["kind"] == "csv"


def test_large_and_broken_images_are_listed_but_too_many_end_the_check(
    write: Write, two_classes: dict[str, bytes], png: Make
) -> None:
    few = two_classes | {
        "cat/broken.png": png(1)[:60],
        "dog/large.png": png(2, side=(200, 200)),
        "dog/notes.txt": b"hello",
    }
    report = check_dataset(str(write(few)), max_pixels=10_000).report
    assert sorted(item["reason"].partition(":")[0] for item in report["skipped"]) == [
        "not an image",
        "too large",
        "truncated",
    ]
    with pytest.raises(DataError, match=r"6 of 46 are: cat/broken"):
        check_dataset(str(write({f"cat/x{n}.png": b"no image" for n in range(4)})), max_pixels=10_000)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1", "a/2", "a/3", "a/4"], "at least two classes; given only a"),
        (["a/1", "b/2"], r"at least 3 different images .* a \(1\), b \(1\)"),
        (["a/1", "a/2", "a/3", "b/bad"], "none in b"),
    ],
)
def test_data_sets_that_cannot_be_used_say_why(names: list[str], message: str, write: Write, png: Make) -> None:
    root = write({f"{name}.png": b"" if "bad" in name else png(index) for index, name in enumerate(names)})
    with pytest.raises(DataError, match=message) as caught:
        check_dataset(str(root))
    assert caught.value.exit_code == 3


def test_an_interrupted_pass_leaves_no_files_and_no_threads(
    write: Write, two_classes: dict[str, bytes], cache: Cache
) -> None:
    before = threading.active_count()

    def interrupt(done: int, total: int) -> None:
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_dataset(str(write(two_classes)), image_sizes=(8,), cache=cache, on_progress=interrupt)
    assert threading.active_count() == before
    assert [path for path in cache.root.rglob("*") if path.is_file()] == []


def test_image_sizes_without_a_cache_are_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need a cache"):
        check_dataset(str(tmp_path), image_sizes=(8,))


def test_decoding_leaves_pillow_as_it_was(write: Write, two_classes: dict[str, bytes]) -> None:
    before = Image.MAX_IMAGE_PIXELS
    check_dataset(str(write(two_classes)))
    assert before == Image.MAX_IMAGE_PIXELS
