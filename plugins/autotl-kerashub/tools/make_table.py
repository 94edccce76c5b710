"""Writes `autotl_kerashub/presets.json` and the entry points in `pyproject.toml` from the installed KerasHub.

    python tools/make_table.py [FAMILY ...]

With families, only their rows are made anew. Names, handles and published numbers of parameters come from KerasHub's
own `*_presets.py`. What these do not say stands below, with its source. An architecture is only claimed where the
published number confirms it. What that number counts differs (the column "counts"):

- "backbone": all weights of the backbone class;
- "classifier": these and a classifier of 1000 classes (KerasHub's ResNet-vd), or of 10 (MiT);
- "timm": trainable weights and a classifier of 1000 classes, as timm counts;
- "towers": SigLIP's encoders of images and of text, and two more;
- "rounded": two or three leading digits (DINOv3);
- "unconfirmed": it fits no network that the sources describe.

All families take ten minutes; no weights are allocated, so it runs in little memory.
"""

import json
import math
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

PLUGIN = Path(__file__).parents[1]
sys.path[:0] = [str(PLUGIN), str(PLUGIN / "tools")]

import autotl_kerashub.architectures as architectures  # noqa: E402 - the table is made from the checkout
from autotl_kerashub.families import FAMILIES, Family, image_sizes  # noqa: E402
from preset_facts import COUNTS, DATASETS, IMAGE_SIZES, LICENCES, NORMALISATIONS, REFERENCES, TEXT  # noqa: E402


def presets_of(family: Family) -> dict[str, dict[str, Any]]:
    """KerasHub's presets of a family, as its own files list them."""
    import keras_hub

    return dict(getattr(keras_hub.models, family.classes[0]).presets)


def architecture_of(family: str, preset: str) -> tuple[Any, ...] | None:
    """Function in architectures.py and its arguments, as the name of the preset says."""
    patterns: dict[str, tuple[str, Any]] = {
        "vit": (r"vit_(\w+)_patch(\d+)_(\d+)_imagenet", lambda m: ("vit", m[1], int(m[2]), int(m[3]))),
        "deit": (r"deit_(\w+)_distilled_patch16_(\d+)_", lambda m: ("deit", m[1], int(m[2]))),
        "swin": (r"swin_(\w+)_patch4_window(\d+)_(\d+)", lambda m: ("swin", m[1], int(m[2]), int(m[3]))),
        "dinov2": (r"dinov2_(with_registers_)?(\w+)", lambda m: ("dinov2", m[2], m[1] is not None)),
        "dinov3": (r"dinov3_vit_(small_plus|small|base|large)_", lambda m: ("dinov3", m[1])),
        "siglip": (
            r"siglip2?_(giant_opt|\w+?)_patch(\d+)_(\d+)",
            lambda m: ("siglip", m[1], int(m[2]), int(m[3])),
        ),
        "mit": (r"mit_(b\d)_", lambda m: ("mit", m[1])),
        "hgnetv2": (r"(hgnetv2_b\d)_(ssld)", lambda m: ("timm", "hgnetv2", m[1], m[2])),
        "mobilenet": (r"mobilenet_v3_(\w+?)_imagenet", lambda m: ("timm", "mobilenet", f"mobilenetv3_{m[1]}")),
        "densenet": (r"densenet_(\d+)_", lambda m: ("timm", "densenet", f"densenet{m[1]}")),
        "vgg": (r"vgg_(\d+)_", lambda m: ("timm", "vgg", f"vgg{m[1]}")),
        "xception": (r"xception_41_", lambda m: ("xception",)),
        "cspnet": (
            r"(csp_)?(darknet|resnext|resnet)_(\d+)_",
            lambda m: ("timm", "cspnet", f"{'csp' if m[1] else ''}{m[2]}{m[3]}"),
        ),
        "efficientnet": (
            r"efficientnet(2)?_(rw_[smt]|[a-z]+\d?)_",
            lambda m: ("timm", "efficientnet", f"efficientnet{'v2' if m[1] else ''}_{m[2]}"),
        ),
        "resnet": (
            r"resnet_(vd_|v2_)?(\d+)_",
            lambda m: (
                ("resnet_vd", m[2]) if m[1] == "vd_" else ("timm", "resnet", f"resnet{'v2_' if m[1] else ''}{m[2]}")
            ),
        ),
    }
    if preset == "medsiglip_900m_448":
        return ("siglip", "so400m", 14, 448)
    pattern, make = patterns[family]
    match = re.match(pattern, preset)
    return None if match is None else make(match)


@cache
def _without_allocation(class_name: str, architecture: tuple[Any, ...]) -> tuple[int, int, int, int]:
    """Number of weights, of trainable ones, of those of autotl's network, and channels of a backbone."""
    import keras
    import keras_hub

    function, *arguments = architecture
    options = getattr(architectures, function)(*arguments)
    with keras.StatelessScope(initialize_variables=False):  # gives variables shapes, and no values
        backbone = getattr(keras_hub.models, class_name)(**options)
    everything = backbone.count_params()
    trainable = sum(math.prod(variable.shape) for variable in backbone.trainable_variables)
    outputs = list(backbone.output.values())[-1] if isinstance(backbone.output, dict) else backbone.output
    return everything, trainable, everything - _left_out(backbone), int(outputs.shape[-1])


