"""What an exporter is: the record that a plugin publishes, and the rules that its `write` and its runtime keep.

A plugin makes one `Exporter` per format and names it in an entry point of the group `autotl.exporters`. The module that
holds the record must stay cheap to import: converters and numpy belong inside `write`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

API_VERSION = 1
GROUP = "autotl.exporters"
FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"


@dataclass(frozen=True)
class Limits:
    """How far an exported model may be from the one it was made of."""

    max_difference: float | None
    """Of any probability of any image; `None` where single probabilities may move, as in int8."""
    same_label: float
    """Least share of the images that keep their label; those whose two best probabilities are closer than 1e-3 are
    left out."""
    accuracy_drop: float
    """On the validation split, as a share: 0.01 is one point."""


USUAL_LIMITS: Mapping[str, Limits] = {
    FLOAT32: Limits(1e-4, same_label=1.0, accuracy_drop=0.01),
    FLOAT16: Limits(2e-2, same_label=0.99, accuracy_drop=0.01),
    INT8: Limits(None, same_label=0.95, accuracy_drop=0.01),
}
"""What is asked of autotl's own formats."""


@dataclass(frozen=True)
class Export:
    """One file (or folder) to write."""

    model: Any
    """A float32 `keras.Model` from uint8 `[B, S, S, 3]` to calibrated float32 probabilities `[B, C]`."""
    path: Path
    """Where: the artefact's folder and the exporter's `file`. It does not exist yet."""
    precision: str
    """One of the exporter's `precisions`."""
    calibration: Any = None
    """For int8: training images, uint8 `[n, S, S, 3]`, some of each class. `None` for other precisions."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """File names and texts to embed where the format can: `autotl.json` (what using the model takes), `labels.txt`.
    They are valid UTF-8, without control characters but the ends of lines."""


@dataclass(frozen=True)
class Exporter:
    """A format to write models in, described without loading its libraries."""

    name: str
    """As registered and as given to `--format`: "onnx"."""
    file: str
    """Name of the file or folder that it writes: "model.onnx"."""
    precisions: Mapping[str, Limits]
    """What it can write, the default first, with what is asked of each."""
    write: Callable[[Export], None]
    """Writes `Export.path`, and what belongs beside it under the same stem. What it raises is told as the reason why
    this network cannot be converted: an `AutotlError` in its own words."""
    runtime: str
    """Module whose text, pasted into a script, runs the format: it imports nothing but the standard library, numpy and
    `runtime_packages`, and defines `load(folder: Path)`, which gives a function from uint8 `[b, S, S, 3]`, any b >= 1,
    to float32 `[b, C]`."""
    runtime_packages: Mapping[str, str] = field(default_factory=dict)
    """What a machine needs to run it: import name to name on PyPI, such as {"ai_edge_litert": "ai-edge-litert"}."""
    writer_packages: Mapping[str, str] = field(default_factory=dict)
    """What it takes to write it, besides autotl's own needs, in the same way."""
    extra: str | None = None
    """What installs both: "autotl[onnx]"."""
    api_version: int = API_VERSION
