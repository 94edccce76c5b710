"""Arrays as a data set: what may be in an `.npz` file, and that its images come out as they went in."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from autotl.data.check import check_dataset
from autotl.data.decode import decode
from autotl.data.images import open_images
from autotl.data.npz import NpzSource
from autotl.data.png import CHANNELS, encode_png
from autotl.data.scan import read_layout
from autotl.data.source import open_source
from autotl.data.store import Cache
from autotl.data.zips import ZipLimits
from autotl.errors import DataError

Save = Callable[..., Path]
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from(CHANNELS))
NOISE = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 2


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save_arrays(compress: bool = False, **named: Any) -> Path:
        path = tmp_path / "data.npz"
        (np.savez_compressed if compress else np.savez)(path, **named)
        return path

    return save_arrays


def pixels_of(source: Any, name: str) -> np.ndarray:
    return np.asarray(decode(source.read(name)).image)


@given(arrays.arrays(np.uint8, SHAPES))
def test_an_array_becomes_a_png_and_the_same_array_again(pixels: np.ndarray) -> None:
    if pixels.shape[2] == 4:
        pixels[..., 3] = 255  # whatever shines through is composed on white
    height, width = pixels.shape[:2]
    decoded = decode(encode_png(pixels))
    assert (decoded.format, decoded.width, decoded.height) == ("PNG", width, height)
    assert np.array_equal(np.asarray(decoded.image), np.broadcast_to(pixels[..., :3], (height, width, 3)))


def test_a_large_image_is_several_blocks() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(decode(encode_png(pixels)).image), pixels)


def test_what_shines_through_is_composed_on_white(save: Save) -> None:
    clear = np.zeros((2, 4, 4, 4), np.uint8)
    with open_source(save(x=clear, y=[0, 1])) as source:
        assert pixels_of(source, "x/0.png").min() == 255


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("shape", [(40, 8, 8), (40, 8, 8, 1), (40, 8, 8, 3)])
@pytest.mark.parametrize("kind", ["uint8", "int64", ">u2", "float16", "float32", "0..255"])
def test_images_are_the_same_however_they_were_saved(
    save: Save, compress: bool, shape: tuple[int, ...], kind: str
) -> None:
    levels = NOISE.reshape(40, -1)[:, : int(np.prod(shape[1:]))].reshape(shape)
    values = levels.astype("float32") if kind == "0..255" else levels.astype(kind)
    if kind.startswith("float"):
        values = (levels / 255).astype(kind)
    with open_source(save(compress, x=values, y=LABELS)) as source:
        assert source.names()[:2] == ["x/0.png", "x/1.png"] and len(source.names()) == 40
        for row in (0, 17, 39):
            expected = np.broadcast_to(levels[row].reshape(8, 8, -1), (8, 8, 3))
            assert np.array_equal(pixels_of(source, f"x/{row}.png"), expected)


def test_splits_labels_and_names_are_read(save: Save) -> None:
    path = save(
        x_train=NOISE[:24], y_train=LABELS[:24, None], x_val=NOISE[24:30], y_val=LABELS[24:30], x_test=NOISE[30:],
        y_test=LABELS[30:].astype(np.uint8), class_names=["../cat", "[bold]dog"], more=[1],
    )  # fmt: skip
    checked = check_dataset(str(path))
    counts = {"train": 12, "val": 3, "test": 5}
    assert checked.report["classes"] == {"../cat": counts, "[bold]dog": counts}
    assert checked.report["given_splits"] == ["test", "train", "val"]
    assert checked.report["layout"] == {"kind": "arrays", "notes": ["other arrays are ignored (more)"]}
    assert checked.manifest.samples[1].path == "x_train/1.png" and checked.manifest.samples[1].label == 1


@pytest.mark.parametrize("labels", [["a cat", "dog"], [b"a cat", b"dog"], ["  a\ncat ", "dog"]])
def test_labels_may_be_texts(save: Save, labels: list[Any]) -> None:
    with open_source(save(x=NOISE, y=np.array(labels)[LABELS])) as source:
        assert [entry.label for entry in read_layout(source).entries[:2]] == ["a cat", "dog"]


def test_a_given_test_split_stays_and_validation_is_carved_out_of_training(save: Save) -> None:
    manifest = check_dataset(
        str(save(x_train=NOISE[:30], y_train=LABELS[:30], x_test=NOISE[30:], y_test=LABELS[30:]))
    ).manifest
    assert {sample.path for sample in manifest.samples if sample.split == "test"} == {
        f"x_test/{row}.png" for row in range(10)
    }
    assert 0 < len(manifest.rows("val")) < len(manifest.rows("train"))


@pytest.mark.parametrize("compress", [False, True])
def test_stores_are_built_from_the_manifest_alone(save: Save, cache: Cache, tmp_path: Path, compress: bool) -> None:
    path = save(compress, x=NOISE, y=LABELS)
    checked = check_dataset(str(path), image_sizes=(8,), cache=cache)
    again = check_dataset(str(path), image_sizes=(8,), cache=cache)
    assert (checked.report["decoded"], again.report["decoded"]) == (40, 0)
    rebuilt = open_images(checked.manifest, 8, Cache(tmp_path / "other", 10**9))
    assert np.array_equal(rebuilt, NOISE) and np.array_equal(open_images(checked.manifest, 8, cache), NOISE)


def test_equal_images_of_two_labels_are_conflicts_and_small_images_are_not_all_alike(save: Save) -> None:
    images, labels = np.concatenate([NOISE, NOISE[:1]]), np.concatenate([LABELS, [1]])
    report = check_dataset(str(save(x=images, y=labels))).report
    assert [[item["path"] for item in group] for group in report["conflicts"]] == [["x/0.png", "x/40.png"]]
    assert report["duplicates"]["near"]["groups"] == 0


@pytest.mark.parametrize("name", ["x/40.png", "x/-1.png", "y/0.png", "x/0", "../x/0.png", "x/0.png/..", "x/²˙.png"])
def test_there_are_no_other_names(save: Save, name: str) -> None:
    with open_source(save(x=NOISE, y=LABELS)) as source, pytest.raises(FileNotFoundError):
        source.read(name)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"images": NOISE, "labels": LABELS}, "called x and y.*called images, labels"),
        ({"x": NOISE, "x_train": NOISE, "y": LABELS}, "called x and y"),
        ({"x_test": NOISE, "y_test": LABELS}, "called x and y"),
        ({"x_train": NOISE, "y_train": LABELS, "x_test": NOISE}, "no y_test"),
        ({"x": NOISE, "y": LABELS[:39]}, r"x has 40 images and y is \[39\]"),
        ({"x": NOISE, "y": np.eye(2)[LABELS]}, "argmax"),
        ({"x": NOISE, "y": LABELS.astype(float)}, "astype"),
        ({"x": NOISE.reshape(40, -1), "y": LABELS}, r"\[N, H, W\]"),
        ({"x": NOISE.transpose(0, 3, 1, 2), "y": LABELS}, "channels come last"),
        ({"x": NOISE[..., :2], "y": LABELS}, "1, 3, 4"),
        ({"x": NOISE[:0], "y": LABELS[:0]}, r"\[N, H, W\]"),
        ({"x": NOISE > 9, "y": LABELS}, "bool"),
        ({"x": np.asfortranarray(NOISE), "y": LABELS}, "ascontiguousarray"),
        ({"x": np.full((40, 2, 2), 1.5), "y": LABELS}, "from 1.5 to 1.5"),
        ({"x": np.full((40, 2, 2), 16.0), "y": LABELS}, "neither for sure"),
        ({"x": np.full((40, 2, 2), -0.1), "y": LABELS}, "from -0.1"),
        ({"x": np.full((40, 2, 2), np.nan), "y": LABELS}, "from nan"),
        ({"x": np.full((40, 2, 2), np.inf), "y": LABELS}, "to inf"),
        ({"x": np.full((40, 2, 2), 256), "y": LABELS}, "to 256"),
        ({"x_train": NOISE / 255, "y_train": LABELS, "x_test": NOISE * 1.0, "y_test": LABELS}, "mean the same"),
        ({"x": NOISE, "y": LABELS, "class_names": ["cat"]}, "among the 1 class_names.*has 1"),
        ({"x": NOISE, "y": LABELS - 1, "class_names": ["cat", "dog"]}, "has -1"),
        ({"x": NOISE, "y": np.array(["a", "b"])[LABELS], "class_names": ["cat", "dog"]}, "holds texts"),
        ({"x": NOISE, "y": LABELS, "class_names": [["cat", "dog"]]}, "list of short texts"),
        ({"x": NOISE, "y": LABELS, "class_names": ["cat", " "]}, "a line of text"),
        ({"x": NOISE, "y": LABELS, "class_names": ["cat", "d\x1bg"]}, "a line of text"),
        ({"x": NOISE, "y": LABELS, "class_names": ["cat", "d\udc80g"]}, "a line of text"),
        ({"x": NOISE, "y": np.array([b"\xff", b"b"])[LABELS]}, "UTF-8"),
        ({"x": NOISE, "y": np.array(["a", "b" * 300])[LABELS]}, "short texts"),
        ({"x": NOISE, "y": LABELS * 0}, "at least two classes; given only 0"),
        ({"x": NOISE, "y": np.array(["cat", "Cat"])[LABELS]}, "more than case"),
    ],
)  # fmt: skip
def test_what_is_no_data_set_is_told(save: Save, named: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_dataset(str(save(**named)))


def test_objects_are_not_unpickled(save: Save) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("unpickled",))

    for named in ({"x": NOISE, "y": np.array([Trap()] * 40)}, {"x": np.array([Trap()] * 40), "y": LABELS}):
        with pytest.raises(DataError, match="can run code"):
            check_dataset(str(save(**named)))


def lying(path: Path, name: str, header: str, content: bytes = b"", kind: int = zipfile.ZIP_DEFLATED) -> Path:
    """A file that says of an array whatever it wants."""
    text = header.encode()
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content)
        file = io.BytesIO()
        np.save(file, LABELS)
        archive.writestr("y.npy", file.getvalue())
    return path


HEADER = "{'descr': '|u1', 'fortran_order': False, 'shape': (40, %s)}"


@pytest.mark.parametrize(
    ("header", "content", "message"),
    [
        (HEADER % "900000, 900000, 3", b"few", "as large as its header says"),
        (HEADER % "2, 2", b"", "as large as its header says"),
        (HEADER % "2, 2", bytes(170), "as large as its header says"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (40, 2, 2)}", b"", "Pixels are numbers"),
        ("not a header", b"", "is none"),
        ("(" * 5000, b"", "is none"),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (40, 2, 2)}" + " " * 60_000, bytes(160), "is none"),
    ],
)
def test_headers_that_lie_are_refused_before_anything_is_made_room_for(
    tmp_path: Path, header: str, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_dataset(str(lying(tmp_path / "x.npz", "x", header, content)))


def test_a_bomb_is_not_unpacked(save: Save) -> None:
    with pytest.raises(DataError, match="times its packed size"):
        check_dataset(str(save(True, x=np.zeros((40, 500, 500), np.uint8), y=LABELS)))
    with pytest.raises(DataError, match="bytes when unpacked"):
        NpzSource(save(x=NOISE, y=LABELS), ZipLimits(total_bytes=1000))


@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_file_ends_the_check_at_once(save: Save, compress: bool, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 32, 32), dtype=np.uint8)  # more than headers are sought in
    path = save(compress, x=noise, y=LABELS)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="must be readable"):
            check_dataset(str(path))
    if compress:
        path.write_bytes(whole[:20_000] + bytes(500) + whole[20_500:])
        with pytest.raises(DataError, match="must be readable"):
            check_dataset(str(path))


def test_images_that_change_between_two_looks_are_noticed(save: Save, cache: Cache) -> None:
    manifest = check_dataset(str(save(x=NOISE, y=LABELS))).manifest
    save(x=255 - NOISE, y=LABELS)
    with pytest.raises(DataError, match="has changed"):
        open_images(manifest, 8, cache)
