"""What a comparison holds equal and what it varies: networks, levels of training, rates and repeats."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotl.backbones.contract import PRETRAINED, RANDOM, Backbone
from autotl.backbones.hypermodel import WholeModel
from autotl.backbones.registry import absolute_reference, load_backbone
from autotl.errors import UsageError
from autotl.search.plan import resolve_backbones

FROZEN, PARTLY, FULL = LEVELS = ("frozen", "partly", "full")
FREEZE_DEPTHS = {FROZEN: 1.0, PARTLY: 0.5, FULL: 0.0}  # of the stages, counted from the input
LARGEST_DEFAULT = 224  # pixels; what most networks were published at, and larger is seldom wanted for all
AUGMENTATION = "flip"
WEIGHTS = (PRETRAINED, RANDOM)
SUFFIX = f":{RANDOM}"


@dataclass(frozen=True)
class Request:
    """One comparison.

    Attributes:
        dataset: a path or a name.
        backbones: names or paths; one that ends in ":random" begins with random weights.
        weights: of those that do not say it.
        levels: of LEVELS.
        image_size: in pixels; None is one that suits all.
        epochs: of every fit that is trained.
        rates: learning rates that every trained row tries.
        seeds: how often each trained row is repeated.
        seed: of everything random.
        accept_licences: that restrict the use of weights.
    """

    dataset: str
    backbones: tuple[str, ...]
    weights: str = PRETRAINED
    levels: tuple[str, ...] = LEVELS
    image_size: int | None = None
    epochs: int = 8
    rates: tuple[float, ...] = (1e-4, 1e-3)
    seeds: int = 1
    seed: int = 0
    accept_licences: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)  # records hold dictionaries: a network is equal to itself alone
class Network:
    """One that is compared: `weights` is "pretrained" or "random", `image_size` in pixels."""

    record: Backbone
    weights: str
    image_size: int

    @property
    def pretrained_on(self) -> str | None:
        """The images that its weights come from; None of random ones."""
        return self.record.weights.dataset if self.weights == PRETRAINED else None

    def to_json(self) -> dict[str, Any]:
        return {"backbone": self.record.name, "weights": self.weights, "image_size": self.image_size}


def check_request(request: Request) -> None:
    """Insist that a comparison can be meant.

    Raises:
        UsageError: the first value that cannot.
    """
    if not request.backbones:
        raise UsageError("A comparison needs at least one network. Give --backbone NAME, best several times.")
    unknown = [level for level in request.levels if level not in LEVELS]
    if unknown or not request.levels:
        raise UsageError(f"The levels are {', '.join(LEVELS)}, not {', '.join(unknown) or 'none'}.")
    if request.weights not in WEIGHTS:
        raise UsageError(f"Weights are {' or '.join(WEIGHTS)}, not {request.weights!r}.")
    for name in ("epochs", "seeds"):
        if getattr(request, name) < 1:
            raise UsageError(f"{name} must be at least 1, not {getattr(request, name)}.")
    if not request.rates or not all(0.0 < rate < 1.0 for rate in request.rates):
        raise UsageError(f"Learning rates are numbers between 0 and 1, not {list(request.rates)}. Give --rates 1e-3.")
    if not 0 <= request.seed < 2**31:
        raise UsageError(f"A seed is a whole number from 0 to 2147483647, not {request.seed}.")


def find_networks(request: Request) -> list[Network]:
    """The networks in the order they were given, each once, at the size that they are compared at.

    Raises:
        UsageError: there is no such network, it cannot take the size, its weights are not on this machine, or their
            licence was not accepted.
        PluginError: a plugin is broken.
    """
    asked = list(dict.fromkeys(_split(name, request.weights) for name in request.backbones))
    found = [_find(name, weights, request.accept_licences) for name, weights in asked]
    if set(request.levels) == {PARTLY} and any(weights == RANDOM for _, weights in found):
        raise UsageError("With random weights there is nothing to unfreeze a part of. Add --level frozen,full.")
    sizes = choose_sizes([record for record, _ in found], request.image_size)
    return [Network(record, weights, size) for (record, weights), size in zip(found, sizes, strict=True)]


def choose_sizes(records: Sequence[Backbone], asked: int | None) -> list[int]:
    """Pixels for each network: what was asked for, else one size for all where there is one.

    That is the smallest native size among them, but 224 at most, or the next larger one that all can take.

    Raises:
        UsageError: one cannot take the size that was asked for.
    """
    if asked is not None:
        return [record.resolve_size(asked) for record in records]
    natives = [record.image_size for record in records]
    first = min(*natives, LARGEST_DEFAULT)
    for size in range(first, max(natives) + 1):
        if all(record.nearest_size(size) == size for record in records):
            return [size] * len(records)
    return [record.nearest_size(first) for record in records]


def config_of(network: Network, level: str, request: Request, rate: float) -> dict[str, Any]:
    """The configuration of a row: the same head, epochs and augmentation for all.

    A network without pretrained weights is trained from scratch, batch normalisation too; fine-tuning would keep its
    statistics, which nobody has measured.
    """
    trained = "finetune" if network.weights == PRETRAINED else "scratch"
    return {
        **network.to_json(),
        "recipe": "probe" if level == FROZEN else trained,
        "freeze_depth": FREEZE_DEPTHS[level],
        "head": "linear",
        "penalty": "best",
        "augmentation": AUGMENTATION,
        "epochs": request.epochs,
        "head_rate": rate,
        "tail_rate": rate,
    }


def to_json(request: Request, networks: Sequence[Network]) -> dict[str, Any]:
    """What decides the result, for the run directory."""
    return {
        "study": "compare",
        "dataset": request.dataset,
        "networks": [network.to_json() for network in networks],
        "levels": ordered_levels(request),
        "epochs": request.epochs,
        "rates": sorted(set(request.rates)),
        "seeds": request.seeds,
        "seed": request.seed,
        "augmentation": AUGMENTATION,
    }


def ordered_levels(request: Request) -> list[str]:
    """The levels that were asked for, from the least trained to the most."""
    return [level for level in LEVELS if level in request.levels]


def levels_of(network: Network, request: Request) -> list[str]:
    """Those that are compared of a network: with random weights there is nothing to unfreeze a part of."""
    return [level for level in ordered_levels(request) if network.weights == PRETRAINED or level != PARTLY]


def tail_share(timing: Mapping[str, Any], level: str) -> float:
    """The share of a network's multiply-adds that a level trains."""
    shares = timing["tail_shares"]
    frozen = round(FREEZE_DEPTHS[level] * len(shares))
    return 1.0 if frozen == 0 else float(shares[frozen - 1])


def _split(name: str, weights: str) -> tuple[str, str]:
    if name.endswith(SUFFIX):
        return absolute_reference(name.removesuffix(SUFFIX)), RANDOM
    return absolute_reference(name), weights


def _find(name: str, weights: str, accepted: Collection[str]) -> tuple[Backbone, str]:
    record = load_backbone(name)
    if isinstance(record.build, WholeModel):
        raise UsageError(f"{name} is a whole model without frozen and trained stages. Compare networks with stages.")
    if not record.weights.is_pretrained or weights == RANDOM:
        return record, RANDOM
    resolve_backbones([name], accepted)  # refuses a licence that was not accepted
    if not record.available():
        raise UsageError(
            f"The pretrained weights of {record.label} are not on this machine. Run: autotl backbones fetch {name}; or "
            f"compare it untrained, as --backbone {name}{SUFFIX}."
        )
    return record, PRETRAINED
