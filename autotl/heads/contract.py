"""What a head is: the record that a plugin publishes, and the rules that its `build` keeps.

A plugin makes one `Head` per kind of head and names it in an entry point of the group `autotl.heads`. The module that
holds the record must stay cheap to import: Keras and numpy belong inside `build`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

API_VERSION = 1

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Head:
    """Layers to put on the pooled features of a backbone, described without building them."""

    name: str
    build: Callable[[int, int, Options], Any]
    """`build(features, classes, options)` gives a Functional `keras.Model` from pooled features `[B, features]` to
    logits `[B, classes]` (no softmax). Features come standardised: mean 0 and variance 1 in each column (less where a
    column hardly varies). It is called again for every trial, and Keras's seed has been set by then: initialisers
    without a seed of their own give the trial its weights. No Lambda layers; every layer of your own is registered
    with `keras.saving.register_keras_serializable`."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a search may vary, written as in a space file: `{"units": {"integer": [32, 256], "log": True}}`, with
    `choice`, `range`, `log` or `integer`, and `when` where it depends on another option of this head. `build` gets one
    value for each of them, the default where none was searched."""
    defaults: Options = field(default_factory=dict)
    """A value for every option: the first one that a search tries."""
    summary: str = ""
    """What it is, in one line."""
    reference: str = ""
    """URL of the paper, if there is one."""
    api_version: int = API_VERSION

    def to_json(self) -> dict[str, Any]:
        """Describe the head for reports and records; nothing in it is callable."""
        return {
            "name": self.name,
            "options": {name: dict(written) for name, written in self.options.items()},
            "defaults": dict(self.defaults),
            "summary": self.summary,
            "reference": self.reference,
            "api_version": self.api_version,
        }
