"""What seeding costs a traced graph: CPU-seconds of the first steps after each way to seed first weights.

    python benchmarks/seeding.py [--backbone efficientnet-lite0] [--image-size 128] [--out benchmarks/results]

One network from scratch is traced, then takes two steps of 32 images after nothing, after
`autotl.learn.seeding.seed_building`, and after `keras.utils.set_random_seed`, in turn, three times; medians of CPU
time.
Writes `seeding.json`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from machine import machine_record

from autotl.learn.config import read_config
from autotl.learn.seeding import seed_building
from autotl.learn.whole_models import build_whole

ROUNDS, STEPS, BATCH, CLASSES = 3, 2, 32, 12
WAYS: dict[str, Callable[[int], None]] = {
    "nothing": lambda seed: None,
    "seed_building": seed_building,
    "keras.utils.set_random_seed": keras.utils.set_random_seed,
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    config = read_config({"backbone": asked.backbone, "image_size": asked.image_size, "recipe": "scratch"})
    model = build_whole(config, CLASSES, seed=0).model
    images = np.random.default_rng(0).uniform(0, 255, (BATCH, asked.image_size, asked.image_size, 3))
    batch = images.astype(np.float32), np.eye(CLASSES, dtype=np.float32)[np.arange(BATCH) % CLASSES]

    def steps() -> float:
        started = time.process_time()
        for _ in range(STEPS):
            model.train_on_batch(*batch)
        return time.process_time() - started

    traced = steps()
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(ROUNDS):
        for name, seed in WAYS.items():
            seed(number)
            seconds[name].append(steps())
            steps()  # what the seed threw away is made again: the next way begins as the first one did
    medians = {name: round(statistics.median(values), 2) for name, values in seconds.items()}
    found = {"backbone": asked.backbone, "image_size": asked.image_size, "steps": STEPS, "batch": BATCH}
    found |= {"cpu_seconds_of_the_first_steps": round(traced, 2), "cpu_seconds_after": medians}
    text = json.dumps({"machine": machine_record(), **found}, indent=1)
    (asked.out / "seeding.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
