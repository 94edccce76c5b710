"""One point of a search space made concrete: what a worker needs to know to fit one model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from autotl.data.decode import RESIZES
from autotl.errors import TrialError

RECIPES = ("probe", "finetune", "scratch")
POOLINGS = ("avg", "max", "both", "gem", "attention")
TAPS = ("last", "last2", "all")
AUGMENTATIONS = ("none", "flip", "light", "strong")
SWITCH = ("off", "on")
BALANCES = ("none", "weights", "sampling")
BEST = "best"

Option = str | int | float | bool


@dataclass(frozen=True)
class TrialConfig:
    """The settings of one fit. Rates are AdamW's; sizes in pixels; `freeze_depth` is a fraction of stages."""

    backbone: str
    image_size: int
    resize: str = "stretch"
    """How images are made square: see `autotl.data.square`."""
    recipe: str = "probe"
    weights: str = "pretrained"
    freeze_depth: float = 1.0
    pooling: str = "avg"
    taps: str = "last"
    """Which stages are pooled: the last one, the last two or all; their features are put side by side."""
    head: str = "linear"
    width: int = 256
    depth: int = 1
    dropout: float = 0.2
    penalty: float | str = 2e-4
    """Of a linear head that is solved; "best" is the best of a whole path of penalties by cross-validation."""
    head_rate: float = 1e-3
    tail_rate: float = 1e-4
    layer_decay: float = 1.0
    """What the rate of the tail is multiplied by once for every stage farther from the head."""
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    mixup: float = 0.0
    """Both parameters of the Beta distribution that images of a batch are mixed by; 0 mixes none."""
    ema: str = "off"
    """With "on", a running average of the weights is what is evaluated and delivered."""
    balance: str = "none"
    """Whether rare classes count as much as frequent ones: by class weights, or by sampling them more often."""
    augmentation: str = "none"
    batch_size: int = 32
    epochs: int = 12
    options: tuple[tuple[str, Option], ...] = ()
    """Values of the options that the head declares, sorted by name; a JSON object outside."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "options": dict(self.options)}

    @property
    def is_convex(self) -> bool:
        """A linear head on frozen features: solved, not trained, so it needs no Keras once features are cached."""
        return self.recipe == "probe" and self.head == "linear" and self.pooling != "attention"


def read_config(values: Mapping[str, Any]) -> TrialConfig:
    """Check a JSON object and make it a TrialConfig.

    Raises:
        TrialError: a key or value that no recipe knows.
    """
    known = {field.name for field in fields(TrialConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise TrialError(f"A trial may only set {', '.join(sorted(known))}; this one sets {', '.join(unknown)}.")
    config = TrialConfig(**{**values, "options": _read_options(values.get("options", {}))})
    for name, allowed in (
        ("recipe", RECIPES),
        ("resize", tuple(RESIZES)),
        ("pooling", POOLINGS),
        ("taps", TAPS),
        ("augmentation", AUGMENTATIONS),
        ("balance", BALANCES),
        ("ema", SWITCH),
    ):
        if getattr(config, name) not in allowed:
            raise TrialError(f"{name} must be one of {', '.join(allowed)}, not {getattr(config, name)!r}.")
    if not isinstance(config.head, str) or not config.head:
        raise TrialError(f"head is the name of a registered head, or module:object, not {config.head!r}.")
    if config.pooling == "attention" and config.taps != "last":
        raise TrialError(
            f'Attention pools the last feature map alone, taps = "{config.taps}" was asked for. Set taps to "last", or '
            f"pooling to one of {', '.join(word for word in POOLINGS if word != 'attention')}."
        )
    if not 0.0 <= config.freeze_depth <= 1.0:
        raise TrialError(f"freeze_depth is the fraction of stages kept frozen, 0 to 1, not {config.freeze_depth}.")
    if not 0.0 < config.layer_decay <= 1.0:
        raise TrialError(f"layer_decay is a factor greater than 0 and at most 1, not {config.layer_decay}.")
    if not 0.0 <= config.mixup <= 10.0:
        raise TrialError(f"mixup is a number from 0 to 10, not {config.mixup}.")
    if isinstance(config.penalty, str) and config.penalty != BEST:
        raise TrialError(f'penalty is a number, or "{BEST}", not {config.penalty!r}.')
    for name in ("image_size", "batch_size", "epochs", "width", "depth"):
        if getattr(config, name) < 1:
            raise TrialError(f"{name} must be at least 1, not {getattr(config, name)}.")
    return config


def _read_options(given: object) -> tuple[tuple[str, Option], ...]:
    if not isinstance(given, Mapping) or not all(isinstance(value, Option) for value in given.values()):
        raise TrialError(f"options map names to texts, numbers or truth values, not {given!r}.")
    return tuple(sorted(given.items()))
