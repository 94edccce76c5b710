"""`keras:cifar10` and its like: what `keras.datasets` downloads.

Keras takes seconds and a gigabyte to import, and searches are driven by processes without it: a process of its own
loads the arrays and writes them into a file. `python -m autotl.data.keras_datasets NAME FILE` is that process.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autotl.data.datasets import DatasetSource
from autotl.errors import DataError

_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
_FASHION_FILES = ("train-labels-idx1", "train-images-idx3", "t10k-labels-idx1", "t10k-images-idx3")


class _Set(NamedTuple):
    """One of `keras.datasets`: what Keras calls its files in `datasets`, where they come from, and the classes."""

    files: tuple[str, ...]
    urls: tuple[str, ...]
    class_names: str = ""
    """In the order of the labels, with commas; none where numbers name themselves."""


SETS: Mapping[str, _Set] = {
    "cifar10": _Set(
        ("cifar-10-batches-py-target_archive",),
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck",
    ),
    "cifar100": _Set(
        ("cifar-100-python-target_archive",),
        ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        "apple, aquarium_fish, baby, bear, beaver, bed, bee, beetle, bicycle, bottle, bowl, boy, bridge, bus, "
        "butterfly, camel, can, castle, caterpillar, cattle, chair, chimpanzee, clock, cloud, cockroach, couch, "
        "crab, crocodile, cup, dinosaur, dolphin, elephant, flatfish, forest, fox, girl, hamster, house, "
        "kangaroo, keyboard, lamp, lawn_mower, leopard, lion, lizard, lobster, man, maple_tree, motorcycle, "
        "mountain, mouse, mushroom, oak_tree, orange, orchid, otter, palm_tree, pear, pickup_truck, pine_tree, "
        "plain, plate, poppy, porcupine, possum, rabbit, raccoon, ray, road, rocket, rose, sea, seal, shark, "
        "shrew, skunk, skyscraper, snail, snake, spider, squirrel, streetcar, sunflower, sweet_pepper, table, "
        "tank, telephone, television, tiger, tractor, train, trout, tulip, turtle, wardrobe, whale, willow_tree, "
        "wolf, woman, worm",
    ),
    "fashion_mnist": _Set(
        tuple(f"fashion-mnist/{name}-ubyte.gz" for name in _FASHION_FILES),
        tuple(f"{_URL}/{name}-ubyte.gz" for name in _FASHION_FILES),
        "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot",
    ),
    "mnist": _Set(("mnist.npz",), (f"{_URL}/mnist.npz",)),
}


def _load(name: str) -> Mapping[str, Any]:
    import numpy as np

    if name not in SETS:
        known = ", ".join(f"keras:{one}" for one in SETS)
        raise DataError(f"Of keras.datasets there are {known}; given was keras:{name}. Give one of these.")
    with tempfile.TemporaryDirectory(prefix="autotl-") as folder:
        path = Path(folder) / "arrays.npz"
        command = [sys.executable, "-m", __name__, name, str(path)]
        # its progress goes where progress goes, also where Python's own stderr is no file
        child = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, errors="replace")
        if child.returncode:
            raise _failed(name, child.stderr)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    names = SETS[name].class_names
    return {**arrays, "class_names": np.array(names.split(", "))} if names else arrays


def _failed(name: str, said: str) -> DataError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reason = lines[-1] if lines else "it said nothing"
    place = "in `datasets` of Keras's folder ($KERAS_HOME, else ~/.keras)"
    return DataError(
        f"The files of keras:{name} must lie {place} as {', '.join(SETS[name].files)}, or be downloaded from "
        f"{', '.join(SETS[name].urls)}; loading them failed ({reason}). Without a network here: run "
        f'`python -c "import keras; keras.datasets.{name}.load_data()"` on a machine that has one, and copy the files.'
    )


def _write(name: str, path: str) -> None:
    import keras
    import numpy as np

    keras.config.set_image_data_format("channels_last")
    (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


KERAS = DatasetSource("keras", _load, tuple(SETS), "CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, downloaded by Keras.")

if __name__ == "__main__":
    _write(*sys.argv[1:])
