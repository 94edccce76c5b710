"""Which plugins are installed, by the distribution that they come from, and what is wrong with broken ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from autotl.backbones.registry import KIND as BACKBONE
from autotl.backbones.registry import SOURCES_GROUP
from autotl.data.datasets import KIND as DATASET
from autotl.entry_points import (
    FAILED,
    OK,
    Kind,
    Status,
    did_you_mean,
    examine_entries,
    list_entries,
)
from autotl.errors import UsageError
from autotl.execution.executors import KIND as EXECUTOR
from autotl.exporters.registry import KIND as EXPORTER
from autotl.heads.registry import KIND as HEAD

SOURCE = Kind("backbone source", SOURCES_GROUP)
CHECKED = (BACKBONE, HEAD)
"""The kinds that there is a conformance kit for."""
KINDS = (
    *CHECKED,
    SOURCE,
    EXECUTOR,
    EXPORTER,
    DATASET,
    Kind("logger", "autotl.loggers"),
)
"""All but `autotl.layers`: those modules import Keras by nature, which would cost a listing seconds."""


def list_plugins() -> list[dict[str, Any]]:
    """Import everything that is registered, and say what became of it; nothing that a plugin does ends this.

    Returns:
        For each distribution `distribution`, `version`, `status` (that of its worst entry) and `entries`: `kind`,
        `name`, `entry_point`, `status`, `problem` in words and the class of the `exception` behind a failed one.
    """
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for kind in KINDS:
        for status in examine_entries(kind):
            origin = (status.listing.distribution, status.listing.version)
            found.setdefault(origin, []).append(_entry(kind, status))
    return [
        {"distribution": distribution, "version": version, "status": _worst(entries), "entries": entries}
        for (distribution, version), entries in sorted(found.items())
    ]


def find_entries(name: str) -> list[tuple[Kind, str]]:
    """The backbones and heads that a name stands for: those of this name, or all of a distribution of this name.

    Raises:
        UsageError: nothing is registered under this name.
    """
    everything = [(kind, listing) for kind in CHECKED for listing in list_entries(kind)]
    named = [(kind, listing.name) for kind, listing in everything if listing.name == name]
    if not named:
        named = [(kind, listing.name) for kind, listing in everything if listing.distribution == name]
    if not named:
        known = sorted({one for _, listing in everything for one in (listing.name, listing.distribution)})
        raise UsageError(
            f"There is no backbone, head or distribution {name!r}.{did_you_mean(name, known)} "
            "See: autotl plugins list. A plugin must be installed to be checked (pip install ./my-network)."
        )
    return list(dict.fromkeys(named))


def registered_names() -> Mapping[str, str]:
    """All names of backbones and heads, each with the distribution that owns it."""
    return {listing.name: listing.distribution for kind in CHECKED for listing in list_entries(kind)}


def _entry(kind: Kind, status: Status) -> dict[str, Any]:
    state, problem = status.state, status.problem
    if kind is SOURCE and state == OK and not callable(status.record):
        state = FAILED
        problem = (
            f"A backbone source must be a function of what follows the colon, {status.listing.value} is a "
            f"{type(status.record).__name__}. Tell the author of {status.listing.distribution}."
        )
    return {
        "kind": kind.word,
        "name": status.listing.name,
        "entry_point": status.listing.value,
        "status": state,
        "problem": problem,
        "exception": None if status.error is None else type(status.error).__name__,
    }


def _worst(entries: Sequence[Mapping[str, Any]]) -> str:
    """OK where all are, else the state of the first that is not."""
    return next((str(entry["status"]) for entry in entries if entry["status"] != OK), OK)
