"""One point of a search space made concrete: what a worker needs to know to fit one model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from autotl.errors import TrialError

RECIPES = ("probe", "finetune")
POOLINGS = ("avg", "max", "both")
HEADS = ("linear", "mlp")
AUGMENTATIONS = ("none", "flip", "light", "strong")


@dataclass(frozen=True)
class TrialConfig:
    """The settings of one fit. Rates are AdamW's; sizes in pixels; `freeze_depth` is a fraction of stages."""

    backbone: str
    image_size: int
    recipe: str = "probe"
    weights: str = "pretrained"
    freeze_depth: float = 1.0
    pooling: str = "avg"
    head: str = "linear"
    width: int = 256
    depth: int = 1
    dropout: float = 0.2
    penalty: float = 2e-4
    head_rate: float = 1e-3
    tail_rate: float = 1e-4
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    augmentation: str = "none"
    batch_size: int = 32
    epochs: int = 12

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_convex(self) -> bool:
        """A linear head on frozen features: solved, not trained, so it needs no Keras once features are cached."""
        return self.recipe == "probe" and self.head == "linear"


def read_config(values: Mapping[str, Any]) -> TrialConfig:
    """Check a JSON object and make it a TrialConfig.

    Raises:
        TrialError: a key or value that no recipe knows.
    """
    known = {field.name for field in fields(TrialConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise TrialError(f"A trial may only set {', '.join(sorted(known))}; this one sets {', '.join(unknown)}.")
    config = TrialConfig(**values)
    for name, allowed in (
        ("recipe", RECIPES),
        ("pooling", POOLINGS),
        ("head", HEADS),
        ("augmentation", AUGMENTATIONS),
    ):
        if getattr(config, name) not in allowed:
            raise TrialError(f"{name} must be one of {', '.join(allowed)}, not {getattr(config, name)!r}.")
    if not 0.0 <= config.freeze_depth <= 1.0:
        raise TrialError(f"freeze_depth is the fraction of stages kept frozen, 0 to 1, not {config.freeze_depth}.")
    for name in ("image_size", "batch_size", "epochs", "width", "depth"):
        if getattr(config, name) < 1:
            raise TrialError(f"{name} must be at least 1, not {getattr(config, name)}.")
    return config
