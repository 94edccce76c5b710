"""Three timed batches: what the forecast of a search is made of, and that they are timed once."""

import pytest

from autotl.data.store import Cache
from autotl.learn.config import TrialConfig
from autotl.learn.ledger import Ledger
from autotl.learn.networks import borrow_network, cut_network, multiply_adds
from autotl.learn.timing import BATCH, BATCHES, time_network

pytestmark = pytest.mark.keras
CONFIG = TrialConfig("vgg16", 32, weights="random")


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", 10**9)


def test_a_network_is_timed_once_for_every_cache(problem, cache):
    task = problem.task(cache)
    found = time_network(task, CONFIG)
    assert found["seconds_per_image"] > 0.0
    network = borrow_network("vgg16", 32, "random", Ledger())
    assert found["multiply_adds"] == multiply_adds(network.model)
    counts = task.ledger.counts
    assert counts["multiply_adds_forwarded"] == found["multiply_adds"] * BATCH * (BATCHES + 1)
    again = problem.task(cache)
    assert time_network(again, CONFIG) == found
    assert again.ledger.to_json() == {"seconds": {}, "counts": {}}


def test_the_shares_of_the_tails_are_those_behind_the_cuts(problem, cache):
    found = time_network(problem.task(cache), CONFIG)
    network = borrow_network("vgg16", 32, "random", Ledger())
    shares = found["tail_shares"]
    assert len(shares) == len(network.cuts)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] < 1.0
    assert shares[-1] == 0.0
    for place, share in enumerate(shares[:-1]):
        _, _, tail = cut_network(network, (place + 1) / len(shares))
        assert share == pytest.approx(multiply_adds(tail) / found["multiply_adds"])


def test_other_sizes_and_backends_are_timed_apart(problem, cache, monkeypatch):
    small = time_network(problem.task(cache), CONFIG)
    large = time_network(problem.task(cache), TrialConfig("vgg16", 64, weights="random"))
    assert large["multiply_adds"] == 4 * small["multiply_adds"]
    monkeypatch.setenv("KERAS_BACKEND", "another")  # Keras is loaded already and stays as it is
    elsewhere = problem.task(cache)
    time_network(elsewhere, CONFIG)
    assert elsewhere.ledger.seconds["timing"] > 0.0
