"""What stands between a model folder that may come from anywhere and the libraries that would load it.

A model is one file, or several: a folder, or files that share the first part of their name (`model.xml`, `model.bin`).
`autotl.json` records one digest of it, and of several files each one's own. Of one file the digest is its sha256; of
several it is the sha256 of what `sha256sum` would print of them, sorted by path: a line `SHA256  PATH` each.

No name in `autotl.json` is ever used as a path: what belongs to a model is read off the folder.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from autotl.errors import AutotlError

FOREIGN_SUFFIXES = frozenset({".h5", ".hdf5", ".pkl", ".pickle", ".joblib", ".pth", ".pt", ".ckpt", ".npy", ".npz"})
REJECTED_SUFFIX = ".rejected"


def sha256_of(path: Path) -> str:
    """The hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(files: Mapping[str, str]) -> str:
    """The one digest of a model, from those of its files by their paths in the folder."""
    if len(files) == 1:
        return next(iter(files.values()))
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def hash_model(folder: Path, file: str, alone: bool = False) -> dict[str, str]:
    """The sha256 of each file of a model by its path in the folder, sorted; empty where there is no such model.

    Args:
        folder: where it lies.
        file: name of its file or folder, from the exporter; what shares the first part of the name belongs to it.
        alone: it is that one file, whatever lies beside it.

    Raises:
        AutotlError: something in it is no regular file, or is of a kind that can run code.
    """
    if not (folder / file).exists():
        return {}
    stem = file.partition(".")[0]
    beside = [] if alone else [path for path in folder.iterdir() if path.name.startswith(f"{stem}.")]
    top = sorted({folder / file, *beside})
    found = [path for entry in top for path in _regular_files(entry)]
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in found}


def check_file(path: Path) -> Path:
    """Insists on a regular file that lies where it seems to lie.

    Raises:
        AutotlError: it is a link, which may lead anywhere, or no file.
    """
    if path.is_symlink() or not path.is_file():
        raise AutotlError(
            f"A model folder holds regular files; {path} is {'a link' if path.is_symlink() else 'none'}. "
            "Copy the folder with what its links lead to (cp -RL), if you know where they lead."
        )
    refuse_foreign(path)
    return path


def refuse_foreign(path: Path) -> None:
    """Refuses files that can run code when they are loaded, by their names.

    Raises:
        AutotlError: it is one.
    """
    if path.suffix.lower() in FOREIGN_SUFFIXES:
        raise AutotlError(
            f"Files of the kind {path.suffix} can run code when they are loaded and are refused: {path}. "
            "Give the run directory or the model folder that autotl made."
        )


def refuse_changed(folder: Path, found: Mapping[str, str], recorded: Mapping[str, object]) -> None:
    """Insists that a model is the one that `autotl.json` describes.

    Args:
        folder: for the message.
        found: as `hash_model` gives it.
        recorded: `model` of `autotl.json`: `sha256`, and `files` where it has several.

    Raises:
        AutotlError: it is another one.
    """
    digest, expected = digest_of(found), str(recorded["sha256"])
    if digest == expected:
        return
    files = recorded.get("files")
    known = files if isinstance(files, dict) else {}
    changed = sorted({*found, *map(str, known)} - {name for name in found if known.get(name) == found[name]})
    named = f" ({', '.join(changed[:3])})" if known else ""
    raise AutotlError(
        f"Only a model file with the recorded sha256 is loaded: the model in {folder} has {digest[:12]}{named}, "
        f"autotl.json says {expected[:12]}. It was changed or damaged; copy the whole folder again from where it was "
        "made, or accept it as it is with --trust."
    )


def _regular_files(path: Path) -> Iterator[Path]:
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.iterdir()):
            yield from _regular_files(entry)
    else:
        yield check_file(path)
