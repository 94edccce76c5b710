"""The folder of an exported model: what is written around the model's own files, and what becomes of a rejected one."""

import json
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotl.deliver.artefact import LABELS_FILE, Artefact, labels_text, write_texts
from autotl.deliver.description import DESCRIPTION_FILE, installed_version
from autotl.deliver.export_targets import Target
from autotl.deliver.trust import REJECTED_SUFFIX, digest_of, hash_model
from autotl.errors import AutotlError, UsageError
from autotl.exporters.script import SCRIPT_FILE, SQUARE_FILE

PARITY_FILE = "parity.json"
_OF_THE_KERAS_FILE = ("model", "parity", "latency", "ood")
_EMBEDDED = (
    "schema_version", "format", "precision", "class_names", "image_size", "input", "output", "resize", "versions",
    "licences", "exported_from",
)  # fmt: skip


def require_renderable(artefact: Artefact) -> None:
    """Insists that a model folder's description can be written again, as JSON and as a card; it may hold anything.

    Raises:
        AutotlError: it cannot.
    """
    from autotl.deliver.card import render_card

    try:
        json.dumps(artefact.description, indent=2, allow_nan=False)
        render_card(artefact.description)
    except Exception as error:  # a template meets whatever the file holds
        raise AutotlError(
            f"An exported model carries the description of the model it is made of; that of {artefact.folder} is "
            f"damaged ({type(error).__name__}: {str(error)[:200]}). Copy the whole folder again from where it was made."
        ) from error


def describe_export(artefact: Artefact, target: Target) -> dict[str, Any]:
    """`autotl.json` of an exported model, without what only its files can tell."""
    kept = {key: value for key, value in artefact.description.items() if key not in _OF_THE_KERAS_FILE}
    packages = {*target.exporter.writer_packages.values(), *target.exporter.runtime_packages.values()}
    versions = {name: found for name in sorted(packages) if (found := installed_version(name)) is not None}
    return {
        **kept,
        "format": target.exporter.name,
        "precision": target.precision,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "runtime_packages": sorted(set(target.exporter.runtime_packages.values())),
        "exported_from": artefact.digest,
        "versions": {**kept.get("versions", {}), **versions},
    }


def metadata_of(description: Mapping[str, Any]) -> dict[str, str]:
    """What an exporter embeds in its file: what it takes to use the model and to know it again, and no tables.

    Args:
        description: as `autotl.json` has it; what it lacks is left out.

    Returns:
        Texts by name, of valid UTF-8 and without control characters: XML, say, cannot hold them.
    """
    kept = {key: description[key] for key in _EMBEDDED if key in description}
    if "backbone" in description:
        kept["backbone"] = {"name": description["backbone"].get("name")}
    if "data" in description:
        kept["data"] = {"fingerprint": description["data"]["fingerprint"]}
    if "test" in description:
        kept["test"] = {name: value for name, value in description["test"].items() if isinstance(value, int | float)}
    text = json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
    return {DESCRIPTION_FILE: _plain(text), LABELS_FILE: _plain(labels_text(description["class_names"]))}


def _plain(text: str) -> str:
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    return "".join(each if each == "\n" or unicodedata.category(each) != "Cc" else " " for each in text)


def require_own_folder(folder: Path) -> None:
    """Insists that what an export would replace is an export too.

    Raises:
        UsageError: it is something else, and might be dear to somebody.
    """
    is_ours = any((folder / name).is_file() for name in (DESCRIPTION_FILE, PARITY_FILE))
    if folder.exists() and not is_ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(
            f"An export takes the place of an earlier one, and of nothing else; {folder} is none (it has neither "
            f"{DESCRIPTION_FILE} nor {PARITY_FILE}). Move it away, or give another folder with --out."
        )


def complete_folder(
    folder: Path,
    target: Target,
    description: Mapping[str, Any],
    parity: Mapping[str, Any] | None,
    latency: Mapping[str, Any] | None,
) -> int:
    """Adds all that describes the model to its files.

    Returns:
        The size of the model in bytes.
    """
    file = target.exporter.file
    hashes = hash_model(folder, file)
    size = sum((folder / name).stat().st_size for name in hashes)
    model = {"file": file, "files": hashes, "sha256": digest_of(hashes), "bytes": size}
    if parity is not None:
        _write_parity(folder, target, parity, latency)
    write_texts(folder, {**description, "model": model, "parity": parity, "latency": latency})
    return size


def reject_folder(
    folder: Path, target: Target, parity: Mapping[str, Any], latency: Mapping[str, Any] | None
) -> tuple[str, int]:
    """Makes a model that failed its check unusable: its files get other names, and nothing describes them.

    Returns:
        Name of the rejected file, and its size in bytes.
    """
    file = target.exporter.file
    size = sum((folder / name).stat().st_size for name in hash_model(folder, file))
    (folder / SCRIPT_FILE).unlink()
    (folder / SQUARE_FILE).unlink(missing_ok=True)
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"{path.name}{REJECTED_SUFFIX}"))
    _write_parity(folder, target, parity, latency)
    return f"{file}{REJECTED_SUFFIX}", size


def _write_parity(folder: Path, target: Target, parity: Mapping[str, Any], latency: Mapping[str, Any] | None) -> None:
    found = {"format": target.exporter.name, "precision": target.precision, **parity, "latency": latency}
    (folder / PARITY_FILE).write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
