"""Which backend Keras will have, found out without importing it."""

import json
from collections.abc import Mapping
from pathlib import Path

DEFAULT = "tensorflow"


def configured_backend(environment: Mapping[str, str]) -> str:
    """As Keras finds it: the environment's KERAS_BACKEND, else what the file `keras.json` says.

    https://keras.io/api/utils/config_utils/
    """
    named = environment.get("KERAS_BACKEND")
    if named:
        return named
    home = environment.get("KERAS_HOME")
    folder = Path.home() / ".keras" if home is None else Path(home)
    try:
        found = json.loads((folder / "keras.json").read_text())
        return str(found.get("backend", DEFAULT))
    except (OSError, ValueError, AttributeError):
        return DEFAULT
