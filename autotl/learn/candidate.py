"""A network as it would be delivered, before anything was trained: for what it costs to use, not for what it knows."""

from typing import Any, NamedTuple

from autotl.learn.assemble import assemble
from autotl.learn.config import TrialConfig
from autotl.learn.heads import build_head
from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network, stage_channels
from autotl.learn.pooling import pool


class Candidate(NamedTuple):
    """A model from uint8 `[B, S, S, 3]` to probabilities `[B, C]`, and the channels of its backbone's stages."""

    model: Any
    channels: list[int]


def build_candidate(config: TrialConfig, classes: int, ledger: Ledger) -> Candidate:
    """Put an untrained linear head on average-pooled features of a backbone."""
    network = borrow_network(config.backbone, config.image_size, config.weights, ledger)
    features = pool(network.model.outputs[0], "avg")
    head = build_head(config, tuple(features.shape[1:]), classes)
    return Candidate(assemble(network.model, head, "avg", 1.0, "autotl"), stage_channels(network))
