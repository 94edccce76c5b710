"""What is measured to say what transfer is worth: arms, tiers of labels, draws, and equal tuning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.backbones.contract import PRETRAINED, RANDOM, Backbone
from autotl.backbones.hypermodel import WholeModel
from autotl.backbones.registry import absolute_reference
from autotl.errors import UsageError
from autotl.runs.directory import open_search
from autotl.runs.files import read_json
from autotl.search.plan import INSTALLED, resolve_backbones

FROZEN, TUNED, SCRATCH, RANDOM_FEATURES = ARMS = ("frozen", "tuned", "scratch", "random")
TRAINED = (TUNED, SCRATCH)
TIERS = (1, 5, 10, 25, 100)
RATES = (3e-4, 1e-3)  # at 2e-3 EfficientNet-Lite0 lost its ImageNet weights: it gave one answer to all images
BATCH = 16  # of few images small batches make more steps
LEAST_IMAGES = 1500  # that a trained arm looks at in a fit, if the epochs of the largest tier come to fewer
MOST_EPOCHS = 40
DRAWS_FROM, DRAWS_TO = 120, 500  # images: all draws up to the first number, one from the second on


@dataclass(frozen=True)
class Request:
    """One measurement of transfer gain.

    Attributes:
        dataset: a path or a name; None is that of `run`.
        run: a finished search whose network, size and pooling are measured; None takes `backbone`.
        backbone: a name or a path; None is the first that is ready on this machine.
        image_size: in pixels; None is the run's, or the network's own.
        per_class: images per class of the tiers; all images are a tier of their own.
        draws: of each small tier.
        epochs: of the trained arms with all images; with fewer images they take more of them.
        seed: of everything random.
        accept_licences: that restrict the use of weights.
    """

    dataset: str | None
    run: str | None = None
    backbone: str | None = None
    image_size: int | None = None
    per_class: tuple[int, ...] = TIERS
    draws: int = 3
    epochs: int = 8
    seed: int = 0
    accept_licences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """What is measured: a network at an image size, with the pooling under its head."""

    backbone: Backbone
    image_size: int
    pooling: str = "avg"
    taps: str = "last"
    transfers_by: str = FROZEN
    """The arm that stands for transfer: "tuned" where the run's model was fine-tuned."""


def plan(request: Request) -> tuple[dict[str, Any], Network]:
    """Check a request, and settle what it leaves open.

    Returns:
        The request as JSON that decides the result, and the network.

    Raises:
        UsageError: it cannot be meant; the run is not finished; there is no such network.
        PluginError: a plugin is broken.
    """
    _check(request)
    dataset, seed, chosen = request.dataset, request.seed, {}
    if request.run is not None:
        run = open_search(Path(request.run))
        if not run.result_path.exists():
            raise UsageError(f"Gain takes the network of a finished search; {run.path} has no result. Finish it first.")
        asked, chosen = read_json(run.request_path), read_json(run.result_path)["best"]
        if dataset is None:
            dataset, seed = asked["dataset"], asked["seed"]  # the same seed splits off the same test images
        if "members" in chosen or chosen["recipe"] == "scratch":
            raise UsageError(f"Gain compares one pretrained network with itself; {run.path} delivered none.")
    if dataset is None:
        raise UsageError("Gain needs labelled images: give DATASET, or --run with a finished search.")
    network = _network(request, chosen)
    return {
        "study": "gain",
        "dataset": dataset,
        "backbone": network.backbone.name,
        "image_size": network.image_size,
        "pooling": network.pooling,
        "taps": network.taps,
        "transfers_by": network.transfers_by,
        "per_class": sorted(set(request.per_class)),
        "draws": request.draws,
        "epochs": request.epochs,
        "rates": list(RATES),
        "seed": seed,
    }, network


def _check(request: Request) -> None:
    for name in ("draws", "epochs"):
        if getattr(request, name) < 1:
            raise UsageError(f"{name} must be at least 1, not {getattr(request, name)}.")
    if any(tier < 1 for tier in request.per_class):
        raise UsageError(f"Images per class are whole numbers from 1 on, not {list(request.per_class)}.")
    if not 0 <= request.seed < 2**31:
        raise UsageError(f"A seed is a whole number from 0 to 2147483647, not {request.seed}.")
    if request.run is not None and request.backbone is not None:
        raise UsageError("The network is that of --run, or the one of --backbone: give one of them.")


def _network(request: Request, chosen: Mapping[str, Any]) -> Network:
    named = chosen.get("backbone", request.backbone)
    names = [INSTALLED if named is None else absolute_reference(named)]
    record = next(iter(resolve_backbones(names, request.accept_licences).values()))
    if isinstance(record.build, WholeModel):
        raise UsageError(f"Gain needs a network with pretrained weights; {record.label} is a hypermodel.")
    if not record.weights.is_pretrained:
        raise UsageError(f"Gain needs a network with pretrained weights; {record.label} has none.")
    if not record.available():
        raise UsageError(
            f"The pretrained weights of {record.label} are not on this machine. Run: autotl backbones fetch {named}"
        )
    size = chosen.get("image_size", record.image_size) if request.image_size is None else request.image_size
    pooling = chosen.get("pooling", "avg")
    is_tuned = chosen.get("recipe") == "finetune"
    return Network(
        record,
        record.resolve_size(size),
        "avg" if pooling == "attention" else pooling,  # attention is trained, and the frozen arms are solved
        chosen.get("taps", "last"),
        TUNED if is_tuned else FROZEN,
    )


def config_of(network: Network, arm: str, epochs: int, rate: float, random: str) -> dict[str, Any]:
    """The configuration of an arm's fit: the same head and pooling for all, and the same views for those that train.

    Args:
        random: the weights under random frozen features: "random", or a file of them.
    """
    config: dict[str, Any] = {
        "backbone": network.backbone.name,
        "image_size": network.image_size,
        "weights": {RANDOM_FEATURES: random, SCRATCH: RANDOM}.get(arm, PRETRAINED),
        "pooling": network.pooling,
        "taps": network.taps,
        "head": "linear",
        "penalty": "best",
    }
    if arm not in TRAINED:
        return {**config, "recipe": "probe"}
    return {
        **config,
        "recipe": "finetune" if arm == TUNED else "scratch",
        "freeze_depth": 0.0,
        "augmentation": "flip",
        "batch_size": BATCH,
        "epochs": epochs,
        "head_rate": rate,
        "tail_rate": rate,
    }


def epochs_of(request: Mapping[str, Any], images: int) -> int:
    """Epochs of the trained arms on so many images: what is asked for, and more where that is little work."""
    return max(int(request["epochs"]), min(MOST_EPOCHS, round(LEAST_IMAGES / images)))


def draws_of(request: Mapping[str, Any], images: int) -> int:
    """How often so many images are drawn: fewer times where a fit is dear and draws differ less."""
    if images > DRAWS_TO:
        return 1
    return int(request["draws"]) if images <= DRAWS_FROM else min(2, int(request["draws"]))