def _left_out(backbone: Any) -> int:
    """Weights of KerasHub's network that autotl's does without."""
    kind = type(backbone).__name__
    if kind == "SigLIPVisionEncoder":
        return int(backbone.head.count_params())
    if kind == "DINOV2Backbone":
        embeddings = backbone.embeddings
        copies = (embeddings.mask_token, embeddings.interpolated_position_embeddings)
        return sum(math.prod(variable.shape) for variable in copies)
    return math.prod(backbone.embeddings.mask_token.shape) if kind == "DINOV3Backbone" else 0


def _text_tower(preset: str, architecture: tuple[Any, ...]) -> int:
    import keras
    import keras_hub

    width, layers, heads, hidden = TEXT[architecture[1]]
    multilingual = "multilingual" in preset or "i18n" in preset
    vocabulary = 256_000 if preset.startswith("siglip2") else 250_000 if multilingual else 32_000
    with keras.StatelessScope(initialize_variables=False):
        encoder = keras_hub.models.SigLIPTextEncoder(
            vocabulary,
            width,
            width,
            layers,
            heads,
            hidden,
            max_sequence_length=16 if preset == "siglip_so400m_patch14_224" else 64,
            projection_dim=1536 if architecture[1] == "giant_opt" else None,
        )
    return int(encoder.count_params())


def confirm(
    family: Family, preset: str, published: int, architecture: tuple[Any, ...] | None
) -> tuple[str, int | None]:
    """What the published number counts, and the number of weights of autotl's network; "unconfirmed", `None`."""
    if architecture is None:
        return "unconfirmed", None
    everything, trainable, ours, channels = _without_allocation(family.classes[-1], architecture)
    for counts in COUNTS.get(family.name, ("backbone",)):
        classes = 10 if family.name == "mit" else 1000
        expected = {
            "backbone": everything,
            "classifier": everything + (channels + 1) * classes,
            "timm": trainable + (channels + 1) * classes,
            "rounded": everything,
        }.get(counts)
        if counts == "towers":
            expected = everything + _text_tower(preset, architecture) + 2  # two: scale and bias of the loss
        if counts == "rounded" and (digits := len(str(published).rstrip("0"))) >= 2:
            expected = round(everything, digits - len(str(everything)))
        if expected == published:
            return counts, ours
    return "unconfirmed", None


def row(family: Family, preset: str, entry: dict[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    published = int(entry["metadata"]["params"])
    architecture = architecture_of(family.name, preset)
    counts, parameters = confirm(family, preset, published, architecture)
    # the class for WINDOWS and PATCHES needs arguments also where nothing is claimed
    arguments = (
        {"patch_size": 16} if architecture is None else getattr(architectures, architecture[0])(*architecture[1:])
    )
    image_size = _image_size(family, preset)
    sizes = image_sizes(family, arguments, image_size)
    print(f"{preset:<45} {published:>13,} {counts}", flush=True)
    return {
        "preset": preset,
        "handle": entry["kaggle_handle"],
        "family_name": family.name,
        "published": published,
        "counts": counts,
        "parameters": parameters,
        "image_size": image_size,
        "min_image_size": sizes.minimum,
        "size_multiple": sizes.multiple,
        "resizable": sizes.resizable,
        "normalisation_name": NORMALISATIONS.get(preset, family.normalisation),
        "licence": LICENCES.get(preset, family.licence),
        "dataset": _first(DATASETS, preset, family.dataset),
        "reference": _first(REFERENCES, preset, family.reference),
        "architecture": None if counts == "unconfirmed" else architecture,
    }


def _image_size(family: Family, preset: str) -> int:
    if family.name == "dinov2":
        return 518
    named = re.search(r"_(224|256|384|448|512|640|1024)(_|$)", preset)
    return IMAGE_SIZES.get(preset, int(named[1]) if named else 224)


def _first(facts: dict[str, str], preset: str, otherwise: str) -> str:
    return next((fact for pattern, fact in facts.items() if pattern in preset), otherwise)


def write_entry_points(names: list[str]) -> None:
    """Replace the list of backbones in pyproject.toml."""
    path = PLUGIN / "pyproject.toml"
    lines = [f'kerashub-{name.replace("_", "-")} = "autotl_kerashub:{name}"' for name in names]
    text, count = re.subn(
        r'(\[project\.entry-points\."autotl\.backbones"\]\n).*?(?=\n\[)',
        lambda match: match[1] + "\n".join(lines) + "\n",
        path.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f'{path} needs exactly one section [project.entry-points."autotl.backbones"]')
    path.write_text(text)


def main(names: list[str]) -> None:
    """Make the rows of these families, or of all, and write both files."""
    path = PLUGIN / "autotl_kerashub" / "presets.json"
    families = [FAMILIES[name] for name in names] or list(FAMILIES.values())
    old = json.loads(path.read_text()) if names else []
    made = [row(family, preset, entry) for family in families for preset, entry in presets_of(family).items()]
    order = list(FAMILIES)
    kept = [each for each in old if each["family_name"] not in names]
    rows = sorted([*kept, *made], key=lambda each: order.index(each["family_name"]))
    path.write_text("[\n" + ",\n".join(json.dumps(each) for each in rows) + "\n]\n")
    write_entry_points(sorted(each["preset"] for each in rows))


if __name__ == "__main__":
    main(sys.argv[1:])
