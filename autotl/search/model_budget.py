"""What a delivered model may cost where it is used, what networks were measured to cost, and who is over it.

A configuration's network is its backbone at an image size: pooling and head add little time, and as many bytes as they
have weights. Over the budget means a violated constraint for Optuna, without a trial (`autotl.search.stages`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from autotl.search.quantities import megabytes, milliseconds

EVENT = "measured"
BYTES_PER_WEIGHT = {"float16": 2, "int8": 1}  # of a deployed model; 4 of others
_TAPS = {"last": 1, "last2": 2}
_WIDTH, _DEPTH = 256, 1  # of a perceptron, where nobody says

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """One network with a plain head, on the machine that searches, one image at a time."""

    backbone: str
    image_size: int
    deploy: str | None
    """As what it was measured: "litert:int8"; None is Keras."""
    p50_milliseconds: float = 0.0
    p95_milliseconds: float = 0.0
    bytes: int = 0
    """Of its file."""
    parameters: int = 0
    channels: tuple[int, ...] = ()
    """Of each stage, for the size of heads that stand on several."""
    classes: int = 0
    problem: str | None = None
    """Why it cannot be deployed, and has no figures."""

    @property
    def key(self) -> tuple[str, int]:
        return self.backbone, self.image_size

    def bytes_with(self, config: Config) -> int:
        """Bytes of the file with the head of a configuration in the place of the plain one."""
        precision = "" if self.deploy is None else self.deploy.partition(":")[2]
        more = _head_weights(self, config) - _head_weights(self, {})
        return self.bytes + BYTES_PER_WEIGHT.get(precision, 4) * more

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "channels": list(self.channels)}


def read_measured(fields: Mapping[str, Any]) -> Measured:
    """What an event, or a result, says."""
    names = Measured.__dataclass_fields__
    return Measured(
        **{**{name: fields[name] for name in names if name in fields}, "channels": tuple(fields["channels"])}
    )


@dataclass
class ModelBudget:
    """Limits of a delivered model, and what is known about those that might be delivered.

    Attributes:
        most_milliseconds: from a decoded image to its probabilities (the median), or None.
        most_bytes: of its file, or None.
        measured: by backbone and image size.
    """

    most_milliseconds: float | None = None
    most_bytes: int | None = None
    measured: dict[tuple[str, int], Measured] = field(default_factory=dict)

    @property
    def is_set(self) -> bool:
        return self.most_milliseconds is not None or self.most_bytes is not None

    def note(self, measured: Measured) -> None:
        """Take in what a network costs."""
        self.measured[measured.key] = measured

    def of(self, config: Config) -> Measured | None:
        """What is known of a configuration's network: if not at its image size, then at the next smaller one, which
        costs no more."""
        sizes = [size for name, size in self.measured if name == config["backbone"] and size <= config["image_size"]]
        return self.measured[(config["backbone"], max(sizes))] if sizes else None

    def excess(self, config: Config) -> dict[str, float]:
        """By which share a configuration is over each limit that it breaks; nothing of a network that nobody knows."""
        found = self.of(config)
        if found is None:
            return {}
        if found.problem is not None:
            return {"deploy": 1.0}
        return self.excess_of(found.p50_milliseconds, found.bytes_with(config))

    def excess_of(self, p50_milliseconds: float, count: int) -> dict[str, float]:
        """The same of figures."""
        limits = {"latency": (p50_milliseconds, self.most_milliseconds), "size": (count, self.most_bytes)}
        over = {name: value / most - 1.0 for name, (value, most) in limits.items() if most is not None}
        return {name: share for name, share in over.items() if share > 0.0}

    def describe(self) -> str:
        """The limits, for people."""
        parts = [] if self.most_milliseconds is None else [milliseconds(self.most_milliseconds)]
        parts += [] if self.most_bytes is None else [megabytes(self.most_bytes)]
        return " and ".join(parts)


def recall(budget: ModelBudget, events: Iterable[Mapping[str, Any]]) -> None:
    """Take in what earlier drivers measured: a search that is gone on with must have the candidates it began with."""
    for event in events:
        if event["kind"] == EVENT:
            budget.note(read_measured(event))


def describe(measured: Measured, label: str) -> str:
    """A network and its figures, for people."""
    if measured.problem is not None:
        return f"{label} at {measured.image_size} px: {measured.problem}"
    figures = f"{milliseconds(measured.p50_milliseconds)}, {megabytes(measured.bytes)}"
    return f"{label} at {measured.image_size} px: {figures}"


def _head_weights(measured: Measured, config: Config) -> int:
    """Weights of a head and of the standardisation before it; a head of a plugin counts as a linear one."""
    taps = _tapped(measured.channels, str(config.get("taps", "last")))
    features = sum(taps) * (2 if config.get("pooling") == "both" else 1)
    inputs, weights = features, 2 * features
    if config.get("head") == "mlp":
        width = int(config.get("width", _WIDTH))
        for _ in range(int(config.get("depth", _DEPTH))):
            weights += (inputs + 1) * width
            inputs = width
    return weights + (inputs + 1) * measured.classes


def _tapped(channels: Sequence[int], taps: str) -> Sequence[int]:
    return channels[-_TAPS.get(taps, len(channels)) :] if channels else ()
