"""The folder of an exported model: what is written around the model's own files, and what becomes of a rejected one."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autotl.deliver.artefact import Artefact, labels_text, write_texts
from autotl.deliver.export_targets import Target
from autotl.deliver.trust import REJECTED_SUFFIX, digest_of, hash_model
from autotl.errors import AutotlError

PARITY_FILE = "parity.json"
SCRIPT_FILE = "predict.py"
_OF_THE_KERAS_FILE = ("model", "parity", "latency", "ood")


def check_description(artefact: Artefact) -> None:
    """Insists that a model folder's description can be carried on; one from elsewhere may hold anything.

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
    versions = {name: found for name in sorted(packages) if (found := _version(name)) is not None}
    return {
        **kept,
        "format": target.exporter.name,
        "precision": target.precision,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "runtime_packages": sorted(set(target.exporter.runtime_packages.values())),
        "exported_from": artefact.description["model"]["sha256"],
        "versions": {**kept.get("versions", {}), **versions},
    }


def metadata_of(artefact: Artefact, description: Mapping[str, Any]) -> dict[str, str]:
    """What an exporter embeds in its file: names and texts."""
    return {"autotl.json": json.dumps(description, indent=2), "labels.txt": labels_text(artefact.class_names)}


def write_script_files(artefact: Artefact, target: Target, folder: Path) -> None:
    """Writes the script that runs the model, and the labels that it reads."""
    from autotl.exporters.script import write_script

    text = labels_text(artefact.class_names)
    (folder / "labels.txt").write_text(text, encoding="utf-8", errors="replace")
    write_script(target.exporter, folder, artefact.image_size)


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
    for name in ("labels.txt", SCRIPT_FILE):
        (folder / name).unlink(missing_ok=True)
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"{path.name}{REJECTED_SUFFIX}"))
    _write_parity(folder, target, parity, latency)
    return f"{file}{REJECTED_SUFFIX}", size


def _write_parity(folder: Path, target: Target, parity: Mapping[str, Any], latency: Mapping[str, Any] | None) -> None:
    found = {"format": target.exporter.name, "precision": target.precision, **parity, "latency": latency}
    (folder / PARITY_FILE).write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
