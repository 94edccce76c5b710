"""How fast this machine runs a network: three batches, timed before a search says how long it will take.

The figures are kept in the cache: a search on warm stores loads no network to learn what it knows already.
"""

import json
import os
import platform
from time import perf_counter
from typing import Any

import numpy as np

from autotl.backbones.cuts import split_model
from autotl.data.store import key_of
from autotl.learn.config import TrialConfig
from autotl.learn.features import plugin_version
from autotl.learn.networks import borrow_network, multiply_adds
from autotl.learn.task import Task

BATCHES = 3
BATCH = 8  # a few images tell the speed well enough, and a budget may be short
KIND = "timings"
FILE = "timing.json"


def time_network(task: Task, config: TrialConfig) -> dict[str, Any]:
    """Time a backbone at the size of the configuration; the network stays in memory for the trials that follow.

    Returns:
        seconds_per_image: of a forward pass, the fastest of three batches after the first;
        multiply_adds: of one image's pass;
        tail_shares: for each stage, from the input, the share of them that lies behind its end. With nothing frozen
            that is 1, which is left out; the last one is 0.
    """
    cache, key = task.sources.cache, key_of(_spec(config))
    kept = cache.find(KIND, key)
    if kept is None:
        found = _measure(task, config)
        with cache.building(KIND) as folder:
            (folder / FILE).write_text(json.dumps(found))
            kept = cache.publish(KIND, key, folder)
    found = json.loads((kept / FILE).read_text())
    return dict(found)


def _spec(config: TrialConfig) -> dict[str, Any]:
    return {
        "backbone": config.backbone,
        "plugin": plugin_version(config.backbone),
        "image_size": config.image_size,
        "machine": platform.node(),
        "cores": os.cpu_count(),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "backend": os.environ.get("KERAS_BACKEND", ""),
    }


def _measure(task: Task, config: TrialConfig) -> dict[str, Any]:
    import keras

    network = borrow_network(config.backbone, config.image_size, config.weights, task.ledger)
    model = keras.Model(network.model.inputs, network.model.outputs)  # its own prediction function, dropped afterwards
    images = np.zeros((BATCH, *network.model.input_shape[1:]), np.float32)
    with task.ledger.phase("timing"):
        model.predict_on_batch(images)  # traces
        seconds = min(_seconds(model, images) for _ in range(BATCHES))
    total = multiply_adds(network.model)
    task.ledger.count("multiply_adds_forwarded", total * BATCH * (BATCHES + 1))
    return {
        "seconds_per_image": seconds / BATCH,
        "multiply_adds": total,
        "tail_shares": [_tail_multiply_adds(network.model, cut) / max(1, total) for cut in network.cuts],
    }


def _seconds(model: Any, images: np.ndarray) -> float:
    started = perf_counter()
    np.asarray(model.predict_on_batch(images))
    return perf_counter() - started


def _tail_multiply_adds(model: Any, cut: Any) -> int:
    _, tail = split_model(model, cut)
    return 0 if tail is None else multiply_adds(tail)
