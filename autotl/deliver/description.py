"""`autotl.json`: what describes a delivered model, how it is made complete, and how a foreign one is read with care."""

import importlib.metadata
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotl.data.decode import RESIZES, STRETCH, resize_rule
from autotl.deliver.trust import sha256_of
from autotl.errors import AutotlError

SCHEMA_VERSION = 1
MODEL_FILE = "model.keras"
DESCRIPTION_FILE = "autotl.json"
DESCRIPTION_KEYS = ("class_names", "image_size", "backbone", "configuration", "data", "validation", "test")

_VERSIONED = {"autotl": "autotl", "keras": "keras", "tensorflow": "tensorflow", "numpy": "numpy", "Pillow": "pillow"}
_MAX_DESCRIPTION_BYTES = 64 * 2**20
_MAX_IMAGE_SIZE = 8192
_MAX_DEPTH = 50
_NUMBERS = (
    ("temperature",), ("test", "n"), ("test", "accuracy"), ("validation", "n"), ("validation", "accuracy"),
    ("latency", "p50_milliseconds"), ("latency", "p95_milliseconds"), ("parity", "max_difference"),
)  # fmt: skip


def complete_description(model_path: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """`autotl.json`: what the search knows, and what only the file and this machine can tell."""
    size, weights = description["image_size"], description["backbone"]["weights"]
    of_weights = {
        "of": f"weights of {description['backbone']['name']}",
        **_kept(weights, "licence", "source", "dataset"),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"file": MODEL_FILE, "sha256": sha256_of(model_path), "bytes": model_path.stat().st_size},
        "input": {"name": "image", "dtype": "uint8", "shape": [None, size, size, 3], "colour": "RGB", "upright": True},
        "output": {"name": "probabilities", "dtype": "float32", "shape": [None, len(description["class_names"])]},
        "resize": resize_rule(description["configuration"].get("resize", STRETCH)),
        "licences": [of_weights],
        "versions": {name: installed_version(distribution) for name, distribution in _VERSIONED.items()},
        **description,
    }


def read_description(path: Path) -> dict[str, Any]:
    """Reads and checks an `autotl.json` that may come from anywhere.

    Raises:
        AutotlError: it is damaged, or of another schema.
    """
    try:
        if path.stat().st_size > _MAX_DESCRIPTION_BYTES:
            raise ValueError(f"it is larger than {_MAX_DESCRIPTION_BYTES} bytes")
        description = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        _check_description(description)
    except (OSError, ValueError, RecursionError) as error:
        raise AutotlError(
            f"{DESCRIPTION_FILE} describes a model in schema {SCHEMA_VERSION}; {path} does not: {error!s}. "
            "Copy the whole folder again, or use the version of autotl that made it."
        ) from error
    return description


def _check_description(description: Any) -> None:
    if not isinstance(description, dict):
        raise ValueError("it is not a JSON object")
    if _is_deep(description):
        raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
    if description.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"its schema_version is {description.get('schema_version')!r}")
    if description.get("kind") == "backbone":
        raise ValueError("it is a network without a head, for autotl search --backbone")
    names = description.get("class_names")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise ValueError("class_names must be a list of two or more texts")
    if len(set(names)) < len(names):
        raise ValueError("class_names must differ from each other")
    size = description.get("image_size")
    if type(size) is not int or not 1 <= size <= _MAX_IMAGE_SIZE:
        raise ValueError(f"image_size must be a whole number in 1..{_MAX_IMAGE_SIZE}, not {size!r}")
    if description.get("resize") not in [resize_rule(mode) for mode in RESIZES]:
        raise ValueError(f"its images were resized by another rule, {description.get('resize')!r}")
    for key, inside in (("model", "sha256"), ("data", "fingerprint")):
        if not isinstance(description.get(key), dict) or not isinstance(description[key].get(inside), str):
            raise ValueError(f"{key}.{inside} must be a text")
    if type(description["data"].get("seed", 0)) is not int:
        raise ValueError(f"data.seed must be a whole number, not {description['data']['seed']!r}")
    for key in ("format", "precision"):
        if not isinstance(description.get(key, ""), str):
            raise ValueError(f"{key} must be a text")
    for key in ("test", "validation", "latency", "parity"):
        if not isinstance(description.get(key), dict | None):
            raise ValueError(f"{key} must be an object")
    for *outer, name in _NUMBERS:
        place = description if not outer else description.get(outer[0])
        value = None if place is None else place.get(name)
        if type(value) not in (int, float, type(None)):
            raise ValueError(f"{'.'.join((*outer, name))} must be a number, not {value!r}")
    for key, inside in (("plugins", "distribution"), ("members", "backbone")):
        items = description.get(key, [])
        if not isinstance(items, list) or not all(
            isinstance(item, dict) and isinstance(item.get(inside), str) for item in items
        ):
            raise ValueError(f"{key} must be a list of objects with a {inside}")


def _is_deep(value: Any) -> bool:
    """Whether JSON is nested so deep that writing it again might exhaust the stack."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in inner for item in items]
    return bool(level)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def installed_version(distribution: str) -> str | None:
    """Of a distribution; None where there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _kept(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: mapping.get(key) for key in keys}
