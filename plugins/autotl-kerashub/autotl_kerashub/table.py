"""The table of presets, as data: read from `presets.json`, which `tools/make_table.py` writes from KerasHub itself."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from autotl_kerashub.families import (
    FAMILIES,
    MEDSIGLIP_LICENCE,
    MEDSIGLIP_RESTRICTION,
    NORMALISATIONS,
    Family,
    Normalisation,
)

PREFIX = "kerashub-"


class Preset(NamedTuple):
    """One preset of KerasHub."""

    preset: str
    """Its name in KerasHub."""
    handle: str
    """`kaggle://OWNER/MODEL/keras/VARIATION/VERSION`, where KerasHub downloads it from."""
    family_name: str
    published: int
    """Number of parameters in KerasHub's metadata."""
    counts: str
    """What that number counts: see tools/make_table.py."""
    parameters: int | None
    """Number of weights of the network that autotl uses; `None` where its architecture could not be confirmed."""
    image_size: int
    min_image_size: int
    size_multiple: int
    resizable: bool
    normalisation_name: str
    licence: str
    dataset: str
    reference: str
    architecture: tuple[Any, ...] | None
    """Function in `architectures.py` and its arguments; `None` where the published number does not confirm it."""

    @property
    def name(self) -> str:
        """What it is called in autotl."""
        return PREFIX + self.preset.replace("_", "-")

    @property
    def family(self) -> Family:
        return FAMILIES[self.family_name]

    @property
    def normalisation(self) -> Normalisation:
        return NORMALISATIONS[self.normalisation_name]

    @property
    def restriction(self) -> str | None:
        return MEDSIGLIP_RESTRICTION if self.licence == MEDSIGLIP_LICENCE else self.family.restriction

    @property
    def is_misdirected(self) -> bool:
        """Whether KerasHub's handle names the archive of another preset."""
        return self.handle.split("/")[-2] != self.preset


@cache
def presets() -> dict[str, Preset]:
    """Every preset of the image families, by its name in KerasHub."""
    rows = json.loads((Path(__file__).parent / "presets.json").read_text())
    return {row["preset"]: _preset(row) for row in rows}


def preset_of_handle(handle: str) -> Preset | None:
    """The preset that a `kaggle://` handle belongs to, with or without a version."""
    found = (preset for preset in presets().values() if not preset.is_misdirected)
    return next((preset for preset in found if handle in (preset.handle, preset.handle.rpartition("/")[0])), None)


def _preset(row: dict[str, Any]) -> Preset:
    architecture = row["architecture"]
    return Preset(**{**row, "architecture": None if architecture is None else tuple(architecture)})
