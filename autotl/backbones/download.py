"""Weights files that are downloaded once, into the cache that Keras itself uses, and checked before they are read."""

import os
from pathlib import Path

from autotl.backbones.contract import Weights
from autotl.errors import PluginError

TIMEOUT_SECONDS = 60.0
"""How long a server may be silent."""


def cached_path(file_name: str) -> Path:
    """Where Keras keeps a downloaded file: `$KERAS_HOME`, else `~/.keras`, else `/tmp/.keras` (keras.config)."""
    home = os.environ.get("KERAS_HOME")
    if home is None:
        user = Path.home()
        home = str((user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras")
    return Path(home).expanduser() / "models" / file_name


def obtain_weights(name: str, weights: Weights, file_name: str) -> Path:
    """Return the checked weights file of the backbone `name`; download it into Keras's cache when it is not there yet.

    The file appears under its name only when it is complete and its digest is right, so processes that want it at the
    same time do not see each other's half.

    Raises:
        PluginError: it cannot be downloaded, or the file that lies there has another digest.
    """
    import http.client

    path = cached_path(file_name)
    if not path.is_file():
        try:
            _download(name, weights, path)
        except (OSError, http.client.HTTPException) as error:
            raise PluginError(
                f"The pretrained weights of {name} must be at {path} or be downloaded from {weights.source}, which "
                f"failed ({error}). Without a network here: run `autotl backbones fetch {name}` on a machine that has "
                f"one, and copy the file to that place."
            ) from error
        return path
    if not _is_intact(path, weights):
        raise PluginError(
            f"The pretrained weights of {name} must have the digest {weights.digest}, {path} has another: it is "
            f"damaged or of another release. Delete that file, and run `autotl backbones fetch {name}`."
        )
    return path


def _download(name: str, weights: Weights, path: Path) -> None:
    import shutil
    import tempfile
    import urllib.request

    # Not urlopen: it goes on using the proxies that were set when it was first called in this process.
    opener = urllib.request.build_opener()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".autotl-", dir=path.parent) as folder:
        part = Path(folder) / path.name
        with opener.open(weights.source, timeout=TIMEOUT_SECONDS) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file, 2**20)
            announced = answer.headers.get("Content-Length")
            if announced is not None and file.tell() != int(announced):  # http.client lets that pass
                raise OSError(f"the connection broke off after {file.tell()} of {announced} bytes")
        if not _is_intact(part, weights):
            raise PluginError(
                f"The pretrained weights of {name} must have the digest {weights.digest}, the file that "
                f"{weights.source} gave has another. Try again; a proxy may have answered in its place."
            )
        part.replace(path)


def _is_intact(path: Path, weights: Weights) -> bool:
    """Whether the file has the published digest; true without one."""
    import hashlib

    algorithm, expected = ("md5", weights.md5) if weights.sha256 is None else ("sha256", weights.sha256)
    if expected is None:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == expected
