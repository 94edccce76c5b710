"""A network of random weights with settled batch statistics, kept as a file of weights: fair random features.

As it is built, batch normalisation changes nothing, and what comes out of tens of layers of random weights is next to
nothing: all images look the same, and a head learns the classes' frequencies.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autotl.backbones.contract import RANDOM, WEIGHTS_SUFFIX
from autotl.errors import TrialError
from autotl.learn.batch_statistics import settle_statistics, spread
from autotl.learn.checkpoints import Report
from autotl.learn.config import TrialConfig
from autotl.learn.pretrain import open_examples, open_network
from autotl.learn.task import Task

IMAGES = 256


def run_settle(task: Task, config: TrialConfig, payload: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Draw random weights by the job's seed, measure batch statistics on 256 training images, and save both.

    Args:
        payload: see `autotl.learn.jobs.run_job`; labels and the validation split take no part.

    Returns:
        weights: the path of the file. Its name tells its content, for features are kept by this path.

    Raises:
        TrialError: the configuration has other weights than random ones.
    """
    if config.weights != RANDOM:
        raise TrialError(f'Statistics are settled of "{RANDOM}" weights, not of {config.weights!r}.')
    network = open_network(config, payload["seed"], task.ledger)
    examples = open_examples(task, config, task.labels, len(task.classes))
    settle_statistics(network, examples, spread(task.train, IMAGES), task.ledger)
    digest = hashlib.sha256()
    for variable in network.variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    path = Path(payload["folder"]) / f"random-{digest.hexdigest()[:16]}{WEIGHTS_SUFFIX}"
    with task.ledger.phase("save"):
        network.save_weights(path)
    return {"weights": str(path)}
