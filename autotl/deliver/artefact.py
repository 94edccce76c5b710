"""The model folder on disk: what is in it, how it is written in one step, how it is opened without trusting it.

    model.keras      uint8 RGB `[B, S, S, 3]`, upright and resized -> calibrated float32 probabilities `[B, C]`
    autotl.json      everything needed to use, audit or repeat it (`DESCRIPTION_KEYS` and what is added to them)
    labels.txt       one class name a line, in index order
    MODEL_CARD.md    the same for people

An exported folder (`export.py`) is the same with another file in the place of `model.keras`, and with `parity.json` and
`predict.py` beside it. Only a model whose digest is the one in `autotl.json` is loaded (`trust.py`), and Keras's files
always in safe mode.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotl.deliver.description import (
    DESCRIPTION_FILE,
    DESCRIPTION_KEYS,
    MODEL_FILE,
    complete_description,
    read_description,
)
from autotl.deliver.trust import REJECTED_SUFFIX, check_file, digest_of, hash_model, refuse_changed, refuse_foreign
from autotl.entry_points import import_layers
from autotl.errors import AutotlError, UsageError

LABELS_FILE = "labels.txt"
CARD_FILE = "MODEL_CARD.md"
KERAS = "keras"


@dataclass(frozen=True)
class Artefact:
    """An opened model folder whose model has the recorded digest, or was accepted with another one."""

    folder: Path
    class_names: tuple[str, ...]
    image_size: int
    description: Mapping[str, Any]  # autotl.json as it is
    digest: str  # of the model as it lies there, which is another one than is recorded where that was accepted
    format: str = KERAS
    precision: str = "float32"
    file: str = MODEL_FILE

    @property
    def model_path(self) -> Path:
        return self.folder / self.file

    @property
    def resize(self) -> str:
        """How images are made square for it: one of `autotl.data.decode.RESIZES`."""
        return str(self.description["resize"]["mode"])

    @property
    def data(self) -> Mapping[str, Any]:
        """Of the data it was trained on: name, fingerprint, split_fingerprint, seed."""
        return self.description["data"]


def write_artefact(model_path: Path, folder: Path, description: Mapping[str, Any], beside: Sequence[Path] = ()) -> None:
    """Writes the model folder beside its final place and renames it there: it is complete, or it is not there.

    Args:
        model_path: an existing `model.keras`; it is copied.
        folder: the model folder; one that is there already is replaced.
        description: JSON with at least `DESCRIPTION_KEYS`: `class_names` in index order, `image_size`, `backbone`
            {name, weights {source, sha256, licence, dataset}}, `configuration` of the trial, `data` {name,
            fingerprint, split_fingerprint, seed}, `validation` and `test` scores. `temperature`, `command`,
            `parity`, `test_reads` and anything else are kept as they are.
        beside: further files to copy into the folder, under their own names.
    """
    missing = [key for key in DESCRIPTION_KEYS if key not in description]
    if missing:
        raise ValueError(f"the description of a model needs {', '.join(DESCRIPTION_KEYS)}; missing: {missing}")
    full = complete_description(model_path, description)
    with folder_in_one_step(folder) as temporary:
        shutil.copyfile(model_path, temporary / MODEL_FILE)
        for path in beside:
            shutil.copyfile(path, temporary / path.name)
        write_texts(temporary, full)


def write_texts(folder: Path, description: Mapping[str, Any]) -> None:
    """Writes what describes a model into its folder: `labels.txt`, `MODEL_CARD.md` and, last, `autotl.json`."""
    from autotl.deliver.card import render_card

    # A folder name that is no UTF-8 comes as lone surrogates: JSON escapes them exactly, people get a "?".
    (folder / LABELS_FILE).write_text(labels_text(description["class_names"]), encoding="utf-8", errors="replace")
    (folder / CARD_FILE).write_text(render_card(description), encoding="utf-8", errors="replace")
    text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")


def labels_text(class_names: Sequence[str]) -> str:
    """The content of `labels.txt`."""
    return "".join(f"{' '.join(name.split())}\n" for name in class_names)


@contextmanager
def folder_in_one_step(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `folder` when the block ends well, and else leaves nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_in_place(temporary: Path, folder: Path) -> None:
    """Gives a finished folder its name in one step; another folder that has it goes away.

    Args:
        temporary: on the same disk.
        folder: its final place.
    """
    temporary.chmod(0o755)  # those that are made as temporary ones are private; a model folder is there to be read
    _flush(temporary)
    previous = temporary.with_name(f"{temporary.name}-previous")
    if folder.exists():
        folder.rename(previous)  # a folder cannot be renamed onto one that holds files
    temporary.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def open_artefact(path: Path | str, trust: bool = False) -> Artefact:
    """Opens a model folder, that of a run, or an exported one, and checks the digest of its model. Imports no Keras.

    Args:
        path: the folder, the run directory, or the model's file in its folder.
        trust: accept a model that has another digest than the recorded one. It is loaded with the same care.

    Raises:
        UsageError: there is no model folder at `path`.
        AutotlError: the folder is damaged, its format is not installed, or its model is not the one that was delivered.
    """
    given = Path(path)
    folder = _find_folder(given)
    description = read_description(check_file(folder / DESCRIPTION_FILE))
    format_name = description.get("format", KERAS)
    file = MODEL_FILE if format_name == KERAS else _file_of(format_name, folder)
    found = hash_model(folder, file, alone=format_name == KERAS)
    if not found:
        raise AutotlError(f"A model folder holds {file}; {folder} has none. Copy the whole folder again.")
    if not trust:
        refuse_changed(folder, found, description["model"])
    precision = description.get("precision", "float32")
    names, size = tuple(description["class_names"]), description["image_size"]
    return Artefact(folder, names, size, description, digest_of(found), format_name, precision, file)


def load_model(artefact: Artefact) -> Any:
    """The `keras.Model` of an opened artefact, checked to be what `autotl.json` says.

    Raises:
        AutotlError: it is of another format, Keras cannot load it safely, or its input or output differs from the
            description.
    """
    if artefact.format != KERAS:
        raise AutotlError(
            f"Only the Keras format can be trained or written in other formats; {artefact.folder} is "
            f"{artefact.format}. Give the model folder of the run that it was exported from."
        )
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
    refuse_foreign(path)
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
    refuse_foreign(path)
    try:
        if path.is_file() and path.name != DESCRIPTION_FILE and _is_model_in_folder(path):
            path = path.parent
        candidates = (path, path / "model")
        for folder in candidates:
            if (folder / DESCRIPTION_FILE).is_file():
                return folder
        rejected = [file for folder in candidates for file in folder.glob(f"*{REJECTED_SUFFIX}")]
        state = "is a file" if path.exists() else "does not exist"
        if path.is_dir():
            state = f"has no {DESCRIPTION_FILE}"
    except (OSError, ValueError) as error:  # a path that is too long, say, or holds a NUL
        rejected, state = [], f"cannot be read ({error})"
    if rejected:
        raise AutotlError(
            f"The model of {path} failed its parity check and was kept as {min(rejected)}; it cannot be used. "
            "Export it in another format or precision, or search again."
        )
    raise UsageError(
        f"A model is given as a run directory or a model folder (with {DESCRIPTION_FILE}); {path} {state}. "
        "`autotl search` makes one; `autotl status RUN` shows whether a run has come that far."
    )


def _is_model_in_folder(path: Path) -> bool:
    return path.name.startswith("model.") and (path.parent / DESCRIPTION_FILE).is_file()


def _file_of(format_name: str, folder: Path) -> str:
    """What an exporter calls its file. The name of a format leads to installed plugins, and nowhere else."""
    from autotl.exporters.registry import load_exporter

    try:
        return load_exporter(format_name).file
    except UsageError as error:
        raise AutotlError(f"The format of {folder} must be one that is installed. {error}") from error


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
