"""Arrays from Python, and data sets that plugins find by name."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotl.data.check import check_dataset
from autotl.data.datasets import DatasetSource
from autotl.data.given_arrays import keep_given
from autotl.data.keras_datasets import KERAS, SETS
from autotl.data.samples import resolve_dataset
from autotl.data.scikit_learn import SKLEARN
from autotl.data.store import Cache
from autotl.errors import DataError, PluginError

X = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
Y = np.arange(40) % 2
Register = Callable[..., None]


def test_equal_arrays_are_one_file_and_others_another(cache: Cache) -> None:
    first = keep_given((X, Y), cache)
    assert keep_given((X.copy(), Y.tolist()), cache) == first
    assert keep_given({"y": Y, "x": X}, cache) == first
    assert len({first, keep_given((X, 1 - Y), cache), keep_given((X[:, ::-1], Y), cache)}) == 3
    assert len(list((cache.root / "arrays").iterdir())) == 3
    assert check_dataset(str(first), cache=cache).report["images"] == 40


def test_pairs_of_pairs_are_training_and_test(cache: Cache) -> None:
    texts = np.array(["dog", "cat"])[Y].astype(object)  # as pandas has them
    path = keep_given(((X[:30], texts[:30]), (np.asfortranarray(X[30:]), list(texts[30:]))), cache)
    report = check_dataset(str(path)).report
    assert report["given_splits"] == ["test", "train"]
    assert [report["classes"][name]["test"] for name in ("cat", "dog")] == [5, 5]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (X, "given was a ndarray"),
        ([X, Y], "given was a list"),
        ((X, Y, X), "given was a tuple"),
        ((X, Y[:9]), "Check that both belong together"),
        (([X[0], X[0, :4]], [0, 1]), "one size"),
        ((X.astype(object), Y), "can run code"),
        ((X / 16, Y), "neither for sure"),
        (((X, Y), (X, None)), "Python objects"),
    ],
)
def test_what_is_no_data_set_is_told_and_not_kept(cache: Cache, dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        keep_given(dataset, cache)
    assert list(cache.root.rglob("*.npz")) == []


def test_what_nothing_can_make_anew_is_evicted_last(cache: Cache) -> None:
    given = keep_given((X, Y), cache)
    check_dataset(str(given), cache=cache, image_sizes=(8,))
    size = sum(file.stat().st_size for file in given.parent.iterdir())
    Cache(cache.root, size).evict()
    assert given.is_file() and not list((cache.root / "images").iterdir())


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Register:
    """Install a distribution with a data set source called `mine`."""

    def install(load: Callable[[str], Any], version: str = "1.0") -> None:
        module = type(pytest)("autotl_test_sets")
        module.MINE = DatasetSource("mine", load)
        monkeypatch.setitem(__import__("sys").modules, "autotl_test_sets", module)
        folder = tmp_path / "site" / "autotl_test_sets.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: autotl-test-sets\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text("[autotl.datasets]\nmine = autotl_test_sets:MINE\n")
        monkeypatch.syspath_prepend(tmp_path / "site")

    return install


def test_a_plugins_arrays_are_asked_for_once_for_each_version(register: Register, cache: Cache) -> None:
    asked: list[str] = []

    def load(rest: str) -> dict[str, Any]:
        asked.append(rest)
        return {"x": X, "y": Y}

    register(load)
    first = resolve_dataset("mine:set", cache)
    assert resolve_dataset("mine:set", cache) == first and asked == ["set"]
    assert check_dataset("mine:set", cache=cache).report["images"] == 40
    resolve_dataset("mine:other", cache)
    register(load, "1.1")
    resolve_dataset("mine:set", cache)
    assert asked == ["set", "other", "set"]


def test_a_plugin_may_give_a_path(register: Register, cache: Cache, tmp_path: Path) -> None:
    register(lambda rest: tmp_path / rest)
    assert resolve_dataset("mine:photos", cache) == tmp_path / "photos"


def test_a_plugin_that_fails_is_named_and_its_own_words_are_kept(register: Register, cache: Cache) -> None:
    register(lambda rest: 1 / 0)
    with pytest.raises(PluginError, match=r"autotl-test-sets cannot load mine:x: ZeroDivisionError"):
        resolve_dataset("mine:x", cache)
    register(lambda rest: {"x": X}["z"])
    with pytest.raises(PluginError, match="KeyError"):
        resolve_dataset("mine:x", cache)
    with pytest.raises(DataError, match=r"Did you mean mine\? Sources are sample, .*mine"):
        resolve_dataset("mein:x", cache)


def test_the_digits_of_scikit_learn(cache: Cache) -> None:
    report = check_dataset("sklearn:digits", cache=cache).report
    assert report["images"] == 1797 and list(report["classes"]) == [str(digit) for digit in range(10)]
    assert report["duplicates"]["near"]["images"] <= 10  # 8 x 8 px tell digits apart
    with pytest.raises(DataError, match="sklearn:digits"):
        SKLEARN.load("olivetti")


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        SKLEARN.load("digits")


def test_other_names_of_keras_list_those_that_there_are() -> None:
    with pytest.raises(DataError, match="keras:cifar10, keras:cifar100"):
        KERAS.load("cifar")
    assert [len(one.class_names.split(", ")) for one in SETS.values()] == [10, 100, 10, 1]


@pytest.mark.keras
@pytest.mark.process
def test_keras_reads_its_own_files_and_a_missing_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Cache
) -> None:
    """Small files in the place and the format of Fashion-MNIST, the only one that Keras does not check by digest."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing is downloaded from here
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    for part, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        labels = (np.arange(60) % 2).astype(np.uint8)[rows]
        header = struct.pack(">iiii", 2051, len(labels), 28, 28)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images[rows].tobytes()))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">ii", 2049, len(labels)) + labels.tobytes())
        )
    report = check_dataset("keras:fashion_mnist", cache=cache).report
    assert report["classes"]["T-shirt/top"]["test"] == report["classes"]["Trouser"]["test"] == 10
    with pytest.raises(DataError, match=r"mnist\.npz, or be downloaded from https:.*copy the files"):
        resolve_dataset("keras:mnist", cache)
