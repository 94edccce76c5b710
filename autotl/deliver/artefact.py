"""The model folder on disk: what is in it, how it is written in one step, how it is opened without trusting it.

    model.keras      uint8 RGB `[B, S, S, 3]`, upright and resized -> calibrated float32 probabilities `[B, C]`
    autotl.json      everything needed to use, audit or repeat it (`DESCRIPTION_KEYS` and what `write_artefact` adds)
    labels.txt       one class name a line, in index order
    MODEL_CARD.md    the same for people

Only a `model.keras` whose sha256 is the one in `autotl.json` is loaded, and always in Keras's safe mode.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.deliver.description import (
    DESCRIPTION_FILE,
    DESCRIPTION_KEYS,
    MODEL_FILE,
    complete_description,
    read_description,
    sha256_of,
)
from autotl.entry_points import import_layers
from autotl.errors import AutotlError, UsageError

LABELS_FILE = "labels.txt"
CARD_FILE = "MODEL_CARD.md"

_FOREIGN_SUFFIXES = {".h5", ".hdf5", ".pkl", ".pickle", ".joblib", ".pth", ".pt", ".ckpt", ".npy", ".npz"}


@dataclass(frozen=True)
class Artefact:
    """An opened model folder whose model file has the recorded hash."""

    folder: Path
    class_names: tuple[str, ...]
    image_size: int
    description: Mapping[str, Any]  # autotl.json as it is

    @property
    def model_path(self) -> Path:
        return self.folder / MODEL_FILE

    @property
    def data(self) -> Mapping[str, Any]:
        """Of the data it was trained on: name, fingerprint, split_fingerprint, seed."""
        return self.description["data"]


def write_artefact(model_path: Path, folder: Path, description: Mapping[str, Any]) -> None:
    """Writes the model folder beside its final place and renames it there: it is complete, or it is not there.

    Args:
        model_path: an existing `model.keras`; it is copied.
        folder: the model folder; one that is there already is replaced.
        description: JSON with at least `DESCRIPTION_KEYS`: `class_names` in index order, `image_size`, `backbone`
            {name, weights {source, sha256, licence, dataset}}, `configuration` of the trial, `data` {name,
            fingerprint, split_fingerprint, seed}, `validation` and `test` scores. `temperature`, `command`,
            `parity`, `test_reads` and anything else are kept as they are.
    """
    missing = [key for key in DESCRIPTION_KEYS if key not in description]
    if missing:
        raise ValueError(f"the description of a model needs {', '.join(DESCRIPTION_KEYS)}; missing: {missing}")
    from autotl.deliver.card import render_card

    full = complete_description(model_path, description)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        shutil.copyfile(model_path, temporary / MODEL_FILE)
        labels = "".join(f"{' '.join(name.split())}\n" for name in full["class_names"])
        # A folder name that is no UTF-8 comes as lone surrogates: JSON escapes them exactly, people get a "?".
        (temporary / LABELS_FILE).write_text(labels, encoding="utf-8", errors="replace")
        (temporary / CARD_FILE).write_text(render_card(full), encoding="utf-8", errors="replace")
        (temporary / DESCRIPTION_FILE).write_text(json.dumps(full, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        temporary.chmod(0o755)  # mkdtemp makes it private; a model folder is there to be read
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_artefact(path: Path | str) -> Artefact:
    """Opens a model folder, or the one of a run, and checks the hash of its model file. Imports no Keras.

    Raises:
        UsageError: there is no model folder at `path`.
        AutotlError: the folder is damaged, or its model file is not the one that was delivered.
    """
    folder = _find_folder(Path(path))
    description = read_description(folder / DESCRIPTION_FILE)
    model_path = folder / MODEL_FILE
    if not model_path.is_file():
        raise AutotlError(f"A model folder holds {MODEL_FILE}; {folder} has none. Copy the whole folder again.")
    expected, found = description["model"]["sha256"], sha256_of(model_path)
    if found != expected:
        raise AutotlError(
            f"Only a model file with the recorded sha256 is loaded: {model_path} has {found[:12]}, {DESCRIPTION_FILE} "
            f"says {expected[:12]}. It was changed or damaged; copy the whole folder again from where it was made."
        )
    return Artefact(folder, tuple(description["class_names"]), description["image_size"], description)


def load_model(artefact: Artefact) -> Any:
    """The `keras.Model` of an opened artefact, checked to be what `autotl.json` says.

    Raises:
        AutotlError: Keras cannot load it safely, or its input or output differs from the description.
    """
    model = load_file(artefact.model_path, artefact.description.get("plugins", ()))
    size, classes = artefact.image_size, len(artefact.class_names)
    found = (tuple(model.input_shape), tuple(model.output_shape))
    if found != ((None, size, size, 3), (None, classes)):
        raise AutotlError(
            f"A model has the input [B, {size}, {size}, 3] and the output [B, {classes}] of its {DESCRIPTION_FILE}; "
            f"{artefact.model_path} has {found[0]} and {found[1]}. Copy the whole folder again."
        )
    return model


def load_file(path: Path, plugins: Sequence[Mapping[str, Any]] = ()) -> Any:
    """Loads a `.keras` file that this program wrote, in safe mode: no code comes out of a file.

    Args:
        path: the file.
        plugins: `{"distribution", "version"}` of the plugins whose layers it may hold.

    Raises:
        PluginError: such a plugin is not installed.
        AutotlError: Keras refuses the file.
    """
    _refuse_foreign(path)
    import_layers(plugins)
    import keras

    try:
        return keras.saving.load_model(path, safe_mode=True, compile=False)
    except Exception as error:
        raise AutotlError(
            f"A model file must load in Keras's safe mode; {path} does not: {error}. This is Keras "
            f"{keras.__version__}, and {DESCRIPTION_FILE} names the versions that the model was made with."
        ) from error


def _find_folder(path: Path) -> Path:
    _refuse_foreign(path)
    if path.name == MODEL_FILE and path.is_file():
        path = path.parent
    for folder in (path, path / "model"):
        if (folder / DESCRIPTION_FILE).is_file():
            return folder
    rejected = next((folder for folder in (path, path / "model") if (folder / f"{MODEL_FILE}.rejected").exists()), None)
    if rejected is not None:
        raise AutotlError(
            f"The model of {path} failed its parity check and was kept as {rejected / MODEL_FILE}.rejected; "
            "it cannot be used. Search again."
        )
    state = f"has no {DESCRIPTION_FILE}" if path.is_dir() else "does not exist" if not path.exists() else "is a file"
    raise UsageError(
        f"A model is given as a run directory or a model folder (with {DESCRIPTION_FILE}); {path} {state}. "
        "`autotl search` makes one; `autotl status RUN` shows whether a run has come that far."
    )


def _refuse_foreign(path: Path) -> None:
    if path.suffix.lower() in _FOREIGN_SUFFIXES:
        raise AutotlError(
            f"Files of the kind {path.suffix} can run code when they are loaded and are refused: {path}. "
            "Give the run directory or the model folder that autotl made."
        )


def _replace(temporary: Path, folder: Path) -> None:
    _flush(temporary)
    previous = folder.with_name(f"{temporary.name}-previous")
    if folder.exists():
        folder.rename(previous)  # a folder cannot be renamed onto one that holds files
    temporary.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def _flush(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
