"""What the `autotl.json` beside a delivered model says of it as a backbone: weights, licences, ancestors, plugins.

Such a file may come from anywhere: what it says is taken over field by field, and only where it has the right form.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autotl.backbones.contract import Weights
from autotl.backbones.keras_file import check_bytes, read_json
from autotl.errors import UsageError

DESCRIPTION_FILE = "autotl.json"
MODEL_FILE = "model.keras"
UNKNOWN = "unknown"
_OF_A_LICENCE = ("of", "licence", "source", "dataset")


class Delivered(NamedTuple):
    """A description, checked: every field that is used has its form."""

    backbone: str
    output: str | None
    """The operation of the model that its head stands on."""
    sha256: str
    weights: Mapping[str, Any]
    data: str
    data_fingerprint: str
    licences: list[dict[str, str]]
    ancestors: list[dict[str, Any]]
    plugins: list[dict[str, str]]


def find_delivered(path: Path) -> Path | None:
    """The model folder that a path means: the folder itself, that of a run, or that of a `model.keras` in one."""
    folders = [path.parent] if path.name == MODEL_FILE else [path, path / "model"]
    return next((folder for folder in folders if (folder / DESCRIPTION_FILE).is_file()), None)


def read_delivered(folder: Path) -> Delivered:
    """Read the description in a model folder.

    Raises:
        UsageError: it describes no model.
    """
    path = folder / DESCRIPTION_FILE
    check_bytes(path, path.stat().st_size)
    found = read_json(path, path.read_bytes())
    try:
        output = found["backbone"].get("output")
        return Delivered(
            backbone=str(found["backbone"]["name"]),
            output=None if output is None else str(output),
            sha256=str(found["model"]["sha256"]),
            weights=dict(found["backbone"]["weights"]),
            data=Path(str(found["data"].get("name", "images"))).name,  # not in whose folders it lay
            data_fingerprint=str(found["data"]["fingerprint"]),
            licences=_licences(found["licences"]),
            ancestors=[_ancestor(item) for item in found.get("ancestors", [])],
            plugins=[
                {"distribution": str(item["distribution"]), "version": str(item.get("version", ""))}
                for item in found.get("plugins", [])
            ],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{DESCRIPTION_FILE} describes a model that autotl delivered, {path} does not ({error!r}). Copy the whole "
            "folder again from where it was made."
        ) from error


def weights_of(label: str, delivered: Delivered | None, sha256: str) -> Weights:
    """The weights in a model file; an adapted network is under the licence of what it was adapted from."""
    if delivered is None:
        return Weights(f"file {label}.keras", sha256, UNKNOWN, UNKNOWN)
    parent = delivered.weights
    restriction = parent.get("restriction")
    return Weights(
        source=f"model of {label}",
        sha256=sha256,
        licence=str(parent.get("licence", UNKNOWN)),
        dataset=f"{delivered.data}, after {parent.get('dataset', UNKNOWN)}",
        restriction=None if restriction is None else str(restriction),
    )


def provenance(label: str, delivered: Delivered | None, sha256: str) -> dict[str, Any]:
    """What a model that is adapted from this one says of it: ancestors, the nearest first, licences, plugins."""
    licences = [{"of": f"weights of {label}", "licence": UNKNOWN}] if delivered is None else delivered.licences
    parent = {
        "name": label,
        "sha256": sha256,
        "backbone": None if delivered is None else delivered.backbone,
        "data_fingerprint": None if delivered is None else delivered.data_fingerprint,
        "licences": licences,
    }
    return {
        "label": label,
        "ancestors": [parent, *([] if delivered is None else delivered.ancestors)],
        "licences": licences,
        "plugins": [] if delivered is None else delivered.plugins,
    }


def _licences(items: Any) -> list[dict[str, str]]:
    return [
        {"of": UNKNOWN, "licence": UNKNOWN} | {key: str(item[key]) for key in _OF_A_LICENCE if item.get(key)}
        for item in items
    ]


def _ancestor(item: Mapping[str, Any]) -> dict[str, Any]:
    texts = {key: item.get(key) for key in ("sha256", "backbone", "data_fingerprint")}
    return {
        "name": str(item["name"]),
        **{key: None if value is None else str(value) for key, value in texts.items()},
        "licences": _licences(item.get("licences", [])),
    }
