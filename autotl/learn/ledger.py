"""Where the seconds of a job went: the cost ledger that all claims about speed are read off."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Ledger:
    """Seconds by phase and counts by kind. Phases may nest: an inner one's seconds are not the outer one's.

    Counts of the FeatureStore: `images_forwarded` (once a pass, whatever it gives), `forwarded/PLACE` (a cut's name, or
    "pooled"), `multiply_adds_forwarded` (images times multiplications of what ran), `bytes_read` (of images and of
    stores that a pass started from), `bytes_opened` (the size of the stores that a job asked for). Of training:
    `images_trained`, `trained/PLACE`, `multiply_adds_trained` (backward passes included). `traces` are the graphs that
    were traced, by either.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._nested: list[float] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        self._nested.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            inner = self._nested.pop()
            if self._nested:
                self._nested[-1] += elapsed
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - inner

    def count(self, name: str, amount: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + amount

    def to_json(self) -> dict[str, dict[str, float]]:
        seconds = {name: round(value, 4) for name, value in self.seconds.items()}
        return {"seconds": seconds, "counts": dict(self.counts)}
