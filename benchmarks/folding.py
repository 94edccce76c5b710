"""A frozen network as it is, and with its batch normalisation folded into the convolutions before it.

    python benchmarks/folding.py [--networks efficientnet-lite0@128,efficientnet-lite0@224] [--rounds 9] [--batches 4]

Both take turns in one process, so that other work on the machine hits them alike; figures are medians over rounds. The
features that are compared are those that a store would hold: float16, in units of the last place.
"""

import argparse
import statistics
from time import perf_counter
from typing import Any

import numpy as np
from machine import describe_machine, machine_record, markdown_table

from autotl.learn.folding import fold_normalisation
from autotl.learn.forward import BATCH, as_float
from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network

NETWORKS = "efficientnet-lite0@128,efficientnet-lite0@224,efficientnet-lite2@260"
COLUMNS = ("network", "s to fold", "images/s", "folded", "ratio", "relative difference", "ulp, mean", "ulp, max")


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=NETWORKS, help="names with their image sizes")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=4, help="per round")
    parser.add_argument("--weights", default="pretrained")
    arguments = parser.parse_args()
    print(describe_machine(machine_record()))
    rows = []
    for network in arguments.networks.split(","):
        name, _, size = network.partition("@")
        rows.append([network, *_measure(name, int(size), arguments)])
    print(markdown_table(COLUMNS, rows))


def _measure(name: str, size: int, arguments: argparse.Namespace) -> list[str]:
    network = borrow_network(name, size, arguments.weights, Ledger()).model
    begin = perf_counter()
    folded = fold_normalisation(network)
    build_seconds = perf_counter() - begin
    models = [_from_bytes(network), _from_bytes(folded)]
    images = _images(size)
    plain, new = (np.asarray(model.predict_on_batch(images)) for model in models)  # also traces
    seconds: list[list[float]] = [[], []]
    for _ in range(arguments.rounds):
        for spent, model in zip(seconds, models, strict=True):
            spent.append(_time(model, images, arguments.batches))
    speeds = [BATCH / statistics.median(spent) for spent in seconds]
    difference = np.abs(new - plain).max() / np.abs(plain).max()
    ulps = np.abs(_ordered(new) - _ordered(plain))
    figures = [f"{build_seconds:.1f}", *(f"{speed:.0f}" for speed in speeds), f"{speeds[1] / speeds[0]:.2f}"]
    return [*figures, f"{difference:.1e}", f"{ulps.mean():.3f}", str(ulps.max())]


def _from_bytes(core: Any) -> Any:
    import keras

    image = keras.Input(core.input_shape[1:], dtype="uint8")
    return keras.Model(image, core(as_float(image), training=False))


def _images(size: int) -> np.ndarray:
    """Smooth coloured noise: like photographs more than noise of single pixels is."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (BATCH, size // 16 + 1, size // 16 + 1, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :size, :size]


def _time(model: Any, images: np.ndarray, batches: int) -> float:
    begin = perf_counter()
    for _ in range(batches):
        model.predict_on_batch(images)
    return (perf_counter() - begin) / batches


def _ordered(features: np.ndarray) -> np.ndarray:
    """float16 as integers in the same order, so that neighbours differ by 1."""
    bits = features.astype(np.float16).view(np.int16).astype(np.int64)
    return np.where(bits < 0, -32768 - bits, bits)


if __name__ == "__main__":
    main()
