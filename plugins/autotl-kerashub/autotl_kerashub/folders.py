"""Where presets lie on this machine, and how they get there. A preset is a folder, wherever it comes from.

`kaggle://` presets lie in kagglehub's cache, `hf://` presets in that of huggingface_hub; both are found without
importing these libraries, which are only needed to download. Source of the layouts: `kagglehub/cache.py` (1.0),
`huggingface_hub/constants.py` and `file_download.py` (2.4).
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autotl.errors import PluginError

CONFIG = "config.json"
CONVERTER = "image_converter.json"
WEIGHTS = "model.weights.h5"
SHARDS = "model.weights.json"
SAFETENSORS = "model.safetensors"
SAFETENSORS_SHARDS = "model.safetensors.index.json"
SMALL = (CONFIG, CONVERTER, "metadata.json", "preprocessor_config.json", "README.md")
"""What says what a preset is; all but the first may be missing."""
SHARDED = {SHARDS: WEIGHTS, SAFETENSORS_SHARDS: SAFETENSORS}

KAGGLE = "kaggle://"
HUGGING_FACE = "hf://"


def is_handle(reference: str) -> bool:
    """Whether a reference names a preset on a server, not a folder."""
    return reference.startswith((KAGGLE, HUGGING_FACE))


def check_handle(reference: str) -> None:
    """Insist that a handle has the form that its server wants.

    Raises:
        PluginError: it has not.
    """
    part = r"[\w.-]+"
    forms = {
        KAGGLE: (rf"{part}/{part}/keras/{part}(/\d+)?", "kaggle://OWNER/MODEL/keras/VARIATION[/VERSION]"),
        HUGGING_FACE: (rf"{part}/{part}", "hf://OWNER/MODEL"),
    }
    for scheme, (pattern, form) in forms.items():
        if reference.startswith(scheme) and not re.fullmatch(pattern, reference.removeprefix(scheme)):
            raise PluginError(f"A handle has the form {form}, not {reference!r}. Copy it from the page of the model.")


def folder_of(reference: str) -> Path:
    """Where a preset lies, or would lie, on this machine."""
    if reference.startswith(KAGGLE):
        return _kaggle_folder(reference)
    if reference.startswith(HUGGING_FACE):
        return _hugging_face_folder(reference)
    return Path(reference).expanduser().absolute()


def is_here(reference: str) -> bool:
    """Whether all that a network needs of a preset is on this machine, as far as a glance can tell."""
    folder = folder_of(reference)
    if not _is_complete(reference, folder, CONFIG):
        return False
    files = weights_files(folder)
    return bool(files) and all(_is_complete(reference, folder, file.name) for file in files)


def weights_files(folder: Path) -> list[Path]:
    """The files that hold the weights of a preset, sharded or not; empty where there are none."""
    for name in (WEIGHTS, SAFETENSORS):
        if (folder / name).is_file():
            return [folder / name]
    for name in SHARDED:
        if (folder / name).is_file():
            return [folder / name, *(folder / shard for shard in _shards(folder / name))]
    return []


def read_json(path: Path) -> Any:
    """Read a small JSON file of a preset.

    Raises:
        PluginError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PluginError(
            f"A preset needs a readable {path.name}, {path} is not ({error}). "
            "Save it anew with backbone.save_to_preset(FOLDER), or give the folder that this made."
        ) from error


def fetch(reference: str, name: str, only: Iterable[str] | None = None) -> Path:
    """Download what is missing of a preset and return its folder.

    Args:
        reference: a handle.
        name: of the backbone, for messages.
        only: the files wanted; those that say what it is, and its weights, when `None`.

    Raises:
        PluginError: it cannot be downloaded.
    """
    check_handle(reference)
    try:
        if reference.startswith(KAGGLE):
            return _fetch_from_kaggle(reference, only)
        return _fetch_from_hugging_face(reference, only)
    except Exception as error:  # two libraries, and what they are made of
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        raise PluginError(
            f"The preset of {name} must be in {folder_of(reference)} or be downloaded from {reference}, which failed "
            f"({type(error).__name__}: {reason}). Without a network here: run `autotl backbones fetch {name}` on a "
            "machine that has one, and copy that folder to the same place. Gated presets ask for their terms to be "
            "accepted on the page of the model first."
        ) from error


def _fetch_from_kaggle(reference: str, only: Iterable[str] | None) -> Path:
    import kagglehub

    handle = reference.removeprefix(KAGGLE)

    def download(name: str) -> Path:
        return Path(kagglehub.model_download(handle, path=name))

    if only is not None:
        return [download(name) for name in only][-1].parent
    folder = download(CONFIG).parent
    for name in SMALL[1:]:
        _optional(download, name)
    if _optional(download, WEIGHTS) is None:
        for shard in _shards(download(SHARDS)):
            download(shard)
    return folder


def _optional(download: Any, name: str) -> Path | None:
    """Download a file that a preset may lack: Kaggle answers 404 then, or kagglehub says so itself."""
    try:
        found: Path = download(name)
        return found
    except Exception as error:
        if "404" in str(error) or "is not present in" in str(error):
            return None
        raise


def _fetch_from_hugging_face(reference: str, only: Iterable[str] | None) -> Path:
    import huggingface_hub

    wanted = [*SMALL, "model*.weights.h5", SHARDS, "model*.safetensors", SAFETENSORS_SHARDS]
    return Path(
        huggingface_hub.snapshot_download(
            reference.removeprefix(HUGGING_FACE), allow_patterns=wanted if only is None else list(only)
        )
    )


def _kaggle_folder(reference: str) -> Path:
    cache = os.environ.get("KAGGLEHUB_CACHE")
    root = Path.home() / ".cache" / "kagglehub" if cache is None else Path(cache)
    parts = reference.removeprefix(KAGGLE).split("/")
    folder = root.joinpath("models", *parts[:4])
    if len(parts) == 5:
        return folder / parts[4]
    versions = [path for path in folder.glob("*") if path.is_dir() and path.name.isdigit()]
    return max(versions, key=lambda path: int(path.name), default=folder / "1")


def _hugging_face_folder(reference: str) -> Path:
    cache = os.environ.get("HF_HUB_CACHE")
    if cache is None:
        home = os.environ.get("HF_HOME")
        cache = str(Path.home() / ".cache" / "huggingface" / "hub" if home is None else Path(home) / "hub")
    repository = Path(cache).expanduser() / f"models--{reference.removeprefix(HUGGING_FACE).replace('/', '--')}"
    head = repository / "refs" / "main"
    return repository / "snapshots" / (head.read_text().strip() if head.is_file() else "main")


def _is_complete(reference: str, folder: Path, name: str) -> bool:
    if not (folder / name).is_file():
        return False
    if not reference.startswith(KAGGLE):
        return True  # huggingface_hub puts a file into its place when it is complete
    markers = (
        folder.parent / ".complete" / folder.name / f"{name}.complete",
        folder.with_name(f"{folder.name}.complete"),
    )
    return any(marker.exists() for marker in markers)


def _shards(index: Path) -> list[str]:
    """The names of the shards that an index lists; never a path."""
    listed = read_json(index).get("weight_map", {}).values()
    names = {str(name) for item in listed for name in (item if isinstance(item, list) else [item])}
    return sorted(Path(name).name for name in names)
